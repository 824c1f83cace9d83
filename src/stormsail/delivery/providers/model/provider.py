"""The model cloud's provider: one worker's view of a shared ModelCloud, with faults put between the two."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from stormsail.delivery.model.network import Network
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.providers.errors import Permanent
from stormsail.delivery.providers.model.cloud import ADDRESS, ModelCloud
from stormsail.delivery.providers.model.faults import Faults, FaultyLine, Line, NoFaults
from stormsail.delivery.providers.provider import Change, Progress

NO_FAULTS: Final = NoFaults()


def wall_clock_ms() -> int:
    """Return the time of day in milliseconds."""
    return int(time.time() * 1000)


class ModelProvider:
    """One account of a model cloud. Any number may be opened on the same cloud; none keeps anything itself."""

    def __init__(
        self,
        cloud: ModelCloud,
        account: str = "model",
        *,
        faults: Faults = NO_FAULTS,
        line: Line | None = None,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """Open an account. `line` is what calls go through; without one, a line that takes no time and has `faults`."""
        self._cloud = cloud
        self._account = account
        self._line = line or FaultyLine(faults)
        self._clock_ms = clock_ms

    @property
    def name(self) -> str:
        """The kind of provider."""
        return "model"

    @property
    def account(self) -> str:
        """The account's name."""
        return self._account

    async def begin(self, token: str, change: Change) -> Progress:
        """Start the change of this token, or find it begun."""
        return await self._line.carry("begin", change.kind, change.name, lambda: self._cloud.begin(token, change))

    async def resume(self, token: str, change: Change) -> Progress:
        """Carry the change further."""
        return await self._line.carry("resume", change.kind, change.name, lambda: self._cloud.resume(token, change))

    async def cancel(self, token: str, change: Change) -> Progress:
        """Stop the change."""
        return await self._line.carry("cancel", change.kind, change.name, lambda: self._cloud.cancel(token, change))

    async def observe(self, application: str) -> Observation:
        """Read all server groups of an application."""

        def read() -> Observation:
            return Observation(
                account=self._account,
                application=application,
                as_of_ms=self._clock_ms(),
                server_groups=self._cloud.server_groups(self._account, application),
                address=ADDRESS,
            )

        return await self._line.carry("observe", "", application, read)

    async def network(self, application: str) -> Network:
        """Read the load balancers and security groups of an application."""
        return await self._line.carry("network", "", application, lambda: self._cloud.network(application))

    async def applications(self) -> tuple[str, ...]:
        """Read the names of the applications."""
        return await self._line.carry("applications", "", "", self._cloud.applications)

    async def reconcile(self) -> None:
        """Nothing runs beside this cloud."""

    async def close(self) -> None:
        """Nothing is held."""


async def open_provider(account: str, settings: Mapping[str, str]) -> ModelProvider:
    """Open a new, empty cloud. Raises Permanent for any setting: there are none."""
    if settings:
        raise Permanent(f"unknown setting {min(settings)!r}: the model provider has none")
    return ModelProvider(ModelCloud(wall_clock_ms), account)
