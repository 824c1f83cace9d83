"""Changing workflows: signal, update, query, cancel, terminate, reset."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from temporalio.api.common.v1 import WorkflowExecution as ExecutionName
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)
from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from stormsail.delivery.engine_link import EngineLink
from stormsail.delivery.records.keys import Role
from stormsail.web.changes.change import Caller, Done, Wanted, carry_out
from stormsail.web.changes.failures import sorted_failures
from stormsail.web.problems import Problem
from stormsail.web.sources.engine import CHANGE_OUTAGE_MAX_S, EngineSource
from stormsail.web.views.workflow import read_workflow

QUERY_TIMEOUT: Final = timedelta(seconds=10)
UPDATE_TIMEOUT: Final = timedelta(seconds=40)
EVENTS_PAGE: Final = 1000
EVENTS_MAX: Final = 60_000


class ResetTo(StrEnum):
    """Where a reset begins again where no event is named."""

    FIRST = "first-workflow-task"
    LAST = "last-workflow-task"


@dataclass(frozen=True, slots=True)
class AskedView:
    """A workflow that was asked something that has no answer of its own."""

    workflow_id: str
    run_id: str
    asked: str


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What a workflow answered."""

    workflow_id: str
    run_id: str
    name: str
    answer: Any


@dataclass(frozen=True, slots=True)
class ResetView:
    """The run that begins where the other one was reset to."""

    workflow_id: str
    run_id: str
    reset_run_id: str
    event_id: int


async def signal_workflow(caller: Caller, workflow_id: str, run_id: str, name: str, arguments: list[Any]) -> Done:
    """Signal an open run; the same idempotency key signals once."""
    caller.principal.must(Role.EXECUTE)
    engine = caller.web.sources.engine

    async def make(request_id: str) -> AskedView:
        message = SignalWorkflowExecutionRequest(
            namespace=engine.at.namespace,
            workflow_execution=ExecutionName(workflow_id=workflow_id, run_id=run_id),
            signal_name=name,
            identity=caller.principal.name,
            request_id=request_id,
        )
        message.input.payloads.extend(await engine.client.data_converter.encode(arguments))
        await _link(engine).ask(lambda: engine.client.workflow_service.signal_workflow_execution(message))
        return AskedView(workflow_id, run_id, f"signal {name}")

    return await _change(caller, "workflow.signal", workflow_id, run_id, make, {"name": name, "arguments": arguments})


async def update_workflow(caller: Caller, workflow_id: str, run_id: str, name: str, arguments: list[Any]) -> Done:
    """Have an open run updated and wait for its answer; the same idempotency key updates once."""
    caller.principal.must(Role.EXECUTE)
    handle = caller.web.sources.engine.client.get_workflow_handle(workflow_id, run_id=run_id or None)

    async def make(request_id: str) -> AnswerView:
        try:
            answer = await handle.execute_update(name, args=arguments, id=request_id, rpc_timeout=UPDATE_TIMEOUT)
        except WorkflowUpdateFailedError as failed:
            raise Problem("conflict", f"update {name!r} was turned down: {failed.cause}", "send another one") from None
        return AnswerView(workflow_id, run_id, name, answer)

    return await _change(caller, "workflow.update", workflow_id, run_id, make, {"name": name, "arguments": arguments})


async def query_workflow(caller: Caller, workflow_id: str, run_id: str, name: str, arguments: list[Any]) -> AnswerView:
    """Ask a run something; a worker answers. Changes nothing, so nothing is kept of it."""
    caller.principal.must(Role.READ)
    handle = caller.web.sources.engine.client.get_workflow_handle(workflow_id, run_id=run_id or None)
    with sorted_failures():
        try:
            answer = await handle.query(name, args=arguments, rpc_timeout=QUERY_TIMEOUT)
        except WorkflowQueryFailedError as failed:
            raise Problem(
                "conflict", f"query {name!r} failed: {failed}", "see which queries the workflow has"
            ) from None
        except RPCError as error:
            if error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
                raise Problem(
                    "source-away", "no worker answered the query", "start one with `stormsail worker start`"
                ) from None
            raise
    return AnswerView(workflow_id, run_id, name, answer)


async def cancel_workflow(caller: Caller, workflow_id: str, run_id: str) -> Done:
    """Ask an open run to cancel itself."""
    caller.principal.must(Role.EXECUTE)
    engine = caller.web.sources.engine

    async def make(request_id: str) -> AskedView:
        message = RequestCancelWorkflowExecutionRequest(
            namespace=engine.at.namespace,
            workflow_execution=ExecutionName(workflow_id=workflow_id, run_id=run_id),
            identity=caller.principal.name,
            request_id=request_id,
            reason=caller.reason,
        )
        await _link(engine).ask(lambda: engine.client.workflow_service.request_cancel_workflow_execution(message))
        return AskedView(workflow_id, run_id, "cancel")

    return await _change(caller, "workflow.cancel", workflow_id, run_id, make, None)


async def terminate_workflow(caller: Caller, workflow_id: str, run_id: str) -> Done:
    """End an open run now: its worker is not asked, and nothing is put back."""
    caller.principal.must(Role.EXECUTE)
    engine = caller.web.sources.engine

    async def make(_: str) -> AskedView:
        message = TerminateWorkflowExecutionRequest(
            namespace=engine.at.namespace,
            workflow_execution=ExecutionName(workflow_id=workflow_id, run_id=run_id),
            identity=caller.principal.name,
            reason=caller.reason,
        )
        await _link(engine).ask(lambda: engine.client.workflow_service.terminate_workflow_execution(message))
        return AskedView(workflow_id, run_id, "terminate")

    return await _change(caller, "workflow.terminate", workflow_id, run_id, make, None)


async def reset_workflow(caller: Caller, workflow_id: str, run_id: str, to: ResetTo | int) -> Done:
    """Begin a new run with a run's history up to a workflow task. `to` may be the id of the event where that ended."""
    caller.principal.must(Role.EXECUTE)
    engine = caller.web.sources.engine

    async def make(request_id: str) -> ResetView:
        event_id = to if isinstance(to, int) else await _workflow_task(engine, workflow_id, run_id, to)
        message = ResetWorkflowExecutionRequest(
            namespace=engine.at.namespace,
            workflow_execution=ExecutionName(workflow_id=workflow_id, run_id=run_id),
            reason=caller.reason,
            workflow_task_finish_event_id=event_id,
            request_id=request_id,
            identity=caller.principal.name,
        )
        reply = await _link(engine).ask(lambda: engine.client.workflow_service.reset_workflow_execution(message))
        return ResetView(workflow_id, reply.run_id, run_id, event_id)

    after = {"to": to if isinstance(to, int) else to.value}
    return await _change(caller, "workflow.reset", workflow_id, run_id, make, after)


async def _change(
    caller: Caller,
    verb: str,
    workflow_id: str,
    run_id: str,
    make: Callable[[str], Any],
    after: dict[str, Any] | None,
) -> Done:
    async def before() -> Any:
        with sorted_failures():
            return await read_workflow(caller.web.sources, workflow_id, run_id)

    wanted = Wanted(verb, f"workflow/{workflow_id}" + (f"/{run_id}" if run_id else ""), after=after)
    return await carry_out(caller, wanted, make, before=before)


async def _workflow_task(engine: EngineSource, workflow_id: str, run_id: str, to: ResetTo) -> int:
    """Return the event with which the first or last completed workflow task ended."""
    found, token, read = 0, b"", 0
    while read < EVENTS_MAX:
        page = await engine.history_page(workflow_id, run_id, EVENTS_PAGE, token)
        for event in page.history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                found = event.event_id
                if to is ResetTo.FIRST:
                    return found
        read += len(page.history.events)
        token = page.next_page_token
        if not token:
            break
    if not found:
        raise Problem("conflict", "no workflow task of the run was ever completed", "terminate it and start it again")
    return found


def _link(engine: EngineSource) -> EngineLink:
    return EngineLink(engine.client, engine.at.address, CHANGE_OUTAGE_MAX_S)
