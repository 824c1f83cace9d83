"""Options of an open run that people may change: its priority, and how it follows its workers' versions."""

from collections.abc import Iterable

from temporalio.api.history.v1 import WorkflowExecutionOptionsUpdatedEventAttributes
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionOptionsRequest

from stormsail.engine.core import versioning
from stormsail.engine.core.decide.workflow_task import RUN_COMPLETED
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn


def update(turn: Turn, request: UpdateWorkflowExecutionOptionsRequest) -> None:
    """Change the options that the mask names; what changes nothing is not recorded. Reply: all of them, as asked."""
    if not turn.state.open:
        raise NotFound(RUN_COMPLETED)
    turn.reply = change(turn, request.workflow_execution_options, request.update_mask.paths, request.identity)


def change(
    turn: Turn, wanted: WorkflowExecutionOptions, paths: Iterable[str], identity: str
) -> WorkflowExecutionOptions:
    """Change the options that the paths name. Returns all of them."""
    _check_override(turn.state, wanted)
    before = _options(turn.state)
    after = _merged(before, wanted, paths)
    if after == before:
        return after
    attributes = WorkflowExecutionOptionsUpdatedEventAttributes(
        identity=identity, priority=after.priority if after.HasField("priority") else None
    )
    if after.HasField("versioning_override"):
        attributes.versioning_override.CopyFrom(versioning.canonical(after.versioning_override))
    else:
        attributes.unset_versioning_override = True
    turn.emit(attributes)
    return after


def _merged(
    into: WorkflowExecutionOptions, wanted: WorkflowExecutionOptions, paths: Iterable[str]
) -> WorkflowExecutionOptions:
    """Return options with those of others that the paths name."""
    named = set(paths)
    _check_together(named)
    out = WorkflowExecutionOptions()
    out.CopyFrom(into)
    if any(path.startswith("versioning_override") for path in named):
        out.ClearField("versioning_override")
        if wanted.HasField("versioning_override"):
            out.versioning_override.CopyFrom(wanted.versioning_override)
    if "priority" in named:
        out.ClearField("priority")
        if wanted.HasField("priority"):
            out.priority.CopyFrom(wanted.priority)
    for part in ("priority_key", "fairness_key", "fairness_weight"):
        if f"priority.{part}" in named:
            out.priority.SetInParent()
            setattr(out.priority, part, getattr(wanted.priority, part))
    return out


def _check_together(paths: set[str]) -> None:
    """An override is replaced as a whole; the older way to say it had two parts."""
    older = {"versioning_override.deployment", "versioning_override.behavior"}
    if len(paths & older) == 1:
        raise InvalidArgument("error applying update_options: versioning_override fields must be updated together")
    if any(path.startswith("versioning_override.") for path in paths - older):
        raise InvalidArgument("error applying update_options: versioning_override doesn't support partial updates")


def _check_override(state: RunState, wanted: WorkflowExecutionOptions) -> None:
    if not wanted.HasField("versioning_override"):
        return
    pinned = wanted.versioning_override.pinned
    if pinned.behavior and not pinned.HasField("version"):
        raise FailedPrecondition(
            "must specify a specific pinned override version because workflow with id "
            f"{state.key.workflow_id} has behavior {versioning.behavior_name(state.versioning_override)}"
            " and is not yet pinned to any version"
        )
    versioning.check(wanted.versioning_override, state.task_queue)


def _options(state: RunState) -> WorkflowExecutionOptions:
    return WorkflowExecutionOptions(versioning_override=state.versioning_override, priority=state.priority)
