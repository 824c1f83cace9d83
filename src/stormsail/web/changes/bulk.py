"""The same asked of many operations: each is a change of its own, with its own rights, audit row, key and outcome."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stormsail.delivery.model.steering import Verb
from stormsail.web.changes.change import KEY_MAX, Caller
from stormsail.web.changes.failures import invalid
from stormsail.web.changes.operations import cancel_operation, steer_operation
from stormsail.web.problems import Problem

OPERATIONS_MAX: Final = 100
ID_MAX: Final = 64
AT_ONCE_MAX: Final = 4
BULK_KEY_MAX: Final = KEY_MAX - ID_MAX - 1
"""A key leaves room for the operation's id behind it."""

_UNKNOWN: Final = ("unknown-outcome", "source-away", "in-progress", "records-away")


class BulkVerb(StrEnum):
    """What can be asked of many at once: what needs nobody to look at the single one."""

    RETRY = "retry"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class OneOfMany:
    """What became of one operation's part."""

    operation_id: str
    outcome: str
    """`done`, `refused`, or `unknown` where sending the same key again tells or does it."""
    kind: str = ""
    """The kind of problem, where it was not done."""
    detail: str = ""
    """Why it was not done, in words."""


@dataclass(frozen=True, slots=True)
class BulkView:
    """What became of all of them, in the order in which they were asked for."""

    verb: BulkVerb
    idempotency_key: str
    done: int
    refused: int
    unknown: int
    results: tuple[OneOfMany, ...]


async def steer_many(caller: Caller, verb: BulkVerb, operation_ids: Sequence[str]) -> BulkView:
    """Ask the same of some operations. Raises Problem only for a request that names none of them rightly."""
    _check(caller, operation_ids)
    key = caller.idempotency_key or str(uuid.uuid4())
    gate = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(operation_id: str) -> OneOfMany:
        async with gate:
            return await _one(caller.under(f"{key}/{operation_id}"), verb, operation_id)

    results = tuple(await asyncio.gather(*(one(operation_id) for operation_id in operation_ids)))
    count = [result.outcome for result in results].count
    return BulkView(verb, key, count("done"), count("refused"), count("unknown"), results)


async def _one(caller: Caller, verb: BulkVerb, operation_id: str) -> OneOfMany:
    try:
        match verb:
            case BulkVerb.RETRY:
                done = await steer_operation(caller, operation_id, Verb.RETRY)
            case BulkVerb.CANCEL:
                done = await cancel_operation(caller, operation_id)
    except Problem as problem:
        outcome = "unknown" if problem.kind in _UNKNOWN else "refused"
        return OneOfMany(operation_id, outcome, problem.kind, problem.detail)
    if done.status >= 400:  # What was answered under this key before.
        kind = str(done.value.get("type", "")).rpartition(":")[2]
        return OneOfMany(operation_id, "refused", kind, str(done.value.get("detail", "")))
    return OneOfMany(operation_id, "done")


def _check(caller: Caller, operation_ids: Sequence[str]) -> None:
    if not 1 <= len(operation_ids) <= OPERATIONS_MAX:
        raise invalid([("operations", f"name from 1 to {OPERATIONS_MAX} operations")])
    if len(set(operation_ids)) != len(operation_ids):
        raise invalid([("operations", "name each operation once")])
    if any(not 4 <= len(one) <= ID_MAX or not one.isascii() or not one.isprintable() for one in operation_ids):
        raise invalid([("operations", f"each an operation's id, or 4 to {ID_MAX} characters of its beginning")])
    if len(caller.idempotency_key) > BULK_KEY_MAX:
        raise invalid([("Idempotency-Key", f"at most {BULK_KEY_MAX} characters for many operations")])
