"""Updates: who asks a run for one, or waits for the outcome of one, and how they come to know of it.

How far an update is stands in the run's state, which changes only by what is on disk. A rejection alone leaves nothing
there, so the turn that rejects tells it. Where an update was forgotten before a worker accepted it, because the run's
state left memory, it is asked for again here, without its caller noticing.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.history.v1 import History
from temporalio.api.update.v1 import Outcome, UpdateRef
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from stormsail.engine.core import updates
from stormsail.engine.core.decide.signal import workflow_closing
from stormsail.engine.core.errors import Aborted, DeadlineExceeded, MultiOperationFailed, NotFound, Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import StartAndUpdate, StartAndUpdateReply, StartReply, UpdateWorkflow
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.updates import Reached
from stormsail.engine.shell.clock import Clock, wait_until
from stormsail.engine.shell.deliver import Deliver
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.runs import Runs

ABORTED_BY_CLOSING: Final = "workflow update was aborted by closing workflow"

_ACCEPTED_EVENT: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED


class _AbortedByClosing(NotFound):
    """The run closed before a worker accepted the update."""

    def __init__(self) -> None:
        super().__init__(ABORTED_BY_CLOSING)


@dataclass(slots=True, eq=False)
class _Watch:
    """One caller who waits for one update, whichever run of the workflow it gets to."""

    update_id: str
    changed: "asyncio.Future[None]"
    ended: dict[RunKey, Outcome | Refused] = field(default_factory=dict)
    """What turns told of the update that the state does not say."""
    in_memory_alone: bool = True
    """Whether the update is gone when its run leaves memory, as far as is known."""

    def wake(self) -> None:
        if not self.changed.done():
            self.changed.set_result(None)


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long a caller waits: its own deadline is an error, the server's an answer that says how far the update is."""

    until_ms: float
    callers_own: bool


class Updates:
    """The callers who wait for updates."""

    def __init__(self, runs: Runs, *, deliver: Deliver, admission: Admission, clock: Clock, limits: Limits) -> None:
        self._runs = runs
        self._deliver = deliver
        self._admission = admission
        self._clock = clock
        self._limits = limits
        self._watches: dict[tuple[str, str], dict[_Watch, None]] = {}
        """In the order of their coming: the simulator plays the same each time."""

    async def ask(
        self, request: UpdateWorkflowExecutionRequest, deadline_s: float | None
    ) -> UpdateWorkflowExecutionResponse:
        """Have a run updated, and wait until the update is as far as the caller wants to wait for."""
        patience = self._patience(deadline_s)
        target, update_id = request.workflow_execution, request.request.meta.update_id
        workflow = (request.namespace, target.workflow_id)
        watch = self._watch(workflow, update_id)
        self._admission.enter_wait()
        try:
            while True:
                key: RunKey = await self._runs.execute(*workflow, target.run_id, UpdateWorkflow(request))
                found = await self._wait(watch, key, request.wait_policy.lifecycle_stage, patience)
                if found is not None:
                    return _response(request, key, found)
        finally:
            self._admission.leave_wait()
            self._unwatch(workflow, watch)

    async def poll(
        self, request: PollWorkflowExecutionUpdateRequest, deadline_s: float | None
    ) -> PollWorkflowExecutionUpdateResponse:
        """Wait for an update that is there already."""
        patience = self._patience(deadline_s)
        target, update_id = request.update_ref.workflow_execution, request.update_ref.update_id
        workflow = (request.namespace, target.workflow_id)
        key = self._runs.read(*workflow, target.run_id).key
        if updates.reached(self._runs.read(*workflow, key.run_id), update_id) is None:
            raise NotFound(f'update "{update_id}" not found')
        watch = self._watch(workflow, update_id)
        self._admission.enter_wait()
        try:
            found = await self._wait(watch, key, request.wait_policy.lifecycle_stage, patience)
        finally:
            self._admission.leave_wait()
            self._unwatch(workflow, watch)
        if found is None:
            raise NotFound(f'update "{update_id}" not found')
        return PollWorkflowExecutionUpdateResponse(
            outcome=found.outcome, stage=found.stage, update_ref=_ref(key, update_id)
        )

    async def start_and_ask(
        self, request: StartAndUpdate, deadline_s: float | None
    ) -> tuple[StartReply, UpdateWorkflowExecutionResponse]:
        """Start a workflow or find it running, and have it updated. Raises MultiOperationFailed."""
        patience = self._patience(deadline_s)
        retried = False
        while True:
            try:
                return await self._start_and_ask(request, patience)
            except MultiOperationFailed as failed:
                if not isinstance(failed.update, _AbortedByClosing) or failed.start is None:
                    raise
                # ExecuteMultiOperation: a run that closed in the update's face is followed by a new one at once.
                if retried:
                    raise MultiOperationFailed(failed.start, Aborted(failed.update.message)) from failed
                retried = True

    def committed(self, turn: Turn) -> None:
        """Tell who waits for the updates of a run that it changed."""
        for watch in self._watches.get(turn.state.key.workflow, ()):
            if watch.update_id in turn.ended:
                watch.ended[turn.state.key] = turn.ended[watch.update_id]
            watch.wake()

    def forgotten(self, key: RunKey) -> None:
        """Let who waits for updates of a run look whether they are still there. To look at one that is on disk would
        bring its run back into memory and drive another out, whose callers would look again, and so on for ever."""
        for watch in self._watches.get(key.workflow, ()):
            if watch.in_memory_alone:
                watch.wake()

    def waited_for(self, key: RunKey) -> bool:
        """Say whether somebody waits for an update of a run's workflow."""
        return key.workflow in self._watches

    def stop(self) -> None:
        """Let everybody find out that the server is stopping."""
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()

    async def _start_and_ask(
        self, request: StartAndUpdate, patience: _Patience
    ) -> tuple[StartReply, UpdateWorkflowExecutionResponse]:
        workflow = (request.request.namespace, request.request.workflow_id)
        watch = self._watch(workflow, request.update.request.meta.update_id)
        self._admission.enter_wait()
        start: StartReply | None = None
        try:
            while True:
                reply: StartAndUpdateReply = await self._runs.start(workflow[0], request)
                start = start or reply.start
                try:
                    stage = request.update.wait_policy.lifecycle_stage
                    found = await self._wait(watch, reply.key, stage, patience)
                except Refused as refused:
                    raise MultiOperationFailed.at_update(refused, started=start.started) from refused
                if found is not None:
                    updated = _response(request.update, reply.key, found)
                    if reply.completed_before:
                        updated.ClearField("link")
                    return start, updated
        finally:
            self._admission.leave_wait()
            self._unwatch(workflow, watch)

    async def _wait(self, watch: _Watch, key: RunKey, stage: Stage.ValueType, patience: _Patience) -> Reached | None:
        """Wait until an update is as far as `stage`; None where it is forgotten, and had better be asked for again."""
        while True:
            self._runs.check_serving()
            ended = watch.ended.pop(key, None)
            if isinstance(ended, Refused):
                raise ended
            if ended is not None:
                return Reached(updates.COMPLETED, ended)
            state = self._runs.read(key.namespace, key.workflow_id, key.run_id)
            found = updates.reached(state, watch.update_id)
            if found is None and not state.open:
                # Where another run follows its caller may try again, and gets to that one.
                raise workflow_closing() if state.new_run_id else _AbortedByClosing()
            left_ms = patience.until_ms - self._clock.now_ms()
            if found is None:
                if left_ms > 0:
                    return None
                found = Reached(updates.ADMITTED)
            if found.stage >= stage:
                return self._with_outcome(state, found)
            if left_ms <= 0:
                if patience.callers_own:
                    raise DeadlineExceeded("context deadline exceeded")
                return found
            watch.in_memory_alone = found.stage == updates.ADMITTED
            watch.changed = asyncio.get_running_loop().create_future()
            await wait_until(self._clock, watch.changed, left_ms)

    def _with_outcome(self, state: RunState, found: Reached) -> Reached:
        """Return how far an update is with its outcome, read from its event."""
        if not found.completed_event_id:
            return found
        page = self._deliver.page(state.key, found.completed_event_id, found.completed_event_id)
        (event,) = History.FromString(page.frames).events
        return Reached(found.stage, event.workflow_execution_update_completed_event_attributes.outcome)

    def _patience(self, deadline_s: float | None) -> _Patience:
        now_ms = self._clock.now_ms()
        most_ms = self._limits.history_long_poll_ms
        if deadline_s is not None and deadline_s * 1000 < most_ms:
            return _Patience(now_ms + deadline_s * 1000, callers_own=True)
        return _Patience(now_ms + most_ms, callers_own=False)

    def _watch(self, workflow: tuple[str, str], update_id: str) -> _Watch:
        """Begin to watch. Before the update is asked for: no turn that ends it can then be missed."""
        watch = _Watch(update_id, asyncio.get_running_loop().create_future())
        self._watches.setdefault(workflow, {})[watch] = None
        return watch

    def _unwatch(self, workflow: tuple[str, str], watch: _Watch) -> None:
        watches = self._watches[workflow]
        watches.pop(watch, None)
        if not watches:
            del self._watches[workflow]


def _response(request: UpdateWorkflowExecutionRequest, key: RunKey, found: Reached) -> UpdateWorkflowExecutionResponse:
    response = UpdateWorkflowExecutionResponse(
        update_ref=_ref(key, request.request.meta.update_id), outcome=found.outcome, stage=found.stage
    )
    names: dict[str, Any] = {"namespace": key.namespace, "workflow_id": key.workflow_id, "run_id": key.run_id}
    if found.stage == updates.COMPLETED and response.outcome.HasField("failure"):
        # UpdateWorkflowExecution links so to every failed update, whether it was rejected or failed later.
        response.link.workflow.CopyFrom(Link.Workflow(**names, reason="Update rejected"))
    elif found.stage >= updates.ACCEPTED:
        reference = Link.WorkflowEvent.RequestIdReference(
            request_id=request.request.request_id, event_type=_ACCEPTED_EVENT
        )
        response.link.workflow_event.CopyFrom(Link.WorkflowEvent(**names, request_id_ref=reference))
    return response


def _ref(key: RunKey, update_id: str) -> UpdateRef:
    ref = UpdateRef(update_id=update_id)
    ref.workflow_execution.workflow_id, ref.workflow_execution.run_id = key.workflow_id, key.run_id
    return ref
