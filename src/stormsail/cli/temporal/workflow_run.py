"""The part of `workflow` that starts and looks at workflows; imported only when one of its commands runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import click
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Priority, WorkflowType
from temporalio.api.enums.v1 import (
    EventType,
    HistoryEventFilterType,
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    ListWorkflowExecutionsRequest,
    StartWorkflowExecutionRequest,
)

from stormsail.cli.connection import run
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import Column, instant, note, show_list, show_one, span, style
from stormsail.cli.temporal.history_text import ended_as, event_lines, event_name
from stormsail.cli.temporal.options import Input
from stormsail.cli.temporal.rpc import (
    PAGE,
    Engine,
    duration,
    engine,
    enum_name,
    execution,
    json_payload,
    listed,
    memo,
    new_id,
    payloads,
    plain,
    record,
    search_attributes,
)

_COLUMNS: Final = (
    Column("status", lambda r: r["status"]),
    Column("workflow id", lambda r: r["workflow_id"]),
    Column("run id", lambda r: r["run_id"], wide=True),
    Column("type", lambda r: r["type"]),
    Column("task queue", lambda r: r["task_queue"], wide=True),
    Column("started", lambda r: instant(r["started_at_ms"])),
    Column("took", lambda r: span(r["closed_at_ms"] - r["started_at_ms"]) if r["closed_at_ms"] else "-"),
)


def run_list(query: str, limit: int, place: Place, output: str) -> int:
    """Print workflows, page after page up to the limit."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            asked = ListWorkflowExecutionsRequest(namespace=e.namespace, query=query)
            return await listed(
                e.workflow.list_workflow_executions, asked, limit, lambda page: map(info_record, page.executions)
            )

    show_list(run(main), _COLUMNS, "workflow_id", output, empty="no workflows")
    return int(ExitCode.OK)


def info_record(info: WorkflowExecutionInfo) -> dict[str, Any]:
    """Return what programs read of a workflow in a list; the keys are part of the command line's contract."""
    return {
        "workflow_id": info.execution.workflow_id,
        "run_id": info.execution.run_id,
        "type": info.type.name,
        "status": status_name(info.status),
        "task_queue": info.task_queue,
        "started_at_ms": info.start_time.ToMilliseconds(),
        "closed_at_ms": info.close_time.ToMilliseconds() if info.HasField("close_time") else None,
        "history_length": info.history_length,
        "memo": {key: plain(value) for key, value in info.memo.fields.items()},
        "search_attributes": {key: plain(value) for key, value in info.search_attributes.indexed_fields.items()},
    }


def status_name(status: WorkflowExecutionStatus.ValueType) -> str:
    """Return a status as list filters name it: Running, TimedOut."""
    words = WorkflowExecutionStatus.Name(status).removeprefix("WORKFLOW_EXECUTION_STATUS_").split("_")
    return "".join(word.capitalize() for word in words)


def run_count(query: str, place: Place, output: str) -> int:
    """Print how many workflows a filter finds, by group if it asks for groups."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            reply = await e.workflow.count_workflow_executions(
                CountWorkflowExecutionsRequest(namespace=e.namespace, query=query), retry=True
            )
            groups = [
                {"values": [plain(v) for v in group.group_values], "count": group.count} for group in reply.groups
            ]
            return {"count": reply.count, "groups": groups}

    counted = run(main)
    lines = [f"{counted['count']}"]
    lines += [f"  {', '.join(map(str, group['values']))}: {group['count']}" for group in counted["groups"]]
    show_one(counted, "\n".join(lines), "count", output)
    return int(ExitCode.OK)


def run_describe(workflow_id: str, run_id: str, place: Place, output: str) -> int:
    """Print one workflow whole; as JSON it is the protocol's own DescribeWorkflowExecutionResponse."""

    async def main() -> DescribeWorkflowExecutionResponse:
        async with engine(place) as e:
            return await e.workflow.describe_workflow_execution(
                DescribeWorkflowExecutionRequest(namespace=e.namespace, execution=execution(workflow_id, run_id)),
                retry=True,
            )

    reply = run(main)
    shown = record(reply) | {"workflowId": reply.workflow_execution_info.execution.workflow_id}
    show_one(shown, _described(reply), "workflowId", output)
    return int(ExitCode.OK)


def _described(reply: DescribeWorkflowExecutionResponse) -> str:
    info = info_record(reply.workflow_execution_info)
    rows: dict[str, str] = {
        "workflow": info["workflow_id"],
        "run": info["run_id"],
        "type": info["type"],
        "status": info["status"],
        "task queue": info["task_queue"],
        "started": instant(info["started_at_ms"]),
        "ended": instant(info["closed_at_ms"]),
        "events": str(info["history_length"]),
    }
    if reply.workflow_execution_info.HasField("parent_execution"):
        rows["parent"] = reply.workflow_execution_info.parent_execution.workflow_id
    for title in ("memo", "search_attributes"):
        if info[title]:
            rows[title.replace("_", " ")] = ", ".join(f"{key}={value!r}" for key, value in info[title].items())
    width = max(map(len, rows))
    lines = [f"{style(key.ljust(width), bold=True)}  {value}" for key, value in rows.items()]
    for activity in reply.pending_activities:
        waits = f"waits for activity {activity.activity_id} {activity.activity_type.name}, attempt {activity.attempt}"
        again = activity.next_attempt_schedule_time.ToMilliseconds()
        lines += ["", waits + (f", next try at {instant(again)}" if again else "")]
        if activity.last_failure.message:
            lines += [f"  last failure: {activity.last_failure.message}"]
    for child in reply.pending_children:
        lines += ["", f"waits for child {child.workflow_id} {child.workflow_type_name}"]
    if reply.HasField("pending_workflow_task"):
        attempt = reply.pending_workflow_task.attempt
        lines += ["", f"waits for a worker to carry out its workflow task, attempt {attempt}"]
    return "\n".join(lines)


def events(e: Engine, workflow_id: str, run_id: str, *, follow: bool = False) -> AsyncIterator[HistoryEvent]:
    """Yield a run's events in order; with `follow`, wait for those to come until the run is closed."""
    asked = GetWorkflowExecutionHistoryRequest(
        namespace=e.namespace,
        execution=execution(workflow_id, run_id),
        maximum_page_size=PAGE,
        wait_new_event=follow,
    )
    return _all_pages(e.workflow.get_workflow_execution_history, asked)


def _reversed(e: Engine, workflow_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
    asked = GetWorkflowExecutionHistoryReverseRequest(
        namespace=e.namespace, execution=execution(workflow_id, run_id), maximum_page_size=PAGE
    )
    return _all_pages(e.workflow.get_workflow_execution_history_reverse, asked)


async def _all_pages(call: Callable[..., Awaitable[Any]], asked: Any) -> AsyncIterator[HistoryEvent]:
    while True:
        page = await call(asked, retry=True)
        for event in page.history.events:
            yield event
        if not page.next_page_token:
            return
        asked.next_page_token = page.next_page_token


def run_show(
    workflow_id: str, run_id: str, place: Place, output: str, *, follow: bool, detailed: bool, reverse: bool
) -> int:
    """Print a history: a line an event for people, the replayer's JSON for programs."""

    async def main() -> None:
        async with engine(place) as e:
            wanted = _reversed(e, workflow_id, run_id) if reverse else events(e, workflow_id, run_id, follow=follow)
            if output in ("table", "wide"):
                async for event in wanted:
                    click.echo("\n".join(event_lines(event, detailed=detailed or output == "wide")))
                return
            whole = [event async for event in wanted]
        shown = MessageToDict(History(events=whole))
        if output == "jsonl":
            show_list(shown.get("events", []), (), "eventId", output, empty="")
        else:
            show_one(shown | ({"workflowId": workflow_id} if output == "name" else {}), "", "workflowId", output)

    run(main)
    return int(ExitCode.OK)


def run_result(workflow_id: str, run_id: str, timeout_s: float | None, place: Place, output: str) -> int:
    """Wait for a workflow's end and print its result."""

    async def main() -> tuple[str, HistoryEvent]:
        async with engine(place) as e:
            return await _end(e, workflow_id, run_id, timeout_s)

    return _show_end(workflow_id, *run(main), output)


async def _end(e: Engine, workflow_id: str, run_id: str, timeout_s: float | None) -> tuple[str, HistoryEvent]:
    """Return the run id and closing event of the last run of the chain that begins with the given one."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                event = await _closing(e, workflow_id, run_id)
                following = ended_as(event).next_run_id
                if not following:
                    return run_id, event
                run_id = following
    except TimeoutError as error:
        raise CommandFailed(
            f"workflow {workflow_id} has not ended after {timeout_s:g} s; it goes on",
            next_step=f"`stormsail workflow describe -w {workflow_id}` shows what it waits for",
            code=ExitCode.TIMEOUT,
        ) from error


async def _closing(e: Engine, workflow_id: str, run_id: str) -> HistoryEvent:
    token = b""
    while True:
        page = await e.workflow.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(
                namespace=e.namespace,
                execution=execution(workflow_id, run_id),
                wait_new_event=True,
                next_page_token=token,
                history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
            ),
            retry=True,
        )
        if page.history.events:
            return page.history.events[-1]
        token = page.next_page_token


def _show_end(workflow_id: str, run_id: str, event: HistoryEvent, output: str) -> int:
    ended = ended_as(event)
    if event.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        raise CommandFailed(
            f"workflow {workflow_id} ended as {event_name(event)}{f': {ended.cause}' if ended.cause else ''}",
            next_step=f"`stormsail workflow show -w {workflow_id}` shows its history",
            code=ExitCode.OPERATION_FAILED,
        )
    value = plain(event.workflow_execution_completed_event_attributes.result)
    shown = {"workflow_id": workflow_id, "run_id": run_id, "status": "Completed", "result": value}
    show_one(shown, "no result" if value is None else str(record_text(value)), "workflow_id", output)
    return int(ExitCode.OK)


def record_text(value: Any) -> str:
    """Return a value as a person reads it: JSON, but bare text as itself."""
    import json

    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def run_start(arguments: Sequence[Input], wanted: Mapping[str, Any], place: Place, output: str) -> int:
    """Start a workflow and print its ids."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            return await _start(e, arguments, wanted)

    started = run(main)
    text = f"started workflow {started['workflow_id']}, run {started['run_id']}"
    show_one(started, text if started["started"] else text.replace("started", "attached to", 1), "workflow_id", output)
    return int(ExitCode.OK)


def run_execute(
    arguments: Sequence[Input], wanted: Mapping[str, Any], timeout_s: float | None, place: Place, output: str
) -> int:
    """Start a workflow, wait for its end and print its result."""

    async def main() -> tuple[str, str, HistoryEvent]:
        async with engine(place) as e:
            started = await _start(e, arguments, wanted)
            note(f"started workflow {started['workflow_id']}, run {started['run_id']}")
            return started["workflow_id"], *await _end(e, started["workflow_id"], started["run_id"], timeout_s)

    return _show_end(*run(main), output)


async def _start(e: Engine, arguments: Sequence[Input], wanted: Mapping[str, Any]) -> dict[str, Any]:
    request = StartWorkflowExecutionRequest(
        request_id=new_id(),
        workflow_start_delay=duration(wanted["start_delay"]),
        **start_fields(e, arguments, wanted),
    )
    reuse = "RejectDuplicate" if wanted["fail_existing"] else wanted["id_reuse_policy"]
    if reuse:
        request.workflow_id_reuse_policy = WorkflowIdReusePolicy.Value(enum_name("WORKFLOW_ID_REUSE_POLICY_", reuse))
    if wanted["id_conflict_policy"]:
        name = enum_name("WORKFLOW_ID_CONFLICT_POLICY_", wanted["id_conflict_policy"])
        request.workflow_id_conflict_policy = WorkflowIdConflictPolicy.Value(name)
    reply = await e.workflow.start_workflow_execution(request, retry=True)
    return {"workflow_id": request.workflow_id, "run_id": reply.run_id, "started": reply.started}


def start_fields(e: Engine, arguments: Sequence[Input], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every request that starts a workflow is made of."""
    timeouts = {
        f"workflow_{name}": duration(wanted[name])
        for name in ("execution_timeout", "run_timeout", "task_timeout")
        if wanted[name]
    }
    fields: dict[str, Any] = {
        "namespace": e.namespace,
        "identity": e.identity,
        "workflow_id": wanted["workflow_id"] or new_id(),
        "workflow_type": WorkflowType(name=wanted["workflow_type"]),
        "task_queue": TaskQueue(name=wanted["task_queue"]),
        "input": payloads(arguments),
        "memo": memo(wanted["memo"]),
        "search_attributes": search_attributes(wanted["search_attribute"]),
        **timeouts,
    }
    if wanted["priority_key"] or wanted["fairness_key"] or wanted["fairness_weight"]:
        fields["priority"] = Priority(
            priority_key=wanted["priority_key"] or 0,
            fairness_key=wanted["fairness_key"],
            fairness_weight=wanted["fairness_weight"] or 0.0,
        )
    if wanted["static_summary"] or wanted["static_details"]:
        fields["user_metadata"] = UserMetadata(
            summary=json_payload(wanted["static_summary"]) if wanted["static_summary"] else None,
            details=json_payload(wanted["static_details"]) if wanted["static_details"] else None,
        )
    return fields
