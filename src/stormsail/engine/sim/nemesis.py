"""Whoever makes things go wrong: picks a fault now and then, of those that the seed allows."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Final

from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.node import Node
from stormsail.engine.sim.swarm import Swarm
from stormsail.engine.sim.trace import Trace

CALLS_AHEAD: Final = 60
"""How many disk calls ahead a fault is set at most: a commit takes about ten."""


class Nemesis:
    """See the module. `restart` is told to run the machine; `lose_worker` replaces one worker by another."""

    def __init__(
        self,
        node: Node,
        trace: Trace,
        swarm: Swarm,
        chance: random.Random,
        lose_worker: Callable[[], None],
        coverage: Coverage,
    ) -> None:
        self._node = node
        self._trace = trace
        self._swarm = swarm
        self._chance = chance
        self._lose_worker = lose_worker
        self._coverage = coverage
        self._calm = False
        self._waits_for = ""
        """What the power is cut right after."""
        self._outside = copy_context()
        self.done: dict[str, int] = {}
        """How often each fault was brought about."""

    async def work(self) -> None:
        """Bring about faults until told to stop."""
        faults = self._faults()
        while faults:
            await asyncio.sleep(self._chance.expovariate(1 / self._swarm.fault_every_s))
            if self._calm:
                return
            name, fault = self._chance.choice(faults)
            self.done[name] = self.done.get(name, 0) + 1
            self._coverage.saw("fault", name)
            await fault()

    async def keep_up(self) -> None:
        """Start the process whenever it is down."""
        while True:
            if await self._node.start():
                await self._node.ended()
            longest_s = (0.1, 1.0, 4.0, 20.0) if "schedules" in self._swarm.features else (0.1, 1.0, 4.0)
            await asyncio.sleep(0.05 if self._calm else self._chance.random() * self._chance.choice(longest_s))

    def hear(self, what: str) -> None:
        """Something went to the disk that more is to follow from: the moment to cut the power, if it was waited for."""
        if what == self._waits_for and self._node.life.alive and not self._calm:
            self._waits_for = ""
            self._coverage.saw("fault", f"power cut after a {what} struck")
            asyncio.get_running_loop().call_soon(self._strike, context=self._outside)

    def stop(self) -> None:
        """Let nothing go wrong any more. What is broken is repaired."""
        self._calm = True
        disk = self._node.disk
        disk.full = False
        disk.fail_at = disk.end_at = 0

    def _faults(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        swarm = self._swarm
        all_faults: tuple[tuple[bool, str, Callable[[], Awaitable[None]]], ...] = (
            (swarm.power_cuts, "power cut", self._cut),
            (swarm.power_cuts, "power cut at a disk call", self._cut_at),
            (swarm.power_cuts, "power cut after a message", self._cut_after_message),
            (
                swarm.power_cuts and "schedules" in swarm.features,
                "power cut after a schedule",
                self._cut_after_schedule,
            ),
            (swarm.power_cuts and "batches" in swarm.features, "power cut after a batch", self._cut_after_batch),
            (swarm.kills, "kill -9", self._kill),
            (swarm.kills, "kill -9 at a disk call", self._kill_at),
            (swarm.restarts, "restart", self._restart),
            (swarm.io_errors, "I/O error", self._io_error),
            (swarm.disk_full, "full disk", self._fill),
            (swarm.clock_steps, "clock step", self._step_clock),
            (swarm.worker_deaths, "worker death", self._kill_worker),
        )
        return [(name, fault) for allowed, name, fault in all_faults if allowed]

    async def _cut(self) -> None:
        if self._node.life.alive:
            self._node.kill(cut=True)

    async def _kill(self) -> None:
        if self._node.life.alive:
            self._node.kill(cut=False)

    async def _cut_after_message(self) -> None:
        self._waits_for = "message"

    async def _cut_after_schedule(self) -> None:
        self._waits_for = "schedule"

    async def _cut_after_batch(self) -> None:
        self._waits_for = "batch"

    def _strike(self) -> None:
        if self._node.life.alive:
            self._node.kill(cut=True)

    async def _cut_at(self) -> None:
        self._end_at(cuts=True)

    async def _kill_at(self) -> None:
        self._end_at(cuts=False)

    def _end_at(self, *, cuts: bool) -> None:
        disk = self._node.disk
        disk.end_at, disk.end_cuts = disk.calls + self._chance.randint(1, CALLS_AHEAD), cuts

    async def _restart(self) -> None:
        await self._node.stop()

    async def _io_error(self) -> None:
        disk = self._node.disk
        disk.fail_at = disk.calls + self._chance.randint(1, CALLS_AHEAD)

    async def _fill(self) -> None:
        self._trace.note("the disk is full")
        self._node.disk.full = True
        await asyncio.sleep(self._chance.random() * 3.0)
        self._node.disk.full = False
        self._node.well_since_s = asyncio.get_running_loop().time()

    async def _step_clock(self) -> None:
        step_s = self._chance.choice((-30.0, -1.0, 0.7, 5.0, 20.0))
        self._trace.note(f"the wall clock is set by {step_s} s")
        self._node.offset_s += step_s

    async def _kill_worker(self) -> None:
        self._trace.note("a worker dies")
        self._lose_worker()
