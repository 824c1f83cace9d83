"""Instants, lengths of time and names as people read them."""

import pytest

from stormsail.web.pages.statuses import shown
from stormsail.web.pages.words import instant, length_of_time, segment, spaced, step_of


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0 ms"),
        (999, "999 ms"),
        (1000, "1 s"),
        (3249, "3.2 s"),
        (59_999, "59 s"),
        (119_999, "1 min 59 s"),
        (3_600_000, "1 h"),
        (3_600_000 * 49, "2 d 1 h"),
    ],
)
def test_a_length_of_time_is_written_in_its_two_largest_units_and_never_rounded_up(ms: int, text: str) -> None:
    assert length_of_time(ms) == text


def test_an_instant_is_written_in_utc() -> None:
    assert instant(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"


@pytest.mark.parametrize(
    ("call", "words"),
    [("004-enableServerGroup#2", "Enable server group"), ("mine", "Mine"), ("a-b", "A-b")],
)
def test_a_call_is_told_by_its_step(call: str, words: str) -> None:
    assert step_of(call) == words


def test_a_name_in_camel_case_becomes_words() -> None:
    assert spaced("ActivityTaskTimedOut") == "Activity task timed out"


def test_an_id_with_slashes_is_one_segment_of_an_address() -> None:
    assert segment("operation/local/a b?#") == "operation%2Flocal%2Fa%20b%3F%23"


def test_a_state_that_is_new_to_the_page_is_never_shown_as_something_good() -> None:
    assert (shown("Exploded").label, shown("Exploded").tone) == ("Exploded", "off")
