"""Workflows and activities that together use all that the engine serves. Each takes one argument at most."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

SECOND = timedelta(seconds=1)
TERMINATE_EXISTING = WorkflowIDConflictPolicy.TERMINATE_EXISTING
ONCE = RetryPolicy(maximum_attempts=1)
FAST = RetryPolicy(initial_interval=timedelta(milliseconds=20), maximum_interval=timedelta(milliseconds=100))


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@activity.defn
async def fail_until_third(_: str) -> int:
    attempt = activity.info().attempt
    if attempt < 3:
        raise ApplicationError(f"attempt {attempt}", type="TooSoon")
    return attempt


@activity.defn
async def fail_for_good(_: str) -> None:
    raise ApplicationError("never", "detail", type="Never", non_retryable=True)


@activity.defn
async def beat_until_cancelled(_: str) -> str:
    """Heartbeats until it is cancelled, then says how it ended."""
    try:
        while True:
            activity.heartbeat("alive")
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        if activity.info().activity_id == "swallow":
            return "swallowed"
        raise


@activity.defn
async def hang(_: str) -> None:
    await asyncio.sleep(3600)


@activity.defn
async def resume_from_heartbeat(_: str) -> list[Any]:
    """Dies once after a heartbeat; the next attempt says what it found."""
    details = activity.info().heartbeat_details
    if not details:
        activity.heartbeat(7, "seven")
        raise ApplicationError("died", type="Died")
    return list(details)


class Handed:
    """Task tokens of activities that complete elsewhere, by activity id."""

    def __init__(self) -> None:
        self.tokens: dict[str, bytes] = {}
        self.arrived = threading.Event()


HANDED = Handed()


@activity.defn
async def complete_elsewhere(_: str) -> str:
    info = activity.info()
    HANDED.tokens[info.activity_id] = info.task_token
    HANDED.arrived.set()
    activity.raise_complete_async()


@workflow.defn
class Greet:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=60 * SECOND)


@workflow.defn
class ManyActivities:
    @workflow.run
    async def run(self, count: int) -> int:
        done = await asyncio.gather(
            *(
                workflow.execute_activity(greet, str(each), activity_id=str(each), start_to_close_timeout=60 * SECOND)
                for each in range(count)
            )
        )
        return len(done)


@workflow.defn
class RetriedActivity:
    @workflow.run
    async def run(self, _: str) -> int:
        return await workflow.execute_activity(
            fail_until_third, "", start_to_close_timeout=60 * SECOND, retry_policy=FAST
        )


@workflow.defn
class FailedActivity:
    @workflow.run
    async def run(self, _: str) -> None:
        await workflow.execute_activity(fail_for_good, "", start_to_close_timeout=60 * SECOND)


@workflow.defn
class Timers:
    @workflow.run
    async def run(self, _: str) -> str:
        await asyncio.sleep(0.05)
        lost = asyncio.create_task(asyncio.sleep(600))
        await asyncio.sleep(0.05)
        lost.cancel()
        await asyncio.sleep(0.05)
        return "done"


@workflow.defn
class Waiter:
    """Collects signals until it is told to end; shows them to queries."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._ended = False

    @workflow.run
    async def run(self, _: str) -> list[str]:
        await workflow.wait_condition(lambda: self._ended)
        return self._seen

    @workflow.signal
    def say(self, word: str) -> None:
        self._seen.append(word)

    @workflow.signal
    def end(self) -> None:
        self._ended = True

    @workflow.query
    def seen(self) -> list[str]:
        return self._seen

    @workflow.query
    def broken(self) -> None:
        raise ValueError("cannot be asked")


@workflow.defn
class CancelsActivity:
    """Cancels an activity that heartbeats, and sees it end."""

    def __init__(self) -> None:
        self._go = False

    @workflow.run
    async def run(self, _: str) -> str:
        running = workflow.start_activity(
            beat_until_cancelled,
            "",
            start_to_close_timeout=60 * SECOND,
            heartbeat_timeout=30 * SECOND,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.wait_condition(lambda: self._go)
        running.cancel()
        try:
            await running
        except Exception as error:
            return type(error).__name__
        return "not cancelled"

    @workflow.signal
    def go(self) -> None:
        self._go = True


@workflow.defn
class Forever:
    """Ends by cancellation only; cleans up first."""

    @workflow.run
    async def run(self, _: str) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await workflow.execute_activity(greet, "cleanup", start_to_close_timeout=60 * SECOND)
            raise


@workflow.defn
class Countdown:
    @workflow.run
    async def run(self, left: int) -> str:
        if left:
            workflow.continue_as_new(left - 1)
        return workflow.info().first_execution_run_id


@workflow.defn
class FailsTwice:
    @workflow.run
    async def run(self, _: str) -> int:
        attempt = workflow.info().attempt
        if attempt < 3:
            raise ApplicationError(f"run {attempt}", type="TooSoon")
        return attempt


@workflow.defn
class TimesOutActivity:
    @workflow.run
    async def run(self, kind: str) -> str:
        options = {
            "start_to_close": {"start_to_close_timeout": 0.2 * SECOND, "retry_policy": ONCE},
            "heartbeat": {
                "start_to_close_timeout": 60 * SECOND,
                "heartbeat_timeout": 0.2 * SECOND,
                "retry_policy": ONCE,
            },
            "schedule_to_start": {
                "schedule_to_start_timeout": 0.2 * SECOND,
                "start_to_close_timeout": SECOND,
                "task_queue": "nobody",
            },
            "schedule_to_close": {"schedule_to_close_timeout": 8 * SECOND, "start_to_close_timeout": 60 * SECOND},
        }[kind]
        try:
            await workflow.execute_activity(hang, "", **options)
        except Exception as error:
            return str(error.__cause__)
        return "no timeout"


@workflow.defn
class Elsewhere:
    """Waits for an activity that someone else completes."""

    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            complete_elsewhere,
            "",
            activity_id=name,
            start_to_close_timeout=60 * SECOND,
            result_type=str,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


@activity.defn
async def fail_and_wait(_: str) -> None:
    raise ApplicationError("later", type="Later", next_retry_delay=timedelta(minutes=10))


@workflow.defn
class BacksOff:
    """Waits for an activity whose next attempt is far away."""

    @workflow.run
    async def run(self, _: str) -> None:
        await workflow.execute_activity(
            fail_and_wait,
            "",
            start_to_close_timeout=60 * SECOND,
            schedule_to_close_timeout=3600 * SECOND,
            summary="an activity",
        )


@workflow.defn
class Resumes:
    @workflow.run
    async def run(self, _: str) -> list[Any]:
        return await workflow.execute_activity(
            resume_from_heartbeat, "", start_to_close_timeout=60 * SECOND, retry_policy=FAST
        )


@workflow.defn
class Markers:
    """Local activities, patches, side effects and upserts: everything that only leaves a mark."""

    @workflow.run
    async def run(self, _: str) -> str:
        patched = workflow.patched("second-version")
        word = await workflow.execute_local_activity(greet, "local", start_to_close_timeout=60 * SECOND)
        workflow.upsert_memo({"word": word, "gone": None})
        workflow.upsert_search_attributes([SearchAttributeKey.for_keyword("BatcherUser").value_set("me")])
        await asyncio.sleep(0.01)
        return f"{word} {patched}"


FLAWS: dict[str, list[str]] = {}
"""The bugs that are left in a `Flawed`, by workflow id."""


@workflow.defn(sandboxed=False)
class Flawed:
    """Its workflow tasks fail, each of one bug, until a deployment repairs those that are left."""

    @workflow.run
    async def run(self, _: str) -> str:
        await asyncio.sleep(0.01)
        if bugs := FLAWS.get(workflow.info().workflow_id):
            raise RuntimeError(bugs.pop())
        return "repaired"


@workflow.defn
class Sleeper:
    """Sleeps as long as it is told, through whatever happens to the server."""

    @workflow.run
    async def run(self, ms: int) -> str:
        first = await workflow.execute_activity(greet, "before", start_to_close_timeout=30 * SECOND, retry_policy=FAST)
        await asyncio.sleep(ms / 1000)
        second = await workflow.execute_activity(greet, "after", start_to_close_timeout=30 * SECOND, retry_policy=FAST)
        return f"{first} {second}"


WORKFLOWS: Sequence[type] = (
    Greet,
    ManyActivities,
    RetriedActivity,
    FailedActivity,
    Timers,
    Waiter,
    CancelsActivity,
    Forever,
    Countdown,
    FailsTwice,
    TimesOutActivity,
    Elsewhere,
    BacksOff,
    Resumes,
    Markers,
    Flawed,
    Sleeper,
)
ACTIVITIES = (
    greet,
    fail_until_third,
    fail_for_good,
    beat_until_cancelled,
    hang,
    fail_and_wait,
    resume_from_heartbeat,
    complete_elsewhere,
)
