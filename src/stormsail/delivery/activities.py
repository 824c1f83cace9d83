"""The activities: each hands one order to a provider, heartbeats while it runs, and sorts what the provider raises.

Whichever worker takes an attempt, the order's token makes it carry on what an earlier attempt began.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from stormsail.delivery.bulkheads import Bulkheads, NoRoom
from stormsail.delivery.checks import ask_prometheus, ask_web, run_command
from stormsail.delivery.guard_file import ReadGuards, no_rules
from stormsail.delivery.model.canary import Measurement
from stormsail.delivery.model.network import Network
from stormsail.delivery.model.operation import ApplicationList
from stormsail.delivery.model.server_group import Observation, ServerGroup
from stormsail.delivery.operations.backoff import pause_after
from stormsail.delivery.operations.judging import down_outcome, is_watched, refusal, up_outcome
from stormsail.delivery.operations.orders import (
    ChangeOrder,
    ChangeOutcome,
    CheckOrder,
    DownOrder,
    ObserveOrder,
    Order,
    UpOrder,
    WaitOutcome,
)
from stormsail.delivery.providers.errors import NotFound, Permanent, ProviderError
from stormsail.delivery.providers.provider import Provider
from stormsail.delivery.providers.urgency import urgent

log: Final = logging.getLogger(__name__)

HEARTBEAT_S: Final = 1.0
"""How often a call says that it lives; the heartbeat timeout of the workflow side is several of these."""

NO_ROOM_PAUSE: Final = timedelta(seconds=1)
POLL_S: Final = 0.05
POLL_MAX_S: Final = 0.5
POLL_GROWTH: Final = 1.5


class Heartbeat:
    """What a running call last reported; sent every second until the call ends."""

    def __init__(self) -> None:
        self.detail = ""

    def say(self, detail: str) -> None:
        """Report something new, at once."""
        if detail != self.detail:
            self.detail = detail
            activity.heartbeat(detail)


class CloudActivities:
    """The accounts that this worker serves."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        guards: ReadGuards = no_rules,
        clock_s: Callable[[], float] = time.time,
        chance: random.Random | None = None,
    ) -> None:
        self._providers = providers
        self._guards = guards
        self._clock_s = clock_s
        self._chance = chance or random.SystemRandom()
        self._bulkheads = Bulkheads()

    def _attempt(self, order: Order) -> "_Attempt":
        """Take up room for a call of the order's account, as urgent as the order is, and heartbeat while inside."""
        return _Attempt(order, self._bulkheads, self._chance)

    @activity.defn
    async def apply_change(self, order: ChangeOrder) -> ChangeOutcome:
        """Begin a change or carry it on, until it is done or its time is over; with a guard, only if that holds."""
        deadline = _deadline(order.timeout_s)
        async with self._attempt(order) as heartbeat:
            provider = self._provider(order.account)
            if is_watched(order):
                refused = refusal(order, await provider.observe(order.application), self._guards())
                if refused is not None:
                    return refused
            progress = await provider.begin(order.token, order.change)
            async for _ in _polls():
                heartbeat.say(progress.detail)
                if progress.done or self._clock_s() >= deadline:
                    break
                progress = await provider.resume(order.token, order.change)
            return ChangeOutcome(done=progress.done, detail=progress.detail)

    @activity.defn
    async def cancel_change(self, order: ChangeOrder) -> ChangeOutcome:
        """Stop a change until nothing more of it will happen."""
        async with self._attempt(order) as heartbeat:
            provider = self._provider(order.account)
            progress = await provider.cancel(order.token, order.change)
            async for _ in _polls():
                heartbeat.say(progress.detail)
                if progress.done:
                    break
                progress = await provider.cancel(order.token, order.change)
            return ChangeOutcome(done=True, detail=progress.detail)

    @activity.defn
    async def observe(self, order: ObserveOrder) -> Observation:
        """Read an application from the cloud."""
        async with self._attempt(order):
            return await self._provider(order.account).observe(order.application)

    @activity.defn
    async def observe_network(self, order: ObserveOrder) -> Network:
        """Read an application's load balancers and security groups from the cloud."""
        async with self._attempt(order):
            return await self._provider(order.account).network(order.application)

    @activity.defn
    async def run_check(self, order: CheckOrder) -> Measurement:
        """Take one measurement of an analysis. Programs are run only for accounts whose groups are programs here."""
        async with self._attempt(order):
            analysis = order.analysis
            if analysis.web is not None:
                return await ask_web(analysis.web, analysis.timeout)
            if analysis.prometheus is not None:
                return await ask_prometheus(analysis.prometheus, analysis.timeout)
            assert analysis.command is not None, "the model lets no other through"
            if self._provider(order.account).name != "local":
                raise Permanent(
                    f"command checks run only for accounts of this machine, and {order.account} is none: use web or "
                    "prometheus"
                )
            return await run_command(analysis.command, analysis.timeout)

    @activity.defn
    async def list_applications(self, order: ObserveOrder) -> ApplicationList:
        """Read the account's application names from the cloud."""
        async with self._attempt(order):
            listed = await self._provider(order.account).applications()
            return ApplicationList(account=order.account, applications=listed)

    @activity.defn
    async def wait_for_up_instances(self, order: UpOrder) -> WaitOutcome:
        """Watch a server group until enough of it is healthy, or the time is over; either way from an observation."""
        deadline = _deadline(order.health_timeout_s)
        async with self._attempt(order) as heartbeat:
            async for _ in _polls():
                outcome = up_outcome(order, await self._group(order))
                heartbeat.say(outcome.detail)
                if outcome.reached or self._clock_s() >= deadline:
                    return outcome
            raise AssertionError("polling ends only by the worker's end")

    @activity.defn
    async def wait_for_down_instances(self, order: DownOrder) -> WaitOutcome:
        """Watch a server group until it stopped serving, or is gone, or the time is over."""
        deadline = _deadline(order.timeout_s)
        async with self._attempt(order) as heartbeat:
            async for _ in _polls():
                observation = await self._provider(order.account).observe(order.application)
                outcome = down_outcome(order, observation.find(order.server_group))
                heartbeat.say(outcome.detail)
                if outcome.reached or self._clock_s() >= deadline:
                    return outcome
            raise AssertionError("polling ends only by the worker's end")

    async def _group(self, order: UpOrder) -> ServerGroup:
        observation = await self._provider(order.account).observe(order.application)
        group = observation.find(order.server_group)
        if group is None:
            raise NotFound(f"server group {order.server_group} went away while its instances were awaited")
        return group

    def _provider(self, account: str) -> Provider:
        provider = self._providers.get(account)
        if provider is None:
            known = ", ".join(sorted(self._providers)) or "none"
            raise NotFound(f"this worker serves no account {account!r}; it serves {known}")
        return provider


def _deadline(timeout_s: float) -> float:
    """Return when waiting ends, counted from the first attempt, so that a restarted worker does not begin anew."""
    return activity.info().scheduled_time.timestamp() + timeout_s


class _Attempt:
    """Heartbeats while inside, and sorts what comes out: where provider errors become retries or ends.

    Not a generator: see ShownStep.
    """

    def __init__(self, order: Order, bulkheads: Bulkheads, chance: random.Random) -> None:
        self._order = order
        self._bulkheads = bulkheads
        self._chance = chance
        self._heartbeat = Heartbeat()
        self._inside = ExitStack()

    async def __aenter__(self) -> Heartbeat:
        order = self._order
        with ExitStack() as entering:
            entering.callback(asyncio.create_task(self._beat()).cancel)
            try:
                entering.enter_context(self._bulkheads.admitted(order.account, order.priority))
            except NoRoom as error:
                raise self._sorted(error) from error
            entering.enter_context(urgent(order.priority))
            self._inside = entering.pop_all()
        return self._heartbeat

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inside.__exit__(kind, error, traceback)
        if isinstance(error, ProviderError):
            raise self._sorted(error) from error

    async def _beat(self) -> None:
        while True:
            activity.heartbeat(self._heartbeat.detail)
            await asyncio.sleep(HEARTBEAT_S)

    def _sorted(self, error: ProviderError) -> ApplicationError:
        attempt = activity.info().attempt
        log.warning("%s, attempt %d: %s: %s", activity.info().activity_id, attempt, error.kind, error)
        return ApplicationError(
            str(error),
            type=error.kind,
            non_retryable=isinstance(error, Permanent),
            # Expected, and logged above in one line: no stack trace from the SDK.
            category=ApplicationErrorCategory.BENIGN,
            # Room comes soon and for anybody: who waits for it is not to be put off ever longer.
            next_retry_delay=NO_ROOM_PAUSE if isinstance(error, NoRoom) else pause_after(attempt, self._chance),
        )


async def _polls() -> AsyncIterator[None]:
    """Yield ever more slowly. A worker that stops hands the call to another at once instead of holding it."""
    pause = POLL_S
    while True:
        yield
        try:
            await asyncio.wait_for(activity.wait_for_worker_shutdown(), pause)
        except TimeoutError:
            pause = min(pause * POLL_GROWTH, POLL_MAX_S)
        else:
            raise ApplicationError(
                "the worker stops; another one carries on",
                type="WorkerStopping",
                next_retry_delay=timedelta(milliseconds=1),
                category=ApplicationErrorCategory.BENIGN,
            )
