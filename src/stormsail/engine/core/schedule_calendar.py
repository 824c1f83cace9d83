"""One calendar of a schedule in one time zone: which instants it matches, and which is the next.

Wall-clock times that a change of the clocks leaves out do not match; those in an hour that comes twice match twice.
Where a zone's clocks change otherwise than by a whole hour, this finds what Temporal finds.
"""

import calendar
import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from temporalio.api.schedule.v1 import Range, StructuredCalendarSpec

from stormsail.engine.core.schedule_text import YEAR_MAX, SpecError

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
ALL_HOURS: Final = (1 << 24) - 1
ALL_SIXTY: Final = (1 << 60) - 1
SEARCH_END_S: Final = (date(YEAR_MAX + 1, 1, 3).toordinal() - _EPOCH_DAY) * DAY_S
"""No zone is in a year that calendars know from here on."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone. `offset_s` says how far its clocks are ahead of UTC."""

    rules: tzinfo

    def at(self, instant_s: int) -> datetime:
        """Return what its clocks show."""
        return datetime.fromtimestamp(instant_s, self.rules)

    def offset_s(self, instant_s: int) -> int:
        """Return the seconds that its clocks are ahead of UTC."""
        offset = datetime.fromtimestamp(instant_s, self.rules).utcoffset()
        assert offset is not None
        return offset.days * DAY_S + offset.seconds

    def instant_s(self, year: int, month: int, day: int, second: int) -> int:
        """Return when its clocks show this second of this day; of two such instants the one that Temporal takes.

        For a time that the clocks leave out it is one that is shown otherwise.
        """
        local_s = (date(year, month, 1).toordinal() - _EPOCH_DAY + day - 1) * DAY_S + second
        guessed_s = self.offset_s(local_s)
        return local_s - self.offset_s(local_s - guessed_s) if guessed_s else local_s


@lru_cache(maxsize=1_000)
def zone(name: str, rules: bytes) -> Zone:
    """Find a zone by its name, or read its rules where they are given. Raises SpecError."""
    if rules:
        try:
            found = Zone(ZoneInfo.from_file(io.BytesIO(rules), key=name or None))
            for probed_s in range(0, SEARCH_END_S, 90 * DAY_S):
                found.offset_s(probed_s)
        except (ValueError, OSError, EOFError, IndexError, TypeError, OverflowError, struct.error):
            raise SpecError("malformed time zone information") from None
        return found
    if name in ("", "UTC"):
        return Zone(UTC)
    try:
        return Zone(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        raise SpecError(f"unknown time zone {name}") from None


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar as bits: bit n is set where n matches. Days of the week count from Sunday."""

    years: frozenset[int] | None
    """None for every year."""
    months: int
    days: int
    weekdays: int
    hours: int
    minutes: int
    seconds: int

    @property
    def possible(self) -> bool:
        """Whether every field matches something."""
        fields = (self.months, self.days, self.weekdays, self.hours, self.minutes, self.seconds)
        return all(fields)

    def matches(self, at: datetime) -> bool:
        """Whether the clocks show a time that matches."""
        return bool(
            (self.years is None or at.year in self.years)
            and self.months >> at.month & 1
            and self.days >> at.day & 1
            and self.weekdays >> (at.isoweekday() % 7) & 1
            and self.hours >> at.hour & 1
            and self.minutes >> at.minute & 1
            and self.seconds >> at.second & 1
        )

    def span_s(self, asked: "Possible") -> int:
        """Around a time that matches, how much does so for sure of what may be asked: its day, hour, minute or second.

        For exclusions: the times of a schedule that acts on full minutes only are all excluded by second 0.
        """
        if asked.seconds & ~self.seconds:
            return 1
        if asked.minutes & ~self.minutes:
            return 60
        return HOUR_S if asked.hours & ~self.hours else DAY_S

    def next_s(self, after_s: int, where: Zone) -> int | None:
        """Return the first instant after this one that matches; None where there is none any more."""
        if not self.possible or after_s >= SEARCH_END_S:
            return None
        return _Search(self, where, after_s).run()


@dataclass(frozen=True, slots=True)
class Possible:
    """Bits of the hours, minutes and seconds that the clocks may show when a schedule acts."""

    hours: int
    minutes: int
    seconds: int


def possible(calendars: Iterable[Calendar], intervals: Iterable[tuple[int, int]]) -> Possible:
    """Return when, on the clocks of any zone, calendars and intervals may match."""
    hours = minutes = seconds = 0
    for each in calendars:
        hours, minutes, seconds = hours | each.hours, minutes | each.minutes, seconds | each.seconds
    for interval, phase in intervals:
        hours = ALL_HOURS
        seconds |= 1 << phase % 60 if interval % 60 == 0 else ALL_SIXTY
        # Zones are ahead of UTC by quarters of an hour.
        quarters = sum(1 << (phase // 60 + quarter) % 60 for quarter in (0, 15, 30, 45))
        minutes |= quarters if interval % HOUR_S == 0 else ALL_SIXTY
    return Possible(hours, minutes, seconds)


class _Search:
    """Walks over wall-clock times, from years down to seconds, skipping at each level what does not match."""

    def __init__(self, wanted: Calendar, where: Zone, after_s: int) -> None:
        self._wanted = wanted
        self._zone = where
        self._after_s = after_s
        shown = where.at(after_s)
        self._year, self._month, self._day = shown.year, shown.month, shown.day
        self._hour, self._minute, self._second = shown.hour, shown.minute, shown.second + 1
        self._again_s = HOUR_S if where.at(after_s - HOUR_S).hour == shown.hour else 0
        """Added to what is found while this is the second time that the clocks show the hour."""

    def run(self) -> int | None:
        while True:
            self._carry()
            if self._year > YEAR_MAX:
                return None
            if not (self._seek_date() and self._seek_hour() and self._seek_minute()):
                continue
            second = _from(self._wanted.seconds, self._second)
            if second is None:
                self._second = 60
                continue
            self._second = second
            of_day = self._hour * HOUR_S + self._minute * 60 + second
            found_s = self._zone.instant_s(self._year, self._month, self._day, of_day)
            shown = self._zone.at(found_s)
            # A zone that leaves out a whole day shows this hour on another one: that is not the time looked for.
            there = (shown.day, shown.hour) == (self._day, self._hour)
            if there and found_s + self._again_s > self._after_s:
                return found_s + self._again_s
            self._hour, self._minute, self._second = self._hour + 1, 0, 0  # the clocks leave this hour out

    def _carry(self) -> None:
        """Bring what ran over its end to the next larger unit."""
        if self._second >= 60:
            self._minute, self._second = self._minute + 1, 0
        if self._minute >= 60:
            self._next_hour()
        if self._hour >= 24:
            self._day, self._hour = self._day + 1, 0
        if self._day > calendar.monthrange(self._year, self._month)[1]:
            self._month, self._day = self._month + 1, 1
        if self._month > 12:
            self._year, self._month = self._year + 1, 1

    def _next_hour(self) -> None:
        self._minute = 0
        began_s = self._zone.instant_s(self._year, self._month, self._day, self._hour * HOUR_S)
        ended_s = self._zone.instant_s(self._year, self._month, self._day, (self._hour + 1) * HOUR_S)
        if not self._again_s and ended_s - began_s > HOUR_S:
            self._again_s = HOUR_S
            return
        self._hour, self._again_s = self._hour + 1, 0

    def _seek_date(self) -> bool:
        """Move on to a date that matches; False where a larger unit must change first."""
        wanted = self._wanted
        if wanted.years is not None and self._year not in wanted.years:
            self._move(self._year + 1, 1, 1)
            return False
        if not wanted.months >> self._month & 1:
            month = _from(wanted.months, self._month)
            if month is None:
                self._move(self._year + 1, 1, 1)
                return False
            self._move(self._year, month, 1)
        last = calendar.monthrange(self._year, self._month)[1]
        while not (wanted.days >> self._day & 1 and wanted.weekdays >> self._weekday() & 1):
            self._move(self._year, self._month, self._day + 1)
            if self._day > last:
                return False
        return True

    def _weekday(self) -> int:
        """The day of the week, Sunday 0. Of the instant and not of the date, as Temporal does: where a day begins with
        an hour that the clocks leave out, it is taken for the day before."""
        of_day = self._hour * HOUR_S + self._minute * 60 + self._second
        return self._zone.at(self._zone.instant_s(self._year, self._month, self._day, of_day)).isoweekday() % 7

    def _seek_hour(self) -> bool:
        hour = _from(self._wanted.hours, self._hour)
        if hour != self._hour:
            self._hour, self._minute, self._second = 24 if hour is None else hour, 0, 0
            self._again_s = 0
        return hour is not None

    def _seek_minute(self) -> bool:
        minute = _from(self._wanted.minutes, self._minute)
        if minute != self._minute:
            self._minute, self._second = 60 if minute is None else minute, 0
        return minute is not None

    def _move(self, year: int, month: int, day: int) -> None:
        self._year, self._month, self._day = year, month, day
        self._hour = self._minute = self._second = self._again_s = 0


def compiled(spec: StructuredCalendarSpec) -> Calendar:
    """Return a checked structured calendar as bits."""
    years = frozenset(_numbers(spec.year)) if spec.year else None
    return Calendar(
        years,
        _bits(spec.month),
        _bits(spec.day_of_month),
        _bits(spec.day_of_week),
        _bits(spec.hour),
        _bits(spec.minute),
        _bits(spec.second),
    )


def _bits(ranges: Iterable[Range]) -> int:
    bits = 0
    for number in _numbers(ranges):
        bits |= 1 << number
    return bits


def _numbers(ranges: Iterable[Range]) -> Iterable[int]:
    for each in ranges:
        yield from range(each.start, max(each.start, each.end) + 1, each.step or 1)


def _from(bits: int, at: int) -> int | None:
    """Return the first set bit from a place on."""
    rest = bits >> at
    return at + (rest & -rest).bit_length() - 1 if rest else None
