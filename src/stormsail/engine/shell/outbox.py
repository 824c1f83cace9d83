"""Bringing messages from run to run, each once, whenever the process dies.

A message is on disk with the turn that sent it. Here it becomes a request to the run that it is for, and leaves the
disk in the same commit as what it caused there; before that commit nothing of it has happened, after it nothing is left
to do. What cannot be done is answered, and the message dropped, in one commit too.

The messages for one workflow id are brought one after another, in the order of their sending: a child hears of its
start before it hears that its parent has closed, and a parent of a child's start before its end. Those for different
ones overtake each other. No more of them are in memory than `limits.py` says; the others are read when these are done.
"""

import asyncio
from collections import deque
from typing import Final

import structlog

from stormsail.engine.core.decide import deliveries
from stormsail.engine.core.errors import NamespaceNotFound, NotFound, Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.messages import RunMessage, SendCancel, SendSignal, StartChild
from stormsail.engine.core.requests import Delivered, StartChildWorkflow
from stormsail.engine.core.state import RunState
from stormsail.engine.shell.clock import Clock, wait_until
from stormsail.engine.shell.runs import Runs
from stormsail.engine.shell.turn_order import Workflow
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.store import Store

_log: Final = structlog.get_logger(__name__)

RETRY_FIRST_MS: Final = 50
RETRY_MAX_MS: Final = 10_000
_MAY_PASS: Final = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL")
"""Refusals that say nothing of the message: too much at once, a disk that is full, a run that is quarantined."""


class Outbox:
    """The messages under way, by the workflow that each is for."""

    def __init__(self, store: Store, runs: Runs, *, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._runs = runs
        self._clock = clock
        self._limits = limits
        self._lanes: dict[Workflow, deque[RunMessage]] = {}
        self._names: set[tuple[str, int, str]] = set()
        """Of the messages in the lanes."""
        self._more_on_disk = False
        self._room = asyncio.Semaphore(limits.outbox_deliveries_max)
        self._bringing: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self.delivered = 0

    def open(self) -> None:
        """Take up what the disk has."""
        self._more_on_disk = True
        self._refill()

    def add(self, message: RunMessage) -> None:
        """Bring a message that has just been committed."""
        if self._more_on_disk or len(self._names) >= self._limits.outbox_held_max:
            # Those that came before it and are not here must be brought first.
            self._more_on_disk = True
            self._refill()
        else:
            self._hold(message)

    @property
    def waiting(self) -> int:
        """How many messages are in memory."""
        return len(self._names)

    async def stop(self) -> None:
        """Bring no more messages; those under way are finished. The others stay on disk."""
        self._stopped.set()
        if self._bringing:
            await asyncio.wait(self._bringing)

    def _hold(self, message: RunMessage) -> None:
        if message.name in self._names or self._stopped.is_set():
            return
        self._names.add(message.name)
        lane = self._lanes.get(message.to.workflow)
        if lane is not None:
            lane.append(message)
            return
        self._lanes[message.to.workflow] = deque([message])
        task = asyncio.get_running_loop().create_task(self._bring_lane(message.to.workflow))
        self._bringing.add(task)
        task.add_done_callback(self._bringing.discard)

    def _refill(self) -> None:
        """Read on once half of what may be in memory is done."""
        if not self._more_on_disk or len(self._names) > self._limits.outbox_held_max // 2:
            return
        try:
            found, everything = self._store.outbox.waiting(
                self._limits.outbox_held_max, self._limits.outbox_held_bytes_max
            )
        except (Refused, StorageFailed) as failed:
            _log.error("outbox_not_read", failed=str(failed))
            return
        self._more_on_disk = not everything
        for message in found:
            self._hold(message)

    async def _bring_lane(self, workflow: Workflow) -> None:
        """Bring the messages for one workflow until there are none."""
        lane = self._lanes[workflow]
        while lane and not self._stopped.is_set():
            message = lane[0]
            async with self._room:
                brought = await self._bring(message)
            if not brought:
                break
            lane.popleft()
            self._names.discard(message.name)
            self.delivered += 1
            self._refill()
        del self._lanes[workflow]
        self._names.difference_update(message.name for message in lane)

    async def _bring(self, message: RunMessage) -> bool:
        """Bring one message, however often it takes. False where it is not brought because the server stops."""
        delay_ms = RETRY_FIRST_MS
        while not self._stopped.is_set():
            try:
                await self._bring_once(message)
            except Refused as refused:
                _log.warning("message_not_delivered", message=message.name, to=str(message.to), refused=refused.message)
            except Exception:
                _log.exception("message_delivery_failed", message=message.name, to=str(message.to))
            else:
                return True
            stopped = asyncio.get_running_loop().create_task(self._stopped.wait())
            await wait_until(self._clock, stopped, delay_ms)
            stopped.cancel()
            delay_ms = min(2 * delay_ms, RETRY_MAX_MS)
        return False

    async def _bring_once(self, message: RunMessage) -> None:
        """Bring one message. Raises a refusal that may pass."""
        if not deliveries.still_wanted(self._known(message.initiator), message):
            await self._settle(message, None)
            return
        to = message.to
        try:
            self._check_target(message)
            if isinstance(message.body, StartChild):
                await self._runs.start(to.namespace, StartChildWorkflow(message), takes=message)
            else:
                await self._runs.execute(to.namespace, to.workflow_id, to.run_id, Delivered(message), takes=message)
        except Refused as refused:
            if refused.status in _MAY_PASS:
                raise
            await self._settle(message, deliveries.refused(message, refused))

    def _check_target(self, message: RunMessage) -> None:
        """Refuse what no run can take: a namespace that is gone, and what a workflow asks of itself."""
        if self._store.namespaces.get(message.to.namespace) is None:
            raise NamespaceNotFound(message.to.namespace)
        if isinstance(message.body, SendSignal | SendCancel) and message.to.workflow == message.initiator.workflow:
            raise NotFound(f"workflow {message.to.workflow_id} cannot signal or cancel itself")

    async def _settle(self, message: RunMessage, answer: RunMessage | None) -> None:
        answers = [answer] if answer is not None else []
        await self._runs.drop(message, answers)
        for one in answers:
            self.add(one)

    def _known(self, key: RunKey) -> RunState | None:
        try:
            return self._runs.read(key.namespace, key.workflow_id, key.run_id)
        except NotFound:
            return None
