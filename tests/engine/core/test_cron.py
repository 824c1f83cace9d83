"""Cron schedules: which times they name, which texts are none, and how long the next run waits."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stormsail.engine.core import cron


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def following(schedule: str, at: str) -> str:
    found = cron.parse(schedule).first_from(ms(at), ms(at))
    assert found is not None
    return datetime.fromtimestamp(found / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("schedule", "at", "expected"),
    [
        ("* * * * *", "2024-01-01T00:00:00", "2024-01-01T00:01:00"),
        ("* * * * *", "2024-01-01T00:00:59.999", "2024-01-01T00:01:00"),
        ("*/15 * * * *", "2024-01-01T00:07:00", "2024-01-01T00:15:00"),
        ("5/20 * * * *", "2024-01-01T00:26:00", "2024-01-01T00:45:00"),
        ("0 9-17/4 * * *", "2024-01-01T13:00:00", "2024-01-01T17:00:00"),
        ("0 0 31 * *", "2024-04-01T00:00:00", "2024-05-31T00:00:00"),
        ("0 0 29 feb ?", "2025-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 9 * * MON-fri", "2024-01-06T00:00:00", "2024-01-08T09:00:00"),
        # Where both day fields are given, one of them is enough; where one is a star, the other decides.
        ("0 0 13 * 5", "2024-01-01T00:00:00", "2024-01-05T00:00:00"),
        ("0 0 * * 5", "2024-01-06T00:00:00", "2024-01-12T00:00:00"),
        # A star with a step is no star.
        ("0 0 */30 * 1", "2024-01-01T00:00:00", "2024-01-08T00:00:00"),
        ("@hourly", "2024-01-01T00:30:00", "2024-01-01T01:00:00"),
        ("@weekly", "2024-01-01T00:00:00", "2024-01-07T00:00:00"),
        ("@every 90s", "2024-01-01T00:00:00.5", "2024-01-01T00:01:30"),
        ("@every 0.2s", "2024-01-01T00:00:00", "2024-01-01T00:00:01"),
        ("@every 1h30m", "2024-01-01T00:00:00", "2024-01-01T01:30:00"),
        ("CRON_TZ=Asia/Kolkata 0 9 * * *", "2024-01-01T00:00:00", "2024-01-01T03:30:00"),
        ("TZ=Asia/Kolkata 0 9 * * *", "2024-01-01T03:30:00", "2024-01-02T03:30:00"),
        # New York's clocks skip 2:30 on this day, and show 1:30 twice on that one.
        ("CRON_TZ=America/New_York 30 2 * * *", "2024-03-10T05:00:00", "2024-03-11T06:30:00"),
        ("CRON_TZ=America/New_York 30 1 * * *", "2024-11-03T04:00:00", "2024-11-03T05:30:00"),
        ("CRON_TZ=America/New_York 30 1 * * *", "2024-11-03T05:30:00", "2024-11-03T06:30:00"),
    ],
)
def test_the_next_time_of_a_schedule(schedule: str, at: str, expected: str) -> None:
    assert following(schedule, at) == expected


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "5-3 * * * *",
        "*/0 * * * *",
        ", * * * *",
        "-1 * * * *",
        "@never",
        "@every",
        "@every x",
        "@every 5",
        "CRON_TZ=No/Where * * * * *",
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    assert cron.fault(text, 0) == "invalid CronSchedule."
    assert cron.backoff_ms(text, 0, 0) is None


def test_a_date_that_never_comes_is_refused() -> None:
    assert cron.fault("0 0 30 2 *", 0).endswith("no time can be found to satisfy the schedule")
    assert cron.backoff_ms("0 0 30 2 *", 0, 0) is None


def test_times_that_went_by_while_a_run_went_on_are_left_out() -> None:
    scheduled, now = ms("2024-01-01T00:00:00"), ms("2024-01-01T03:10:00.250")
    assert cron.backoff_ms("@hourly", scheduled, now) == 50 * 60_000
    assert cron.backoff_ms("@every 1h", scheduled, now) == 50 * 60_000
    assert cron.backoff_ms("@hourly", now + 1_500, now) == 2_000  # still to come; in whole seconds
    assert cron.backoff_ms("", scheduled, now) is None


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 4_000_000_000_000),
    st.sampled_from(["*/7 3-20/2 * * *", "15 10 * * 6", "0 0 1,15 * 3", "@every 61s", "TZ=Europe/Berlin 30 2 * * *"]),
)
def test_the_next_time_is_the_first_that_matches(at_ms: int, schedule: str) -> None:
    parsed = cron.parse(schedule)
    first = parsed.first_from(at_ms, at_ms)
    assert first is not None and first > at_ms
    between = at_ms + (first - at_ms) // 2
    if isinstance(parsed, cron.Calendar):
        assert parsed.first_from(between, between) == first or between == first
        assert first % 60_000 == 0
