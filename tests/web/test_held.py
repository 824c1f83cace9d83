"""A source that fails keeps showing its last good answer with its age, and never an empty one."""

import asyncio

import pytest

from stormsail.web.sources.held import FRESH_MS, KEYS_MAX, Held, SourceFailed, SourceStatus


class Clock:
    def __init__(self) -> None:
        self.at_ms = 1_000_000

    def __call__(self) -> int:
        return self.at_ms


async def answer() -> list[str]:
    return ["hello"]


async def fail() -> list[str]:
    raise SourceFailed("nobody answers")


async def test_a_source_that_fails_shows_its_last_good_answer_with_its_age_and_the_error() -> None:
    clock = Clock()
    held = Held("engine", clock)
    assert (await held.read("k", answer)).source.status is SourceStatus.OK
    clock.at_ms += 7_000
    reading = await held.read("k", fail)
    assert reading.value == ["hello"]
    assert (reading.source.status, reading.source.age_ms, reading.source.error) == ("stale", 7_000, "nobody answers")
    reading = await held.read("k", answer)
    assert (reading.source.status, reading.source.age_ms) == ("ok", 0)


async def test_a_source_that_never_answered_gives_nothing_rather_than_an_empty_answer() -> None:
    reading = await Held("engine", Clock()).read("k", fail)
    assert reading.value is None
    assert (reading.source.status, reading.source.as_of_ms) == ("failed", None)


async def test_a_slow_source_holds_nobody_longer_than_the_deadline_and_is_asked_once() -> None:
    held = Held("engine", Clock(), deadline_s=0.01)
    late = asyncio.Event()

    async def slow() -> list[str]:
        await late.wait()
        return ["late"]

    readings = await asyncio.gather(*(held.read("k", slow) for _ in range(50)))
    assert {reading.source.status for reading in readings} == {"failed"}
    assert held.asked == 1
    late.set()
    assert (await held.read("k", slow)).value == ["late"]
    assert held.asked == 1


async def test_many_viewers_of_a_fresh_answer_are_one_question() -> None:
    clock = Clock()
    held = Held("engine", clock)
    await asyncio.gather(*(held.read("k", answer) for _ in range(100)))
    clock.at_ms += FRESH_MS - 1
    await held.read("k", answer)
    assert held.asked == 1
    clock.at_ms += 1
    await held.read("k", answer)
    assert held.asked == 2


async def test_an_answer_that_says_no_is_passed_on_and_not_taken_for_an_outage() -> None:
    async def refuse() -> list[str]:
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        await Held("engine", Clock()).read("k", refuse)


async def test_no_more_answers_are_kept_than_the_bound() -> None:
    held = Held("engine", Clock())
    for key in range(KEYS_MAX + 10):
        await held.read(key, answer)
    assert held.kept == KEYS_MAX
