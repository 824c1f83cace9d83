"""The network between callers and the node: it delays, loses, doubles and cuts off calls. What crosses it are bytes."""

import asyncio
import random
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final, TypeVar

from google.protobuf.message import Message

from stormsail.engine.api.transport import Call, Rpc
from stormsail.engine.core.errors import Refused
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.loop import Life, SimLoop
from stormsail.engine.sim.node import Node
from stormsail.engine.sim.trace import Trace, Violation

SERVICE: Final = "/temporal.api.workflowservice.v1.WorkflowService/"
_METADATA: Final = {"client-name": "temporal-cli"}
"""Histories are read as people read them. SDKs are also shown the events of a workflow task that is not in history yet,
which H3 does not speak of."""
CALL_S: Final = 5.0
_NOTICED: Final = 0.7
"""The chance that the server learns of a caller who went away."""
T = TypeVar("T", bound=Message)


class Unknown(Exception):
    """No reply: the call may have been carried out, or not, or may still be."""


@dataclass(slots=True, eq=False)
class _Pending:
    """One call in flight, and the tasks that serve it."""

    method: str
    body: bytes
    until_s: float
    reply: "asyncio.Future[bytes]"
    who: str
    servers: "list[tuple[Life, asyncio.Task[bytes]]]" = field(default_factory=list)


class Network:
    """See the module."""

    def __init__(
        self,
        loop: SimLoop,
        node: Node,
        trace: Trace,
        *,
        chance: random.Random,
        delay_s: float,
        lost: float,
        doubled: float,
        reset: float,
        violated: "Violated",
        coverage: Coverage,
    ) -> None:
        self._loop = loop
        self._node = node
        self._trace = trace
        self._chance = chance
        self._delay_s = delay_s
        self.lost = lost
        self.doubled = doubled
        self.reset = reset
        self._violated = violated
        self._coverage = coverage
        self._outside = copy_context()
        """Where callers live: what they hear is not up to the process that it is about."""
        self._pending: dict[_Pending, None] = {}
        self.calls = 0
        self.rotten = False
        """Whether the server may find runs damaged."""
        node.on_death = self._node_died

    def heal(self) -> None:
        """Lose and double nothing any more."""
        self.lost = self.doubled = self.reset = 0.0

    async def call(self, who: str, method: str, request: Message, reply: type[T], deadline_s: float = CALL_S) -> T:
        """Call the service. Raises Refused as the service does, and Unknown when there is no reply."""
        self.calls += 1
        self._trace.note(f"{who} calls {method} {_said(request)}")
        until_s = self._loop.time() + deadline_s
        pending = _Pending(method, request.SerializeToString(), until_s, self._loop.create_future(), who)
        self._pending[pending] = None
        self._send(pending)
        if self._chance.random() < self.doubled:
            self._send(pending, late_s=self._chance.random() * 3.0)
        alarm = self._loop.call_later(deadline_s, self._fail, pending, "deadline exceeded")
        if self._chance.random() < self.reset:
            self._loop.call_later(self._chance.random() * self._delay_s * 3, self._fail, pending, "connection reset")
        try:
            body = await pending.reply
        except Refused as refused:
            self._trace.note(f"{who}: {method} is refused: {refused.status} {refused.message[:160]}")
            raise
        except Unknown as unknown:
            self._trace.note(f"{who}: {method} has no reply: {unknown}")
            raise
        finally:
            alarm.cancel()
            self._pending.pop(pending, None)
            self._hang_up(pending)
        self._coverage.saw("rpc", method)
        self._trace.note(f"{who}: {method} is answered, {len(body)} bytes")
        return reply.FromString(body)

    def gone(self, who: str) -> None:
        """A caller was killed: its calls hang up, where the server notices."""
        for pending in [one for one in self._pending if one.who == who]:
            del self._pending[pending]
            self._hang_up(pending)

    def _send(self, pending: _Pending, late_s: float = 0.0) -> None:
        if self._chance.random() < self.lost:
            return
        self._loop.call_later(late_s + self._chance.random() * self._delay_s, self._arrive, pending)

    def _arrive(self, pending: _Pending) -> None:
        node = self._node
        if not node.up:
            self._loop.call_later(self._chance.random() * self._delay_s, self._fail, pending, "connection refused")
            return
        rpc = node.methods[SERVICE + pending.method]
        left_s = max(0.0, pending.until_s - self._loop.time())
        call = Call(SERVICE + pending.method, _METADATA, left_s, pending.who)
        life = node.life
        task = self._loop.create_task(_serve(rpc, call, pending.body), context=node.context)
        pending.servers.append((life, task))
        task.add_done_callback(lambda done: self._served(pending, life, done))

    def _served(self, pending: _Pending, life: Life, task: "asyncio.Task[bytes]") -> None:
        if not life.alive or task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, Refused):
            self._violated(Violation("CRASH", f"{pending.method} raised {type(error).__name__}: {error}"))
            return
        if isinstance(error, Refused) and error.status == "INTERNAL" and not self.rotten:
            self._violated(Violation("CRASH", f"{pending.method}: {error.message}"))
            return
        if self._chance.random() < self.lost:
            return
        delay_s = self._chance.random() * self._delay_s
        self._loop.call_later(delay_s, self._answer, pending, error, None if error else task.result())

    def _answer(self, pending: _Pending, error: Refused | None, body: bytes | None) -> None:
        if pending.reply.done():
            return
        if error is not None:
            pending.reply.set_exception(error)
        else:
            assert body is not None
            pending.reply.set_result(body)

    def _fail(self, pending: _Pending, why: str) -> None:
        if not pending.reply.done():
            pending.reply.set_exception(Unknown(why))

    def _hang_up(self, pending: _Pending) -> None:
        """The caller is gone: the server's call is cancelled when the server notices."""
        for life, task in pending.servers:
            if life.alive and not task.done() and self._chance.random() < _NOTICED:
                self._loop.call_later(self._chance.random() * self._delay_s, task.cancel)

    def _node_died(self, life: Life) -> None:
        for pending in list(self._pending):
            if any(served_by is life for served_by, _ in pending.servers) and self._chance.random() < 0.9:
                delay_s = self._chance.random() * self._delay_s
                self._loop.call_later(delay_s, self._fail, pending, "connection lost", context=self._outside)


async def _serve(rpc: Rpc, call: Call, body: bytes) -> bytes:
    reply = await rpc(call, body)
    return reply if isinstance(reply, bytes) else reply.SerializeToString()


def _said(request: Message) -> str:
    """Name what a request is about."""
    fields = request.DESCRIPTOR.fields_by_name
    parts = [
        str(value).replace("\n", " ").strip()
        for name in ("namespace", "workflow_id", "signal_name", "identity", "query", "page_size")
        if name in fields and (value := getattr(request, name))
    ]
    for name in ("workflow_execution", "execution"):
        if name in fields and request.HasField(name):
            target = getattr(request, name)
            parts.append(f"{target.workflow_id}/{target.run_id[:8]}")
    return " ".join(parts)


class Violated:
    """Takes note of the first broken promise; the loop stops at the end of the step."""

    def __init__(self) -> None:
        self.first: Violation | None = None

    def __call__(self, violation: Violation) -> None:
        """Take note."""
        self.first = self.first or violation

    def raised(self, task: "asyncio.Task[None]") -> None:
        """Take note of a task of the simulated world that ended by an exception: the simulator itself is at fault."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self(error if isinstance(error, Violation) else Violation("SIM", f"{type(error).__name__}: {error}"))

    def check(self) -> None:
        """Raise it."""
        if self.first is not None:
            raise self.first
