"""`make bench ARGS="--overload"`: how much is done when three times as much is offered as can be done.

Goodput is workflows completed a second while starts are being offered at a fixed rate. The peak is the best that is
sustained at any rate, and is to be compared with what is done at three times the peak.

How that is measured, and why so. To go up with the rate and to take the best step for the peak says more of the machine
than of the server: speed differs by a tenth and more from one step of some seconds to the next, and the best of a dozen
such steps is the luckiest, while what is done past the peak was measured once. So the search only finds the highest rate
that is kept up with. Then rounds are played: in each a phase at some rates below, at and above that one, and one at
three times the peak, next to each other in time and so on the same machine, one round upwards and the next downwards.
The peak is the best of the rates by its *median* over the rounds: of a handful of rates, each measured as often as the
overload is. A search that met with bad moments stopped too low: so the highest of these rates is tried first, and as
long as it is kept up with, they are all raised. The ratio is that of the medians; its range is that of the single
rounds, each against the same rate of its own.

Who offers and who works share the processors with the server, so the table says how much each process takes. A phase
counts from half a second after its beginning, and the next begins when all that was accepted is completed.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.engines import engines
from bench.goodput import KEPT_UP, OVERLOAD, TIMES, Phase, by_load, found_in
from bench.lives import answering
from bench.processes import cpu_s, machine_cpu_s

QUEUE: Final = "offered"
FIRST_RATE: Final = 200.0
RATE_MAX: Final = 50_000.0
CLOSE_ENOUGH: Final = 1.1
"""How far the lowest rate that is not kept up with may be from the highest that is."""
NEAR_PEAK: Final = (0.85, 1.0, 1.2, 1.45)
"""Where the peak is looked for, in parts of the rate that the search found."""
PROBES_A_S: Final = 50.0
"""Starts of a process beside that does nothing else: who offers thousands a second is late in reading what it is told."""
SEARCH_S: Final = 3.0
SETTLE_S: Final = 0.5
LOAD_S: Final = 50.0
"""How long each load is played in all, where the number of rounds is not given."""
_AHEAD_S: Final = 0.05
_DRAIN_S: Final = 60.0


class Told:
    """A process of ours beside the server that tells what it does, in lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdout is not None
        self._out = process.stdout

    async def line(self) -> dict[str, Any]:
        """Return what it tells next. Raises RuntimeError when it has ended."""
        line = await self._out.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended with {await self.process.wait()}; it said why above")
        told: dict[str, Any] = json.loads(line)
        return told

    async def phase(self, rate: float, seconds: float, begin_s: float) -> dict[str, Any]:
        """Have it offer starts; return what became of them."""
        asked = {"rate": rate, "seconds": seconds, "begin_s": begin_s, "settle_s": SETTLE_S}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        return await self.line()


class Workers:
    """The working side: what it has told last."""

    def __init__(self, told: Told) -> None:
        self.done = 0
        self.refused = 0
        self._told = told
        self._points: list[tuple[float, int]] = []
        self._heard = asyncio.Condition()

    async def follow(self) -> None:
        """Read what it tells, until it ends."""
        while True:
            said = await self._told.line()
            self.done, self.refused = said["done"], said["refused"]
            self._points.append((said["at_s"], self.done))
            async with self._heard:
                self._heard.notify_all()

    async def until_done(self, count: int) -> None:
        """Wait until so many are completed."""
        try:
            async with asyncio.timeout(_DRAIN_S), self._heard:
                await self._heard.wait_for(lambda: self.done >= count)
        except TimeoutError as late:
            raise RuntimeError(
                f"{self.done} of {count} accepted workflows were completed in {_DRAIN_S:.0f} s"
            ) from late

    def rate(self, from_s: float, to_s: float) -> float:
        """Return how many were completed a second between two instants."""
        return rate_between(self._points, from_s, to_s)


def rate_between(points: Sequence[tuple[float, int]], from_s: float, to_s: float) -> float:
    """Return by how much a count grew a second, by what was told of it within some time."""
    told = [(at_s, count) for at_s, count in points if from_s <= at_s <= to_s]
    if len(told) < 2:
        raise RuntimeError("the working side told too little in a phase: give --seconds 2 at least")
    (first_s, first), (last_s, last) = told[0], told[-1]
    return (last - first) / (last_s - first_s)


@asynccontextmanager
async def beside(side: str, port: int, *options: str) -> AsyncIterator[Told]:
    """Run one of the sides."""
    command = [sys.executable, "-m", "bench.offered", side, str(port), QUEUE, *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Told(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Arena:
    """A server, who offers, who works and who probes."""

    def __init__(self, server_pid: int, offering: Told, probing: Told, working: Told) -> None:
        self._offering, self._probing = offering, probing
        self.workers = Workers(working)
        self._pids = {
            "server": server_pid,
            "offering": offering.process.pid,
            "working": working.process.pid,
            "probing": probing.process.pid,
            "bench": os.getpid(),
        }
        self._accepted = 0

    async def play(self, load: str, rate: float, seconds: float, *, probe: bool = False) -> Phase:
        """Offer starts at a rate, and wait until all that was accepted is completed."""
        begin_s = time.perf_counter() + _AHEAD_S
        phases = [self._offering.phase(rate, seconds, begin_s)]
        if probe:
            phases.append(self._probing.phase(PROBES_A_S, seconds, begin_s))
        answers = asyncio.gather(*phases)
        try:
            await asyncio.sleep(begin_s + SETTLE_S - time.perf_counter())
            from_s, before = time.perf_counter(), self._used()
            await asyncio.sleep(begin_s + seconds - time.perf_counter())
            to_s, after = time.perf_counter(), self._used()
            offered, *probed = await answers
        finally:
            answers.cancel()
        self._accepted += offered["accepted"] + sum(each["accepted"] for each in probed)
        await self.workers.until_done(self._accepted)
        took_s = to_s - from_s
        phase = Phase(
            load=load,
            rate=rate,
            goodput=self.workers.rate(from_s, to_s),
            accepted_a_s=offered["settled"]["accepted"] / took_s,
            refused_a_s=offered["settled"]["refused"] / took_s,
            cpu={side: (after[side] - before[side]) / took_s for side in before},
            offered=offered,
            probed=probed[0] if probed else None,
        )
        print(
            f"{load}: offered {rate:.0f}/s, done {phase.goodput:.0f}/s, {phase.refused_a_s:.0f}/s refused", flush=True
        )
        return phase

    def _used(self) -> dict[str, float]:
        used = {side: cpu_s(pid) for side, pid in self._pids.items()}
        busy_s, idle_s = machine_cpu_s()
        return used | {"elsewhere": busy_s - sum(used.values()), "idle": idle_s}


async def kept_up_with(keeps_up: Callable[[float], Awaitable[bool]]) -> float:
    """Return the highest rate that is kept up with, more or less. A rate is past it that fails twice: once may have been
    a bad moment of the machine."""

    async def passes(rate: float) -> bool:
        return await keeps_up(rate) or await keeps_up(rate)

    low, high = 0.0, FIRST_RATE
    while await passes(high):
        low, high = high, high * 2
        if high > RATE_MAX:
            raise RuntimeError(f"the server keeps up with {low:.0f} starts a second: this benchmark offers no more")
    if not low:
        raise RuntimeError(f"the server does not keep up with {FIRST_RATE:.0f} starts a second")
    while high > low * CLOSE_ENOUGH:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if await passes(middle) else (low, middle)
    return low


async def reaches_past(kept_up: float, keeps_up: Callable[[float], Awaitable[bool]]) -> float:
    """Return the rate that the loads are parts of: raised for as long as even the highest of them is kept up with, for
    the peak would be above all of them then."""
    while await keeps_up(kept_up * NEAR_PEAK[-1]):
        kept_up *= NEAR_PEAK[-1]
        if kept_up > RATE_MAX:
            raise RuntimeError(f"the server keeps up with {kept_up:.0f} starts a second: this benchmark offers no more")
    return kept_up


async def rounds(arena: Arena, kept_up: float, seconds: float, count: int) -> list[Phase]:
    """Play all loads in turns, one round upwards and the next downwards."""
    phases: list[Phase] = []
    for number in range(count):
        loads = [f"{part:.2f}" for part in NEAR_PEAK]
        loads = [*loads, OVERLOAD] if number % 2 == 0 else [OVERLOAD, *reversed(loads)]
        for load in loads:
            if load == OVERLOAD:
                done = [of.goodput for name, of in by_load(phases).items() if name != OVERLOAD]
                rate = TIMES * max(kept_up, *done)
                phases.append(await arena.play(load, rate, seconds, probe=True))
            else:
                phases.append(await arena.play(load, kept_up * float(load), seconds))
    return phases


async def overload(place: Path, seconds: float, pollers: int, count: int | None) -> dict[str, Any]:
    """Find the rate of the peak, play the rounds; return what was measured."""
    ours = engines()[0]
    count = count or max(1, round(LOAD_S / seconds))
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        server, port, _ = await stack.enter_async_context(answering(ours, place / "data", place / "server.log"))
        offering, probing = [await stack.enter_async_context(beside("offer", port)) for _ in range(2)]
        working = await stack.enter_async_context(beside("work", port, "--pollers", str(pollers)))
        arena = Arena(server.pid, offering, probing, working)
        search: list[Phase] = []

        async def keeps_up(rate: float, for_s: float = SEARCH_S) -> bool:
            search.append(await arena.play("search", rate, for_s))
            return search[-1].goodput >= KEPT_UP * rate

        async def play() -> list[Phase]:
            kept_up = await reaches_past(await kept_up_with(keeps_up), lambda rate: keeps_up(rate, seconds))
            return await rounds(arena, kept_up, seconds, count)

        phases = await _unless(arena.workers.follow(), play())
        return {
            "pollers": pollers,
            "seconds": seconds,
            "rounds": count,
            "took_s": time.monotonic() - began,
            "search": [asdict(phase) for phase in search],
            "phases": [asdict(phase) for phase in phases],
            "completions_refused": arena.workers.refused,
            "server_memory_mib": server.resident_bytes() / 2**20,
        } | found_in(phases)


async def _unless(broken: Coroutine[Any, Any, None], playing: Coroutine[Any, Any, list[Phase]]) -> list[Phase]:
    """Return what was played, unless what is to go on meanwhile breaks."""
    watching, played = asyncio.ensure_future(broken), asyncio.ensure_future(playing)
    try:
        await asyncio.wait({watching, played}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            await watching
        return await played
    finally:
        watching.cancel()
        played.cancel()
        await asyncio.gather(watching, played, return_exceptions=True)
