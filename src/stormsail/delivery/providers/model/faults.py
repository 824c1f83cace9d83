"""Faults of the model cloud: what goes wrong at which call, by script or by seed."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from stormsail.delivery.providers.errors import Permanent, Transient, UnknownOutcome

T = TypeVar("T")


class Fault(StrEnum):
    """What can go wrong with one call."""

    TRANSIENT = "transient"
    """Nothing happened; the call is refused for now."""
    UNKNOWN_BEFORE = "unknown before"
    """The reply is lost, and the call had no effect."""
    UNKNOWN_AFTER = "unknown after"
    """The reply is lost, but the call had its effect."""
    PERMANENT = "permanent"
    """The call is refused for good."""


class Faults(Protocol):
    """Decides for each call whether it goes wrong."""

    def next(self, verb: str, kind: str) -> Fault | None:
        """Return the fault of this call. `kind` is the change's kind, or empty for reading."""
        ...


class NoFaults:
    """Nothing goes wrong."""

    def next(self, verb: str, kind: str) -> Fault | None:  # noqa: ARG002
        """Return None."""
        return None


class ScriptedFaults:
    """The first calls of a verb, or of a verb and a kind as `begin createServerGroup`, go wrong as listed."""

    def __init__(self, script: Mapping[str, Sequence[Fault]]) -> None:
        self._script = {call: list(faults) for call, faults in script.items()}

    def next(self, verb: str, kind: str) -> Fault | None:
        """Take the next fault listed for the call."""
        for call in (f"{verb} {kind}", verb):
            if self._script.get(call):
                return self._script[call].pop(0)
        return None

    @property
    def used_up(self) -> bool:
        """Whether every listed fault has happened."""
        return not any(self._script.values())


@dataclass
class SeededFaults:
    """Each call goes wrong with a probability, all from one seed; never for good."""

    seed: int
    probability: float

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def next(self, verb: str, kind: str) -> Fault | None:  # noqa: ARG002
        """Draw the fault of this call."""
        if self._random.random() >= self.probability:
            return None
        return self._random.choice((Fault.TRANSIENT, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER))


class Line(Protocol):
    """What lies between a provider and the cloud."""

    async def carry(self, verb: str, kind: str, about: str, call: Callable[[], T]) -> T:
        """Have the cloud do a call and bring its answer back, or fail. `about` names the server group or application.

        Raises the classes of `providers/errors.py`, whether or not the call was done.
        """
        ...


class FaultyLine:
    """A line that takes no time; some calls go wrong."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def carry(self, verb: str, kind: str, about: str, call: Callable[[], T]) -> T:  # noqa: ARG002
        """See Line."""
        match self._faults.next(verb, kind):
            case Fault.TRANSIENT:
                raise Transient(f"{verb}: the model cloud throttles")
            case Fault.UNKNOWN_BEFORE:
                raise UnknownOutcome(f"{verb}: the connection broke")
            case Fault.PERMANENT:
                raise Permanent(f"{verb}: the model cloud refuses")
            case Fault.UNKNOWN_AFTER:
                call()
                raise UnknownOutcome(f"{verb}: the reply was lost")
            case None:
                return call()
