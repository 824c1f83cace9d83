"""The part of `workflow signal|query|update` that talks to the engine."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.enums.v1 import (
    QueryRejectCondition,
    UpdateWorkflowExecutionLifecycleStage,
    WorkflowExecutionStatus,
)
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.update.v1 import Input as UpdateInput
from temporalio.api.update.v1 import Meta, Outcome, Request, UpdateRef, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionUpdateRequest,
    QueryWorkflowRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartBatchOperationRequest,
    UpdateWorkflowExecutionRequest,
)

from stormsail.cli.audited import audited
from stormsail.cli.connection import run
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import show_one
from stormsail.cli.temporal.batch_run import start_batch
from stormsail.cli.temporal.history_text import cause_text
from stormsail.cli.temporal.options import Input
from stormsail.cli.temporal.rpc import engine, execution, new_id, payloads, plain, workflow_entry
from stormsail.cli.temporal.workflow_run import record_text, start_fields, status_name

_STAGES: Final = UpdateWorkflowExecutionLifecycleStage
_PREFIX: Final = "UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_"


def run_signal(
    workflow_id: str,
    run_id: str,
    query: str,
    reason: str,
    yes: bool,
    name: str,
    arguments: Sequence[Input],
    place: Place,
    output: str,
) -> int:
    """Send a signal to one workflow, or begin a batch."""
    if query:
        operation = BatchOperationSignal(signal=name, input=payloads(arguments))
        return start_batch(StartBatchOperationRequest(signal_operation=operation), query, reason, yes, place, output)

    async def main() -> None:
        entry = workflow_entry("signal", workflow_id, run_id, reason, name=name)
        async with engine(place) as e, audited(place, entry):
            await e.workflow.signal_workflow_execution(
                SignalWorkflowExecutionRequest(
                    namespace=e.namespace,
                    workflow_execution=execution(workflow_id, run_id),
                    signal_name=name,
                    input=payloads(arguments),
                    identity=e.identity,
                    request_id=new_id(),
                ),
                retry=True,
            )

    run(main)
    show_one({"workflow_id": workflow_id, "signal": name}, f"signalled {workflow_id}: {name}", "workflow_id", output)
    return int(ExitCode.OK)


def run_signal_with_start(
    arguments: Sequence[Input],
    wanted: Mapping[str, Any],
    name: str,
    signal_arguments: Sequence[Input],
    place: Place,
    output: str,
) -> int:
    """Send a signal, starting the workflow if none runs."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            reply = await e.workflow.signal_with_start_workflow_execution(
                SignalWithStartWorkflowExecutionRequest(
                    request_id=new_id(),
                    signal_name=name,
                    signal_input=payloads(signal_arguments),
                    **start_fields(e, arguments, wanted),
                ),
                retry=True,
            )
            return {"workflow_id": wanted["workflow_id"], "run_id": reply.run_id, "started": reply.started}

    told = run(main)
    how = "started and signalled" if told["started"] else "signalled"
    show_one(told, f"{how} workflow {told['workflow_id']}, run {told['run_id']}", "workflow_id", output)
    return int(ExitCode.OK)


def run_query(
    workflow_id: str,
    run_id: str,
    name: str,
    reject: str | None,
    arguments: Sequence[Input],
    place: Place,
    output: str,
) -> int:
    """Ask, and print the answer."""
    condition = QueryRejectCondition.QUERY_REJECT_CONDITION_UNSPECIFIED
    if reject:
        condition = QueryRejectCondition.Value(f"QUERY_REJECT_CONDITION_{reject.upper()}")

    async def main() -> Any:
        async with engine(place) as e:
            reply = await e.workflow.query_workflow(
                QueryWorkflowRequest(
                    namespace=e.namespace,
                    execution=execution(workflow_id, run_id),
                    query=WorkflowQuery(query_type=name, query_args=payloads(arguments)),
                    query_reject_condition=condition,
                ),
                retry=True,
            )
            if reply.HasField("query_rejected"):
                raise CommandFailed(
                    f"the query was turned down: workflow {workflow_id} is {_status(reply.query_rejected.status)}",
                    next_step="ask without --reject-condition",
                    code=ExitCode.CONFLICT,
                )
            return plain(reply.query_result)

    answer = run(main)
    shown = {"workflow_id": workflow_id, "query": name, "result": answer}
    show_one(shown, record_text(answer), "workflow_id", output)
    return int(ExitCode.OK)


def _status(status: WorkflowExecutionStatus.ValueType) -> str:
    return status_name(status).lower()


def run_update(
    workflow_id: str,
    run_id: str,
    name: str,
    update_id: str,
    reason: str,
    arguments: Sequence[Input],
    timeout_s: float,
    place: Place,
    output: str,
    *,
    completed: bool,
) -> int:
    """Send an update and wait for its acceptance or its end; an answer too early is asked for again."""
    stage = _STAGES.Value(f"{_PREFIX}{'COMPLETED' if completed else 'ACCEPTED'}")
    update_id = update_id or new_id()

    async def main() -> dict[str, Any]:
        entry = workflow_entry("update", workflow_id, run_id, reason, name=name, update_id=update_id)
        async with engine(place) as e, audited(place, entry):
            request = UpdateWorkflowExecutionRequest(
                namespace=e.namespace,
                workflow_execution=execution(workflow_id, run_id),
                wait_policy=WaitPolicy(lifecycle_stage=stage),
                request=Request(
                    meta=Meta(update_id=update_id, identity=e.identity),
                    input=UpdateInput(name=name, args=payloads(arguments)),
                ),
            )
            while True:
                reply = await e.workflow.update_workflow_execution(request, retry=True)
                if reply.stage >= stage:
                    return _update_record(workflow_id, reply.update_ref, reply.stage, reply.outcome)

    return _show_update(_bounded(main, timeout_s, workflow_id, update_id), output)


def run_update_poll(
    workflow_id: str, run_id: str, update_id: str, timeout_s: float, place: Place, output: str, *, wait: bool
) -> int:
    """Ask how far an update has come; with `wait`, until it has ended."""
    stage = _STAGES.Value(f"{_PREFIX}{'COMPLETED' if wait else 'UNSPECIFIED'}")

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            request = PollWorkflowExecutionUpdateRequest(
                namespace=e.namespace,
                update_ref=UpdateRef(workflow_execution=execution(workflow_id, run_id), update_id=update_id),
                identity=e.identity,
                wait_policy=WaitPolicy(lifecycle_stage=stage),
            )
            while True:
                reply = await e.workflow.poll_workflow_execution_update(request, retry=True)
                if reply.stage >= stage:
                    ref = UpdateRef(workflow_execution=execution(workflow_id, run_id), update_id=update_id)
                    return _update_record(workflow_id, ref, reply.stage, reply.outcome)

    return _show_update(_bounded(main, timeout_s, workflow_id, update_id), output)


def _bounded(main: Any, timeout_s: float, workflow_id: str, update_id: str) -> dict[str, Any]:
    async def within() -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout_s):
                told: dict[str, Any] = await main()
                return told
        except TimeoutError as error:
            raise CommandFailed(
                f"update {update_id} of workflow {workflow_id} has not come so far after {timeout_s:g} s; it goes on",
                next_step=f"`stormsail workflow update result -w {workflow_id} --update-id {update_id}` waits for it",
                code=ExitCode.TIMEOUT,
            ) from error

    return run(within)


def _update_record(
    workflow_id: str,
    ref: UpdateRef,
    stage: UpdateWorkflowExecutionLifecycleStage.ValueType,
    outcome: Outcome,
) -> dict[str, Any]:
    return {
        "workflow_id": workflow_id,
        "run_id": ref.workflow_execution.run_id,
        "update_id": ref.update_id,
        "stage": _STAGES.Name(stage).removeprefix(_PREFIX).capitalize(),
        "result": plain(outcome.success) if outcome.HasField("success") else None,
        "failure": cause_text(outcome.failure) if outcome.HasField("failure") else None,
    }


def _show_update(told: dict[str, Any], output: str) -> int:
    if told["failure"] is not None:
        raise CommandFailed(
            f"update {told['update_id']} failed: {told['failure']}",
            next_step=f"`stormsail workflow show -w {told['workflow_id']}` shows the workflow's history",
            code=ExitCode.OPERATION_FAILED,
        )
    text = record_text(told["result"]) if told["result"] is not None else f"{told['update_id']}: {told['stage']}"
    show_one(told, text, "update_id", output)
    return int(ExitCode.OK)
