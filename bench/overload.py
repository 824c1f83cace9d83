"""`make bench ARGS="--overload"`: how much is done when three times as much is offered as can be done.

First the peak: starts are offered faster and faster until fewer runs are completed than were asked for. Then three
times the peak. Goodput is workflows completed a second, while starts are being offered.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench.engines import engines
from bench.lives import answering
from bench.processes import Measured

QUEUE: Final = "offered"
FIRST_RATE: Final = 100.0
FASTER: Final = 1.4
KEPT_UP: Final = 0.9
"""An offered rate that is done to this part is not past the peak."""
PAST_PEAK: Final = 2
"""So many rates past it are tried: one may have met with a bad moment of the machine."""
OVERLOAD: Final = 3.0
PROBES_A_S: Final = 50.0
"""Starts of a process beside that does nothing else: who offers thousands a second is late in reading what it is told."""
_SETTLE_S: Final = 0.5
_DRAIN_S: Final = 60.0


class Workers:
    """The working side: what it has told last."""

    def __init__(self) -> None:
        self.done = 0
        self.refused = 0
        self._told: list[tuple[float, int]] = [(0.0, 0)]
        self._heard = asyncio.Condition()

    async def follow(self, told: asyncio.StreamReader) -> None:
        """Read what it tells until it ends."""
        async for line in told:
            said = json.loads(line)
            self.done, self.refused = said["done"], said["refused"]
            self._told.append((said["at_s"], self.done))
            async with self._heard:
                self._heard.notify_all()

    async def until_done(self, count: int) -> None:
        """Wait until so many are completed."""
        async with asyncio.timeout(_DRAIN_S), self._heard:
            await self._heard.wait_for(lambda: self.done >= count)

    def rate(self, from_s: float, to_s: float) -> float:
        """Return how many were completed a second between two instants."""
        told = [(at_s, done) for at_s, done in self._told if from_s <= at_s <= to_s]
        (first_s, first), (last_s, last) = told[0], told[-1]
        return (last - first) / (last_s - first_s)


@asynccontextmanager
async def working(port: int, pollers: int) -> AsyncIterator[Workers]:
    """Run the working side."""
    command = [sys.executable, "-m", "bench.offered", "work", str(port), QUEUE, "--pollers", str(pollers)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    workers = Workers()
    following = asyncio.ensure_future(workers.follow(process.stdout))
    try:
        yield workers
    finally:
        process.kill()
        await process.wait()
        await following


async def offered(server: Measured, port: int, rate: float, seconds: float, workers: Workers) -> dict[str, Any]:
    """Offer starts at a rate; return what became of them, with what was completed meanwhile."""
    command = [sys.executable, "-m", "bench.offered", "offer", str(port), QUEUE]
    process = await asyncio.create_subprocess_exec(
        *command, "--rate", str(rate), "--seconds", str(seconds), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    done, cpu_s = workers.done, server.cpu_s()
    told: dict[str, Any] = json.loads(await process.stdout.read())
    await process.wait()
    goodput = workers.rate(told["began_s"] + _SETTLE_S, told["began_s"] + seconds)
    return told | {
        "rate": rate,
        "goodput": goodput,
        "server_cpu_s": server.cpu_s() - cpu_s,
        "server_cpu_ms_each": (server.cpu_s() - cpu_s) * 1000 / max(1, workers.done - done),
    }


async def overload(place: Path, seconds: float, pollers: int) -> dict[str, Any]:
    """Find the peak and offer three times as much; return what was measured."""
    ours = engines()[0]
    async with (
        answering(ours, place / "data", place / "server.log") as (server, port, _),
        working(port, pollers) as workers,
    ):
        steps: list[dict[str, Any]] = []
        rate, accepted = FIRST_RATE, 0
        while sum(step["goodput"] < KEPT_UP * step["rate"] for step in steps) < PAST_PEAK:
            steps.append(await offered(server, port, rate, seconds, workers))
            accepted += steps[-1]["accepted"]
            await workers.until_done(accepted)
            rate *= FASTER
        best = max(steps, key=lambda step: float(step["goodput"]))
        peak = best["goodput"]
        refused_before = workers.refused
        over, probed = await asyncio.gather(
            offered(server, port, OVERLOAD * peak, 3 * seconds, workers),
            offered(server, port, PROBES_A_S, 3 * seconds, workers),
        )
        await workers.until_done(accepted + over["accepted"] + probed["accepted"])
        return {
            "pollers": pollers,
            "steps": steps,
            "peak": peak,
            "over": over,
            "probed": probed,
            "goodput_ratio": over["goodput"] / peak,
            "cpu_ms_each": {"at the peak": best["server_cpu_ms_each"], "past it": over["server_cpu_ms_each"]},
            "completions_refused": workers.refused - refused_before,
            "server_memory_mib": server.resident_bytes() / 2**20,
        }


def told(found: dict[str, Any]) -> list[str]:
    """Return the figures as lines for a person."""
    over, probed = found["over"], found["probed"]
    return [
        f"peak goodput           {found['peak']:.0f} workflows/s with {found['pollers']} pollers",
        f"offered                {over['rate']:.0f} starts/s, three times as many",
        f"goodput then           {over['goodput']:.0f} workflows/s, {found['goodput_ratio']:.0%} of the peak"
        " (target: 80% at least)",
        f"starts turned away     {over['refused']} of {over['sent']}",
        f"time to be told so     {_spread(probed['refusal_since_sent_ms'])}: {probed['refused']} starts of a process that"
        " does little else (target: p99 under 50 ms)",
        f"the same, busy caller  {_spread(over['refusal_ms'])}, by the process that offers all the others, counted from"
        " when each was due",
        f"starts accepted        {over['accepted']}, p50 {over['accepted_ms'].get('p50', 0):.0f} ms,"
        f" p99 {over['accepted_ms'].get('p99', 0):.0f} ms, all of them completed",
        f"server CPU             {found['cpu_ms_each']['at the peak']:.2f} ms a completed workflow at the peak,"
        f" {found['cpu_ms_each']['past it']:.2f} ms past it, with all that was turned away",
        f"completions refused    {found['completions_refused']} (target: 0)",
        f"other failures         {sum(over['failed'].values()) + over['unanswered']}",
        f"lateness of callers    p99 {probed['own_lateness_ms']['p99']:.1f} ms of who does little else,"
        f" {over['own_lateness_ms']['p99']:.1f} ms of the busy one: how much the machine itself holds them up",
        f"server's memory        {found['server_memory_mib']:.0f} MiB at the end",
    ]


def _spread(figures: dict[str, float]) -> str:
    if not figures:
        return "none were"
    return f"p50 {figures['p50']:.1f} ms, p99 {figures['p99']:.1f} ms, longest {figures['max']:.1f} ms"
