"""RPCs about schedules. What they ask is checked here, in the words of Temporal's frontend, and made canonical."""

import asyncio
from typing import Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.enums.v1 import WorkflowIdReusePolicy
from temporalio.api.schedule.v1 import Schedule as ScheduleMessage
from temporalio.api.schedule.v1 import ScheduleListEntry, SchedulePatch
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CountSchedulesResponse,
    CreateScheduleRequest,
    CreateScheduleResponse,
    DeleteScheduleRequest,
    DeleteScheduleResponse,
    DescribeScheduleRequest,
    ListScheduleMatchingTimesRequest,
    ListScheduleMatchingTimesResponse,
    ListSchedulesRequest,
    ListSchedulesResponse,
    PatchScheduleRequest,
    PatchScheduleResponse,
    UpdateScheduleRequest,
    UpdateScheduleResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core import search_attributes
from stormsail.engine.core.errors import InvalidArgument, NamespaceNotFound, Unimplemented
from stormsail.engine.core.schedule_spec import SpecError, canonical, compile_spec
from stormsail.engine.core.schedules import bounds, show
from stormsail.engine.core.schedules.decide import TOKEN_BYTES
from stormsail.engine.core.schedules.state import INITIAL_CONFLICT_TOKEN, Schedule, ScheduleKey
from stormsail.engine.shell.engine import Engine

_APPENDED: Final = "-2009-11-10T23:00:00Z"
"""What the id of a schedule's workflow grows by."""
_STORED_PREFIX: Final = "temporal-sys-scheduler:"
"""Temporal keeps a schedule as a workflow of this prefix, so that much shorter its ids must be."""
_TIME_MIN_S: Final = -62_135_596_800
_TIME_MAX_S: Final = 253_402_300_799
_REUSE_ALLOWED: Final = (
    WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_UNSPECIFIED,
    WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
)


async def create_schedule(engine: Engine, _: Call, request: CreateScheduleRequest) -> Message:
    """Add a schedule, and do its initial patch."""
    limits = engine.limits
    if not request.schedule_id:
        raise InvalidArgument("ScheduleId is not set on request.")
    validate.workflow_id(_STORED_PREFIX + request.schedule_id, limits)
    validate.required(request.request_id, "RequestId", limits)
    _make_canonical(request.schedule)
    _check_action(engine, request.namespace, request.schedule)
    _check_attributes(engine, request.namespace, request.search_attributes)
    _check_patch(request.initial_patch)
    validate.memo(request.memo, limits)
    validate.blob(request.schedule, limits)
    namespace = engine.store.namespaces.get(request.namespace)
    if namespace is None:
        raise NamespaceNotFound(request.namespace)
    await engine.schedules.create(request, namespace.id)
    return CreateScheduleResponse(conflict_token=INITIAL_CONFLICT_TOKEN.to_bytes(TOKEN_BYTES))


async def describe_schedule(engine: Engine, _: Call, request: DescribeScheduleRequest) -> Message:
    """Show a schedule: its definition, what it did of late and will do next."""
    _check_id(request.schedule_id)
    schedule = await engine.schedules.settled(ScheduleKey(request.namespace, request.schedule_id))
    return show.describe(schedule, engine.clock.now_ms())


async def update_schedule(engine: Engine, _: Call, request: UpdateScheduleRequest) -> Message:
    """Replace what a schedule is, unless it has changed since the conflict token was given out."""
    limits = engine.limits
    validate.bounded(request.request_id, "RequestId", limits)
    _check_action(engine, request.namespace, request.schedule)
    _make_canonical(request.schedule)
    _check_attributes(engine, request.namespace, request.search_attributes)
    if not request.schedule.action.HasField("start_workflow"):
        raise InvalidArgument("Only StartWorkflow action is supported for schedules")
    validate.memo(request.memo, limits)
    validate.blob(request.schedule, limits)
    _check_id(request.schedule_id)
    await engine.schedules.update(request)
    return UpdateScheduleResponse()


async def patch_schedule(engine: Engine, _: Call, request: PatchScheduleRequest) -> Message:
    """Trigger a schedule now, backfill a past time, pause it or let it go on."""
    if not request.HasField("patch"):
        raise InvalidArgument("Patch is not set on request.")
    validate.bounded(request.request_id, "RequestId", engine.limits)
    _check_patch(request.patch)
    validate.blob(request.patch, engine.limits)
    _check_id(request.schedule_id)
    await engine.schedules.patch(request)
    return PatchScheduleResponse()


async def delete_schedule(engine: Engine, _: Call, request: DeleteScheduleRequest) -> Message:
    """Delete a schedule. The workflows that it started go on."""
    _check_id(request.schedule_id)
    await engine.schedules.delete(ScheduleKey(request.namespace, request.schedule_id))
    return DeleteScheduleResponse()


async def list_schedules(engine: Engine, _: Call, request: ListSchedulesRequest) -> Message:
    """List the schedules that a filter matches, the last created first."""
    page = await engine.schedules.page(
        request.namespace, request.query, request.maximum_page_size, request.next_page_token
    )
    now_ms = engine.clock.now_ms()

    def entries() -> list[ScheduleListEntry]:
        return [show.list_entry(schedule, now_ms) for schedule in page.schedules]

    return ListSchedulesResponse(schedules=await asyncio.to_thread(entries), next_page_token=page.next_token)


async def count_schedules(engine: Engine, _: Call, request: CountSchedulesRequest) -> Message:
    """Count the schedules that a filter matches."""
    return CountSchedulesResponse(count=await engine.schedules.count(request.namespace, request.query))


async def list_schedule_matching_times(engine: Engine, _: Call, request: ListScheduleMatchingTimesRequest) -> Message:
    """List when a schedule's spec matches between two times, jitter included: the first thousand."""
    _check_id(request.schedule_id)
    schedule = engine.schedules.read(ScheduleKey(request.namespace, request.schedule_id))
    if not (request.HasField("start_time") and request.HasField("end_time")):
        raise InvalidArgument("missing or invalid query")
    _check_time(request.start_time, "StartTime")
    _check_time(request.end_time, "EndTime")
    start_ms, end_ms = request.start_time.ToMilliseconds(), request.end_time.ToMilliseconds()
    times = await asyncio.to_thread(_matching_times, schedule, start_ms, end_ms)
    return ListScheduleMatchingTimesResponse(start_time=[show.timestamp(each) for each in times])


def _matching_times(schedule: Schedule, after_ms: int, until_ms: int) -> list[int]:
    try:
        compiled = compile_spec(schedule.spec)
    except SpecError as error:
        raise InvalidArgument(f"invalid schedule: {error}") from None
    times: list[int] = []
    while len(times) < bounds.MATCHING_TIMES_MAX:
        found = compiled.next_time(schedule.jitter_seed, after_ms)
        if found is None or found.at_ms > until_ms:
            break
        after_ms = found.at_ms
        times.append(after_ms)
    return times


def _check_id(schedule_id: str) -> None:
    if not schedule_id:
        raise InvalidArgument("ScheduleId is not set on request.")


def _check_patch(patch: SchedulePatch) -> None:
    for notes in (patch.pause, patch.unpause):
        if len(notes.encode()) > bounds.NOTES_SIZE_MAX:
            raise InvalidArgument("Schedule notes exceeds limit.")
    _check_time(patch.trigger_immediately.scheduled_time, "ScheduledTime")
    for backfill in patch.backfill_request:
        _check_time(backfill.start_time, "StartTime")
        _check_time(backfill.end_time, "EndTime")


def _make_canonical(schedule: ScheduleMessage) -> None:
    _check_time(schedule.spec.start_time, "StartTime")
    _check_time(schedule.spec.end_time, "EndTime")
    try:
        schedule.spec.CopyFrom(canonical(schedule.spec))
    except SpecError as error:
        raise InvalidArgument(f"Invalid schedule spec: {error}") from None


def _check_action(engine: Engine, namespace: str, schedule: ScheduleMessage) -> None:
    """Refuse an action whose start would be refused for ever."""
    if not schedule.action.HasField("start_workflow"):
        return
    action, limits = schedule.action.start_workflow, engine.limits
    validate.workflow_id(action.workflow_id + _APPENDED, limits)
    validate.required(action.workflow_type.name, "WorkflowType", limits)
    validate.task_queue(action.task_queue, limits, present=action.HasField("task_queue"), by_user=True)
    validate.workflow_timeouts(action)
    if action.cron_schedule:
        raise InvalidArgument("Scheduled workflow must not contain CronSchedule")
    if action.workflow_id_reuse_policy not in _REUSE_ALLOWED:
        raise InvalidArgument("Scheduled workflow must not contain WorkflowIDReusePolicy")
    if action.HasField("versioning_override"):
        raise Unimplemented("versioning_override is not served here: worker versioning is not.")
    _check_attributes(engine, namespace, action.search_attributes)
    _check_start(action, engine)


def _check_start(action: NewWorkflowExecutionInfo, engine: Engine) -> None:
    """What Temporal finds out only when the action begins."""
    if action.HasField("retry_policy"):
        policy = type(action.retry_policy)()
        policy.CopyFrom(action.retry_policy)
        validate.retry_policy(policy, engine.limits)
    validate.priority(action.priority)
    validate.memo(action.memo, engine.limits)


def _check_attributes(engine: Engine, namespace: str, given: SearchAttributes) -> None:
    search_attributes.check(given, engine.store.search_attributes.types(namespace), namespace)
    search_attributes.check_size(given)


def _check_time(given: Timestamp, name: str) -> None:
    if not _TIME_MIN_S <= given.seconds <= _TIME_MAX_S or not 0 <= given.nanos < 1_000_000_000:
        raise InvalidArgument(f"{name} is no instant of the years 1 to 9999.")
