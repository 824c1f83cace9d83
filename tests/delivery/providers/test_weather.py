"""The weather over a model cloud: drawn from its seed, felt by whom it hits, done or not done as it says."""

import asyncio
import itertools
from collections import Counter

import pytest

from stormsail.delivery.providers.errors import Conflict, Transient, UnknownOutcome
from stormsail.delivery.providers.model.weather import Climate, Trouble, Weather, application_of

QUICK = (0.0, 0.0)


class Calls:
    """Counts how often the cloud did something."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> int:
        self.done += 1
        return self.done


async def tried(weather: Weather, calls: Calls, about: str = "web-v000") -> str:
    try:
        await weather.carry("begin", "createServerGroup", about, calls)
    except Transient:
        return "transient"
    except UnknownOutcome:
        return "unknown"
    return "done"


def weather(climate: Climate, felt: Counter[str], now_s: float = 0.0, seed: str = "s") -> Weather:
    def hear(application: str, trouble: Trouble) -> None:
        felt[f"{application} {trouble}"] += 1

    return Weather(seed, climate, now_s=lambda: now_s, lasts_s=100_000, felt=hear)


async def test_a_clear_sky_lets_everything_through() -> None:
    calls, felt = Calls(), Counter[str]()
    clear = weather(Climate(0.0, latency_s=QUICK), felt)
    assert [await tried(clear, calls) for _ in range(50)] == ["done"] * 50
    assert (calls.done, felt) == (50, Counter())


async def test_each_class_of_trouble_has_its_effect_or_none() -> None:
    calls, felt = Calls(), Counter[str]()
    storm = weather(Climate(1.0, latency_s=QUICK, timeout_s=0.0), felt)
    answers = Counter([await tried(storm, calls) for _ in range(400)])
    assert answers["done"] == 0
    assert answers["transient"] == felt["web throttle"] > 100
    unknown = felt["web 5xx before effect"] + felt["web cut after effect"] + felt["web timeout"]
    assert answers["unknown"] == unknown > 100
    cut = felt["web cut after effect"]
    assert cut < calls.done < cut + felt["web timeout"], "a timeout has its effect as often as not"


async def test_the_same_seed_brings_the_same_and_one_application_does_not_move_anothers() -> None:
    async def drawn(seed: str, *, other: bool) -> list[str]:
        sky = weather(Climate(0.5, latency_s=QUICK, timeout_s=0.0), Counter(), seed=seed)
        answers = []
        for _ in range(40):
            answers.append(await tried(sky, Calls()))
            if other:
                await tried(sky, Calls(), "shop-v001")
        return answers

    assert await drawn("a", other=False) == await drawn("a", other=True)
    assert await drawn("a", other=False) != await drawn("b", other=False)


async def test_a_burst_hits_every_caller_while_it_lasts() -> None:
    climate = Climate(0.0, latency_s=QUICK, bursts_an_hour=60.0, burst_s=(30.0, 30.0))
    hit = [second for second in range(1_000) if await tried(weather(climate, Counter(), second), Calls()) != "done"]
    assert 100 < len(hit) < 700
    runs = sum(after != before + 1 for before, after in itertools.pairwise(hit))
    assert runs < len(hit) / 4, "they come together"


async def test_a_reply_that_is_lost_hides_a_refusal_too() -> None:
    def refuse() -> int:
        raise Conflict("it is there already")

    sky = weather(Climate(1.0, latency_s=QUICK, timeout_s=0.0), Counter())
    for _ in range(50):
        with pytest.raises((Transient, UnknownOutcome)):
            await sky.carry("begin", "", "web-v000", refuse)


def test_slow_instances_are_drawn_by_their_names() -> None:
    felt = Counter[str]()
    sky = weather(Climate(0.0, slow_boots=0.5), felt)
    boots = {number: sky.boots_ms(f"web-v000-{number}") for number in range(100)}
    slow = [ms for ms in boots.values() if ms >= 12_000]
    assert 25 < len(slow) == felt["web slow health"] < 75
    assert boots[3] == weather(Climate(0.0, slow_boots=0.5), Counter()).boots_ms("web-v000-3")
    sky.settled = True
    assert sky.boots_ms("web-v000-3") == 0


@pytest.mark.parametrize(("about", "application"), [("web-main-v003", "web"), ("web", "web"), ("", "")])
def test_the_application_is_read_from_a_name(about: str, application: str) -> None:
    assert application_of(about) == application


async def test_waiting_is_cut_off_as_any_await_is() -> None:
    sky = weather(Climate(0.0, latency_s=(60.0, 60.0)), Counter())
    calls = Calls()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sky.carry("begin", "", "web", calls), 0.01)
    assert calls.done == 0
