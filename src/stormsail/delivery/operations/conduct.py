"""One operation under way: its steps, its tokens, and how to put the previous state back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stormsail.delivery.model.operation import Step, StepStatus
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.operations.cloud import Cloud, OperationFailure
from stormsail.delivery.operations.orders import HEALTH_TIMEOUT_S, ChangeOrder, DownOrder, HealthGuard, Outage, UpOrder
from stormsail.delivery.providers.provider import Change

STEP_DETAIL_MAX: Final = 500
"""Characters of a step's detail; the rest is in the result's error."""


class Ending(StrEnum):
    """Why an operation is wound down, which decides what is undone."""

    ROLL_BACK = "roll back"
    """It failed and the previous state is wanted back."""
    KEEP = "keep"
    """It failed and what was reached stays; only what was borrowed (a pinned minimum) is given back."""
    CANCEL = "cancel"
    """Somebody cancelled it: everything it did is put back."""


ROLL_BACK_OR_CANCEL: Final = frozenset({Ending.ROLL_BACK, Ending.CANCEL})
CANCEL_ONLY: Final = frozenset({Ending.CANCEL})
ALWAYS: Final = frozenset(Ending)


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take one thing back; the action says whether there was anything to take back.

    One with `gives_traffic` must succeed, or nothing remembered before it with `takes_traffic` is tried.
    """

    name: str
    action: Callable[[Ending], Awaitable[bool]]
    endings: frozenset[Ending] = ROLL_BACK_OR_CANCEL
    gives_traffic: bool = False
    takes_traffic: bool = False


@dataclass(frozen=True, slots=True)
class Undone:
    """What winding down came to: whether anything was put back, and what could not be."""

    any: bool
    left_behind: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A change's name among the calls of its operation, and its token."""

    call: str
    token: str


class Conduct:
    """One operation under way. `identity` is the same for every replay, retry and reset of the operation."""

    def __init__(self, cloud: Cloud, account: str, application: str, identity: str) -> None:
        self.cloud = cloud
        self.account = account
        self.application = application
        self.health_timeout_s = HEALTH_TIMEOUT_S
        """How long instances may take to become healthy, and a change to be done."""
        self.rolls_back = False
        """Whether a failure puts the previous state back; the operation sets it."""
        self.outage = Outage.REFUSED
        """Whether a change may leave its cluster without a serving instance."""
        self._identity = identity
        self._calls = 0
        self._steps: list[Step] = []
        self._undos: list[Undo] = []
        self._in_flight: ChangeOrder | None = None
        self._stopped = False
        self._winding_down = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step so far, oldest first."""
        return tuple(self._steps)

    @property
    def stopped(self) -> bool:
        """Whether `stop` came before the operation began to wind down."""
        return self._stopped

    def stop(self) -> None:
        """Let no further step begin. A wind-down that has begun is not stopped any more."""
        self._stopped = not self._winding_down

    def undo(self, undo: Undo) -> None:
        """Remember how to take back what is about to be done. Say it before doing it."""
        self._undos.append(undo)

    @asynccontextmanager
    async def step(self, name: str, target: str = "") -> AsyncIterator[None]:
        """Show what happens inside as one step of the operation."""
        self._refuse_when_stopped()
        index = len(self._steps)
        started_at_ms = self.cloud.now_ms()
        self._steps.append(Step(name=name, target=target, status=StepStatus.RUNNING, started_at_ms=started_at_ms))
        try:
            yield
        except OperationFailure as failure:
            self._end_step(index, StepStatus.TERMINAL, str(failure))
            raise
        except asyncio.CancelledError:
            self._end_step(index, StepStatus.CANCELED, "")
            raise
        self._end_step(index, StepStatus.SUCCEEDED, "")

    def note(self, detail: str) -> None:
        """Say in words what the newest step found or does."""
        self._steps[-1] = self._steps[-1].model_copy(update={"detail": detail[:STEP_DETAIL_MAX]})

    async def observe(self) -> Observation:
        """Read the application from the cloud, now."""
        self._refuse_when_stopped()
        observation = await self.cloud.observe(self._call("observe"))
        self._refuse_when_stopped()
        return observation

    def ticket(self, step: str) -> Ticket:
        """Take the token of a change beforehand, for who must know whose change it was even if it fails."""
        call = self._call(step)
        return Ticket(call, f"{self._identity}-{call}")

    async def change(
        self,
        step: str,
        change: Change,
        guard: HealthGuard | None = None,
        ticket: Ticket | None = None,
        *,
        as_before: bool = False,
    ) -> None:
        """Make a change as one step, exactly once. `as_before` says that nothing served before, so nothing may again.

        Raises OperationFailure of kind `Unhealthy` when the guard's server group was not good at that moment, and of
        kind `TrafficGuard` when too little would be left to serve.
        """
        async with self.step(step, change.name):
            ticket = ticket or self.ticket(step)
            order = ChangeOrder(
                account=self.account,
                application=self.application,
                token=ticket.token,
                change=change,
                guard=guard,
                outage=Outage.AS_BEFORE if as_before else self.outage,
                timeout_s=self.health_timeout_s,
            )
            # Until it is known to be done, a wind-down must stop it first.
            self._in_flight = order
            outcome = await self.cloud.apply(ticket.call, order)
            if not outcome.done and not outcome.refused:
                raise OperationFailure(
                    "NeverHealthy" if change.kind == "enableServerGroup" else "NotDone",
                    f"{step} of {change.name} was not done within {self.health_timeout_s:g} s: {outcome.detail}",
                )
            self._in_flight = None
            if outcome.refused:
                raise OperationFailure(outcome.refused_by, f"{step} of {change.name} was not begun: {outcome.refused}")
            self._refuse_when_stopped()

    async def wait_for_up(
        self,
        server_group: str,
        up_at_least: int,
        *,
        serving: bool = False,
        exactly: int | None = None,
        step: str = "waitForUpInstances",
    ) -> None:
        """Wait until enough instances are healthy. Raises OperationFailure of kind `NeverHealthy`."""
        async with self.step(step, server_group):
            outcome = await self.cloud.wait_for_up(
                self._call(step),
                UpOrder(
                    account=self.account,
                    application=self.application,
                    server_group=server_group,
                    up_at_least=up_at_least,
                    exactly=exactly,
                    serving=serving,
                    health_timeout_s=self.health_timeout_s,
                ),
            )
            self._refuse_when_stopped()
            if not outcome.reached:
                raise OperationFailure(
                    "NeverHealthy",
                    f"{server_group} did not have {up_at_least} healthy instances within "
                    f"{self.health_timeout_s:g} s: {outcome.detail}",
                )
            self.note(outcome.detail)

    async def wait_for_down(self, step: str, server_group: str, *, percent: int = 100, gone: bool = False) -> None:
        """Wait until a server group's traffic, or the group itself, is gone."""
        async with self.step(step, server_group):
            outcome = await self.cloud.wait_for_down(
                self._call(step),
                DownOrder(
                    account=self.account,
                    application=self.application,
                    server_group=server_group,
                    weight_percent_max=100 - percent,
                    gone=gone,
                    timeout_s=self.health_timeout_s,
                ),
            )
            self._refuse_when_stopped()
            if not outcome.reached:
                raise OperationFailure(
                    "StillThere" if gone else "StillServing",
                    f"{server_group} did not go down within {self.health_timeout_s:g} s: {outcome.detail}",
                )
            self.note(outcome.detail)

    async def wait(self, step: str, seconds: float) -> None:
        """Wait durably as one step; nothing happens for 0 seconds."""
        if seconds <= 0:
            return
        async with self.step(step):
            self.note(f"{seconds:g} s")
            await self.cloud.sleep(seconds)
            self._refuse_when_stopped()

    def ending_after(self, failure: OperationFailure) -> Ending:
        """Return how to wind down after a failure."""
        return Ending.ROLL_BACK if self.rolls_back and not failure.keep else Ending.KEEP

    async def wind_down(self, ending: Ending) -> Undone:
        """Put back what was done, newest first. Never raises OperationFailure: what fails is named as left behind.

        When giving traffic back fails, nothing that takes traffic away is tried: serving badly beats not serving.
        """
        self._winding_down = True
        left_behind: list[str] = []
        undone = False
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None and (ending is not Ending.KEEP or in_flight.change.kind == "createServerGroup"):
            failure = await self._stop_change(in_flight)
            left_behind.extend([failure] if failure else [])
        traffic_is_back = True
        while self._undos:
            undo = self._undos.pop()
            if ending not in undo.endings:
                continue
            if undo.takes_traffic and not traffic_is_back:
                left_behind.append(f"{undo.name}: not tried, because the earlier server group does not serve again")
                continue
            try:
                undone = await undo.action(ending) or undone
            except OperationFailure as failed:
                left_behind.append(f"{undo.name}: {failed}")
                # A guard that refused to take traffic away says the same as a failure to give it back.
                refused = failed.kind in ("Unhealthy", "TrafficGuard")
                traffic_is_back = traffic_is_back and not undo.gives_traffic and not refused
        return Undone(any=undone and traffic_is_back, left_behind=tuple(left_behind))

    async def _stop_change(self, order: ChangeOrder) -> str:
        """Stop a change in flight; return what went wrong, or an empty text."""
        step = f"cancel {order.change.kind}"
        try:
            async with self.step(step, order.change.name):
                await self.cloud.cancel(self._call("cancelChange"), order)
        except OperationFailure as failure:
            return f"{step} of {order.change.name}: {failure}"
        return ""

    def _call(self, name: str) -> str:
        self._calls += 1
        return f"{self._calls:03d}-{name}"

    def _refuse_when_stopped(self) -> None:
        if self._stopped and not self._winding_down:
            raise asyncio.CancelledError

    def _end_step(self, index: int, status: StepStatus, detail: str) -> None:
        step = self._steps[index]
        self._steps[index] = step.model_copy(
            update={
                "status": status,
                "ended_at_ms": self.cloud.now_ms(),
                "detail": detail[:STEP_DETAIL_MAX] or step.detail,
            },
        )
