"""Takes every trace to its drivers and compares what they tell."""

import asyncio
import difflib
import itertools
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from grpc import aio

from conformance.reference import asked_again
from engine.api.rpc import Rpc
from parity.core import Core
from parity.known import Known, unexplained
from parity.language import Step, Trace
from parity.prepare import prepare
from parity.server import Server, TooLate
from parity.side import Driver, Side

AT_ONCE = 10


@dataclass
class Told:
    """What one driver told of a trace: per step its lines, None where it had no say; then the histories."""

    steps: list[list[str] | None] = field(default_factory=list)
    histories: list[str] = field(default_factory=list)
    broke: str = ""
    """What ended the trace early."""


@dataclass(frozen=True)
class Outcome:
    """What came of a trace."""

    trace: Trace
    differences: list[str]
    unexplained: list[str]
    account: list[str]
    """What Temporal's server told."""
    seconds: float
    """How long it took."""
    ours: list[tuple[str, Told]]
    """What our drivers told, by their names: each took the trace once."""
    first: list[str] = field(default_factory=list)
    """What was unexplained the first time, of a trace that Temporal's server took again, alone."""

    @property
    def agrees(self) -> bool:
        return not self.differences


async def told(driver: Driver, trace: Trace) -> Told:
    """Take a trace to a driver."""
    found = Told()
    try:
        for step in trace.steps:
            found.steps.append(await driver.take(step))
        found.histories = await driver.histories()
    except (TooLate, aio.AioRpcError, AssertionError, KeyError, ValueError) as error:
        done = len(found.steps)
        where = trace.steps[done].words.line if done < len(trace.steps) else "histories"
        at = traceback.extract_tb(error.__traceback__)[-1]
        found.broke = f"{where}: {type(error).__name__} {error} ({at.name}, line {at.lineno})"
    finally:
        await driver.leave()
    return found


def differences(steps: Sequence[Step], reference: Told, other: Told, name: str) -> list[str]:
    """Say how a driver's account differs from the reference's: `-` is missing, `+` is too much."""
    found = []
    if reference.broke or other.broke:
        found = [
            f"{name}: {who}: {told.broke}" for who, told in (("reference", reference), (name, other)) if told.broke
        ]
    for number, step in enumerate(steps, 1):
        before, after = (told.steps[number - 1] if number <= len(told.steps) else None for told in (reference, other))
        if before is None or after is None:
            continue
        if name == "core":
            before = _said_by_core(before, after)
        found += _diff(before, after, f"{name}: step {number} {step.words.line}")
    if not (reference.broke or other.broke):
        found += _diff(reference.histories, other.histories, f"{name}: history")
    return found


def account(trace: Trace, told: Told) -> list[str]:
    """Lay out what a driver told."""
    found = []
    for step, answer in zip(trace.steps, told.steps, strict=False):
        found += [step.words.line, *(f"    {line}" for line in answer or [])]
    return [*found, *told.histories]


def _said_by_core(theirs: list[str], ours: list[str]) -> list[str]:
    """Leave out of a server's answer what the core has no word for: it tells whether, and some of what."""
    fields = {line.split(": ")[0] for line in ours}
    return [line for number, line in enumerate(theirs) if number == 0 or line.split(": ")[0] in fields]


def _diff(before: Sequence[str], after: Sequence[str], what: str) -> list[str]:
    changes = difflib.unified_diff(before, after, lineterm="", n=0)
    return [f"{what}: {line}" for line in changes if not line.startswith(("---", "+++", "@@"))]


async def outcome(trace: Trace, ours: Rpc, temporals: Rpc, namespace: str, known: Sequence[Known]) -> Outcome:
    """Take a trace to all drivers that take part in it, and compare."""
    names = ["server"]
    running = [
        told(Server(temporals, Side(trace, namespace)), trace),
        told(Server(ours, Side(trace, namespace)), trace),
    ]
    if not trace.without_core:
        names.append("core")
        running.append(told(Core(Side(trace)), trace))
    begun = time.monotonic()
    reference, *mine = await asyncio.gather(*running)
    found = Outcome(trace, [], [], [], time.monotonic() - begun, list(zip(names, mine, strict=True)))
    return _judged(found, reference, known)


def _judged(outcome: Outcome, reference: Told, known: Sequence[Known]) -> Outcome:
    """Hold what ours told against the reference's account."""
    trace = outcome.trace
    found = [line for name, mine in outcome.ours for line in differences(trace.steps, reference, mine, name)]
    found = unexplained(found, [each for each in known if each.everywhere])
    about = [each for each in known if each.trace == trace.name]
    return replace(outcome, differences=found, unexplained=unexplained(found, about), account=account(trace, reference))


async def compare(traces: Sequence[Trace], ours: str, temporals: str, known: Sequence[Known]) -> list[Outcome]:
    """Take all traces to both servers, many at a time; then to Temporal's again, alone, those that differ."""
    places = asyncio.Semaphore(AT_ONCE)
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with aio.insecure_channel(ours, options) as one, aio.insecure_channel(temporals, options) as other:

        async def run(number: int, trace: Trace) -> Outcome:
            async with places:
                return await outcome(trace, Rpc(one), Rpc(other), _namespace(trace, number), known)

        await prepare(
            [_namespace(each, n) for n, each in enumerate(traces) if each.own_namespace], Rpc(one), Rpc(other)
        )
        found = list(await asyncio.gather(*(run(number, trace) for number, trace in enumerate(traces))))
        numbers = itertools.count(len(traces))

        async def again(first: Outcome) -> Outcome:
            namespace = _namespace(first.trace, next(numbers))
            await prepare([namespace] if first.trace.own_namespace else [], Rpc(other))
            reference = await told(Server(Rpc(other), Side(first.trace, namespace)), first.trace)
            return replace(_judged(first, reference, known), first=first.unexplained)

        for number, each in enumerate(found):
            takes = await asked_again(partial(again, each), each, lambda taken: not taken.unexplained)
            found[number] = takes[-1]
        return found


def _namespace(trace: Trace, number: int) -> str:
    return f"own-{number}" if trace.own_namespace else "default"
