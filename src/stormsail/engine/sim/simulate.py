"""One seed from beginning to end."""

import asyncio
import gc
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.sim.batcher import Batcher
from stormsail.engine.sim.caller import Caller
from stormsail.engine.sim.client import Client, read_history
from stormsail.engine.sim.coverage import Coverage, Met
from stormsail.engine.sim.disk import SimDisk, SimVfs
from stormsail.engine.sim.finals import Finals
from stormsail.engine.sim.ledger import Ledger
from stormsail.engine.sim.loop import Deadlock, Endless, SimLoop, run
from stormsail.engine.sim.nemesis import Nemesis
from stormsail.engine.sim.network import Network, Violated
from stormsail.engine.sim.node import EPOCH_S, Node
from stormsail.engine.sim.people import Administrator, let_go
from stormsail.engine.sim.planner import Planner
from stormsail.engine.sim.punctuality import LOOKS_EVERY_S, Punctuality
from stormsail.engine.sim.swarm import NAMESPACES, RETENTION_S, Swarm, draw
from stormsail.engine.sim.tampering import Tampering
from stormsail.engine.sim.trace import Trace, Violation
from stormsail.engine.sim.watch import Watch
from stormsail.engine.sim.worker import Worker
from stormsail.engine.store.batches import Batch

REST_S: Final = 900.0
"""Simulated seconds after the last fault within which every run must have ended."""
DAY_S: Final = 86_400.0
GOES_WITHIN_S: Final = 10.0
"""How soon a run is gone after its retention is over: a sweep's wait, and its work."""
_NAMES: Final = itertools.count()
_BROKEN_LOGS: Final = frozenset({"run_quarantined", "background_work_failed", "deadline_failed", "deadlines_not_read"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a seed went. `violation` is None where every promise was kept."""

    seed: int
    violation: Violation | None
    digest: str
    tail: list[str] = field(repr=False)
    calls: int
    commits: int
    power_cuts: int
    faults: dict[str, int]
    simulated_s: float
    seen: Counter[Met] = field(repr=False)
    """What was met, how often."""


def simulate(seed: int, tampering: Tampering | None = None, show: Callable[[str], None] | None = None) -> Outcome:
    """Play one seed. `show` is given every line of the trace."""
    world = World(seed, tampering or Tampering(), show)
    was_enabled = gc.isenabled()
    gc.disable()  # a collection would close abandoned coroutines at a moment that no seed decides
    violation: Violation | None = None
    try:
        with _logs_watched(world):
            run(world.loop, world.play())
        world.violated.check()
    except Violation as found:
        violation = found
    except Deadlock as stuck:
        violation = Violation("L1", str(stuck))
    except Endless as endless:
        violation = Violation("B1", str(endless))
    finally:
        world.node.bury()
        world.trace.note(f"the disk has {world.disk.digest}")  # so that whatever differs there is seen as well
        world.vfs.unregister()
        digest = world.trace.digest  # before the collector runs whatever it finds
        if was_enabled:
            gc.enable()
    return Outcome(
        seed=seed,
        violation=violation,
        digest=digest,
        tail=world.trace.tail,
        calls=world.network.calls,
        commits=world.watch.commits,
        power_cuts=world.disk.counts.cuts,
        faults=dict(world.nemesis.done),
        simulated_s=world.loop.time(),
        seen=world.coverage.counts,
    )


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, tampering: Tampering, show: Callable[[str], None] | None) -> None:
        name = f"stormsail-sim/{seed}"
        self.swarm: Swarm = draw(random.Random(f"{name}/swarm"))
        self.loop = SimLoop(random.Random(f"{name}/loop"), shuffled=self.swarm.shuffled)
        self.trace = Trace(self.loop.time, show)
        self.violated = Violated()
        self.loop.watch = self.violated.check
        self.loop.set_exception_handler(self._callback_failed)
        self.disk = SimDisk(random.Random(f"{name}/disk"), self.trace.note)
        self.vfs = SimVfs(f"stormsail-sim-{next(_NAMES)}", self.disk)
        self.coverage = Coverage()
        self.watch = Watch(self.violated, self.trace, random.Random(f"{name}/watch"), self.coverage)
        self.ledger = Ledger(self.violated)
        self.ledger.ordered = not self.swarm.doubled
        self.ledger.told_late_s = self._told_late_s
        self.ledger.attempts_forgotten = lambda key: key in self.watch.attempts_forgotten
        self.ledger.uncancelled = self.watch.uncancelled
        self.watch.asked_to_delete = lambda key: key in self.ledger.to_delete
        self.watch.may_delete = self._may_delete
        self.watch.book.deletes = self.ledger.to_delete.add
        self.watch.book.may_forget = self._may_forget
        self._name = name
        self._chance = random.Random(f"{name}/world")
        self._workers: list[Worker] = []
        self._drawn = 0
        self._retention_s = dict.fromkeys(NAMESPACES, DAY_S)
        if "retention" in self.swarm.features:
            self._retention_s[NAMESPACES[0]] = RETENTION_S
        self.node = Node(
            self.loop,
            seed=name,
            trace=self.trace,
            disk=self.disk,
            vfs=self.vfs.name,
            limits=self.swarm.limits,
            writing_s=self.swarm.writing_s,
            checkpoint_pages=self.swarm.checkpoint_pages,
            namespaces=self._retention_s,
            watching=self.watch,
            tampering=tampering,
            coverage=self.coverage,
        )
        self.watch.now_ms = self.node.now_ms
        self.watch.time_s = self.loop.time
        self.watch.epoch_s = EPOCH_S
        self.watch.well_since_s = self._well_since_s
        self.watch.fairness.pollers = 2 * self.swarm.workers + 2
        self.watch.fairness.time_s = self.loop.time
        self.watch.fairness.well_since_s = lambda: self.node.well_since_s
        self.network = Network(
            self.loop,
            self.node,
            self.trace,
            chance=random.Random(f"{name}/network"),
            delay_s=self.swarm.delay_s,
            lost=self.swarm.lost,
            doubled=self.swarm.doubled,
            reset=self.swarm.reset,
            violated=self.violated,
            coverage=self.coverage,
        )
        chance = random.Random(f"{name}/nemesis")
        self.nemesis = Nemesis(self.node, self.trace, self.swarm, chance, self._lose_worker, self.coverage)
        self.watch.heard = self.nemesis.hear
        self.punctuality = Punctuality(self.watch, self.violated, lambda: self.node.engine if self.node.up else None)
        self.finals = Finals(self.network, self.ledger, self.watch, self.violated, self._chance)

    async def play(self) -> None:
        """Work under faults, come to rest, cut the power once more, and check everything."""
        loop = asyncio.get_running_loop()
        keeping = loop.create_task(self.nemesis.keep_up())
        looking = loop.create_task(self._look_on())
        for task in (keeping, looking):
            task.add_done_callback(self.violated.raised)
        for namespace in NAMESPACES:
            for _ in range(self.swarm.workers):
                self._hire(namespace)
        faults = loop.create_task(self.nemesis.work())
        await asyncio.gather(*(one.work() for one in self._callers()))
        self.trace.note("the clients are done")
        self.nemesis.stop()
        self.network.heal()
        await faults
        await self._rest()
        self.trace.note("everything is at rest")
        await self._up()
        assert self.node.engine is not None
        self.finals.at_rest(self.node.engine)
        await self._retention_over()
        self.node.kill(cut=True)
        await self._up()
        self.finals.check(await self.finals.read_all())
        await self.finals.check_lists()
        for worker in self._workers:
            worker.die()
        keeping.cancel()
        looking.cancel()
        if "rot" in self.swarm.features:
            await self._rot()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            self.punctuality.look()

    async def _rot(self) -> None:
        """D8: where bits of the file have changed, a history is served as it was, or refused."""
        await self.node.stop()
        self.node.rotten = self.network.rotten = True
        self.disk.rot("/sim/engine.db", self._chance.choice((1, 1, 3, 10)))
        if not await self.node.start():
            self.coverage.saw("rot", "file refused")
            return
        for key, known in self.watch.runs.items():
            page_size = self._chance.choice((0, 5))
            read = await read_history(self.network, "auditor", key, page_size)
            self.coverage.saw("rot", "served" if read is not None else "refused")
            if read is not None and read != known.events:
                raise Violation("D8", f"{key} shows another history than it had, after bits of the file changed")
            if not self.node.up:
                return

    def _callers(self) -> list[Client | Administrator | Planner | Batcher]:
        """Everybody who calls from outside, but for the workers."""
        swarm, names = self.swarm, [f"w{number}" for number in range(self.swarm.workflow_ids)]

        def caller(name: str, number: int) -> Caller:
            namespace = NAMESPACES[number % len(NAMESPACES)]
            return Caller(f"{name}{number}", namespace, names, self.network, self.ledger, self._name)

        callers: list[Client | Administrator | Planner | Batcher] = []
        callers += [Client(caller("c", number), swarm) for number in range(swarm.clients)]
        callers += [Administrator(caller("a", number), swarm, self.watch) for number in range(len(NAMESPACES))]
        if "schedules" in swarm.features:
            timetable = self.watch.timetable
            callers += [Planner(caller("s", number), swarm, timetable, self._server_s) for number in range(2)]
        if "batches" in swarm.features:
            callers += [Batcher(caller("b", number), swarm, self.watch, self.watch.book) for number in range(2)]
        return callers

    def _server_s(self) -> float:
        return EPOCH_S + self.loop.time() + self.node.offset_s

    async def _rest(self) -> None:
        """L1: every run ends, for its workers live and nothing goes wrong any more."""
        for worker in self._workers:
            worker.steady = True
        auditor = Caller("auditor", NAMESPACES[0], (), self.network, self.ledger, self._name)
        until_s = self.loop.time() + REST_S
        while self._working() or not self.node.up:
            if self.loop.time() > until_s:
                stuck = [self._stuck(key) for key in self.watch.open_runs.values()]
                stuck += [f"batch {name}" for name in self.watch.book.working]
                stuck += [f"{schedule}" for schedule in self.watch.timetable.schedules.values()]
                raise Violation("L1", f"still open {REST_S:.0f} s after the last fault: {'; '.join(stuck[:3])}")
            await asyncio.sleep(1.0)
            await let_go(auditor, self.watch)
        await asyncio.sleep(30.0)  # whatever is still on its way arrives, and polls of the dead end

    def _working(self) -> bool:
        """Whether anything is there that comes to an end."""
        watch = self.watch
        return bool(watch.open_runs or watch.book.working) or watch.timetable.acting(self._server_s())

    async def _retention_over(self) -> None:
        """L1: what has closed goes when its retention is over."""
        if "retention" not in self.swarm.features:
            return
        closed_ms = [known.state.closed_at_ms for known in self.watch.runs.values()]
        lasts_s = max(closed_ms, default=0) / 1_000 + RETENTION_S - self._server_s()  # its clock may have been set back
        await asyncio.sleep(max(0.0, lasts_s) + GOES_WITHIN_S)
        left = [key for key in self.watch.runs if key.namespace == NAMESPACES[0]]
        if left:
            raise Violation("L1", f"{left[0]} is there although its retention was over {GOES_WITHIN_S:.0f} s ago")

    def _may_delete(self, state: RunState) -> bool:
        """Whether a run may leave the disk now."""
        goes_at_ms = state.closed_at_ms + int(self._retention_s[state.key.namespace] * 1_000)
        return state.key in self.ledger.to_delete or goes_at_ms <= self.node.now_ms()

    def _may_forget(self, batch: Batch) -> bool:
        """Whether a batch may leave the disk now."""
        lasts_ms = int(self._retention_s[batch.namespace] * 1_000)
        return batch.closed_ms is not None and batch.closed_ms + lasts_ms <= self.node.now_ms()

    def _stuck(self, key: RunKey) -> str:
        state = self.watch.runs[key].state
        return f"{key} at event {state.last_event_id}, workflow task {state.workflow_task}"

    async def _up(self) -> None:
        until_s = self.loop.time() + REST_S
        while not self.node.up:
            if self.loop.time() > until_s:
                raise Violation("L1", "the engine does not come up any more")
            await asyncio.sleep(0.1)

    def _hire(self, namespace: str) -> None:
        self._drawn += 1
        name = f"worker{self._drawn}"
        chance = random.Random(f"{self._name}/{name}")
        self._workers.append(Worker(name, namespace, self.network, self.ledger, self.swarm, chance))

    def _lose_worker(self) -> None:
        place = int(self._chance.random() * len(self._workers))
        worker = self._workers.pop(place)
        worker.die()
        self._hire(worker.namespace)

    def _well_since_s(self) -> float:
        """A server whose clock is set, or whose queue is tiny, owes nobody punctuality."""
        tiny = self.swarm.limits.commit_queue_max < 100
        return self.loop.time() if tiny or self.swarm.clock_steps or self.disk.full else self.node.well_since_s

    def _told_late_s(self, key: RunKey) -> float:
        closed_at_s = self.watch.closed_at_s.get(key)
        if closed_at_s is None or not self.node.up:
            return 0.0
        return self.loop.time() - max(closed_at_s, self.node.up_since_s)

    def _callback_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Violation):
            self.violated(error)
        elif "handle" in context:  # a callback raised; the rest is told when the collector finds it, at no set time
            self.violated(Violation("CRASH", f"{context.get('message')}: {type(error).__name__}: {error}"))

    def logged(self, event: str, fields: MutableMapping[str, Any]) -> None:
        """Take note of what the engine logs, and of what it must never have to log."""
        self.trace.note(f"log: {event}")
        healthy = self.node.life.alive and self.node.engine is not None and not self.node.engine.failed.is_set()
        if event in _BROKEN_LOGS and healthy and not self.node.rotten:
            known = {name: str(value)[:300] for name, value in fields.items() if name in ("run", "rule")}
            error = fields.get("exc_info")
            error = sys.exc_info()[1] if error is True else error
            self.violated(Violation("CRASH", f"the engine logs {event} {known} {error!r}"))


@contextmanager
def _logs_watched(world: World) -> Iterator[None]:
    """Give the engine's log lines to the world instead of printing them."""

    def take(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Any:
        world.logged(str(fields.pop("event")), fields)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], wrapper_class=structlog.BoundLogger)
    try:
        yield
    finally:
        structlog.configure(**before)
