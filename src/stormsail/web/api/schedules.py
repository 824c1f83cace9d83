"""Schedules, task queues and workers over the API."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from stormsail.delivery.records.keys import Role
from stormsail.web.api.context import (
    CHANGE,
    LIMIT,
    READ,
    READ_ONE,
    Asker,
    Cursor,
    Here,
    Limit,
    Who,
    answered,
    changed,
    sorted_failures,
)
from stormsail.web.api.operations import Body
from stormsail.web.changes.schedules import (
    INSTANT_MAX_MS,
    ScheduleAskedView,
    backfill_schedule,
    delete_schedule,
    pause_schedule,
    trigger_schedule,
    unpause_schedule,
)
from stormsail.web.views.schedules import SchedulesView, ScheduleView, read_schedule, read_schedules
from stormsail.web.views.task_queues import TaskQueuesView, TaskQueueView, read_task_queue, read_task_queues

router = APIRouter(tags=["schedules and task queues"])

Overlap = Literal["", "Skip", "BufferOne", "BufferAll", "CancelOther", "TerminateOther", "AllowAll"]
Instant = Annotated[int, Field(ge=0, le=INSTANT_MAX_MS)]


class TriggerBody(Body):
    """What happens where the run before is not over; empty leaves it to the schedule."""

    overlap: Overlap = ""


class BackfillBody(TriggerBody):
    """A span of the past, Unix milliseconds."""

    start_at_ms: Instant
    end_at_ms: Instant


@router.get("/schedules", response_model=SchedulesView, responses=READ)
async def list_schedules(request: Request, web: Here, who: Who, limit: Limit = LIMIT, cursor: Cursor = "") -> Response:
    """List schedules with their next and last times."""
    who.must(Role.READ)
    with sorted_failures():
        view = await read_schedules(web.sources, limit=limit, cursor=cursor)
    return answered(request, view)


@router.get("/schedules/{schedule_id}", response_model=ScheduleView, responses=READ_ONE)
async def get_schedule(request: Request, schedule_id: str, web: Here, who: Who) -> Response:
    """Describe a schedule."""
    who.must(Role.READ)
    with sorted_failures():
        view = await read_schedule(web.sources, schedule_id)
    return answered(request, view)


@router.post("/schedules/{schedule_id}/pause", response_model=ScheduleAskedView, responses=CHANGE)
async def post_pause(schedule_id: str, body: Body, asker: Asker) -> Response:
    """Have a schedule start nothing until it is unpaused."""
    return changed(await pause_schedule(asker.because(body.reason), schedule_id))


@router.post("/schedules/{schedule_id}/unpause", response_model=ScheduleAskedView, responses=CHANGE)
async def post_unpause(schedule_id: str, body: Body, asker: Asker) -> Response:
    """Have a schedule go on."""
    return changed(await unpause_schedule(asker.because(body.reason), schedule_id))


@router.post("/schedules/{schedule_id}/trigger", response_model=ScheduleAskedView, responses=CHANGE)
async def post_trigger(schedule_id: str, body: TriggerBody, asker: Asker) -> Response:
    """Have a schedule start its workflow now."""
    return changed(await trigger_schedule(asker.because(body.reason), schedule_id, body.overlap))


@router.post("/schedules/{schedule_id}/backfill", response_model=ScheduleAskedView, responses=CHANGE)
async def post_backfill(schedule_id: str, body: BackfillBody, asker: Asker) -> Response:
    """Have a schedule do what was due in a span of the past."""
    return changed(
        await backfill_schedule(asker.because(body.reason), schedule_id, body.start_at_ms, body.end_at_ms, body.overlap)
    )


@router.delete("/schedules/{schedule_id}", response_model=ScheduleAskedView, responses=CHANGE)
async def remove_schedule(
    schedule_id: str,
    asker: Asker,
    reason: Annotated[str, Field(max_length=2000)] = "",
) -> Response:
    """Delete a schedule. The workflows that it started go on."""
    return changed(await delete_schedule(asker.because(reason), schedule_id))


@router.get("/task-queues", response_model=TaskQueuesView, responses=READ)
async def list_task_queues(request: Request, web: Here, who: Who) -> Response:
    """List the task queues that are known of, with the workers that poll them and what waits."""
    who.must(Role.READ)
    return answered(request, await read_task_queues(web.sources))


@router.get("/task-queues/{task_queue:path}", response_model=TaskQueueView, responses=READ_ONE)
async def get_task_queue(request: Request, task_queue: str, web: Here, who: Who) -> Response:
    """Show one task queue."""
    who.must(Role.READ)
    with sorted_failures():
        view = await read_task_queue(web.sources, task_queue)
    return answered(request, view)
