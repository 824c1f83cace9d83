"""Schedules over gRPC: what is refused and how, what is shown, and what is found."""

from collections.abc import Callable

import pytest
from temporalio.api.common.v1 import Memo, Payload, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.schedule.v1 import BackfillRequest, CalendarSpec, SchedulePatch, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeNamespaceRequest,
    DescribeScheduleRequest,
    GetSystemInfoRequest,
    ListScheduleMatchingTimesRequest,
    ListSchedulesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)

from engine.api.rpc import Rpc

NAMED = {"namespace": "default", "schedule_id": "s"}


def creation(schedule_id: str = "s") -> CreateScheduleRequest:
    """A paused schedule of every hour."""
    request = CreateScheduleRequest(namespace="default", schedule_id=schedule_id, request_id="r")
    request.schedule.spec.interval.add().interval.seconds = 3_600
    request.schedule.state.paused = True
    action = request.schedule.action.start_workflow
    action.workflow_id, action.workflow_type.name, action.task_queue.name = "w", "T", "q"
    return request


Change = Callable[[CreateScheduleRequest], object]


def action(change: Callable[..., object]) -> Change:
    return lambda request: change(request.schedule.action.start_workflow)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: setattr(r, "schedule_id", ""), "ScheduleId is not set on request."),
        (lambda r: setattr(r, "schedule_id", "s" * 978), "WorkflowId exceeds maximum allowed length (1001/1000)"),
        (lambda r: setattr(r, "request_id", ""), "RequestId is not set on request."),
        (lambda r: setattr(r, "request_id", "r" * 1_001), "RequestId length exceeds limit."),
        (
            action(lambda a: setattr(a, "workflow_id", "w" * 980)),
            "WorkflowId exceeds maximum allowed length (1001/1000)",
        ),
        (action(lambda a: setattr(a.workflow_type, "name", "")), "WorkflowType is not set on request."),
        (action(lambda a: setattr(a.workflow_type, "name", "T" * 1_001)), "WorkflowType length exceeds limit."),
        (action(lambda a: setattr(a.task_queue, "name", "")), "missing task queue name"),
        (action(lambda a: a.ClearField("task_queue")), "taskQueue is not set"),
        (
            action(lambda a: setattr(a.workflow_run_timeout, "seconds", -3)),
            "An invalid WorkflowRunTimeoutSeconds is set on request. cause: negative duration",
        ),
        (
            action(lambda a: setattr(a, "cron_schedule", "* * * * *")),
            "Scheduled workflow must not contain CronSchedule",
        ),
        (
            action(lambda a: setattr(a, "workflow_id_reuse_policy", 3)),
            "Scheduled workflow must not contain WorkflowIDReusePolicy",
        ),
        (
            action(lambda a: a.search_attributes.indexed_fields["Nope"].SetInParent()),
            "Namespace default has no mapping defined for search attribute Nope",
        ),
        (
            lambda r: r.search_attributes.indexed_fields["Nope"].SetInParent(),
            "Namespace default has no mapping defined for search attribute Nope",
        ),
        (
            lambda r: setattr(r.schedule.spec, "timezone_name", "Foo/Bar"),
            "Invalid schedule spec: unknown time zone Foo/Bar",
        ),
        (
            lambda r: r.schedule.spec.calendar.append(CalendarSpec(hour="25")),
            "Invalid schedule spec: Hour is not in range [0-23]",
        ),
        (lambda r: setattr(r.initial_patch, "pause", "x" * 1_001), "Schedule notes exceeds limit."),
        (
            lambda r: setattr(r.schedule.spec.start_time, "seconds", 1 << 60),
            "StartTime is no instant of the years 1 to 9999.",
        ),
    ],
)
async def test_a_schedule_that_could_not_work_is_refused(rpc: Rpc, change: Change, text: str) -> None:
    request = creation()
    change(request)
    refusal = await rpc.refused(request)
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", text)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: setattr(r, "schedule_id", "s" * 977),
        lambda r: setattr(r, "request_id", "r" * 1_000),
        action(lambda a: setattr(a, "workflow_id", "w" * 979)),
        lambda r: setattr(r.initial_patch, "pause", "x" * 1_000),
        lambda r: r.schedule.ClearField("action"),
    ],
)
async def test_limits_themselves_are_allowed(rpc: Rpc, change: Change) -> None:
    request = creation()
    change(request)
    assert (await rpc.call(request)).conflict_token == b"\0\0\0\0\0\0\0\1"


async def test_what_is_not_there_is_not_found_whatever_is_asked_of_it(rpc: Rpc) -> None:
    for request in (
        DescribeScheduleRequest(**NAMED),
        UpdateScheduleRequest(**NAMED, schedule=creation().schedule),
        PatchScheduleRequest(**NAMED, patch=SchedulePatch(pause="x")),
        DeleteScheduleRequest(**NAMED),
        ListScheduleMatchingTimesRequest(**NAMED),
    ):
        refusal = await rpc.refused(request)
        assert (refusal.code, refusal.text, refusal.detail) == (
            "NOT_FOUND",
            "schedule not found: s",
            "NotFoundFailure",
        )


async def test_a_second_schedule_of_the_same_id_is_refused_and_a_repetition_is_not(rpc: Rpc) -> None:
    await rpc.call(creation())
    await rpc.call(creation())
    other = creation()
    other.request_id = "r2"
    refusal = await rpc.refused(other)
    assert (refusal.code, refusal.text) == ("ALREADY_EXISTS", 'schedule "s" is already registered')
    assert refusal.detail == "WorkflowExecutionAlreadyStartedFailure"


async def test_a_schedule_is_shown_as_it_was_made_and_changed(rpc: Rpc) -> None:
    request = creation()
    request.memo.fields["m"].data = b"1"
    await rpc.call(request)
    shown = await rpc.call(DescribeScheduleRequest(**NAMED))
    assert shown.memo == request.memo
    assert shown.schedule.policies.catchup_window.seconds == 365 * 86_400
    assert len(shown.info.future_action_times) == 10
    assert not shown.info.HasField("update_time")

    wanted = creation().schedule
    wanted.state.notes = "new"
    stale = UpdateScheduleRequest(**NAMED, schedule=wanted, conflict_token=b"\0\0\0\0\0\0\0\7")
    assert (await rpc.refused(stale)).code == "FAILED_PRECONDITION"
    memo = Memo(fields={"n": Payload(data=b"2")})
    await rpc.call(UpdateScheduleRequest(**NAMED, schedule=wanted, conflict_token=shown.conflict_token, memo=memo))
    changed = await rpc.call(DescribeScheduleRequest(**NAMED))
    assert (changed.schedule.state.notes, changed.memo) == ("new", memo)
    assert changed.info.HasField("update_time")
    assert changed.conflict_token > shown.conflict_token

    nothing = UpdateScheduleRequest(**NAMED)
    assert (await rpc.refused(nothing)).text == "Only StartWorkflow action is supported for schedules"
    assert (await rpc.refused(PatchScheduleRequest(**NAMED))).text == "Patch is not set on request."
    await rpc.call(DeleteScheduleRequest(**NAMED))
    assert (await rpc.refused(DescribeScheduleRequest(**NAMED))).code == "NOT_FOUND"


async def test_who_triggers_a_schedule_finds_the_action_in_the_next_description(rpc: Rpc) -> None:
    request = creation()
    request.initial_patch.trigger_immediately.SetInParent()
    await rpc.call(request)
    for count in (1, 2, 3):
        info = (await rpc.call(DescribeScheduleRequest(**NAMED))).info
        assert (info.action_count, len(info.recent_actions)) == (count, count)
        trigger = TriggerImmediatelyRequest(overlap_policy=6)  # type: ignore[arg-type]
        trigger.scheduled_time.seconds = count
        await rpc.call(PatchScheduleRequest(**NAMED, patch=SchedulePatch(trigger_immediately=trigger)))


async def test_matching_times_lie_between_the_two_that_are_given(rpc: Rpc) -> None:
    await rpc.call(creation())
    request = ListScheduleMatchingTimesRequest(**NAMED)
    assert (await rpc.refused(request)).text == "missing or invalid query"
    request.start_time.seconds, request.end_time.seconds = 1_700_000_000, 1_700_010_000
    found = (await rpc.call(request)).start_time
    assert [each.seconds for each in found] == [1_700_002_800, 1_700_006_400, 1_700_010_000]
    request.start_time.seconds, request.end_time.seconds = 0, 1_700_010_000
    assert len((await rpc.call(request)).start_time) == 1_000


async def test_schedules_are_found_by_custom_attributes_id_and_pause_and_by_nothing_else(rpc: Rpc) -> None:
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await rpc.call(AddSearchAttributesRequest(namespace="default", search_attributes={"team": keyword}))
    for number in range(3):
        request = creation(f"s{number}")
        value = Payload(metadata={"encoding": b"json/plain"}, data=b'"a"' if number else b'"b"')
        request.search_attributes.indexed_fields["team"].CopyFrom(value)
        await rpc.call(request)

    async def ids(query: str) -> list[str]:
        found = await rpc.call(ListSchedulesRequest(namespace="default", query=query))
        return [each.schedule_id for each in found.schedules]

    assert await ids("team = 'a'") == ["s2", "s1"]
    assert await ids("team != 'a' AND ScheduleId = 's0'") == ["s0"]
    gone = UpdateScheduleRequest(namespace="default", schedule_id="s1", schedule=creation().schedule)
    gone.search_attributes.CopyFrom(SearchAttributes())
    await rpc.call(gone)
    assert await ids("team = 'a'") == ["s2"]
    assert (
        await rpc.call(CountSchedulesRequest(namespace="default", query="TemporalSchedulePaused = true"))
    ).count == 3
    for query, text in (
        ("WorkflowType = 'x'", 'invalid query filter for schedules: cannot filter on "WorkflowType"'),
        ("BuildIds = 'x'", 'invalid query filter for schedules: cannot filter on "BuildIds"'),
        ("Foo = 'x'", "invalid query: invalid search attribute: Foo"),
    ):
        refusal = await rpc.refused(ListSchedulesRequest(namespace="default", query=query))
        assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", text)
    token = ListSchedulesRequest(namespace="default", next_page_token=b"xx")
    assert (await rpc.refused(token)).code == "INVALID_ARGUMENT"


async def test_strange_times_in_patches_are_refused(rpc: Rpc) -> None:
    await rpc.call(creation())
    trigger, backfill = TriggerImmediatelyRequest(), BackfillRequest()
    trigger.scheduled_time.seconds = backfill.end_time.seconds = 1 << 60
    for patch in (SchedulePatch(trigger_immediately=trigger), SchedulePatch(backfill_request=[backfill])):
        assert (await rpc.refused(PatchScheduleRequest(**NAMED, patch=patch))).code == "INVALID_ARGUMENT"


async def test_the_server_says_that_it_has_schedules(rpc: Rpc) -> None:
    assert (await rpc.call(GetSystemInfoRequest())).capabilities.supports_schedules
    assert (await rpc.call(DescribeNamespaceRequest(namespace="default"))).namespace_info.supports_schedules
