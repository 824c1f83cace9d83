"""The simulated loop does what asyncio promises, whichever Python runs it: it stands on a private method of asyncio."""

import asyncio
import contextvars
import random
from typing import Any

import pytest

from stormsail.engine.sim.loop import LIFE, Deadlock, Endless, Life, SimLoop, run


def loop_of(seed: int = 1, *, shuffled: bool = True) -> SimLoop:
    return SimLoop(random.Random(seed), shuffled=shuffled)


def test_time_jumps_to_the_next_deadline() -> None:
    loop = loop_of()

    async def play() -> float:
        await asyncio.sleep(3_600)
        return loop.time()

    assert run(loop, play()) == 3_600


def test_timers_ring_in_order_and_cancelled_ones_do_not() -> None:
    loop = loop_of()
    rung: list[str] = []

    async def play() -> None:
        loop.call_later(2, rung.append, "late")
        loop.call_later(1, rung.append, "early")
        loop.call_later(1.5, rung.append, "never").cancel()
        await asyncio.sleep(3)

    run(loop, play())
    assert rung == ["early", "late"]


def test_what_another_thread_tells_comes_in_the_order_in_which_it_is_told_and_is_done_with_before_the_next() -> None:
    loop = loop_of()
    told: list[int] = []

    def tell(number: int) -> None:
        told.append(number)
        loop.call_soon(told.append, -number)

    async def play() -> None:
        for number in range(1, 50):
            loop.call_soon_threadsafe(tell, number)
        await asyncio.sleep(1)

    run(loop, play())
    assert told == [one for number in range(1, 50) for one in (number, -number)]


async def _order(names: str) -> list[str]:
    done: list[str] = []

    async def one(name: str) -> None:
        done.append(name)
        await asyncio.sleep(0)
        done.append(name.upper())

    await asyncio.gather(*(one(name) for name in names))
    return done


def test_one_seed_is_one_order_and_another_seed_another() -> None:
    orders = {seed: run(loop_of(seed), _order("abcdefgh")) for seed in (1, 2)}
    assert orders[1] == run(loop_of(1), _order("abcdefgh"))
    assert orders[1] != orders[2]
    assert sorted(orders[1]) == sorted(orders[2])


def test_unshuffled_it_keeps_the_order_of_asyncio() -> None:
    assert run(loop_of(shuffled=False), _order("abc")) == asyncio.run(_order("abc"))


def test_waiting_cancelling_timeouts_queues_and_locks_work() -> None:
    async def play() -> list[Any]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        lock = asyncio.Lock()

        async def put() -> None:
            for number in range(3):
                async with lock:
                    await queue.put(number)

        putting = asyncio.create_task(put())
        found: list[Any] = [await queue.get() for _ in range(3)]
        await putting
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        sleeping = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(1)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        shielded = asyncio.create_task(asyncio.sleep(1, "kept"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(shielded), 0.5)
        found.append(await shielded)
        return found

    for seed in range(5):
        assert run(loop_of(seed), play()) == [0, 1, 2, "kept"]


def test_when_everybody_waits_for_ever_it_says_so() -> None:
    async def play() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(loop_of(), play())


def test_what_spins_is_stopped() -> None:
    async def play() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    loop = loop_of()
    loop.steps_max = 1_000
    with pytest.raises(Endless):
        run(loop, play())


def test_a_dead_process_runs_nothing_any_more_not_even_its_cleanup() -> None:
    life = Life("p")
    context = contextvars.copy_context()
    context.run(LIFE.set, life)
    done: list[str] = []

    async def inside() -> None:
        try:
            await asyncio.sleep(1)
            done.append("first")
            await asyncio.sleep(1)
            done.append("second")
        finally:
            done.append("cleanup")

    async def play() -> None:
        task = asyncio.get_running_loop().create_task(inside(), context=context)
        await asyncio.sleep(1.5)
        life.alive = False
        task.cancel()
        await asyncio.sleep(10)
        assert not task.done()
        assert done == ["first"]

    run(loop_of(), play())


def test_a_watch_that_raises_ends_the_run() -> None:
    loop = loop_of()
    steps: list[int] = []

    def watch() -> None:
        steps.append(1)
        if len(steps) == 5:
            raise ValueError("seen enough")

    loop.watch = watch

    async def play() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(1)

    with pytest.raises(ValueError, match="seen enough"):
        run(loop, play())
    assert len(steps) == 5


def test_what_is_left_pending_is_closed_in_its_own_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []

    async def left_behind() -> None:
        before = variable.set("inside")
        try:
            await asyncio.Event().wait()
        finally:
            variable.reset(before)
            seen.append(variable.get())

    async def play() -> None:
        asyncio.get_running_loop().create_task(left_behind())
        await asyncio.sleep(1)

    run(loop_of(), play())
    assert seen == ["outside"]
