"""Cron schedules of workflows: five fields, `@every` and the other short forms, with a time zone before them.

Pure: a schedule is parsed from its text and asked for the next instant after one. The zones' rules are the machine's.
"""

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

YEARS_AHEAD_MAX: Final = 5
"""How far to look for a date that may never come, such as the 30th of February."""

SHORT_FORMS: Final[Mapping[str, str]] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY: Final = "@every "
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_UNIT_US: Final[Mapping[str, float]] = {
    "ns": 1e-3,
    "us": 1,
    "µs": 1,
    "ms": 1e3,
    "s": 1e6,
    "m": 60e6,
    "h": 3600e6,
}
_LENGTH: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


class BadCron(ValueError):
    """A text that is no cron schedule."""


@dataclass(frozen=True, slots=True)
class Every:
    """Each so many seconds after the last time, whatever the calendar says."""

    interval_s: int

    def first_from(self, now_ms: int, after_ms: int) -> int | None:
        """Return the first time that is later than `after_ms` and not before `now_ms`."""
        interval_ms = self.interval_s * 1_000
        begin_ms = after_ms - after_ms % 1_000
        rounds = max(1, -(-(now_ms - begin_ms) // interval_ms))
        return begin_ms + rounds * interval_ms


@dataclass(frozen=True, slots=True)
class Calendar:
    """The minutes that five fields name, in a time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    any_day: bool
    """Whether one of the two day fields is a star. Where neither is, a day need match only one of them."""
    zone: ZoneInfo

    def first_from(self, now_ms: int, after_ms: int) -> int | None:
        """Return the first time that is later than `after_ms` and not before `now_ms`; None where there is none.

        A time that the clocks skip when they go forward does not come that day; one that they repeat comes twice.
        """
        from_ms = max(after_ms, now_ms - 1)
        at = datetime.fromtimestamp((from_ms // 60_000 + 1) * 60, UTC)
        last_year = at.year + YEARS_AHEAD_MAX
        while at.year <= last_year:
            local = at.astimezone(self.zone)
            if local.month not in self.months:
                at = self._midnight(_next_month(local.date()))
            elif not self._day_matches(local.date()):
                at = self._midnight(local.date() + timedelta(days=1))
            elif local.hour not in self.hours:
                at += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return int(at.timestamp()) * 1_000
        return None

    def _day_matches(self, day: date) -> bool:
        by_date = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        return by_date and by_weekday if self.any_day else by_date or by_weekday

    def _midnight(self, day: date) -> datetime:
        """Return the day's first instant; where its midnight is skipped, the instant that follows."""
        return datetime.combine(day, time(), self.zone).astimezone(UTC)


Cron = Every | Calendar


@lru_cache(maxsize=1_024)
def parse(text: str) -> Cron:
    """Parse a schedule. Raises BadCron."""
    zone = ZoneInfo("UTC")
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, text = text.partition(" ")
        zone = _zone(prefix.partition("=")[2])
        text = text.strip()
    if text.startswith(_EVERY):
        return Every(max(1, int(_microseconds(text.removeprefix(_EVERY)) // 1_000_000)))
    if text.startswith("@"):
        if text not in SHORT_FORMS:
            raise BadCron(f"{text} is no schedule; the short forms are {', '.join(SHORT_FORMS)} and @every <duration>")
        text = SHORT_FORMS[text]
    fields = text.split()
    if len(fields) != 5:
        raise BadCron(f"a cron schedule has five fields (minute, hour, day, month, weekday), not {len(fields)}")
    minutes, _ = _field(fields[0], 0, 59, ())
    hours, _ = _field(fields[1], 0, 23, ())
    days, any_date = _field(fields[2], 1, 31, ())
    months, _ = _field(fields[3], 1, 12, _MONTHS)
    weekdays, any_weekday = _field(fields[4], 0, 6, _DAYS)
    return Calendar(minutes, hours, days, months, weekdays, any_date or any_weekday, zone)


def fault(text: str, now_ms: int) -> str:
    """Return what is wrong with a schedule in the words of Temporal's server, "" for nothing."""
    if not text:
        return ""
    try:
        schedule = parse(text)
    except BadCron:
        return "invalid CronSchedule."
    if schedule.first_from(now_ms, now_ms) is None:
        return "invalid CronSchedule, no time can be found to satisfy the schedule"
    return ""


def backoff_ms(text: str, scheduled_ms: int, now_ms: int) -> int | None:
    """Return how long the run after one that was scheduled for `scheduled_ms` waits, in whole seconds; None where the
    text is no schedule. Runs that should have been while the last one went on are left out."""
    if not text:
        return None
    try:
        schedule = parse(text)
    except BadCron:
        return None
    next_ms = scheduled_ms if now_ms < scheduled_ms else schedule.first_from(now_ms, scheduled_ms)
    return None if next_ms is None else -(-(next_ms - now_ms) // 1_000) * 1_000


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (OSError, ValueError, LookupError):
        raise BadCron(f"{name} is no time zone") from None


def _microseconds(text: str) -> float:
    """Read a length of time as Go writes it: `1h30m`, `1.5s`."""
    parts = _LENGTH.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadCron(f"{text!r} is no duration; write it like 1h30m")
    return sum(float(number) * _UNIT_US[unit] for number, unit in parts)


def _field(text: str, lowest: int, highest: int, names: tuple[str, ...]) -> tuple[frozenset[int], bool]:
    """Read one field: the numbers that it names, and whether it is a star."""
    numbers: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, ()) if slash else 1
        if span in ("*", "?"):
            low, high = lowest, highest
            star = star or step == 1
        else:
            begin, dash, end = span.partition("-")
            low = _number(begin, names, lowest)
            high = _number(end, names, lowest) if dash else highest if slash else low
        if step < 1 or not lowest <= low <= high <= highest:
            raise BadCron(f"{part!r} is not within {lowest} and {highest}")
        numbers.update(range(low, high + 1, step))
    if not numbers:
        raise BadCron(f"{text!r} names nothing")
    return frozenset(numbers), star


def _number(text: str, names: tuple[str, ...], first: int = 0) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + first
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise BadCron(f"{text!r} is no number")
    return int(text)


def _next_month(day: date) -> date:
    return day.replace(day=1) + timedelta(days=monthrange(day.year, day.month)[1])
