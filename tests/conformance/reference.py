"""Comparisons with Temporal's dev server, which is asked again where its answer and ours differ; ours is asked once.

The dev server does some things beside the call that asked for them, so that a question that follows at once is now and
then answered by what was before (docs/decisions/0036-asking-the-reference-again.md). What it never answers is still a
difference, and an answer of ours that is not always the same is still seen.
"""

import asyncio
import difflib
import pprint
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from grpc import aio
from temporalio.service import RPCError

Answer = TypeVar("Answer")
Ask = Callable[[], Awaitable[Answer]]
"""Asks the reference. Each time under names of its own: what an earlier asking left must not be part of the answer."""

ASKED_MAX: Final = 5
"""How often the reference is asked, the first time counted."""


async def alike(
    ask: Ask[Answer], ours: Awaitable[Answer], shown: Callable[[Answer], Any] = lambda each: each
) -> Answer:
    """Return our answer, which was asked for beside the reference's; fail where the reference gives none that is shown
    as ours is."""
    first = asyncio.ensure_future(_tried(ask, shown))
    try:
        mine = await ours
        theirs = await first
    finally:
        first.cancel()
        await asyncio.wait([first])
    await _confirm(shown(mine), ask, shown, theirs)
    return mine


async def confirmed(ours: Answer, ask: Ask[Answer]) -> None:
    """Fail where the reference never gives this answer."""
    await _confirm(ours, ask, lambda each: each, await _tried(ask, lambda each: each))


async def asked_again(ask: Ask[Answer], first: Answer, agrees: Callable[[Answer], bool]) -> list[Answer]:
    """Ask until an answer agrees, as often as may be; return all answers, the last of which agrees if any does."""
    answers = [first]
    while not agrees(answers[-1]) and len(answers) < ASKED_MAX:
        answers.append(await ask())
    return answers


async def _confirm(ours: Any, ask: Ask[Any], shown: Callable[[Any], Any], first: Any) -> None:
    answers = await asked_again(lambda: _tried(ask, shown), first, lambda each: bool(each == ours))
    if answers[-1] != ours:
        said = [_difference(each, ours) for each in answers]
        raise AssertionError(
            "\n".join([f"asked {len(said)} times, Temporal never answers as we do", *dict.fromkeys(said)])
        )


@dataclass(frozen=True, eq=False)
class _Broke:
    """What an asking of the reference ended with instead of an answer; no answer equals it."""

    error: Exception

    def __repr__(self) -> str:
        return f"no answer: {self.error!r}"


async def _tried(ask: Ask[Any], shown: Callable[[Any], Any]) -> Any:
    """Ask; the reference's failure to answer is one more thing in which it may be alone this time."""
    try:
        return shown(await ask())
    except (AssertionError, TimeoutError, RPCError, aio.AioRpcError) as error:
        return _Broke(error)


def _difference(theirs: Any, ours: Any) -> str:
    """What of the reference's answer is missing (-) or other (+) in ours."""
    before, after = (
        (each if isinstance(each, str) else pprint.pformat(each, width=100)).splitlines() for each in (theirs, ours)
    )
    return "\n".join(difflib.unified_diff(before, after, "Temporal", "Stormsail", lineterm=""))
