from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.schedule.v1 import CalendarSpec, IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec

from stormsail.engine.core.fingerprint import fingerprint32
from stormsail.engine.core.schedule_spec import (
    CompiledSpec,
    NextTime,
    SpecError,
    TooManyExclusions,
    canonical,
    compile_spec,
    shown,
)

SEED = "00000000-0000-4000-8000-000000000001-s"
EVERY_DAY = {"day_of_month": [Range(start=1, end=31)], "month": [Range(start=1, end=12)]}
EVERY_WEEKDAY = [Range(start=0, end=6)]


def at_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def every(seconds: int, phase: int = 0) -> IntervalSpec:
    spec = IntervalSpec()
    spec.interval.seconds, spec.phase.seconds = seconds, phase
    return spec


def times(spec: ScheduleSpec, after: str, count: int, *, seed: str = SEED) -> list[str]:
    """The first times after one, as a person reads them."""
    compiled = compile_spec(canonical(spec))
    found: list[str] = []
    now_ms = at_ms(after)
    while len(found) < count:
        following = compiled.next_time(seed, now_ms)
        if following is None:
            break
        now_ms = following.at_ms
        found.append(datetime.fromtimestamp(following.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("@hourly", ["2024-02-28 23:00:00", "2024-02-29 00:00:00"]),
        ("@daily", ["2024-02-29 00:00:00", "2024-03-01 00:00:00"]),
        ("@midnight", ["2024-02-29 00:00:00", "2024-03-01 00:00:00"]),
        ("@weekly", ["2024-03-03 00:00:00", "2024-03-10 00:00:00"]),
        ("@monthly", ["2024-03-01 00:00:00", "2024-04-01 00:00:00"]),
        ("@yearly", ["2025-01-01 00:00:00", "2026-01-01 00:00:00"]),
        ("@annually", ["2025-01-01 00:00:00", "2026-01-01 00:00:00"]),
        ("@every 90m/7m", ["2024-02-28 22:37:00", "2024-02-29 00:07:00"]),
        ("@every 1.5d", ["2024-02-29 00:00:00", "2024-03-01 12:00:00"]),
        ("0 12 * * MON", ["2024-03-04 12:00:00", "2024-03-11 12:00:00"]),
        ("0 0 29 feb *", ["2024-02-29 00:00:00", "2028-02-29 00:00:00"]),
        ("0 0 * * 7", ["2024-03-03 00:00:00", "2024-03-10 00:00:00"]),
        ("0 0 * * fri-7", ["2024-03-01 00:00:00", "2024-03-02 00:00:00", "2024-03-03 00:00:00", "2024-03-08 00:00:00"]),
        ("30 */8 1/15 * * 2024-2025", ["2024-03-01 00:30:00", "2024-03-01 08:30:00"]),
        ("15 10 9 8 7 * 2030", ["2030-07-08 09:10:15"]),
        ("TZ=America/Chicago 0 9 * * mon-fri # work", ["2024-02-29 15:00:00", "2024-03-01 15:00:00"]),
        ("0 0 31 2 *", []),
    ],
)
def test_a_cron_string_matches_when_it_says(cron: str, expected: list[str]) -> None:
    assert times(ScheduleSpec(cron_string=[cron]), "2024-02-28T22:30:00", max(len(expected), 1)) == expected


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        # 2024-03-10: clocks in New York go from 02:00 to 03:00.
        ("America/New_York", "30 1-3 * * *", "2024-03-10T05:00:00", ["2024-03-10 06:30:00", "2024-03-10 07:30:00"]),
        # What is at half past two only does not come that day.
        ("America/New_York", "30 2 * * *", "2024-03-09T12:00:00", ["2024-03-11 06:30:00"]),
        # 2024-11-03: from 02:00 back to 01:00; half past one comes twice.
        ("America/New_York", "30 1 * * *", "2024-11-03T04:00:00", ["2024-11-03 05:30:00", "2024-11-03 06:30:00"]),
        ("Europe/London", "0 * * * *", "2024-03-31T00:30:00", ["2024-03-31 01:00:00", "2024-03-31 02:00:00"]),
        ("Asia/Kolkata", "0 9 * * *", "2024-01-01T00:00:00", ["2024-01-01 03:30:00"]),
        # Samoa had no 30 December 2011.
        ("Pacific/Apia", "0 12 * * *", "2011-12-29T00:00:00", ["2011-12-29 22:00:00", "2011-12-30 22:00:00"]),
        ("Pacific/Apia", "0 10 * * 0-4", "2011-12-29T10:00:00", ["2011-12-29 20:00:00", "2011-12-31 20:00:00"]),
    ],
)
def test_calendars_follow_the_clocks_of_their_zone(zone: str, cron: str, after: str, expected: list[str]) -> None:
    assert times(ScheduleSpec(timezone_name=zone, cron_string=[cron]), after, len(expected)) == expected


def test_exclusions_the_start_and_the_end_bound_what_matches() -> None:
    spec = ScheduleSpec(
        interval=[every(3600)],
        exclude_calendar=[CalendarSpec(second="*", minute="*", hour="*", day_of_week="sat,sun")],
    )
    spec.start_time.FromMilliseconds(at_ms("2024-03-01T22:00:00"))
    spec.end_time.FromMilliseconds(at_ms("2024-03-04T01:00:00"))
    assert times(spec, "2020-01-01T00:00:00", 10) == [
        "2024-03-01 22:00:00",
        "2024-03-01 23:00:00",
        "2024-03-04 00:00:00",
        "2024-03-04 01:00:00",
    ]


def test_a_spec_that_excludes_everything_is_given_up_and_not_searched_for_ever() -> None:
    everything = CalendarSpec(second="*", minute="*", hour="*")
    compiled = compile_spec(canonical(ScheduleSpec(interval=[every(60)], exclude_calendar=[everything])))
    with pytest.raises(TooManyExclusions):
        compiled.next_time(SEED, at_ms("2024-01-01T00:00:00"))


def test_nothing_matches_after_the_year_2100() -> None:
    assert times(ScheduleSpec(cron_string=["@yearly"]), "2099-06-01T00:00:00", 5) == ["2100-01-01 00:00:00"]
    assert times(ScheduleSpec(interval=[every(86_400)]), "2100-12-30T12:00:00", 5) == ["2100-12-31 00:00:00"]


def test_time_zone_rules_may_be_given_as_they_are() -> None:
    rules = next(path for root in TZPATH if (path := Path(root) / "Asia/Tokyo").exists())
    spec = ScheduleSpec(timezone_name="mine", timezone_data=rules.read_bytes(), cron_string=["0 0 * * *"])
    assert times(spec, "2024-01-01T00:00:00", 1) == ["2024-01-01 15:00:00"]


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (ScheduleSpec(timezone_name="Foo/Bar"), "unknown time zone Foo/Bar"),
        (ScheduleSpec(timezone_name="../../etc/passwd"), "unknown time zone ../../etc/passwd"),
        (ScheduleSpec(timezone_data=b"xx"), "malformed time zone information"),
        (ScheduleSpec(cron_string=["* * *"]), "CronString does not have 5-7 fields"),
        (ScheduleSpec(cron_string=["61 * * * *"]), "Minute is not in range [0-59]"),
        (ScheduleSpec(cron_string=["CRON_TZ=UTC"]), "CronString has time zone but missing fields"),
        (ScheduleSpec(cron_string=["@every"]), "CronString does not have interval after @every"),
        (ScheduleSpec(cron_string=["@every x"]), 'time: invalid duration "x"'),
        (ScheduleSpec(cron_string=["@every 10"]), 'time: missing unit in duration "10"'),
        (ScheduleSpec(cron_string=["@every 1w"]), 'time: unknown unit "w" in duration "1w"'),
        (ScheduleSpec(cron_string=["@every 1s/2s"]), "phase cannot be greater than Interval"),
        (ScheduleSpec(cron_string=["TZ=UTC @daily", "@daily"]), "conflicting timezone names"),
        (ScheduleSpec(timezone_name="UTC", cron_string=["TZ=Asia/Tokyo @daily"]), "conflicting timezone names"),
        (
            ScheduleSpec(calendar=[CalendarSpec(hour="25", minute="1/0", second="1-2-3", day_of_week="7-3")]),
            "Second has too many dashes, Minute has invalid Step, Hour is not in range [0-23], "
            "DayOfWeek End is before Start or not in range [0-7]",
        ),
        (ScheduleSpec(calendar=[CalendarSpec(hour="1/x")]), 'strconv.Atoi: parsing "x": invalid syntax'),
        (ScheduleSpec(calendar=[CalendarSpec(hour="1/")]), "Hour missing step value"),
        (ScheduleSpec(calendar=[CalendarSpec(month="1/2/3")]), "Month has too many slashes"),
        (
            ScheduleSpec(structured_calendar=[StructuredCalendarSpec(second=[Range(start=60)], comment="x" * 201)]),
            "invalid calendar spec: Second Start is not in range [0-59], comment is too long",
        ),
        (ScheduleSpec(interval=[IntervalSpec()]), "interval is too small"),
        (ScheduleSpec(interval=[every(10, -1)]), "phase is negative"),
        (ScheduleSpec(interval=[every(10, 10)]), "phase cannot be greater than Interval"),
    ],
)
def test_an_impossible_spec_is_refused_with_every_rule_that_it_breaks(spec: ScheduleSpec, rule: str) -> None:
    with pytest.raises(SpecError) as raised:
        canonical(spec)
    assert str(raised.value) == rule


def test_comments_ranges_and_steps_may_be_as_large_as_they_say() -> None:
    calendar = StructuredCalendarSpec(second=[Range(start=59)], comment="x" * 200)
    assert canonical(ScheduleSpec(structured_calendar=[calendar])).structured_calendar[0] == calendar
    assert canonical(ScheduleSpec(interval=[every(10, 9)], cron_string=["@every 1s"])).interval[1] == IntervalSpec(
        interval=every(1).interval
    )


def test_text_becomes_structure_and_is_shown_with_its_defaults() -> None:
    found = shown(canonical(ScheduleSpec(cron_string=["*/5 3-7 * jan sun-fri/2 2024 # tea"])))
    assert not found.cron_string
    [calendar] = found.structured_calendar
    assert calendar == StructuredCalendarSpec(
        second=[Range(start=0, end=0, step=1)],
        minute=[Range(start=0, end=59, step=5)],
        hour=[Range(start=3, end=7, step=1)],
        day_of_month=[Range(start=1, end=31, step=1)],
        month=[Range(start=1, end=1, step=1)],
        year=[Range(start=2024, end=2024, step=1)],
        day_of_week=[Range(start=0, end=5, step=2)],
        comment="tea",
    )


def test_fingerprints_are_those_of_farmhash() -> None:
    # Seen in the jitter of Temporal's server; the conformance tests compare whole lists of times with it.
    assert [fingerprint32(bytes(range(size))) for size in (25, 40, 41, 60, 100)] == FINGERPRINTS


FINGERPRINTS = [722474157, 193898150, 4256423620, 2674372113, 79489454]


def test_jitter_delays_by_less_than_itself_and_less_than_the_time_to_the_next() -> None:
    spec = ScheduleSpec(interval=[every(600)])
    spec.jitter.seconds = 86_400
    compiled = compile_spec(canonical(spec))
    now_ms, delays = at_ms("2024-01-01T00:00:00"), []
    for _ in range(200):
        found = compiled.next_time(SEED, now_ms)
        assert found is not None
        delays.append(found.at_ms - found.nominal_ms)
        now_ms = found.at_ms
    assert 0 <= min(delays) < 60_000
    assert 540_000 < max(delays) < 600_000
    assert found == compiled.next_time(SEED, found.nominal_ms - 600_000), "the same seed gets the same jitter"
    assert len(set(delays)) > 150


def next_or_none(compiled: CompiledSpec, after_ms: int) -> NextTime | None:
    """The next time, where one is found at all."""
    try:
        return compiled.next_time(SEED, after_ms)
    except TooManyExclusions:
        return None


ZONES = ("UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Pacific/Apia", "America/St_Johns")


def ranges(low: int, high: int) -> st.SearchStrategy[list[Range]]:
    one = st.builds(
        lambda start, length, step: Range(start=start, end=min(start + length, high), step=step),
        st.integers(low, high),
        st.integers(0, high - low),
        st.integers(0, 7),
    )
    return st.lists(one, min_size=1, max_size=2)


calendars = st.builds(
    lambda second, minute, hour, weekday: StructuredCalendarSpec(
        second=second, minute=minute, hour=hour, day_of_week=weekday, **EVERY_DAY
    ),
    st.builds(lambda at: [Range(start=at)], st.integers(0, 59)),
    ranges(0, 59),
    ranges(0, 23),
    st.one_of(st.just(EVERY_WEEKDAY), ranges(0, 6)),
)
specs = st.builds(
    lambda zone, several, intervals, excluded, jitter: _with_jitter(
        ScheduleSpec(
            timezone_name=zone, structured_calendar=several, interval=intervals, exclude_structured_calendar=excluded
        ),
        jitter,
    ),
    st.sampled_from(ZONES),
    st.lists(calendars, max_size=2),
    st.lists(st.builds(every, st.integers(60, 100_000), st.integers(0, 59)), max_size=2),
    st.lists(calendars, max_size=1),
    st.sampled_from((0, 1, 100, 100_000)),
)
instants = st.sampled_from(
    ["2024-03-10T00:00:00", "2024-11-03T03:00:00", "2024-03-30T22:00:00", "2011-12-29T10:00:00", "2024-06-01T00:00:00"]
)


def _with_jitter(spec: ScheduleSpec, seconds: int) -> ScheduleSpec:
    if seconds:
        spec.jitter.seconds = seconds
    return spec


@settings(max_examples=40, deadline=None)
@given(specs, instants)
def test_times_rise_and_match_the_spec(spec: ScheduleSpec, after: str) -> None:
    compiled = compile_spec(canonical(spec))
    now_ms = nominal_ms = at_ms(after)
    for _ in range(30):
        found = next_or_none(compiled, now_ms)
        if found is None:
            break
        assert found.nominal_ms > nominal_ms
        assert found.nominal_ms <= found.at_ms
        assert found.at_ms > now_ms
        shown_time = datetime.fromtimestamp(found.nominal_ms // 1000, ZoneInfo(spec.timezone_name))
        by_calendar = any(_matches(each, shown_time) for each in spec.structured_calendar)
        by_interval = any(
            (found.nominal_ms // 1000 - each.phase.seconds) % each.interval.seconds == 0 for each in spec.interval
        )
        # In the hour in which clocks are set back, Temporal acts at 01:00 on what is for midnight, and so do we
        # (ListScheduleMatchingTimes of a daily calendar in Europe/London, 2024-10-27).
        assert by_calendar or by_interval or _clocks_change(shown_time)
        assert not any(_matches(each, shown_time) for each in spec.exclude_structured_calendar)
        now_ms, nominal_ms = found.at_ms, found.nominal_ms


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ZONES), calendars, st.lists(calendars, max_size=1), instants)
def test_no_time_is_left_out_that_a_walk_over_every_minute_finds(
    zone: str, calendar: StructuredCalendarSpec, excluded: list[StructuredCalendarSpec], after: str
) -> None:
    spec = ScheduleSpec(timezone_name=zone, structured_calendar=[calendar], exclude_structured_calendar=excluded)
    compiled = compile_spec(canonical(spec))
    begin = datetime.fromisoformat(after).replace(tzinfo=UTC)
    end = begin + timedelta(hours=30)
    expected: list[datetime] = []
    moment = begin.replace(second=calendar.second[0].start)
    while moment <= end:
        local = moment.astimezone(ZoneInfo(zone))
        if moment > begin and _matches(calendar, local) and not any(_matches(each, local) for each in excluded):
            expected.append(moment)
        moment += timedelta(minutes=1)
    found: list[datetime] = []
    now_ms = int(begin.timestamp() * 1000)
    while (following := next_or_none(compiled, now_ms)) and following.at_ms <= end.timestamp() * 1000:
        now_ms = following.at_ms
        found.append(datetime.fromtimestamp(now_ms / 1000, UTC))
    assert found == expected


def _clocks_change(local: datetime) -> bool:
    around = (local.astimezone(UTC) + timedelta(hours=hours) for hours in (-2, 2))
    return len({each.astimezone(local.tzinfo).utcoffset() for each in around}) > 1


def _matches(calendar: StructuredCalendarSpec, local: datetime) -> bool:
    fields = (
        (calendar.second, local.second),
        (calendar.minute, local.minute),
        (calendar.hour, local.hour),
        (calendar.day_of_week, local.isoweekday() % 7),
    )
    return all(any(value in range(r.start, max(r.start, r.end) + 1, r.step or 1) for r in rs) for rs, value in fields)
