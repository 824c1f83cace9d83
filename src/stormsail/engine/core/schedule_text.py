"""Schedules as people write them: calendars with ranges in text, and cron strings, read into structured calendars.

Texts of errors are Temporal's, for they are what CreateSchedule answers.
"""

import re
from dataclasses import dataclass
from typing import Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.schedule.v1 import CalendarSpec, IntervalSpec, Range, StructuredCalendarSpec

from stormsail.engine.core.cron import SHORT_FORMS

YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2100
"""The last year in which calendars match anything."""

_MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_CRON_FIELDS: Final = {
    5: ("minute", "hour", "day_of_month", "month", "day_of_week"),
    6: ("minute", "hour", "day_of_month", "month", "day_of_week", "year"),
    7: ("second", "minute", "hour", "day_of_month", "month", "day_of_week", "year"),
}
_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_INT64_MAX: Final = (1 << 63) - 1


class SpecError(ValueError):
    """A spec that cannot be; the message is Temporal's, without its "Invalid schedule spec: "."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    label: str
    default: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0
    """The number that the first of the names stands for."""
    letters_min: int = 0


_FIELDS: Final = (
    _Field("second", "Second", "0", 0, 59),
    _Field("minute", "Minute", "0", 0, 59),
    _Field("hour", "Hour", "0", 0, 23),
    _Field("day_of_week", "DayOfWeek", "*", 0, 7, _DAYS, 0, 2),
    _Field("day_of_month", "DayOfMonth", "*", 1, 31),
    _Field("month", "Month", "*", 1, 12, _MONTHS, 1, 3),
    _Field("year", "Year", "*", YEAR_MIN, YEAR_MAX),
)


@dataclass(frozen=True, slots=True)
class CronEntry:
    """What a cron string means: a calendar or an interval, and the time zone that it names ("" for none)."""

    calendar: StructuredCalendarSpec | None
    interval: IntervalSpec | None
    timezone: str


def structured(calendar: CalendarSpec) -> StructuredCalendarSpec:
    """Read a calendar whose fields are text. Raises SpecError with everything that is wrong."""
    wrong: list[str] = []
    result = StructuredCalendarSpec(comment=calendar.comment)
    for field in _FIELDS:
        try:
            getattr(result, field.name).extend(_ranges(getattr(calendar, field.name), field))
        except SpecError as error:
            wrong.append(str(error))
    if wrong:
        raise SpecError(", ".join(wrong))
    return result


def cron_entry(text: str) -> CronEntry:
    """Read a cron string: five to seven fields or one of the @ names, after an optional CRON_TZ= or TZ=."""
    text = text.strip()
    timezone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, space, text = text.partition(" ")
        if not space:
            raise SpecError("CronString has time zone but missing fields")
        timezone = zone.partition("=")[2]
    text, _, comment = text.partition("#")
    text = text.strip()
    if text.startswith("@every"):
        return CronEntry(None, _every(text), "")
    words = SHORT_FORMS.get(text, text).split()
    names = _CRON_FIELDS.get(len(words))
    if names is None:
        raise SpecError("CronString does not have 5-7 fields")
    calendar = CalendarSpec(comment=comment.strip(), **dict(zip(names, words, strict=True)))
    return CronEntry(structured(calendar), None, timezone)


def _every(text: str) -> IntervalSpec:
    """Read `@every 14h` or, with a phase, `@every 14h/3h`."""
    _, space, rest = text.partition(" ")
    if not space:
        raise SpecError("CronString does not have interval after @every")
    interval, _, phase = rest.partition("/")
    spec = IntervalSpec(interval=_duration(interval))
    if phase:
        spec.phase.CopyFrom(_duration(phase))
    return spec


def _duration(text: str) -> Duration:
    """Read a duration as Go writes them, and days beside: `1h30m`, `1.5d`."""
    text = re.sub(r"(\d+(\.\d*)?|(\.\d+))d", lambda found: f"{24 * float(found[0][:-1]):f}h", text, flags=re.ASCII)
    body = text[1:] if text[:1] in ("-", "+") else text
    nanoseconds = 0
    if body != "0":
        parts = re.findall(r"(\d+\.?\d*|\.\d+)([^\d.]*)", body, re.ASCII)
        if not body or "".join(number + unit for number, unit in parts) != body:
            raise SpecError(f'time: invalid duration "{text}"')
        for number, unit in parts:
            if not unit:
                raise SpecError(f'time: missing unit in duration "{text}"')
            if unit not in _NANOSECONDS:
                raise SpecError(f'time: unknown unit "{unit}" in duration "{text}"')
            whole, _, fraction = number.partition(".")
            unit_ns = _NANOSECONDS[unit]
            nanoseconds += int(whole or 0) * unit_ns
            nanoseconds += int(fraction or 0) * unit_ns // 10 ** len(fraction)
    if nanoseconds > _INT64_MAX:
        raise SpecError(f'time: invalid duration "{text}"')
    duration = Duration()
    duration.FromNanoseconds(-nanoseconds if text.startswith("-") else nanoseconds)
    return duration


def _ranges(text: str, field: _Field) -> list[Range]:
    text = text.strip() or field.default
    if text == "*" and field.name == "year":
        return []  # no range at all means every year
    return [found for part in text.split(",") for found in _part(part, field)]


def _part(part: str, field: _Field) -> list[Range]:
    """Read one of the parts that commas separate: `*`, `x`, `x-z`, each with an optional `/step`."""
    step, stepped = 1, False
    if part.count("/") > 1:
        raise SpecError(f"{field.label} has too many slashes")
    if "/" in part:
        part, _, step_text = part.partition("/")
        if not step_text:
            raise SpecError(f"{field.label} missing step value")
        step, stepped = _integer(step_text), True
        if step < 1:
            raise SpecError(f"{field.label} has invalid Step")
    start, end = field.low, field.high
    if "-" in part:
        if part.count("-") > 1:
            raise SpecError(f"{field.label} has too many dashes")
        first, _, last = part.partition("-")
        start = _value(first, field, field.low, f"Start is not in range [{field.low}-{field.high}]")
        end = _value(last, field, start, f"End is before Start or not in range [{field.low}-{field.high}]")
    elif part != "*":
        start = _value(part, field, field.low, f"is not in range [{field.low}-{field.high}]")
        end = end if stepped else start
    return _sunday_first(start, end, step) if field.name == "day_of_week" and end == 7 else [_range(start, end, step)]


def _sunday_first(start: int, end: int, step: int) -> list[Range]:
    """Sunday is 0 and 7: a range that reaches 7 becomes one that ends at 6, after 0 where that was not in it."""
    found: list[Range] = []
    if (7 - start) % step == 0 and (step > 1 or start > 1):
        found.append(Range())
        if start == 7:
            return found
    return [*found, _range(start, end - 1, step)]


def _range(start: int, end: int, step: int) -> Range:
    """Leave out what is the default, as Temporal does in what it shows."""
    return Range(start=start, end=0 if end == start else end, step=0 if step == 1 else step)


def _value(text: str, field: _Field, low: int, rule: str) -> int:
    """Read a number, or a name by enough of its first letters."""
    try:
        value = _named(text, field)
        value = _integer(text) if value is None else value
    except SpecError:
        raise SpecError(f"{field.label} {rule}") from None
    if not low <= value <= field.high:
        raise SpecError(f"{field.label} {rule}")
    return value


def _named(text: str, field: _Field) -> int | None:
    if field.names and len(text) >= field.letters_min:
        for number, name in enumerate(field.names, field.first_name):
            if name.startswith(text.lower()):
                return number
    return None


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise SpecError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    if len(text) > 10:
        raise SpecError(f'strconv.Atoi: parsing "{text}": value out of range')
    return int(text)
