"""Asking something of a step of a running operation: a signal that carries an id, and the record found under that id.

A signal works on every Temporal server and is kept by the engine even where no worker is there to act on it. It has no
answer of its own, so whoever sent it asks for the operation's progress until its record is there.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from stormsail.delivery.client_types import NoWorker, OperationEnded, SteeringRefused
from stormsail.delivery.engine_link import EngineLink, decoded
from stormsail.delivery.model.operation import OperationProgress, OperationResult, Step, StepStatus
from stormsail.delivery.model.steering import MEMO_STEERING, STEER, SteeringMemo, SteeringRecord, SteerRequest, Verb
from stormsail.delivery.operations.course import COURSE_VERBS

ANSWER_WAIT_S: Final = 20.0
"""How long a worker may take to act on a request."""

POLL_S: Final = 0.1

Ask = Callable[[], Awaitable[OperationProgress | None]]
"""Asks the operation for its progress; None when no worker answers."""


async def steer(
    link: EngineLink,
    handle: WorkflowHandle[Any, OperationResult],
    ask: Ask,
    request: SteerRequest,
    task_queue: str,
) -> SteeringRecord:
    """Ask, and return the record of a request that was taken.

    Unless the request says which attempt it means, it means the one that the step is at now: of two who ask at once
    for the same, one is turned down. Raises SteeringRefused, OperationEnded or NoWorker.
    """
    if not request.attempt:
        progress = await _answered(ask, task_queue)
        step = next(iter(steerable(progress, request.step)), None)
        request = request.model_copy(update={"attempt": step.attempt if step is not None else 0})
        if request.verb in COURSE_VERBS and step is not None:
            # Of two who approve at once, the second must not approve what comes next.
            request = request.model_copy(update={"step": step.call})
    try:
        await link.ask(lambda: handle.signal(STEER, request))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise OperationEnded(handle.run_id or handle.id) from None
        raise
    give_up_at = time.monotonic() + ANSWER_WAIT_S
    while (record := await _record(link, handle, ask, request.id)) is None:
        if time.monotonic() >= give_up_at:
            raise NoWorker(task_queue, ANSWER_WAIT_S)
        await asyncio.sleep(POLL_S)
    if not record.accepted:
        raise SteeringRefused(record)
    return record


def request_for(
    verb: Verb,
    step: str,
    by: str,
    reason: str,
    changes: Mapping[str, Any] | None = None,
    attempt: int = 0,
    request_id: str = "",
) -> SteerRequest:
    """Return a new request, or one that was made before under its id."""
    return SteerRequest(
        id=request_id or str(uuid.uuid4()),
        verb=verb,
        step=step,
        attempt=attempt,
        by=by,
        reason=reason,
        input=dict(changes or {}),
    )


def steerable(progress: OperationProgress, step: str = "") -> tuple[Step, ...]:
    """Return the steps that run or wait for a person, newest first; with `step`, those of that call or name."""
    there = (StepStatus.RUNNING, StepStatus.PAUSED)
    return tuple(one for one in reversed(progress.steps) if one.status in there and step in ("", one.name, one.call))


async def steering_of(link: EngineLink, memo: Any) -> SteeringMemo:
    """Read what people asked of an operation out of its memo."""
    return await decoded(link, memo, MEMO_STEERING, SteeringMemo) or SteeringMemo()


async def _answered(ask: Ask, task_queue: str) -> OperationProgress:
    give_up_at = time.monotonic() + ANSWER_WAIT_S
    while (progress := await ask()) is None:
        if time.monotonic() >= give_up_at:
            raise NoWorker(task_queue, ANSWER_WAIT_S)
        await asyncio.sleep(POLL_S)
    return progress


async def _record(
    link: EngineLink, handle: WorkflowHandle[Any, OperationResult], ask: Ask, identity: str
) -> SteeringRecord | None:
    """Find the record, also where the operation has ended since."""
    progress = await ask()
    records = progress.steering if progress is not None else ()
    found = next((record for record in records if record.id == identity), None)
    if found is not None:
        return found
    described = await link.describe(handle.id, handle.run_id)
    if described.status is WorkflowExecutionStatus.RUNNING:
        return None
    memo = await steering_of(link, described.raw_description.workflow_execution_info.memo)
    found = next((record for record in memo.records if record.id == identity), None)
    if found is None:
        raise OperationEnded(handle.run_id or handle.id)
    return found
