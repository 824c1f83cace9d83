"""Steering: what a person may ask of a step that tries again and again, or that failed and waits for somebody."""

import json
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

STEER: Final = "steer"
"""The signal that carries a SteerRequest."""

MEMO_STEERING: Final = "steering"
"""The memo field that holds a SteeringMemo; set by the workflow each time that it changes."""


class Verb(StrEnum):
    """What is asked of a step."""

    RETRY = "retry"
    """Try again now: the same change under the same token."""
    SKIP = "skip"
    """Go on as if it had been done."""
    RERUN = "rerun"
    """Try again with another input."""
    APPROVE = "approve"
    """Go on with a rollout that waits for a person."""
    PROMOTE = "promote"
    """Pass over what a rollout waits for; with `full`, over all that is left."""
    PAUSE = "pause"
    """Have a rollout wait for a person before its next step."""
    ABORT = "abort"
    """Give a rollout up: it fails, and the previous state is put back."""
    CANCEL = "cancel"
    """Stop the operation and put the previous state back. Asked as Temporal's cancel, and kept with the others."""


class SteerRequest(BaseModel):
    """The single argument of the `steer` signal. The same `id` again is the same request."""

    model_config = ConfigDict(frozen=True)

    id: str
    verb: Verb
    step: str = ""
    """The step's call or name; empty means the only one there is to steer."""
    attempt: int = 0
    """The attempt that the person saw: the step must still be at it. 0 means whichever it is at."""
    by: str = ""
    reason: str = ""
    input: dict[str, Any] = Field(default_factory=dict)
    """The fields of the step's input that `rerun` changes."""


class SteeringRecord(BaseModel):
    """What was asked, by whom and why, and what became of it."""

    model_config = ConfigDict(frozen=True)

    id: str
    verb: Verb
    step: str
    by: str = ""
    reason: str = ""
    at_ms: int = 0
    accepted: bool
    message: str = ""
    """Why it was turned down, in words with what to do instead."""
    before: dict[str, Any] = Field(default_factory=dict)
    """The fields of the input that `rerun` changed, as they were."""
    after: dict[str, Any] = Field(default_factory=dict)
    """The same fields as they were asked for."""


class SteeringMemo(BaseModel):
    """What lists show: which step waits for a person, and the newest records."""

    model_config = ConfigDict(frozen=True)

    paused: str = ""
    """The step that waits, or empty."""
    records: tuple[SteeringRecord, ...] = ()


class CancelReason(BaseModel):
    """Who cancels an operation and why, as the text that Temporal's cancel carries."""

    model_config = ConfigDict(frozen=True)

    by: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """Write it."""
        return json.dumps({"by": self.by, "reason": self.reason}) if self.by else self.reason

    @staticmethod
    def read(text: str) -> "CancelReason":
        """Read it; a text that somebody else wrote is the reason."""
        try:
            return CancelReason.model_validate_json(text)
        except ValidationError:
            return CancelReason(reason=text)
