"""Operations on the model cloud without any engine: a virtual clock, retries at once, cancels at a chosen call."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from stormsail.delivery.model.canary import Analysis, Measurement
from stormsail.delivery.model.network import Network
from stormsail.delivery.model.operation import OperationRequest, OperationResult, workflow_id_of
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.model.steering import SteerRequest
from stormsail.delivery.model.traffic_guard import TrafficGuards
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.judging import down_outcome, is_watched, refusal, up_outcome
from stormsail.delivery.operations.operation import Registered
from stormsail.delivery.operations.orders import ChangeOrder, ChangeOutcome, CheckOrder, DownOrder, UpOrder, WaitOutcome
from stormsail.delivery.operations.registry import OPERATIONS, resolve
from stormsail.delivery.operations.steering import Steering
from stormsail.delivery.operations.undo import Ending
from stormsail.delivery.providers.errors import NotFound, Permanent, ProviderError
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.faults import Fault, Faults
from stormsail.delivery.providers.model.provider import NO_FAULTS, ModelProvider

T = TypeVar("T")

Measure = Callable[[Analysis], Measurement]

ACCOUNT: Final = "model"
APPLICATION: Final = "web"
ATTEMPTS_MAX: Final = 200
STEP_MS: Final = 250


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


class NthFault:
    """One permanent refusal, at the n-th call of a kind."""

    def __init__(self, verb: str, kind: str, nth: int) -> None:
        self._call = (verb, kind)
        self._left = nth

    def next(self, verb: str, kind: str) -> Fault | None:
        if (verb, kind) == self._call:
            self._left -= 1
            if self._left == 0:
                return Fault.PERMANENT
        return None


class DirectCloud:
    """The Cloud protocol on a model provider; each attempt takes a quarter of a virtual second."""

    def __init__(
        self,
        cloud: ModelCloud,
        clock: Clock,
        faults: Faults,
        at_call: Mapping[int, Callable[[], None]],
        measure: Measure,
    ) -> None:
        self._measure = measure
        self._provider = ModelProvider(cloud, ACCOUNT, faults=faults, clock_ms=clock)
        self._clock = clock
        self._at_call = at_call
        self._calls = 0

    async def apply(self, call: str, order: ChangeOrder) -> ChangeOutcome:
        self._count()
        deadline = self._clock.now_ms + order.timeout_s * 1000

        async def attempt() -> ChangeOutcome:
            if is_watched(order):
                refused = refusal(order, await self._provider.observe(APPLICATION), TrafficGuards())
                if refused is not None:
                    return refused
            progress = await self._provider.begin(order.token, order.change)
            while not progress.done and self._clock.now_ms < deadline:
                self._clock.now_ms += STEP_MS
                progress = await self._provider.resume(order.token, order.change)
            return ChangeOutcome(done=progress.done, detail=progress.detail)

        return await self._tried(attempt)

    async def cancel(self, call: str, order: ChangeOrder) -> None:
        await self._tried(lambda: self._provider.cancel(order.token, order.change))

    async def observe(self, call: str) -> Observation:
        self._count()
        return await self._tried(lambda: self._provider.observe(APPLICATION))

    async def network(self, call: str) -> Network:
        self._count()
        return await self._tried(lambda: self._provider.network(APPLICATION))

    async def wait_for_up(self, call: str, order: UpOrder) -> WaitOutcome:
        self._count()
        deadline = self._clock.now_ms + order.health_timeout_s * 1000

        async def attempt() -> WaitOutcome:
            group = (await self._provider.observe(APPLICATION)).find(order.server_group)
            if group is None:
                raise NotFound(f"{order.server_group} went away")
            return up_outcome(order, group)

        while True:
            outcome = await self._tried(attempt)
            if outcome.reached or self._clock.now_ms >= deadline:
                return outcome
            self._clock.now_ms += STEP_MS

    async def wait_for_down(self, call: str, order: DownOrder) -> WaitOutcome:
        self._count()
        observation = await self._tried(lambda: self._provider.observe(APPLICATION))
        return down_outcome(order, observation.find(order.server_group))

    async def check(self, call: str, order: CheckOrder) -> Measurement:
        self._count()
        return self._measure(order.analysis)

    async def sleep(self, seconds: float) -> None:
        self._count()
        self._clock.now_ms += int(seconds * 1000)

    def now_ms(self) -> int:
        return self._clock.now_ms

    def _count(self) -> None:
        self._calls += 1
        if self._calls in self._at_call:
            self._at_call[self._calls]()

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for _ in range(ATTEMPTS_MAX):
            self._clock.now_ms += STEP_MS
            try:
                return await attempt()
            except Permanent as error:
                raise OperationFailure(error.kind, str(error)) from error
            except ProviderError:
                continue
        raise OperationFailure("TimedOut", "every attempt failed")


async def run_directly(
    cloud: ModelCloud,
    clock: Clock,
    identity: str,
    operation_type: str,
    *,
    faults: Faults = NO_FAULTS,
    cancel_at_call: int = 0,
    at_call: Mapping[int, Callable[[], None]] | None = None,
    measure: Measure = lambda _: Measurement(value=1.0),
    person: Callable[[Steering], None] = lambda _: None,
    steer_at_call: Mapping[int, SteerRequest] | None = None,
    operations: Mapping[str, Registered[Any]] = OPERATIONS,
    **payload: Any,
) -> OperationResult | None:
    """Run an operation as the runner does. None means that it ended cancelled.

    `person` is told whenever something waits for one, and may steer.
    """
    request = OperationRequest(operation_type=operation_type, payload=payload, application=APPLICATION, account=ACCOUNT)
    happenings = dict(at_call or {})
    direct = DirectCloud(cloud, clock, faults, happenings, measure)

    def steered() -> None:
        asyncio.get_running_loop().call_soon(person, conduct.steering)

    conduct = Conduct(direct, ACCOUNT, APPLICATION, identity, steered)
    for number, asked in (steer_at_call or {}).items():
        happenings[number] = functools.partial(conduct.steering.ask, asked)
    happenings[cancel_at_call] = conduct.stop
    try:
        registered, wanted = resolve(request, workflow_id_of(request), operations)
        output = await registered.run(conduct, wanted)
    except asyncio.CancelledError:
        await conduct.wind_down(Ending.CANCEL)
        return None
    except OperationFailure as failure:
        if conduct.stopped:
            await conduct.wind_down(Ending.CANCEL)
            return None
        ending = conduct.ending_after(failure)
        undone = await conduct.wind_down(ending)
        return OperationResult(
            ok=False,
            errors=failure.errors,
            steps=conduct.steps,
            rolled_back=ending is Ending.ROLL_BACK and undone.any and not undone.left_behind,
            left_behind=undone.left_behind,
        )
    return OperationResult(ok=True, output=output.model_dump(mode="json", by_alias=True), steps=conduct.steps)
