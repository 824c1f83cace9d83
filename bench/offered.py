"""The two sides of the overload benchmark, each a process of its own: who offers starts, and who works.

Starts come at a fixed rate whatever is answered, and each is timed from when it was due: a slow server cannot slow
down who measures it. Workers ask for the next task when they are done with one, as workers do. Both share the machine
with the server, so they do next to nothing for a call: see `bench.frames`.
"""

import argparse
import asyncio
import binascii
import json
import os
import sys
import time
from typing import Any, Final

from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

from bench.bare import framed
from bench.engines import NAMESPACE
from bench.frames import Calls, connected
from bench.lives import complete_command
from bench.processes import on_uvloop

OK: Final = 0
RESOURCE_EXHAUSTED: Final = 8
_TICK_S: Final = 0.002
_CONNECTIONS: Final = 4
_LOOK_S: Final = 0.02
_LOOKS: Final = 1_000
"""How often it is looked whether all starts are answered, before the rest is given up."""
_TELL_S: Final = 0.1
_ID_SIZE: Final = 36
_PREFIX: Final = 5
"""Bytes before a message: whether it is compressed, and its size."""
_TOKEN: Final = 0x0A
"""How a task begins: its token is the first field."""


class Starts:
    """Messages that start a workflow, each with ids of its own, from one that is encoded once."""

    def __init__(self, queue: str) -> None:
        places = (b"A" * _ID_SIZE, b"B" * _ID_SIZE)
        request = StartWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_id="offered-" + places[0].decode(),
            request_id=places[1].decode(),
            identity="offer",
        )
        request.workflow_type.name = "Offered"
        request.task_queue.name = queue
        self._before, rest = framed(request.SerializeToString()).split(places[0])
        self._between, self._after = rest.split(places[1])

    def more(self, count: int) -> list[bytes]:
        """Return so many, framed."""
        ids = binascii.hexlify(os.urandom(_ID_SIZE * count))
        return [
            b"".join(
                (
                    self._before,
                    ids[at : at + _ID_SIZE],
                    self._between,
                    ids[at + _ID_SIZE : at + 2 * _ID_SIZE],
                    self._after,
                )
            )
            for at in range(0, len(ids), 2 * _ID_SIZE)
        ]


class Offer:
    """Who offers starts at a rate, one phase after another."""

    def __init__(self, queue: str) -> None:
        self._starts = Starts(queue)
        self._lines: list[_OfferLine] = []
        self._phase = _Answers()

    async def connect(self, port: int) -> None:
        """Connect; do it once."""
        for _ in range(_CONNECTIONS):
            self._lines.append(await _OfferLine.to(port, self))

    @property
    def answers(self) -> "_Answers":
        """Where the answers of this phase are noted."""
        return self._phase

    async def phase(self, rate: float, seconds: float, begin_s: float, settle_s: float) -> dict[str, Any]:
        """Offer from an instant on; tell what became of it and how long each answer took, and how much of it came
        once the phase had settled."""
        told = self._phase = _Answers()
        late: list[float] = []
        sent = 0
        settled = told.counts() | {"sent": 0}
        await asyncio.sleep(max(0.0, begin_s - time.perf_counter()))
        while (now := time.perf_counter()) < begin_s + seconds:
            if now < begin_s + settle_s:
                settled = told.counts() | {"sent": sent}
            due_count = 1 + int((now - begin_s) * rate) - sent
            for message in self._starts.more(due_count):
                due = begin_s + sent / rate
                late.append(now - due)
                self._lines[sent % _CONNECTIONS].send(message, due, now)
                sent += 1
            for line in self._lines:
                line.flush()
            await asyncio.sleep(max(_TICK_S, begin_s + sent / rate - time.perf_counter()))
        ended = told.counts() | {"sent": sent}
        for _ in range(_LOOKS):
            if not any(line.unanswered for line in self._lines):
                break
            await asyncio.sleep(_LOOK_S)
        unanswered = sum(line.forget() for line in self._lines)
        return told.told() | {
            "sent": sent,
            "unanswered": unanswered,
            "settled": {name: count - settled[name] for name, count in ended.items()},
            "own_lateness_ms": spread(late),
        }


class _Answers:
    """What became of the starts of a phase."""

    def __init__(self) -> None:
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.refused_since_sent: list[float] = []
        self.failed: dict[str, int] = {}

    def note(self, status: int, due_s: float, sent_s: float, at_s: float) -> None:
        """Note an answer."""
        if status == OK:
            self.accepted.append(at_s - due_s)
        elif status == RESOURCE_EXHAUSTED:
            self.refused.append(at_s - due_s)
            self.refused_since_sent.append(at_s - sent_s)
        else:
            told = f"status {status}"
            self.failed[told] = self.failed.get(told, 0) + 1

    def counts(self) -> dict[str, int]:
        """Return how many there were so far."""
        return {"accepted": len(self.accepted), "refused": len(self.refused)}

    def told(self) -> dict[str, Any]:
        """Return what is told of the phase."""
        return self.counts() | {
            "failed": self.failed,
            "refusal_ms": spread(self.refused),
            "refusal_since_sent_ms": spread(self.refused_since_sent),
            "accepted_ms": spread(self.accepted),
        }


class _OfferLine:
    """One connection of who offers, and what it waits for: of each call when it was due and when it was sent."""

    _calls: Calls

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._waiting: dict[int, tuple[float, float]] = {}

    @classmethod
    async def to(cls, port: int, offer: Offer) -> "_OfferLine":
        """Connect."""
        line = cls(offer)
        line._calls = await connected(port, line._answered)
        return line

    @property
    def unanswered(self) -> int:
        """Starts that are not answered."""
        return len(self._waiting)

    def send(self, message: bytes, due_s: float, now_s: float) -> None:
        """Send a start with the next flush."""
        self._waiting[self._calls.send("StartWorkflowExecution", message)] = (due_s, now_s)

    def flush(self) -> None:
        """Send; raises ConnectionError when the server went away."""
        if self._calls.lost.is_set():
            raise ConnectionError("the server closed the connection")
        self._calls.flush()

    def forget(self) -> int:
        """Wait for nothing any more; return for how many it was waited."""
        left = len(self._waiting)
        self._waiting.clear()
        return left

    def _answered(self, stream_id: int, status: int, _: bytes) -> None:
        waited = self._waiting.pop(stream_id, None)
        if waited is not None:
            self._offer.answers.note(status, *waited, self._calls.read_at_s)


class Work:
    """Who takes tasks and completes their runs: a number of polls at once, each followed by its task's completion."""

    _calls: Calls

    def __init__(self, queue: str) -> None:
        poll = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, identity="work")
        poll.task_queue.name = queue
        self._poll = framed(poll.SerializeToString())
        self._rest = RespondWorkflowTaskCompletedRequest(
            namespace=NAMESPACE, identity="work", commands=[complete_command()]
        ).SerializeToString()
        self._polls: set[int] = set()
        self._completions: set[int] = set()
        self.done = 0
        self.refused = 0
        self.failed = ""

    async def run(self, port: int, pollers: int) -> None:
        """Work until killed, or until something fails; tell every so often how much is done."""
        self._calls = await connected(port, self._answered)
        for _ in range(pollers):
            self._next()
        self._calls.flush()
        while not (self._calls.lost.is_set() or self.failed):
            print(json.dumps({"done": self.done, "refused": self.refused, "at_s": time.perf_counter()}), flush=True)
            await asyncio.sleep(_TELL_S)
        raise ConnectionError(self.failed or "the server closed the connection")

    def _next(self) -> None:
        self._polls.add(self._calls.send("PollWorkflowTaskQueue", self._poll))

    def _answered(self, stream_id: int, status: int, body: bytes) -> None:
        if stream_id in self._polls:
            self._polls.remove(stream_id)
            token = token_of(body) if status == OK else b""
            if token:
                message = framed(token + self._rest)
                self._completions.add(self._calls.send("RespondWorkflowTaskCompleted", message))
                return
        elif stream_id in self._completions:
            self._completions.remove(stream_id)
            self.done += status == OK
        else:
            return
        if status == RESOURCE_EXHAUSTED:
            self.refused += 1
        elif status != OK:
            self.failed = f"a call of a worker ended with status {status}"
        self._next()


def token_of(body: bytes) -> bytes:
    """Return the field with a task's token of the framed reply to a poll, as it is and as a completion has it too;
    nothing when there was no task."""
    if len(body) <= _PREFIX:
        return b""
    if body[_PREFIX] != _TOKEN:
        raise ConnectionError("the server's reply to a poll does not begin with the task's token")
    size, at, shift = 0, _PREFIX + 1, 0
    while True:
        size |= (body[at] & 0x7F) << shift
        if body[at] < 0x80:
            return body[_PREFIX : at + 1 + size]
        at, shift = at + 1, shift + 7


def spread(seconds: list[float]) -> dict[str, float]:
    """Return the middle and the ends in milliseconds; empty when there is nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000, 2)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


async def offer(port: int, queue: str) -> None:
    """Offer what each line of the input asks for, and tell what became of it; until the input ends."""
    offering = Offer(queue)
    await offering.connect(port)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await offering.phase(**json.loads(line))), flush=True)


def main() -> None:
    """Run as one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["offer", "work"])
    parser.add_argument("port", type=int)
    parser.add_argument("queue")
    parser.add_argument("--pollers", type=int, default=0)
    given = parser.parse_args()
    if given.side == "work":
        on_uvloop(Work(given.queue).run(given.port, given.pollers))
    else:
        on_uvloop(offer(given.port, given.queue))


if __name__ == "__main__":
    main()
