"""When a schedule acts: its spec in canonical form, and the first time after a given one. Pure, and bounded."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.schedule.v1 import IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec

from stormsail.engine.core import schedule_text
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.fingerprint import fingerprint32
from stormsail.engine.core.schedule_calendar import (
    DAY_S,
    HOUR_S,
    SEARCH_END_S,
    Calendar,
    Possible,
    Zone,
    compiled,
    possible,
    zone,
)
from stormsail.engine.core.schedule_text import YEAR_MAX, YEAR_MIN, SpecError

__all__ = ["CompiledSpec", "NextTime", "SpecError", "TooManyExclusions", "canonical", "compile_spec", "shown"]

EXCLUDED_MAX: Final = 5_000
"""Excluded days, hours, minutes or seconds that one search passes over. Temporal counts seconds, and many more."""
COMMENT_MAX: Final = 200
_SECOND_NS: Final = 1_000_000_000
_DURATION_SECONDS_MAX: Final = 315_576_000_000
_SECONDS_BEFORE_EPOCH: Final = 62_135_596_800
"""From the year 1, where Go counts time from, to 1970."""
_QUARTER_S: Final = 900
_UINT32_MAX: Final = 0xFFFFFFFF
_BOUNDS: Final = (
    ("second", "Second", 0, 59),
    ("minute", "Minute", 0, 59),
    ("hour", "Hour", 0, 23),
    ("day_of_month", "DayOfMonth", 1, 31),
    ("month", "Month", 1, 12),
    ("year", "Year", YEAR_MIN, YEAR_MAX),
    ("day_of_week", "DayOfWeek", 0, 6),
)


class TooManyExclusions(InvalidArgument):
    """The search for the next time passed over more excluded ones than it may."""

    def __init__(self) -> None:
        super().__init__(
            "the schedule calendar specification has too many exclusions. Please modify the specification."
        )


@dataclass(frozen=True, slots=True)
class NextTime:
    """When a schedule acts next. `nominal_ms` matches the spec; `at_ms` has the jitter added."""

    nominal_ms: int
    at_ms: int


def canonical(spec: ScheduleSpec) -> ScheduleSpec:
    """Return the spec with all that was text as structured calendars and intervals. Raises SpecError."""
    result = ScheduleSpec()
    result.CopyFrom(spec)
    result.structured_calendar.extend(schedule_text.structured(each) for each in spec.calendar)
    result.exclude_structured_calendar.extend(schedule_text.structured(each) for each in spec.exclude_calendar)
    entries = [schedule_text.cron_entry(text) for text in spec.cron_string]
    result.structured_calendar.extend(entry.calendar for entry in entries if entry.calendar is not None)
    result.interval.extend(entry.interval for entry in entries if entry.interval is not None)
    _take_time_zone(result, {entry.timezone for entry in entries})
    for name in ("calendar", "exclude_calendar", "cron_string"):
        result.ClearField(name)
    # Temporal lets impossible exclusions pass; they would exclude nothing.
    for calendar in (*result.structured_calendar, *result.exclude_structured_calendar):
        _check_calendar(calendar)
    for interval in result.interval:
        _check_interval(interval)
    zone(result.timezone_name, result.timezone_data)
    return result


def shown(spec: ScheduleSpec) -> ScheduleSpec:
    """Return a canonical spec as it is shown: each range says its end and its step."""
    result = ScheduleSpec()
    result.CopyFrom(spec)
    for calendar in (*result.structured_calendar, *result.exclude_structured_calendar):
        for name, *_ in _BOUNDS:
            for each in getattr(calendar, name):
                each.end = max(each.end, each.start)
                each.step = each.step or 1
    return result


def compile_spec(spec: ScheduleSpec) -> "CompiledSpec":
    """Compile a canonical spec. Raises SpecError where its time zone is no longer known."""
    return _compiled(spec.SerializeToString(deterministic=True))


@lru_cache(maxsize=2_000)
def _compiled(packed: bytes) -> "CompiledSpec":
    spec = ScheduleSpec.FromString(packed)
    calendars = tuple(compiled(each) for each in spec.structured_calendar)
    intervals = tuple(
        (max(_nanoseconds(each.interval) // _SECOND_NS, 1), _nanoseconds(each.phase) // _SECOND_NS)
        for each in spec.interval
    )
    return CompiledSpec(
        where=zone(spec.timezone_name, spec.timezone_data),
        calendars=calendars,
        excluded=tuple(compiled(each) for each in spec.exclude_structured_calendar),
        intervals=intervals,
        possible=possible(calendars, intervals),
        start_ns=spec.start_time.ToNanoseconds(),
        end_ns=spec.end_time.ToNanoseconds() if spec.HasField("end_time") else None,
        jitter_ms=max(_nanoseconds(spec.jitter), 0) // 1_000_000,
    )


@dataclass(frozen=True, slots=True)
class CompiledSpec:
    """A spec made ready to be asked for times."""

    where: Zone
    calendars: tuple[Calendar, ...]
    excluded: tuple[Calendar, ...]
    intervals: tuple[tuple[int, int], ...]
    """Interval and phase in seconds."""
    possible: Possible
    start_ns: int
    end_ns: int | None
    jitter_ms: int

    def next_time(self, seed: str, after_ms: int) -> NextTime | None:
        """Return the first time after this one, None where there is none. The same seed gets the same jitter.

        Raises TooManyExclusions instead of searching on and on.
        """
        # A start that matches is itself the first time.
        after_s = max(after_ms // 1_000, (self.start_ns - _SECOND_NS) // _SECOND_NS, _FIRST_S)
        for _ in range(EXCLUDED_MAX):
            nominal_s = self._raw_next(after_s)
            if nominal_s is None or self._past_end(nominal_s):
                return None
            excluded_until_s = self._excluded_until(nominal_s)
            if excluded_until_s is None:
                return NextTime(nominal_s * 1_000, nominal_s * 1_000 + self._jitter_ms(seed, nominal_s))
            after_s = excluded_until_s
        raise TooManyExclusions

    def _past_end(self, nominal_s: int) -> bool:
        if self.end_ns is not None and nominal_s * _SECOND_NS > self.end_ns:
            return True
        return nominal_s >= _LAST_YEAR_ENDS_S

    def _raw_next(self, after_s: int) -> int | None:
        """Return the first time after this one, exclusions aside."""
        found = [calendar.next_s(after_s, self.where) for calendar in self.calendars]
        found += [_interval_next(after_s, interval, phase) for interval, phase in self.intervals]
        return min((each for each in found if each is not None), default=None)

    def _excluded_until(self, nominal_s: int) -> int | None:
        """Of an excluded time, return the last second of which that is known for sure; of another, None."""
        if not self.excluded:
            return None
        at = self.where.at(nominal_s)
        spans = [calendar.span_s(self.possible) for calendar in self.excluded if calendar.matches(at)]
        if not spans:
            return None
        span = max(spans)
        of_day = at.hour * 3_600 + at.minute * 60 + at.second
        last_s = nominal_s + span - 1 - of_day % span
        # Around a change of the clocks what comes next depends on where one comes from: go on time by time.
        offsets = {self.where.offset_s(each) for each in (nominal_s - HOUR_S, nominal_s, last_s, last_s + HOUR_S)}
        return last_s if len(offsets) == 1 and not offsets.pop() % _QUARTER_S else nominal_s

    def _jitter_ms(self, seed: str, nominal_s: int) -> int:
        """Return the delay of a time: less than the jitter, and less than the time until the next."""
        if not self.jitter_ms:
            return 0
        following_s = self._raw_next(nominal_s)
        most = self.jitter_ms if following_s is None else min(self.jitter_ms, (following_s - nominal_s) * 1_000)
        # What Temporal hashes is the time as Go serialises it: a version, seconds, nanoseconds, and -1 for UTC.
        time = struct.pack(">BqiH", 1, nominal_s + _SECONDS_BEFORE_EPOCH, 0, 0xFFFF)
        return fingerprint32(time + seed.encode()) * min(most, _UINT32_MAX) >> 32


_FIRST_S: Final = 2 * DAY_S - _SECONDS_BEFORE_EPOCH
_LAST_YEAR_ENDS_S: Final = SEARCH_END_S - 2 * DAY_S


def _interval_next(after_s: int, interval: int, phase: int) -> int:
    since = after_s - phase
    # Rounded towards zero: before its phase of 1970 an interval has one time less.
    passed = -(-since // interval) if since < 0 else since // interval
    return (passed + 1) * interval + phase


def _take_time_zone(spec: ScheduleSpec, named: set[str]) -> None:
    """Take over the time zone that the cron strings name. All of them, and the spec, must agree."""
    if len(named) > 1:
        raise SpecError("conflicting timezone names")
    name = next(iter(named), "")
    if not name:
        return
    if (spec.timezone_name and spec.timezone_name != name) or spec.timezone_data:
        raise SpecError("conflicting timezone names")
    spec.timezone_name = name


def _check_calendar(calendar: StructuredCalendarSpec) -> None:
    wrong = [rule for name, label, low, high in _BOUNDS for rule in _wrong(getattr(calendar, name), label, low, high)]
    if len(calendar.comment.encode()) > COMMENT_MAX:
        wrong.append("comment is too long")
    if wrong:
        raise SpecError("invalid calendar spec: " + ", ".join(wrong))


def _wrong(ranges: list[Range], label: str, low: int, high: int) -> list[str]:
    wrong: list[str] = []
    for each in ranges:
        if not low <= each.start <= high:
            wrong.append(f"{label} Start is not in range [{low}-{high}]")
        if each.end and not each.start <= each.end <= high:
            wrong.append(f"{label} End is before Start or not in range [{low}-{high}]")
        if each.step < 0:
            wrong.append(f"{label} has invalid Step")
    return wrong


def _check_interval(spec: IntervalSpec) -> None:
    for name, length in (("interval", spec.interval), ("phase", spec.phase)):
        if length.seconds * length.nanos < 0:
            raise SpecError(f"{name} is not a valid duration: its seconds and nanos have different signs")
        if abs(length.seconds) > _DURATION_SECONDS_MAX or abs(length.nanos) >= _SECOND_NS:
            raise SpecError(f"{name} is not a valid duration: it is longer than 10,000 years")
    interval, phase = _nanoseconds(spec.interval), _nanoseconds(spec.phase)
    if interval < _SECOND_NS:
        raise SpecError("interval is too small")
    if phase < 0:
        raise SpecError("phase is negative")
    if phase >= interval:
        raise SpecError("phase cannot be greater than Interval")


def _nanoseconds(length: Duration) -> int:
    return length.seconds * _SECOND_NS + length.nanos
