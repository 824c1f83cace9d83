"""The cloud as a workflow sees it: each verb is one activity with its timeouts and retries."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import Priority as TaskPriority
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, is_cancelled_exception

from stormsail.delivery.activities import CloudActivities
from stormsail.delivery.model.canary import Measurement
from stormsail.delivery.model.network import Network
from stormsail.delivery.model.priority import Priority
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.operations.backoff import RETRY
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.operation import RETRY_TIMEOUT_S
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

T = TypeVar("T")

HEARTBEAT_TIMEOUT: Final = timedelta(seconds=5)
"""How long a killed worker goes unnoticed."""

ATTEMPT_MAX: Final = timedelta(minutes=1)
"""How long one attempt may take beyond what it waits for on purpose; the next one carries on."""

CHECK_RETRY_S: Final = 60.0
"""How long a check that cannot be made is tried again before a person is asked."""


class TemporalCloud:
    """One account, through the activities of whatever worker is there."""

    def __init__(self, account: str, application: str, retry_timeout_s: float = RETRY_TIMEOUT_S) -> None:
        self._account = account
        self._application = application
        self.retry_timeout_s = retry_timeout_s
        self.priority = Priority.MANUAL
        """How urgent the calls are that are made from now on."""

    async def apply(self, call: str, order: ChangeOrder) -> ChangeOutcome:
        """Make a change and wait until it is done, or say why its guard refused it."""
        return await self._call(
            CloudActivities.apply_change,
            call,
            order,
            summary=order.change.name,
            waiting_max=timedelta(seconds=order.timeout_s),
        )

    async def cancel(self, call: str, order: ChangeOrder) -> None:
        """Stop a change that was, or may have been, begun."""
        await self._call(CloudActivities.cancel_change, call, order, summary=order.change.name)

    async def observe(self, call: str) -> Observation:
        """Read the whole application from the cloud itself."""
        order = ObserveOrder(account=self._account, application=self._application)
        return await self._call(CloudActivities.observe, call, order, summary=self._application)

    async def network(self, call: str) -> Network:
        """Read the application's load balancers and security groups from the cloud itself."""
        order = ObserveOrder(account=self._account, application=self._application)
        return await self._call(CloudActivities.observe_network, call, order, summary=self._application)

    async def wait_for_up(self, call: str, order: UpOrder) -> WaitOutcome:
        """Wait for healthy instances."""
        waiting_max = timedelta(seconds=order.health_timeout_s)
        return await self._call(
            CloudActivities.wait_for_up_instances,
            call,
            order,
            summary=order.server_group,
            waiting_max=waiting_max,
        )

    async def wait_for_down(self, call: str, order: DownOrder) -> WaitOutcome:
        """Wait for a server group to stop taking traffic, or to be gone."""
        return await self._call(
            CloudActivities.wait_for_down_instances,
            call,
            order,
            summary=order.server_group,
            waiting_max=timedelta(seconds=order.timeout_s),
        )

    async def check(self, call: str, order: CheckOrder) -> Measurement:
        """Take one measurement, tried again for a while; then it is one without a value."""
        name = order.analysis.title
        longest = timedelta(seconds=min(self.retry_timeout_s, CHECK_RETRY_S))
        try:
            return await self._call(CloudActivities.run_check, call, order, summary=name, retried_max=longest)
        except OperationFailure as failure:
            if failure.kind == "Permanent":
                raise OperationFailure("CheckImpossible", f"{name}: {failure}") from failure
            return Measurement(detail=str(failure))

    async def sleep(self, seconds: float) -> None:
        """Wait durably."""
        await workflow.sleep(seconds)

    def now_ms(self) -> int:
        """Workflow time."""
        return int(workflow.now().timestamp() * 1000)

    async def _call(
        self,
        method: Callable[[CloudActivities, Any], Awaitable[T]],
        call: str,
        order: Order,
        *,
        summary: str,
        waiting_max: timedelta = timedelta(0),
        retried_max: timedelta | None = None,
    ) -> T:
        """Run one activity. What it waits for on purpose is added to the time that failing calls are tried again."""
        try:
            return await workflow.execute_activity_method(
                method,
                order.model_copy(update={"priority": self.priority}),
                priority=TaskPriority(priority_key=self.priority.key),
                activity_id=call,
                summary=summary,
                start_to_close_timeout=ATTEMPT_MAX + waiting_max,
                schedule_to_close_timeout=(retried_max or timedelta(seconds=self.retry_timeout_s)) + waiting_max,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
                # Winding down must not begin while a worker still carries the change forward.
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise _failure(error, call, self.retry_timeout_s) from error


def _failure(error: ActivityError, call: str, retry_timeout_s: float) -> OperationFailure:
    """Turn an activity that will not succeed into a business failure."""
    # Temporal wraps the last failure in a timeout when the time ran out, and gives it bare when the next attempt would
    # only come after that.
    out_of_time = isinstance(error.cause, TimeoutError) or error.retry_state is RetryState.TIMEOUT
    last = error.cause.__cause__ if isinstance(error.cause, TimeoutError) else error.cause
    if not isinstance(last, ApplicationError):
        return OperationFailure(
            "TimedOut", f"{call} did not end in time: no worker reported an outcome ({error.cause})"
        )
    if out_of_time:
        message = f"{call} was tried again for up to {retry_timeout_s:g} s and still fails: {last.message}"
        return OperationFailure(last.type or "TimedOut", message)
    return OperationFailure(last.type or "Failed", last.message)
