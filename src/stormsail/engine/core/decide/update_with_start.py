"""Update-with-start: find the run that is to take an update, or begin it, in one step.

The run begins with the update already admitted, so its first workflow task carries it. Where either half is refused
nothing is done, and the refusal says which half it was.
"""

from typing import Final

from temporalio.api.enums.v1 import WorkflowIdConflictPolicy

from stormsail.engine.core import updates
from stormsail.engine.core.decide import update
from stormsail.engine.core.decide.start import decide_start, reply_about
from stormsail.engine.core.errors import MultiOperationFailed, Refused, Unavailable
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import StartAndUpdate, StartAndUpdateReply, StartWorkflow
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import replace

_USE_EXISTING: Final = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING


def decide_start_and_update(
    current: RunState | None, request: StartAndUpdate, now_ms: int, ids: Ids, limits: Limits
) -> Turn:
    """Decide an update-with-start. `current` is the newest run of the workflow id, open or closed."""
    if current is not None and _takes_update(current, request):
        turn = Turn.on(current, now_ms)
        found = replace(reply_about(current, started=False), first_execution_run_id="")
        turn.reply = StartAndUpdateReply(current.key, found)
        if request.update.request.meta.update_id in current.updates_completed:
            # ExecuteMultiOperation: what is known already is told without links.
            turn.reply = StartAndUpdateReply(current.key, replace(found, link=None), completed_before=True)
        else:
            _admit(turn, request, limits)
        return turn
    try:
        turn = decide_start(current, StartWorkflow(request.request), now_ms, ids, limits)
    except Refused as refused:
        raise MultiOperationFailed.at_start(refused) from refused
    if turn.before is not None or not turn.reply.started:
        raise MultiOperationFailed.at_start(Unavailable("Workflow was not started: StartDeduped"))
    reply = StartAndUpdateReply(turn.state.key, turn.reply)
    _admit(turn, request, limits)
    turn.reply = reply
    return turn


def _takes_update(current: RunState, request: StartAndUpdate) -> bool:
    """Say whether the update goes to the newest run there is, and none is started."""
    update_id = request.update.request.meta.update_id
    if update_id in current.updates_completed:
        return True
    if not current.open:
        return False
    return (
        request.request.request_id == current.start_request_id
        or updates.reached(current, update_id) is not None
        or request.request.workflow_id_conflict_policy == _USE_EXISTING
    )


def _admit(turn: Turn, request: StartAndUpdate, limits: Limits) -> None:
    reply = turn.reply
    try:
        update.admit(turn, request.update, limits)
    except Refused as refused:
        raise MultiOperationFailed.at_update(refused, started=False) from refused
    turn.reply = reply
