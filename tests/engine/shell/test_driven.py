"""Coroutines without tasks: they begin at once, end once, and hear of cancellation as a task would."""

import asyncio
from typing import Any

import pytest

from stormsail.engine.shell.driven import Driven, Undertakings


class Ends:
    """Keeps how a coroutine ended."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, BaseException | None]] = []

    def __call__(self, result: Any, error: BaseException | None) -> None:
        self.told.append((result, error))


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_waits_for_nothing_ends_before_go_returns() -> None:
    async def work() -> int:
        return 7

    ends = Ends()
    Driven(work(), ends).go()
    assert ends.told == [(7, None)]


async def test_it_goes_on_when_what_it_awaits_is_there() -> None:
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        await asyncio.sleep(0)
        return await first + await asyncio.ensure_future(asyncio.sleep(0, 2))

    ends = Ends()
    Driven(work(), ends).go()
    await turns()
    assert not ends.told
    first.set_result(5)
    await turns()
    assert ends.told == [(7, None)]


async def test_it_raises_what_the_awaited_raised() -> None:
    awaited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ends = Ends()

    async def work() -> int:
        return await awaited

    Driven(work(), ends).go()
    failure = ValueError("no")
    awaited.set_exception(failure)
    await turns()
    assert ends.told == [(None, failure)]


async def test_cancelling_reaches_it_where_it_waits_and_it_may_wait_on() -> None:
    loop = asyncio.get_running_loop()
    first: asyncio.Future[None] = loop.create_future()
    last: asyncio.Future[int] = loop.create_future()

    async def work() -> int:
        try:
            await first
        except asyncio.CancelledError:
            return await last
        return 0

    ends = Ends()
    driven = Driven(work(), ends)
    driven.go()
    driven.cancel()
    await turns()
    assert first.cancelled() and not ends.told
    last.set_result(3)
    await turns()
    assert ends.told == [(3, None)]


async def test_cancelled_together_with_what_it_awaits_it_is_cancelled() -> None:
    awaited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        return await awaited

    ends = Ends()
    driven = Driven(work(), ends)
    driven.go()
    awaited.set_result(1)
    driven.cancel()
    await turns()
    ((result, error),) = ends.told
    assert result is None and isinstance(error, asyncio.CancelledError)


async def test_an_undertaking_goes_on_without_its_caller_and_its_result_is_not_lost() -> None:
    awaited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    undertakings, unheard = Undertakings(), list[int]()

    async def work() -> int:
        return await awaited

    caller = asyncio.ensure_future(undertakings.carried_out(work(), unheard=unheard.append))
    await turns()
    caller.cancel()
    over = asyncio.ensure_future(undertakings.over())
    await turns()
    assert caller.cancelled() and not over.done()
    awaited.set_result(4)
    await over
    assert unheard == [4]


async def test_a_result_that_comes_together_with_the_cancellation_is_not_lost_either() -> None:
    awaited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    undertakings, unheard = Undertakings(), list[int]()

    async def work() -> int:
        return await awaited

    caller = asyncio.ensure_future(undertakings.carried_out(work(), unheard=unheard.append))
    await turns()
    awaited.set_result(4)
    await asyncio.sleep(0)  # it has ended, and its caller has not been told
    caller.cancel()
    await turns()
    assert caller.cancelled() and unheard == [4]


async def test_a_failure_is_raised_to_the_caller_and_nothing_is_left_under_way() -> None:
    undertakings = Undertakings()

    async def work() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await undertakings.carried_out(work())
    await undertakings.over()
