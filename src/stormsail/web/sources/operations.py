"""Reading one operation out of the engine: how it stands, what its steps say, and every call that it made."""

from dataclasses import dataclass, replace
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from stormsail.delivery.client_types import OperationCanceled, OperationFailed, OperationSummary, PendingActivity
from stormsail.delivery.engine_link import EngineLink, quoted
from stormsail.delivery.model.operation import RUNNER, OperationProgress, OperationResult, OperationStatus
from stormsail.delivery.model.steering import SteeringRecord
from stormsail.delivery.steer import steering_of
from stormsail.delivery.summaries import pending_of, raw_memo, summary_of
from stormsail.web.sources.engine import OUTAGE_MAX_S, EngineSource, NotThere, Refused
from stormsail.web.sources.held import SourceFailed
from stormsail.web.sources.payloads import failure_text, payloads_json

ID_LENGTH: Final = 36
PREFIX_MIN: Final = 4
EVENTS_MAX: Final = 5000
"""How many events of an operation are read for its calls; an operation has hundreds."""

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """What the engine itself says of an operation."""

    summary: OperationSummary
    pending: tuple[PendingActivity, ...]
    steering: tuple[SteeringRecord, ...]
    result: OperationResult | None
    failure: str
    """Why the workflow itself broke off; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the cloud as the history has it."""

    call: str
    """The activity's id: the step's call, with `#2` and so on where somebody had it tried again."""
    activity: str
    scheduled_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    outcome: str
    """`waiting`, `running`, `succeeded`, `failed`, `timed out` or `cancelled`."""
    attempt: int
    worker: str
    error: str
    input: Any
    output: Any


async def operations_page(
    engine: EngineSource, query: str, limit: int, token: bytes
) -> tuple[list[OperationSummary], bytes]:
    """Read one page of operations, as the engine orders them, and the token of the next page."""
    link = EngineLink(engine.client, engine.at.address, OUTAGE_MAX_S)

    async def read() -> tuple[list[OperationSummary], bytes]:
        pages = engine.client.list_workflows(query, page_size=limit, next_page_token=token or None)
        await pages.fetch_next_page()
        found = [await summary_of(link, execution) for execution in pages.current_page or ()]
        return found, pages.next_page_token or b""

    return await engine.asked(read)


async def operations_steered(
    engine: EngineSource, query: str, limit: int
) -> list[tuple[OperationSummary, tuple[SteeringRecord, ...]]]:
    """Read the newest operations with what people asked of each: one call, because both are in the memo."""
    link = EngineLink(engine.client, engine.at.address, OUTAGE_MAX_S)

    async def read() -> list[tuple[OperationSummary, tuple[SteeringRecord, ...]]]:
        return [
            (await summary_of(link, execution), (await steering_of(link, raw_memo(execution))).records)
            for execution in await link.search(query, limit)
        ]

    return await engine.asked(read)


async def find_run(engine: EngineSource, operation_id: str) -> tuple[str, str]:
    """Return the workflow id and run id of an operation named by its id or a prefix. Raises NotThere or Refused."""
    if len(operation_id) < PREFIX_MIN:
        raise Refused(f"{operation_id!r} is too short for an operation id: give at least 4 characters", "SHORT")
    match = "=" if len(operation_id) == ID_LENGTH else "STARTS_WITH"
    query = f"WorkflowType = '{RUNNER}' AND RunId {match} {quoted(operation_id)}"
    found = (await engine.list_workflows(query, 2, b"")).executions
    if not found:
        raise NotThere(f"no operation {operation_id!r} is known to the engine")
    if len(found) > 1:
        raise Refused(f"{operation_id!r} fits several operations: give more characters", "AMBIGUOUS")
    return found[0].execution.workflow_id, found[0].execution.run_id


async def read_facts(engine: EngineSource, workflow_id: str, run_id: str) -> OperationFacts:
    """Read what the engine says without asking a worker."""
    link = EngineLink(engine.client, engine.at.address, OUTAGE_MAX_S)

    async def read() -> OperationFacts:
        described = await link.describe(workflow_id, run_id)
        summary = await summary_of(link, described)
        result, failure = None, ""
        if summary.status is not OperationStatus.RUNNING:
            try:
                result = await engine.delivery.result(run_id)
            except (OperationCanceled, OperationFailed) as error:
                failure = str(error)
        return OperationFacts(
            summary,
            await pending_of(link, described),
            (await steering_of(link, raw_memo(described))).records,
            result,
            failure,
        )

    return await engine.asked(read)


async def read_progress(engine: EngineSource, workflow_id: str, run_id: str) -> OperationProgress:
    """Ask the operation how far it is; a worker answers. Raises SourceFailed when none does."""
    handle = engine.client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        answer: OperationProgress = await handle.query("progress", result_type=OperationProgress)
    except (RPCError, WorkflowQueryFailedError, RuntimeError) as error:
        raise SourceFailed("no worker answers for the operation: `stormsail status` shows who polls") from error
    return answer


async def read_calls(engine: EngineSource, workflow_id: str, run_id: str) -> tuple[Call, ...]:
    """Read every call to the cloud out of the history, in the order in which they were made."""
    calls: dict[int, Call] = {}
    token, read = b"", 0
    while read < EVENTS_MAX:
        page = await engine.history_page(workflow_id, run_id, PAGE, token)
        for event in page.history.events:
            _note(calls, event)
        read += len(page.history.events)
        token = page.next_page_token
        if not token:
            break
    return tuple(calls.values())


_ENDS: Final = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: ("activity_task_completed_event_attributes", "succeeded"),
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: ("activity_task_failed_event_attributes", "failed"),
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: ("activity_task_timed_out_event_attributes", "timed out"),
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: ("activity_task_canceled_event_attributes", "cancelled"),
}


def _note(calls: dict[int, Call], event: HistoryEvent) -> None:
    at_ms = event.event_time.ToMilliseconds()
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
        asked = event.activity_task_scheduled_event_attributes
        calls[event.event_id] = Call(
            asked.activity_id,
            asked.activity_type.name,
            at_ms,
            None,
            None,
            "waiting",
            1,
            "",
            "",
            payloads_json(asked.input),
            None,
        )
    elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
        begun = event.activity_task_started_event_attributes
        _change(
            calls,
            begun.scheduled_event_id,
            started_at_ms=at_ms,
            outcome="running",
            attempt=begun.attempt,
            worker=begun.identity,
            error=failure_text(begun.last_failure) if begun.HasField("last_failure") else "",
        )
    elif event.event_type in _ENDS:
        field, outcome = _ENDS[event.event_type]
        ended = getattr(event, field)
        said: dict[str, Any] = {"ended_at_ms": at_ms, "outcome": outcome}
        if outcome == "succeeded":
            said |= {"output": payloads_json(ended.result), "error": ""}
        elif outcome in ("failed", "timed out"):
            said["error"] = failure_text(ended.failure)
        _change(calls, ended.scheduled_event_id, **said)


def _change(calls: dict[int, Call], scheduled_event_id: int, **fields: Any) -> None:
    if scheduled_event_id in calls:
        calls[scheduled_event_id] = replace(calls[scheduled_event_id], **fields)
