"""RPCs that only look at one run: history, describe, query."""

from collections.abc import Coroutine
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.enums.v1 import HistoryEventFilterType, QueryRejectCondition
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    QueryWorkflowRequest,
)

from stormsail.engine.api import validate
from stormsail.engine.api.describe import describe
from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.shell.engine import Engine

_ALL_EVENT: Final = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT
_FOR_PEOPLE: Final = ("temporal-cli", "temporal-ui")


def get_workflow_execution_history(
    engine: Engine, call: Call, request: GetWorkflowExecutionHistoryRequest
) -> Coroutine[Any, Any, bytes]:
    """Serve a page of history, or wait for news where the caller asks to."""
    validate.execution(request.execution, present=request.HasField("execution"))
    most = engine.limits.history_page_events_max
    if not 0 < request.maximum_page_size <= most:
        request.maximum_page_size = most
    if not request.history_event_filter_type:
        request.history_event_filter_type = _ALL_EVENT
    # GetWorkflowExecutionHistory: people are shown what is in history; SDKs must have what a worker would replay.
    unwritten = call.metadata.get("client-name") not in _FOR_PEOPLE
    return engine.history(request, call.deadline_s, unwritten=unwritten)


async def get_workflow_execution_history_reverse(
    engine: Engine, _: Call, request: GetWorkflowExecutionHistoryReverseRequest
) -> bytes:
    """Serve a page of history, newest first."""
    validate.execution(request.execution, present=request.HasField("execution"))
    if request.maximum_page_size <= 0 or request.maximum_page_size > engine.limits.history_page_events_max:
        request.maximum_page_size = engine.limits.history_page_events_max
    return await engine.history_reverse(request)


async def describe_workflow_execution(engine: Engine, _: Call, request: DescribeWorkflowExecutionRequest) -> Message:
    """Show a run with what it waits for."""
    target = request.execution
    validate.execution(target, present=request.HasField("execution"))
    state = engine.read(request.namespace, target.workflow_id, target.run_id)
    return describe(state, engine.clock.now_ms())


async def query_workflow(engine: Engine, call: Call, request: QueryWorkflowRequest) -> Message:
    """Ask a run something; its worker answers."""
    validate.execution(request.execution, present=request.HasField("execution"))
    if not request.HasField("query"):
        raise InvalidArgument("WorkflowQuery is not set on request.")
    if not request.query.query_type:
        raise InvalidArgument("QueryType is not set on request.")
    validate.blob(request.query.query_args, engine.limits)
    if request.query_reject_condition == QueryRejectCondition.QUERY_REJECT_CONDITION_UNSPECIFIED:
        request.query_reject_condition = QueryRejectCondition.QUERY_REJECT_CONDITION_NONE
    return await engine.query(request, call.deadline_s)
