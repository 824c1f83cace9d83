"""The part of `workflow cancel|terminate|reset|...` that talks to the engine."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from temporalio.api.batch.v1 import (
    BatchOperationCancellation,
    BatchOperationDeletion,
    BatchOperationReset,
    BatchOperationTermination,
)
from temporalio.api.common.v1 import ResetOptions
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    PauseWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
    StartBatchOperationRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)

from stormsail.cli.audited import Entry, audited
from stormsail.cli.connection import run
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import show_one
from stormsail.cli.temporal.batch_run import start_batch
from stormsail.cli.temporal.rpc import Engine, engine, execution, new_id, workflow_entry
from stormsail.cli.temporal.workflow_run import events
from stormsail.cli.whoever import requested_by

_FINISHED_TASKS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
}


def run_cancel(workflow_id: str, run_id: str, query: str, reason: str, yes: bool, place: Place, output: str) -> int:
    """Ask one workflow to stop, or begin a batch."""
    if query:
        operation = BatchOperationCancellation(identity=requested_by())
        request = StartBatchOperationRequest(cancellation_operation=operation)
        return start_batch(request, query, reason, yes, place, output)
    return _change(
        lambda e: e.workflow.request_cancel_workflow_execution(
            RequestCancelWorkflowExecutionRequest(
                namespace=e.namespace,
                workflow_execution=execution(workflow_id, run_id),
                identity=e.identity,
                request_id=new_id(),
                reason=reason,
            ),
            retry=True,
        ),
        workflow_id,
        workflow_entry("cancel", workflow_id, run_id, reason),
        "asked to stop",
        place,
        output,
    )


def run_terminate(workflow_id: str, run_id: str, query: str, reason: str, yes: bool, place: Place, output: str) -> int:
    """End one workflow, or begin a batch."""
    if query:
        operation = BatchOperationTermination(identity=requested_by())
        request = StartBatchOperationRequest(termination_operation=operation)
        return start_batch(request, query, reason, yes, place, output)
    return _change(
        lambda e: e.workflow.terminate_workflow_execution(
            TerminateWorkflowExecutionRequest(
                namespace=e.namespace,
                workflow_execution=execution(workflow_id, run_id),
                identity=e.identity,
                reason=reason or f"asked for by {e.identity}",
            ),
            retry=True,
        ),
        workflow_id,
        workflow_entry("terminate", workflow_id, run_id, reason),
        "terminated",
        place,
        output,
    )


def run_delete(workflow_id: str, run_id: str, query: str, reason: str, yes: bool, place: Place, output: str) -> int:
    """Delete one workflow, or begin a batch."""
    if query:
        request = StartBatchOperationRequest(deletion_operation=BatchOperationDeletion(identity=requested_by()))
        return start_batch(request, query, reason, yes, place, output)
    return _change(
        lambda e: e.workflow.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(namespace=e.namespace, workflow_execution=execution(workflow_id, run_id)),
            retry=True,
        ),
        workflow_id,
        workflow_entry("delete", workflow_id, run_id, reason),
        "deleted",
        place,
        output,
    )


def run_reset(
    workflow_id: str,
    run_id: str,
    query: str,
    reason: str,
    yes: bool,
    event_id: int | None,
    kind: str | None,
    excluded: Sequence[str],
    place: Place,
    output: str,
) -> int:
    """Reset one workflow, or begin a batch."""
    leave_out = _excluded(excluded)
    first = kind is not None and kind.lower().startswith("first")
    if query:
        options = ResetOptions(reset_reapply_exclude_types=leave_out)
        if first:
            options.first_workflow_task.SetInParent()
        else:
            options.last_workflow_task.SetInParent()
        operation = BatchOperationReset(identity=requested_by(), options=options)
        return start_batch(StartBatchOperationRequest(reset_operation=operation), query, reason, yes, place, output)

    async def main() -> str:
        entry = workflow_entry("reset", workflow_id, run_id, reason, event_id=event_id or 0, to=kind or "")
        async with engine(place) as e, audited(place, entry) as written:
            point = event_id or await _task(e, workflow_id, run_id, first=first)
            reply = await e.workflow.reset_workflow_execution(
                ResetWorkflowExecutionRequest(
                    namespace=e.namespace,
                    workflow_execution=execution(workflow_id, run_id),
                    reason=f"{e.identity}: {reason}",
                    workflow_task_finish_event_id=point,
                    request_id=new_id(),
                    reset_reapply_exclude_types=leave_out,
                ),
                retry=True,
            )
            written.outcome |= {"run_id": reply.run_id}
            return reply.run_id

    new_run = run(main)
    shown = {"workflow_id": workflow_id, "run_id": new_run}
    show_one(shown, f"reset workflow {workflow_id}: run {new_run} goes on", "workflow_id", output)
    return int(ExitCode.OK)


def _excluded(kinds: Sequence[str]) -> list[ResetReapplyExcludeType.ValueType]:
    named = ["signal", "update", "nexus"] if "all" in {kind.lower() for kind in kinds} else list(kinds)
    return [ResetReapplyExcludeType.Value(f"RESET_REAPPLY_EXCLUDE_TYPE_{kind.upper()}") for kind in named]


async def _task(e: Engine, workflow_id: str, run_id: str, *, first: bool) -> int:
    """Return the event that ended the first or last workflow task, where the server can go back to."""
    found = 0
    async for event in events(e, workflow_id, run_id):
        if event.event_type in _FINISHED_TASKS:
            found = event.event_id
            if first and event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                break
    if not found:
        raise CommandFailed(
            f"workflow {workflow_id} has finished no workflow task yet, so there is nothing to go back to",
            next_step=f"`stormsail workflow describe -w {workflow_id}` shows what it waits for",
            code=ExitCode.CONFLICT,
        )
    return found


def run_pause(workflow_id: str, run_id: str, reason: str, place: Place, output: str) -> int:
    """Hold a workflow."""

    def ask(e: Engine) -> Awaitable[Any]:
        asked = PauseWorkflowExecutionRequest(**_whom(e, workflow_id, run_id, reason))
        return e.workflow.pause_workflow_execution(asked, retry=True)

    return _change(ask, workflow_id, workflow_entry("pause", workflow_id, run_id, reason), "paused", place, output)


def run_unpause(workflow_id: str, run_id: str, reason: str, place: Place, output: str) -> int:
    """Let a held workflow go on."""

    def ask(e: Engine) -> Awaitable[Any]:
        asked = UnpauseWorkflowExecutionRequest(**_whom(e, workflow_id, run_id, reason))
        return e.workflow.unpause_workflow_execution(asked, retry=True)

    return _change(ask, workflow_id, workflow_entry("unpause", workflow_id, run_id, reason), "goes on", place, output)


def _whom(e: Engine, workflow_id: str, run_id: str, reason: str) -> dict[str, str]:
    return {
        "namespace": e.namespace,
        "workflow_id": workflow_id,
        "run_id": run_id,
        "identity": e.identity,
        "reason": reason,
        "request_id": new_id(),
    }


def _change(
    ask: Callable[[Engine], Awaitable[Any]], workflow_id: str, entry: Entry, done: str, place: Place, output: str
) -> int:
    """Ask for one change of one workflow, and say that it is made."""

    async def main() -> None:
        async with engine(place) as e, audited(place, entry):
            await ask(e)

    run(main)
    show_one({"workflow_id": workflow_id, "done": done}, f"workflow {workflow_id}: {done}", "workflow_id", output)
    return int(ExitCode.OK)
