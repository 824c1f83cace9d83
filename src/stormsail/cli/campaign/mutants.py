"""Planted bugs of the durable arm: each takes away one thing that the design stands on, and must be seen as wrong ends.

A zero from a campaign that does not see these would be worth nothing.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.command.v1 import Command

from stormsail.cli.campaign.durable import Plant
from stormsail.cli.campaign.sim_worker import Habits
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.providers.errors import Conflict, UnknownOutcome
from stormsail.delivery.providers.provider import Change, CreateServerGroup, Progress, Provider
from stormsail.engine.sim.disk import SimDisk
from stormsail.engine.sim.tampering import Tampering


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    says: str
    plant: Plant


class _Through:
    """A provider that passes everything on."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def begin(self, token: str, change: Change) -> Progress:
        """See Provider."""
        return await self._provider.begin(token, change)

    async def observe(self, application: str) -> Observation:
        """See Provider."""
        return await self._provider.observe(application)


class _NoToken(_Through):
    """Every attempt looks like a new change to the cloud, and a name that is taken is passed over for the next."""

    _drawn = itertools.count()

    async def begin(self, token: str, change: Change) -> Progress:
        """See Provider."""
        fresh = f"{token}/{next(self._drawn)}"
        try:
            return await self._provider.begin(fresh, change)
        except Conflict:
            if not isinstance(change, CreateServerGroup):
                raise
            stem, _, number = change.name.rpartition("-v")
            return await self._provider.begin(
                fresh, change.model_copy(update={"name": f"{stem}-v{int(number) + 1:03d}"})
            )

    async def resume(self, token: str, change: Change) -> Progress:  # noqa: ARG002
        """Take for done what was begun: without a token nobody can tell how it stands."""
        return Progress(done=True)


class _TakenForDone(_Through):
    """A lost reply is taken for a good one, and nobody looks again."""

    async def begin(self, token: str, change: Change) -> Progress:
        """See Provider."""
        try:
            return await self._provider.begin(token, change)
        except UnknownOutcome:
            return Progress(done=True)


class _OldNews(_Through):
    """What was read once is not read again, so waiting and guarding see a cache."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self._read: dict[str, Observation] = {}

    async def observe(self, application: str) -> Observation:
        """See Provider."""
        if application not in self._read:
            self._read[application] = await self._provider.observe(application)
        return self._read[application]


def _no_heartbeats(command: Command) -> Command:
    if command.HasField("schedule_activity_task_command_attributes"):
        command.schedule_activity_task_command_attributes.ClearField("heartbeat_timeout")
    return command


def _once_only(command: Command) -> Command:
    if command.HasField("schedule_activity_task_command_attributes"):
        command.schedule_activity_task_command_attributes.retry_policy.maximum_attempts = 1
    return command


def _lie_about_syncs(disk: SimDisk) -> None:
    disk.syncing = lambda _name: False


_ALL: Final = (
    Mutant(
        "no-token", "a change has no operation token: a second attempt is a second change", Plant(provider=_NoToken)
    ),
    Mutant("assume-done", "a lost reply is taken for a good one: nobody looks again", Plant(provider=_TakenForDone)),
    Mutant("old-news", "decisions are taken from a cache instead of the cloud", Plant(provider=_OldNews)),
    Mutant("no-retries", "what failed, or lost its worker, is not tried again", Plant(Habits(_once_only))),
    Mutant("no-heartbeats", "nobody notices that a worker is dead", Plant(Habits(_no_heartbeats))),
    Mutant("no-fsync", "the engine answers before its disk has it", Plant(tampering=Tampering(disk=_lie_about_syncs))),
)

MUTANTS: Final[Mapping[str, Mutant]] = {mutant.name: mutant for mutant in _ALL}
