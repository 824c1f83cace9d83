"""The cloud as operations see it: five verbs, with retries and waiting already behind them.

Two implementations exist: activities of a Temporal workflow, and a direct one for simulations. An operation that is
written against this Protocol knows nothing of Temporal.
"""

from collections.abc import Sequence
from typing import Protocol

from stormsail.delivery.model.canary import Measurement
from stormsail.delivery.model.network import Network
from stormsail.delivery.model.operation import OperationError
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.operations.orders import ChangeOrder, ChangeOutcome, CheckOrder, DownOrder, UpOrder, WaitOutcome


class OperationFailure(Exception):
    """A business failure: data of the operation's result, never a failed workflow.

    `keep` says that what was reached stays as it is: the failure lies in tidying up behind a good server group.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        field: str = "",
        more: Sequence[OperationError] = (),
        keep: bool = False,
    ) -> None:
        super().__init__(message)
        self.errors = (OperationError(kind=kind, message=message, field=field), *more)
        self.keep = keep

    @property
    def kind(self) -> str:
        """The first error's kind."""
        return self.errors[0].kind


class Cloud(Protocol):
    """One account. Every verb raises OperationFailure for what will not succeed; transient faults are retried inside.

    `call` names the call for people and is unique in one operation.
    """

    async def apply(self, call: str, order: ChangeOrder) -> ChangeOutcome:
        """Make a change and wait until it is done, or say why its guard refused it."""
        ...

    async def cancel(self, call: str, order: ChangeOrder) -> None:
        """Stop a change that was, or may have been, begun."""
        ...

    async def observe(self, call: str) -> Observation:
        """Read the whole application from the cloud itself."""
        ...

    async def network(self, call: str) -> Network:
        """Read the application's load balancers and security groups from the cloud itself."""
        ...

    async def wait_for_up(self, call: str, order: UpOrder) -> WaitOutcome:
        """Wait for healthy instances."""
        ...

    async def wait_for_down(self, call: str, order: DownOrder) -> WaitOutcome:
        """Wait for a server group to stop taking traffic, or to be gone."""
        ...

    async def check(self, call: str, order: CheckOrder) -> Measurement:
        """Take one measurement. What cannot be measured for a while is a measurement without a value."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait durably."""
        ...

    def now_ms(self) -> int:
        """The operation's own clock, which replays the same."""
        ...
