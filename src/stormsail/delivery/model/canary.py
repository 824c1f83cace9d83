"""A canary's steps as data: how much of the requests it gets, when it waits, and what must hold before it goes on."""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

STEPS_MAX: Final = 50
MEASUREMENTS_MAX: Final = 1000
WAIT_MAX_S: Final = 604_800

_CONDITION: Final = re.compile(r"(?:result\s*)?(>=|<=|==|!=|>|<)\s*(\S.*)")
_COMPARES: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}

Value = float | str | bool | None
"""What a check found: a number, a word, or None where it found nothing."""


def parse_condition(text: str) -> tuple[str, Value]:
    """Take `>= 0.99` or `result == "ok"` apart. Raises ValueError saying what a condition looks like."""
    match = _CONDITION.fullmatch(text.strip())
    try:
        literal = json.loads(match[2]) if match else None
    except ValueError:
        literal = None
    if match is None or not isinstance(literal, int | float | str | bool):
        raise ValueError(f'{text!r} is no condition: write, for example, ">= 0.99" or "== \\"ok\\""')
    if match[1] not in ("==", "!=") and isinstance(literal, bool | str):
        raise ValueError(f"{text!r}: only numbers are larger or smaller; compare words with == and !=")
    return match[1], literal


def _checked(text: str) -> str:
    if text:
        parse_condition(text)
    return text


Condition = Annotated[str, AfterValidator(_checked)]


def holds(condition: str, value: Value) -> bool | None:
    """Tell whether a condition holds of a value; None where the two cannot be compared: nothing, or no number."""
    sign, literal = parse_condition(condition)
    numbers = isinstance(value, int | float) and isinstance(literal, int | float)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not numbers and type(value) is not type(literal):
        return None
    return _COMPARES[sign](value, literal)


class Part(BaseModel):
    """A part of a step. A field that is not known is a mistake: a step that is half understood is not carried out."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class WebCheck(Part):
    """Ask a URL and take a value out of its JSON."""

    url: str = Field(pattern=r"^https?://", max_length=4000)
    json_path: str = Field(default="", max_length=500)
    """Where the value is, as `data.result[0].rate`; empty takes the whole answer."""
    headers: dict[str, str] = Field(default_factory=dict, max_length=20)


class CommandCheck(Part):
    """Run a program beside the worker; what it prints is the value, and an exit code other than 0 fails."""

    command: tuple[str, ...] = Field(min_length=1, max_length=100)


class PrometheusCheck(Part):
    """Ask Prometheus; the query must give one series."""

    address: str = Field(pattern=r"^https?://", max_length=1000)
    query: str = Field(min_length=1, max_length=8000)


class Analysis(Part):
    """A check, how often it is made, and what it must find.

    `{canary}`, `{stable}`, `{weight}` and `{address}` in the check's texts are filled in. With a success condition
    alone everything else fails; with a failure condition alone everything else succeeds; with both, neither is
    inconclusive. What cannot be measured or compared is inconclusive, and over the limit of that a person decides.
    """

    name: str = Field(default="", max_length=100)
    web: WebCheck | None = None
    command: CommandCheck | None = None
    prometheus: PrometheusCheck | None = None
    success_condition: Condition = Field(default="", max_length=500)
    failure_condition: Condition = Field(default="", max_length=500)
    count: int = Field(default=1, ge=1, le=MEASUREMENTS_MAX)
    interval: float = Field(default=10.0, gt=0, le=WAIT_MAX_S)
    initial_delay: float = Field(default=0.0, ge=0, le=WAIT_MAX_S)
    timeout: float = Field(default=10.0, gt=0, le=60)
    """Seconds that one check may take."""
    failure_limit: int = Field(default=0, ge=0)
    inconclusive_limit: int = Field(default=0, ge=0)
    dry_run: bool = False
    """Whether it only says what it finds, and never stops anything."""

    @model_validator(mode="after")
    def _one_check(self) -> "Analysis":
        given = [name for name in ("web", "command", "prometheus") if getattr(self, name) is not None]
        if len(given) != 1:
            has = " and ".join(given) or "none"
            raise ValueError(f"an analysis has one of web, command and prometheus; this has {has}")
        if not self.success_condition and not self.failure_condition and self.command is None:
            raise ValueError("say when it succeeds or fails: set successCondition, failureCondition or both")
        return self

    @property
    def title(self) -> str:
        """What people call it."""
        kind = next(name for name in ("web", "command", "prometheus") if getattr(self, name) is not None)
        return self.name or f"{kind} check"


class Pause(Part):
    """Wait: for a time in seconds, or without one until a person approves."""

    duration: float | None = Field(default=None, gt=0, le=WAIT_MAX_S)


class Approval(Part):
    """Wait until a person approves."""

    message: str = Field(default="", max_length=500)


class CanaryStep(Part):
    """One step: exactly one of its fields is set."""

    set_weight: int | None = Field(
        default=None, ge=1, le=100, validation_alias=AliasChoices("setWeight", "set_weight", "weight")
    )
    pause: Pause | None = None
    analysis: Analysis | None = None
    approval: Approval | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "CanaryStep":
        given = [to_camel(name) for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a step is one of setWeight, pause, analysis and approval; this is {' and '.join(given) or 'none'}"
            )
        return self

    def __str__(self) -> str:
        if self.set_weight is not None:
            return f"setWeight {self.set_weight}%"
        if self.pause is not None:
            return "pause" if self.pause.duration is None else f"pause {self.pause.duration:g} s"
        return f"analysis {self.analysis.title}" if self.analysis is not None else "approval"


class CanarySettings(BaseModel):
    """How a canary is led to its end. It is at 100 after the last step, said or not."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)

    steps: tuple[CanaryStep, ...] = Field(default=(), max_length=STEPS_MAX)

    @model_validator(mode="after")
    def _rising(self) -> "CanarySettings":
        weights = [step.set_weight for step in self.steps if step.set_weight is not None]
        if self.steps and self.steps[0].set_weight is None:
            raise ValueError(f"the first step must be setWeight, not {self.steps[0]}: till then it gets no request")
        if weights != sorted(set(weights)):
            raise ValueError(f"each setWeight must be larger than the one before it: {', '.join(map(str, weights))}")
        return self


class Verdict(StrEnum):
    """What a measurement means."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Measurement(BaseModel):
    """What one check found. `failed` says that it failed whatever the conditions say."""

    model_config = ConfigDict(frozen=True)

    value: Value = None
    detail: str = ""
    failed: bool = False


def verdict(analysis: Analysis, measured: Measurement) -> Verdict:
    """Judge a measurement."""
    if measured.failed:
        return Verdict.FAILED
    good = holds(analysis.success_condition, measured.value) if analysis.success_condition else None
    bad = holds(analysis.failure_condition, measured.value) if analysis.failure_condition else None
    if bad:
        return Verdict.FAILED
    if good:
        return Verdict.SUCCESSFUL
    if not analysis.success_condition and not analysis.failure_condition:
        return Verdict.SUCCESSFUL
    if analysis.success_condition and analysis.failure_condition:
        return Verdict.INCONCLUSIVE
    compared = good if analysis.success_condition else bad
    if compared is None:
        return Verdict.INCONCLUSIVE
    return Verdict.FAILED if analysis.success_condition else Verdict.SUCCESSFUL
