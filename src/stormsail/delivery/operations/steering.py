"""Steering an operation: which requests its steps take, decided by one table, and a record of every one of them.

Requests come one after the other, so of two that saw the same attempt the first one is taken and the second is told of
it. Nothing here knows how a step is tried again; the conduct does that.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from stormsail.delivery.model.steering import SteeringMemo, SteeringRecord, SteerRequest, Verb
from stormsail.delivery.operations.course import COURSE_VERBS, INTERRUPTS, Course, Standing

RECORDS_MAX: Final = 200
MEMO_RECORDS_MAX: Final = 20
"""How many of the newest records lists show; a memo is read with every list."""

FIXED_FIELDS: Final = frozenset(
    {"kind", "name", "account", "application", "server_group", "token", "gone", "serving", "priority"}
)
"""What a step is about: changed, it would be another step."""


class Trying(StrEnum):
    """How a call of a step stands, as far as steering goes."""

    RUNNING = "running"
    """It is being tried, or waits for its next attempt."""
    PAUSED = "paused"
    """It failed for good and waits for a person."""


class Kind(StrEnum):
    """What a call does."""

    CHANGE = "change"
    WAIT = "wait"
    SLEEP = "sleep"
    READ = "read"
    CHECK = "check"
    APPROVAL = "approval"


TAKES: Final[Mapping[tuple[Kind, Trying], frozenset[Verb]]] = {
    (Kind.CHANGE, Trying.RUNNING): frozenset({Verb.RETRY}),
    (Kind.CHANGE, Trying.PAUSED): frozenset({Verb.RETRY, Verb.SKIP, Verb.RERUN}),
    (Kind.WAIT, Trying.RUNNING): frozenset({Verb.RETRY, Verb.SKIP}),
    (Kind.WAIT, Trying.PAUSED): frozenset({Verb.RETRY, Verb.SKIP, Verb.RERUN}),
    (Kind.SLEEP, Trying.RUNNING): frozenset({Verb.SKIP}),
    (Kind.READ, Trying.RUNNING): frozenset({Verb.RETRY}),
    (Kind.READ, Trying.PAUSED): frozenset({Verb.RETRY}),
    (Kind.CHECK, Trying.RUNNING): frozenset({Verb.RETRY}),
    (Kind.CHECK, Trying.PAUSED): frozenset({Verb.RETRY}),
}
"""What a call takes. A change half made is not left as it is, so it is skipped only once nobody carries it on."""


@dataclass
class SteeredCall:
    """One call under way."""

    call: str
    step: str
    kind: Kind
    input: BaseModel | None
    """What `rerun` may change."""
    attempt: int = 1
    trying: Trying = Trying.RUNNING
    command: SteerRequest | None = None
    task: "asyncio.Future[Any] | None" = None
    _commanded: asyncio.Event = field(default_factory=asyncio.Event)

    async def commanded(self) -> None:
        """Wait for a person."""
        await self._commanded.wait()

    def give(self, command: SteerRequest) -> None:
        """Take a request: from now on the call is at its next attempt."""
        self.command = command
        self.attempt += 1
        self._commanded.set()
        if self.trying is Trying.RUNNING and self.task is not None:
            self.task.cancel()

    def take(self) -> SteerRequest:
        """Return the request that was given, and go on running."""
        command = self.command
        assert command is not None, f"{self.call} goes on without having been asked to"
        self.command, self.trying, self._commanded = None, Trying.RUNNING, asyncio.Event()
        return command


def standing_of(call: SteeredCall | None) -> Standing:
    """Return how a rollout stands, whose newest call this is."""
    if call is None:
        return Standing.MOVES
    if call.kind is Kind.APPROVAL:
        return Standing.WAITS
    return Standing.TARRIES if call.kind in (Kind.SLEEP, Kind.CHECK) else Standing.MOVES


class Steering:
    """The calls of one operation that can be steered now, and everything that was ever asked of it."""

    def __init__(self, now_ms: Callable[[], int], changed: Callable[[], None]) -> None:
        self._now_ms = now_ms
        self._changed = changed
        self._calls: dict[str, SteeredCall] = {}
        self._records: list[SteeringRecord] = []
        self.course: Course | None = None
        """The rollout in steps that is under way, if there is one."""
        self.closed = ""
        """Why nothing can be steered at all, while that is so."""
        self.winding_down = False
        """Whether the operation puts things back: then steps are tried again, and neither skipped nor changed."""

    @property
    def records(self) -> tuple[SteeringRecord, ...]:
        """Every request so far, oldest first."""
        return tuple(self._records)

    @property
    def memo(self) -> SteeringMemo:
        """What lists show."""
        paused = next((one.call for one in self._calls.values() if one.trying is Trying.PAUSED), "")
        return SteeringMemo(paused=paused, records=self.records[-MEMO_RECORDS_MAX:])

    def begin(self, call: SteeredCall) -> None:
        """Let a call be steered until its end."""
        self._calls[call.call] = call

    def end(self, call: SteeredCall) -> None:
        """Let a call be steered no more."""
        self._calls.pop(call.call, None)

    def pause(self, call: SteeredCall) -> None:
        """Say that a call waits for a person."""
        call.trying = Trying.PAUSED
        self._changed()

    def resumed(self) -> None:
        """Say that a call that waited goes on."""
        self._changed()

    def ask(self, request: SteerRequest) -> None:
        """Take a request or turn it down, and keep a record either way. One that was seen before changes nothing."""
        if any(record.id == request.id for record in self._records):
            return
        if request.verb in COURSE_VERBS:
            self._ask_course(request)
            return
        call, refused = self._target(request)
        changes = self._changes(call, request) if call is not None and not refused else None
        if isinstance(changes, str):
            refused, changes = changes, None
        before, after = changes or ({}, {})
        step = call.call if call is not None else request.step
        self._keep(request.id, request.verb, step, request.by, request.reason, refused, before=before, after=after)
        if call is not None and not refused:
            call.give(request)
        self._changed()

    def _ask_course(self, request: SteerRequest) -> None:
        """Take what is asked of the rollout as a whole, or turn it down."""
        call = next(reversed(self._calls.values()), None)
        standing = standing_of(call)
        refused = self.closed
        if not refused and self.course is None:
            refused = "this operation is no rollout in steps (strategy canary): retry, skip, rerun or cancel it"
        elif not refused and self.winding_down:
            refused = "the operation puts the previous state back already"
        elif not refused and call is not None and request.verb in (Verb.APPROVE, Verb.PROMOTE):
            if request.step not in ("", call.call, call.step):
                refused = f"{request.step} is over, and the rollout is at {call.call}: look at it again before you ask"
            elif request.attempt not in (0, call.attempt):
                refused = self._late(call, request)
        if not refused and self.course is not None:
            refused = self.course.refusal(request, standing)
        step = call.call if call is not None else ""
        self._keep(request.id, request.verb, step, request.by, request.reason, refused)
        if not refused and self.course is not None:
            self.course.take(request)
            if call is not None and call.command is None and request.verb in INTERRUPTS[standing]:
                call.give(request)
        self._changed()

    def cancelled(self, identity: str, by: str, reason: str) -> None:
        """Keep a record of the operation's cancel."""
        self._keep(identity, Verb.CANCEL, "", by, reason, "")
        self._changed()

    def _keep(self, identity: str, verb: Verb, step: str, by: str, reason: str, refused: str, **more: Any) -> None:
        del self._records[: -RECORDS_MAX + 1]
        self._records.append(
            SteeringRecord(
                id=identity,
                verb=verb,
                step=step,
                by=by,
                reason=reason,
                at_ms=self._now_ms(),
                accepted=not refused,
                message=refused,
                **more,
            )
        )

    def _target(self, request: SteerRequest) -> tuple[SteeredCall | None, str]:
        """Return the call that a request means, and why it does not take it."""
        if self.closed:
            return None, self.closed
        wanted = [one for one in self._calls.values() if request.step in ("", one.call, one.step)]
        if len(wanted) != 1:
            there = ", ".join(self._calls) or "none"
            what = f"no step {request.step!r} runs or waits" if request.step else "say which step"
            return None, f"{what}; those that can be steered now: {there}"
        return wanted[0], self._refusal(wanted[0], request)

    def _refusal(self, call: SteeredCall, request: SteerRequest) -> str:
        if request.attempt not in (0, call.attempt):
            return self._late(call, request)
        if call.command is not None:
            return f"{call.call} has just been asked to {call.command.verb} by {call.command.by or 'somebody'}"
        if self.winding_down and request.verb is not Verb.RETRY:
            return f"{call.call} puts something back: it can be retried, not {_PAST[request.verb]}"
        takes = TAKES.get((call.kind, call.trying), frozenset())
        if request.verb not in takes:
            can = ", ".join(sorted(takes)) or "nothing"
            return f"{call.call} is {call.trying}: a {call.kind} takes {can} then, not {request.verb}"
        if request.verb is Verb.SKIP and not request.reason.strip():
            return f"skipping {call.call} needs a reason"
        return ""

    def _late(self, call: SteeredCall, request: SteerRequest) -> str:
        who = next((one.by for one in reversed(self._records) if one.accepted and one.step == call.call), "")
        return (
            f"{call.call} is at attempt {call.attempt}, not {request.attempt} any more"
            f"{f': {who} was first' if who else ''}; look at it again before you ask"
        )

    def _changes(self, call: SteeredCall, request: SteerRequest) -> tuple[dict[str, Any], dict[str, Any]] | str:
        """Return the changed fields before and after, or why they cannot be changed so."""
        if request.verb is not Verb.RERUN:
            return {}, {}
        try:
            changed = changed_input(call.input, request.input)
        except ValueError as wrong:
            return f"{call.call}: {wrong}"
        assert call.input is not None
        before, after = call.input.model_dump(mode="json"), changed.model_dump(mode="json")
        return {name: before[name] for name in request.input}, {name: after[name] for name in request.input}


_PAST: Final = {Verb.SKIP: "skipped", Verb.RERUN: "changed", Verb.CANCEL: "cancelled"}


def changed_input(before: BaseModel | None, fields: Mapping[str, Any]) -> BaseModel:
    """Return an input with some fields changed; of a field that has fields itself, those that are named.

    Raises ValueError naming the field and the rule.
    """
    if before is None:
        raise ValueError("it has no input to change")
    whole = before.model_dump(mode="json")
    known = sorted(set(whole) - FIXED_FIELDS)
    if not fields:
        raise ValueError(f"name at least one field to change: {', '.join(known) or 'it has none'}")
    for name in fields:
        if name not in known:
            raise ValueError(f"{name!r} cannot be changed; {', '.join(known) or 'nothing'} can")
    merged = whole | {
        name: {**whole[name], **value} if isinstance(value, Mapping) and isinstance(whole[name], Mapping) else value
        for name, value in fields.items()
    }
    try:
        return type(before).model_validate(merged)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
