"""The machine with the engine's process: started, killed, cut from power, started again."""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from stormsail.engine.api.interceptors import bind
from stormsail.engine.api.transport import Rpc
from stormsail.engine.core.limits import Limits
from stormsail.engine.shell.clock import RealClock
from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.runs import Core
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.disk import SimDisk
from stormsail.engine.sim.loop import LIFE, Life, SimLoop
from stormsail.engine.sim.tampering import Tampering
from stormsail.engine.sim.trace import Trace, Violation
from stormsail.engine.sim.watched import WatchedStore, Watching
from stormsail.engine.store.database import Member
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.medium import Medium
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

DIRECTORY: Final = Path("/sim")
EPOCH_S: Final = 1_700_000_000.0


class LoopWriter:
    """Writes from the event loop, after a seeded wait: what waits then is one group."""

    def __init__(
        self, write: Callable[[Sequence[Member], bool], None], chance: random.Random, longest_s: float
    ) -> None:
        self._write = write
        self._chance = chance
        self._longest_s = longest_s
        self._waiting: list[Member] = []
        self._alarm: asyncio.TimerHandle | None = None

    def put(self, member: Member) -> None:
        """See Writer."""
        self._waiting.append(member)
        if self._alarm is None:
            self._wait()

    def stop(self) -> None:
        """See Writer."""
        if self._alarm is not None:
            self._alarm.cancel()
        group, self._waiting = self._waiting, []
        self._write(group, True)

    def _wait(self) -> None:
        delay_s = self._chance.random() * self._longest_s
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self._write_some)

    def _write_some(self) -> None:
        self._alarm = None
        size = self._chance.randint(1, len(self._waiting))
        group, self._waiting = self._waiting[:size], self._waiting[size:]
        if self._waiting:
            self._wait()
        self._write(group, False)


class SeededIds:
    """Ids from a seed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def uuid(self) -> str:
        """See Ids."""
        digits = f"{self._chance.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def fraction(self) -> float:
        """See Ids."""
        return self._chance.random()


class _Held:
    def release(self) -> None:
        """One process at a time is what the node sees to."""


class Node:
    """See the module. `engine` is None while the process is down."""

    def __init__(
        self,
        loop: SimLoop,
        *,
        seed: str,
        trace: Trace,
        disk: SimDisk,
        vfs: str,
        limits: Limits,
        writing_s: float,
        checkpoint_pages: int,
        namespaces: Mapping[str, float],
        watching: Watching,
        tampering: Tampering,
        coverage: Coverage,
    ) -> None:
        """`namespaces`: with their retention in seconds."""
        self._loop = loop
        self._trace = trace
        self._limits = limits
        self._namespaces = namespaces
        self._watching = watching
        self._tampering = tampering
        self._coverage = coverage
        self._lives = 0
        self._graves: list[Store] = []
        """The stores of all lives. None may be collected before the run ends."""
        chance = random.Random(f"{seed}/writer")
        self._medium = Medium(
            vfs=vfs,
            one_connection=True,
            checkpoint_pages=checkpoint_pages,
            hold=lambda _directory: _Held(),
            prepare=lambda path: disk.prepare(str(path)),
            writer=lambda write: LoopWriter(write, chance, writing_s),
            fresh_id=SeededIds(random.Random(f"{seed}/file")).uuid,
        )
        self.disk = disk
        disk.on_end = lambda: self._die("at a disk call")
        tampering.disk(disk)
        self.ids = SeededIds(random.Random(f"{seed}/ids"))
        self.offset_s = 0.0
        """How far the wall clock is off."""
        self.engine: Engine | None = None
        self.store: Store | None = None
        self.methods: Mapping[str, Rpc] = {}
        self.life = Life("none")
        self.life.alive = False
        self.context = contextvars.copy_context()
        self.clock = self._new_clock()
        self.died: asyncio.Future[None] = loop.create_future()
        self.on_death: Callable[[Life], None] = lambda _life: None
        self.up_since_s = 0.0
        self.rotten = False
        """Whether bits of the file have changed: then the store may refuse it, and has not what was committed."""
        self.well_since_s = 0.0
        """Since when it has been up, and nothing else hindered it."""

    @property
    def up(self) -> bool:
        """Whether it serves."""
        return self.life.alive and self.engine is not None

    def now_ms(self) -> int:
        """Return what the process's clock says."""
        return self.clock.now_ms()

    async def start(self) -> bool:
        """Start the process on what the disk has; return whether it serves."""
        self.disk.power_on()
        self._lives += 1
        self.life = Life(f"engine {self._lives}")
        self.died = self._loop.create_future()
        self.context = contextvars.copy_context()
        self.context.run(LIFE.set, self.life)
        counts = self.disk.counts
        troubles = counts.faults + counts.fulls
        opening = self._loop.create_task(self._open(), context=self.context)
        await asyncio.wait((opening, self.died), return_when=asyncio.FIRST_COMPLETED)
        if not self.life.alive:
            return False
        refusal = opening.result()
        if refusal:
            self._trace.note(f"{self.life.name} cannot start: {refusal}")
            self._die("cannot start")
            if counts.faults + counts.fulls == troubles and not self.rotten:
                raise Violation("D1", f"the store cannot be opened on a sound disk: {refusal}")
            return False
        self._trace.note(f"{self.life.name} serves")
        return True

    def kill(self, *, cut: bool) -> None:
        """End the process now, with the power or without."""
        if cut:
            self.disk.cut_power()
        else:
            self.disk.end_process()
        self._die("power cut" if cut else "kill -9")

    async def stop(self) -> None:
        """End the process as SIGTERM does."""
        if not self.up:
            return
        self._trace.note(f"{self.life.name} is told to stop")
        stopping = self._loop.create_task(self._close(), context=self.context)
        await asyncio.wait((stopping, self.died), return_when=asyncio.FIRST_COMPLETED)
        if self.life.alive:
            self.kill(cut=False)

    async def ended(self) -> None:
        """Wait until the process has died, or its storage failed: then it ends itself."""
        engine = self.engine
        assert engine is not None
        failing = self._loop.create_task(engine.failed.wait(), context=self.context)
        await asyncio.wait((failing, self.died), return_when=asyncio.FIRST_COMPLETED)
        if self.life.alive:
            self._trace.note(f"{self.life.name}: its storage failed")
            self.kill(cut=False)

    def bury(self) -> None:
        """After the run: close what dead processes left open. A connection and its store hold each other for ever
        otherwise, where Python's collector does not look."""
        self.disk.cut_power()
        for store in self._graves:
            connection = store._database._write
            with contextlib.suppress(apsw.Error):
                connection.close(True)
        self._graves.clear()

    def _die(self, how: str) -> None:
        if not self.life.alive:
            return
        self._trace.note(f"{self.life.name} ends: {how}")
        self.life.alive = False
        self.engine = self.store = None
        self.methods = {}
        self.on_death(self.life)
        if not self.died.done():
            self.died.set_result(None)

    async def _open(self) -> str:
        self.clock = self._new_clock()
        try:
            store = Store.open(DIRECTORY, now_ms=self.clock.now_ms, limits=self._limits, medium=self._medium)
        except StorageFailed as failed:
            return str(failed)
        self._graves.append(store)
        self._tampering.connection(store._database._write)
        try:
            for name, retention_s in self._namespaces.items():
                if store.namespaces.get(name) is None:
                    await store.namespaces.register(_namespace(name, self.ids.uuid(), retention_s))
            if not self.rotten:
                self._watching.opened(store)
        except Exception as error:
            if not isinstance(error, StorageFailed | apsw.Error) and type(error).__name__ != "StorageFull":
                raise
            return str(error)
        self.store = store
        watched: Any = WatchedStore(self._tampering.store(store, self._current), self._watching)
        self.up_since_s = self.well_since_s = self._loop.time()
        try:
            engine = await Engine.open(
                watched,
                clock=self.clock,
                ids=self.ids,
                limits=self._limits,
                core=self._coverage.counting(self._tampering.core or Core()),
            )
        except StorageFailed as failed:
            self.store = None
            return str(failed)
        self._tampering.engine(engine)
        self.engine = engine
        self.methods = bind(engine)
        return ""

    def _current(self) -> Engine:
        assert self.engine is not None
        return self.engine

    async def _close(self) -> None:
        assert self.engine is not None and self.store is not None
        await self.engine.close()
        self.store.close()

    def _new_clock(self) -> RealClock:
        return RealClock(wall_s=lambda: EPOCH_S + self._loop.time() + self.offset_s, steady_s=self._loop.time)


def _namespace(name: str, id_: str, retention_s: float) -> StoredNamespace:
    described = DescribeNamespaceResponse()
    described.namespace_info.name = name
    described.namespace_info.id = id_
    described.namespace_info.state = NamespaceState.NAMESPACE_STATE_REGISTERED
    described.config.workflow_execution_retention_ttl.FromMilliseconds(int(retention_s * 1_000))
    return StoredNamespace(name, id_, described)
