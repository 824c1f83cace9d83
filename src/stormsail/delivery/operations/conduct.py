"""One operation under way: its steps, its tokens, and how to put the previous state back."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from stormsail.delivery.model.canary import Analysis, Measurement
from stormsail.delivery.model.network import Network
from stormsail.delivery.model.operation import Step, StepStatus
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.model.steering import SteerRequest, Verb
from stormsail.delivery.operations.cloud import Cloud, OperationFailure
from stormsail.delivery.operations.course import Course
from stormsail.delivery.operations.judging import guard_broken
from stormsail.delivery.operations.orders import (
    HEALTH_TIMEOUT_S,
    ChangeOrder,
    CheckOrder,
    DownOrder,
    HealthGuard,
    Outage,
    UpOrder,
)
from stormsail.delivery.operations.steering import Kind, SteeredCall, Steering, Trying, changed_input
from stormsail.delivery.operations.step_list import STEP_DETAIL_MAX, ShownStep, StepList
from stormsail.delivery.operations.undo import Ending, Undo, Undone
from stormsail.delivery.providers.provider import Change

T = TypeVar("T")
Order = TypeVar("Order", UpOrder, DownOrder)


@dataclass(slots=True)
class Ticket:
    """A change's name among the calls of its operation, and its tokens: one, and one more for each new beginning."""

    call: str
    tokens: list[str]

    @property
    def token(self) -> str:
        """The newest token."""
        return self.tokens[-1]

    def renew(self, attempt: int) -> str:
        """Begin anew: whatever the former token did was stopped."""
        self.tokens.append(f"{self.tokens[0]}#{attempt}")
        return self.token


SAME_TOKEN_AGAIN: Final = frozenset(
    {
        "Transient",
        "UnknownOutcome",
        "TimedOut",
        "WorkerStopping",
        "NoRoom",
        "NeverHealthy",
        "NotDone",
        "Unhealthy",
        "TrafficGuard",
    }
)
"""Failures after which a change is carried on under its token. After any other the provider has ended that token."""


PASSES_OVER: Final = frozenset({Verb.SKIP, Verb.APPROVE, Verb.PROMOTE})
"""What ends a call without its having been done."""


class Conduct:
    """One operation under way. `identity` is the same for every replay, retry and reset of the operation.

    `steered` is called whenever what people asked of its steps, or what waits for them, has changed.
    """

    def __init__(
        self,
        cloud: Cloud,
        account: str,
        application: str,
        identity: str,
        steered: Callable[[], None] = lambda: None,
    ) -> None:
        self.cloud = cloud
        self.account = account
        self.application = application
        self.health_timeout_s = HEALTH_TIMEOUT_S
        """How long instances may take to become healthy, and a change to be done."""
        self.rolls_back = False
        """Whether a failure puts the previous state back; the operation sets it."""
        self.outage = Outage.REFUSED
        """Whether a change may leave its cluster without a serving instance."""
        self.pauses = False
        """Whether a step that failed for good waits for a person instead of ending the operation."""
        self.steering = Steering(cloud.now_ms, steered)
        self._identity = identity
        self._calls = 0
        self._steps = StepList(cloud.now_ms)
        self._undos: list[Undo] = []
        self._in_flight: ChangeOrder | None = None
        self._stopped = False
        self._winding_down = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step so far, oldest first."""
        return self._steps.all

    @property
    def course(self) -> Course | None:
        """The rollout in steps that is under way, or that was."""
        return self.steering.course

    def set_out(self, steps: int) -> Course:
        """Begin a rollout in steps: from now on it can be approved, promoted, paused and aborted as a whole."""
        self.steering.course = Course(steps)
        return self.steering.course

    @property
    def stopped(self) -> bool:
        """Whether `stop` came before the operation began to wind down."""
        return self._stopped

    def stop(self) -> None:
        """Let no further step begin. A wind-down that has begun is not stopped any more."""
        self._stopped = not self._winding_down
        if self._stopped:
            self.steering.closed = "the operation is being cancelled: nothing of it can be steered any more"

    def undo(self, undo: Undo) -> None:
        """Remember how to take back what is about to be done. Say it before doing it."""
        self._undos.append(undo)

    def step(self, name: str, target: str = "") -> ShownStep:
        """Show what happens inside as one step of the operation."""
        self._refuse_when_stopped()
        return ShownStep(self._steps, name, target)

    def note(self, detail: str) -> None:
        """Say in words what the newest step found or does."""
        self._steps.note(detail)

    async def observe(self, good: HealthGuard | None = None) -> Observation:
        """Read the application from the cloud, now.

        With `good`, raise OperationFailure of kind `Unhealthy` unless it holds in that very observation.
        """
        self._refuse_when_stopped()

        async def attempt(name: str) -> Observation:
            observation = await self.cloud.observe(name)
            if good is not None and (reason := guard_broken(good, observation)):
                raise OperationFailure("Unhealthy", f"the older server groups are left serving: {reason}")
            return observation

        call = SteeredCall(self._call("observe"), "observe", Kind.READ, None)
        observation = await self._steered(call, attempt)
        self._refuse_when_stopped()
        assert observation is not None, "a reading is not skipped"
        return observation

    async def network(self) -> Network:
        """Read the application's load balancers and security groups from the cloud, now."""
        self._refuse_when_stopped()
        call = SteeredCall(self._call("observeNetwork"), "observeNetwork", Kind.READ, None)
        found = await self._steered(call, self.cloud.network)
        self._refuse_when_stopped()
        assert found is not None, "a reading is not skipped"
        return found

    def ticket(self, step: str) -> Ticket:
        """Take the token of a change beforehand, for who must know whose change it was even if it fails."""
        call = self._call(step)
        return Ticket(call, [f"{self._identity}-{call}"])

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
            await self._changed(step, order, ticket)
            self._refuse_when_stopped()

    async def _changed(self, step: str, order: ChangeOrder, ticket: Ticket) -> None:
        stale: ChangeOrder | None = None
        call = SteeredCall(ticket.call, step, Kind.CHANGE, order.change)

        async def attempt(name: str) -> bool:
            nonlocal stale
            if stale is not None:
                await self.cloud.cancel(f"{name}-cancelChange", stale)
                stale = None
            # Until it is known to be done, a wind-down must stop it first.
            self._in_flight = order
            outcome = await self.cloud.apply(name, order)
            what = f"{step} of {order.change.name}"
            if not outcome.done and not outcome.refused:
                raise OperationFailure(
                    "NeverHealthy" if order.change.kind == "enableServerGroup" else "NotDone",
                    f"{what} was not done within {order.timeout_s:g} s: {outcome.detail}",
                )
            self._in_flight = None
            if outcome.refused:
                raise OperationFailure(outcome.refused_by, f"{what} was not begun: {outcome.refused}")
            return True

        def again(command: SteerRequest, failure: OperationFailure | None) -> None:
            nonlocal stale, order
            change = order.change
            if command.verb is Verb.RERUN:
                change = cast("Change", changed_input(change, command.input))
            elif failure is None or failure.kind in SAME_TOKEN_AGAIN:
                return
            stale, call.input = order, change
            order = order.model_copy(update={"change": change, "token": ticket.renew(call.attempt)})

        if await self._steered(call, attempt, again) is None:
            self._in_flight = None

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
        order = UpOrder(
            account=self.account,
            application=self.application,
            server_group=server_group,
            up_at_least=up_at_least,
            exactly=exactly,
            serving=serving,
            health_timeout_s=self.health_timeout_s,
        )

        async def attempt(name: str, order: UpOrder) -> str:
            outcome = await self.cloud.wait_for_up(name, order)
            if not outcome.reached:
                raise OperationFailure(
                    "NeverHealthy",
                    f"{server_group} did not have {order.up_at_least} healthy instances within "
                    f"{order.health_timeout_s:g} s: {outcome.detail}",
                )
            return outcome.detail

        await self._waited(step, server_group, order, attempt)

    async def wait_for_down(self, step: str, server_group: str, *, percent: int = 100, gone: bool = False) -> None:
        """Wait until a server group's traffic, or the group itself, is gone."""
        order = DownOrder(
            account=self.account,
            application=self.application,
            server_group=server_group,
            weight_percent_max=100 - percent,
            gone=gone,
            timeout_s=self.health_timeout_s,
        )

        async def attempt(name: str, order: DownOrder) -> str:
            outcome = await self.cloud.wait_for_down(name, order)
            if not outcome.reached:
                raise OperationFailure(
                    "StillThere" if gone else "StillServing",
                    f"{server_group} did not go down within {order.timeout_s:g} s: {outcome.detail}",
                )
            return outcome.detail

        await self._waited(step, server_group, order, attempt)

    async def _waited(
        self, step: str, server_group: str, order: Order, attempt: Callable[[str, Order], Awaitable[str]]
    ) -> None:
        async with self.step(step, server_group):
            call = SteeredCall(self._call(step), step, Kind.WAIT, order)

            def again(command: SteerRequest, _: OperationFailure | None) -> None:
                nonlocal order
                if command.verb is Verb.RERUN:
                    order = cast("Order", changed_input(order, command.input))
                    call.input = order

            detail = await self._steered(call, lambda name: attempt(name, order), again)
            self._refuse_when_stopped()
            if detail is not None:
                self.note(detail)

    async def check(self, step: str, analysis: Analysis) -> Measurement | None:
        """Take one measurement; None when a person had the check passed over. Shown in the step that is under way."""
        self._refuse_when_stopped()
        order = CheckOrder(account=self.account, analysis=analysis)
        call = SteeredCall(self._call(step), step, Kind.CHECK, order)
        measured = await self._steered(call, lambda name: self.cloud.check(name, order))
        self._refuse_when_stopped()
        return measured

    async def approval(self, step: str, target: str, message: str) -> None:
        """Wait until a person approves, as one step."""
        async with self.step(step, target):
            call = SteeredCall(self._call(step), step, Kind.APPROVAL, None, trying=Trying.PAUSED)
            index = self._steps.show(call)
            assert index is not None, "a step is under way"
            self._steps.update(index, status=StepStatus.PAUSED, detail=message[:STEP_DETAIL_MAX])
            self.steering.begin(call)
            self.steering.pause(call)
            try:
                await call.commanded()
                self._steps.show_again(call, index, self._taken(call))
                self.steering.resumed()
            finally:
                self.steering.end(call)
            self._refuse_when_stopped()

    async def wait(self, step: str, seconds: float) -> None:
        """Wait durably as one step; nothing happens for 0 seconds."""
        if seconds <= 0:
            return
        async with self.step(step):
            self.note(f"{seconds:g} s")
            call = SteeredCall(step, step, Kind.SLEEP, None)
            await self._steered(call, lambda _: self._slept(seconds))
            self._refuse_when_stopped()

    async def _slept(self, seconds: float) -> bool:
        await self.cloud.sleep(seconds)
        return True

    def ending_after(self, failure: OperationFailure) -> Ending:
        """Return how to wind down after a failure."""
        return Ending.ROLL_BACK if self.rolls_back and not failure.keep else Ending.KEEP

    async def wind_down(self, ending: Ending) -> Undone:
        """Put back what was done, newest first. Never raises OperationFailure: what fails is named as left behind.

        When giving traffic back fails, nothing that takes traffic away is tried: serving badly beats not serving.
        """
        self._winding_down = self.steering.winding_down = True
        self.steering.closed = ""
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

    async def _steered(
        self,
        call: SteeredCall,
        attempt: Callable[[str], Awaitable[T]],
        again: Callable[[SteerRequest, OperationFailure | None], None] = lambda _, __: None,
    ) -> T | None:
        """Try a call until it succeeds or fails with nobody to ask; return None when a person had it skipped.

        `again` prepares the next attempt that a person asked for.
        """
        index = self._steps.show(call)
        self.steering.begin(call)
        try:
            while True:
                name = call.call if call.attempt == 1 else f"{call.call}#{call.attempt}"
                call.task = trying = asyncio.ensure_future(attempt(name))
                failure: OperationFailure | None = None
                try:
                    return await trying
                except asyncio.CancelledError:
                    if call.command is None or (self._stopped and not self._winding_down):
                        raise
                except OperationFailure as failed:
                    failure = failed
                    if call.command is None:
                        if not self.pauses or self._winding_down:
                            raise
                        index = await self._paused(call, index, failure)
                command = self._taken(call)
                passes = command.verb in PASSES_OVER
                if not passes:
                    again(command, failure)
                self.steering.resumed()
                self._steps.show_again(call, index, command)
                if passes:
                    return None
        finally:
            self.steering.end(call)

    def _taken(self, call: SteeredCall) -> SteerRequest:
        """Return what was asked of a call. Raises OperationFailure of kind `Aborted` where that ends the rollout."""
        command = call.take()
        self._refuse_when_aborted()
        return command

    def _refuse_when_aborted(self) -> None:
        aborted = self.course.aborted if self.course is not None else None
        if aborted is not None and not self._winding_down:
            why = f": {aborted.reason}" if aborted.reason else ""
            raise OperationFailure("Aborted", f"aborted by {aborted.by or 'somebody'}{why}")

    async def _paused(self, call: SteeredCall, index: int | None, failure: OperationFailure) -> int:
        """Show that a call waits for a person, and wait; return the step that shows it."""
        if index is None:
            index = self._steps.begin(call.step, "", call.call)
        self._steps.update(index, status=StepStatus.PAUSED, error=str(failure), detail=str(failure)[:STEP_DETAIL_MAX])
        self.steering.pause(call)
        await call.commanded()
        return index

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
        self._refuse_when_aborted()
