"""What every changing command does: show the plan, ask, start the operation, wait, print how it ended."""

import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from stormsail.cli.audited import Entry, audited
from stormsail.cli.connection import detached
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.follow import follow, say_outcome
from stormsail.cli.options import ChangeOptions, Place
from stormsail.cli.output import note, short_id, show_one
from stormsail.cli.whoever import requested_by
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.client_types import OperationHandle
from stormsail.delivery.model.operation import OperationRequest, OperationResult, OperationStatus, cluster_of
from stormsail.delivery.model.priority import Priority


@dataclass(frozen=True)
class Plan:
    """What a command is about to ask for, in words, and how careful to be with it."""

    lines: Sequence[str]
    ask: bool = False
    """Ask first where there is a person to ask."""
    needs_yes: str = ""
    """Why this must be confirmed with --yes even where nobody can be asked; empty when it need not."""


def request_for(
    operation_type: str,
    application: str,
    payload: dict[str, Any],
    change: ChangeOptions,
    account: str,
) -> OperationRequest:
    """Return the request with who asks and why."""
    return OperationRequest(
        operation_type=operation_type,
        payload=payload if change.on_failure == "rollback" else {**payload, "onFailure": change.on_failure},
        application=application,
        account=account,
        reason=change.reason,
        requested_by=requested_by(),
        idempotency_key=change.idempotency_key,
        priority=Priority(change.priority) if change.priority else None,
    )


async def carry_out(
    client: DeliveryClient,
    place: Place,
    request: OperationRequest,
    plan: Plan,
    change: ChangeOptions,
    output: str,
    text: Callable[[OperationResult], str],
) -> int:
    """Do the change as its options say and return the exit code. `text` words the result for a person."""
    for line in plan.lines:
        note(line)
    if change.dry_run:
        _show_dry_run(request, plan, output)
        return int(ExitCode.OK)
    _confirm(plan, change)
    starting = asyncio.create_task(_start(client, place, request))
    try:
        # Shielded: a Ctrl-C while the engine answers must not leave us ignorant of an operation that was started.
        handle = await asyncio.shield(starting)
    except asyncio.CancelledError:
        handle = await starting
        raise detached(handle.operation_id, place) from None
    short = short_id(handle.operation_id)
    if handle.attached:
        note(f"operation {short}: was started before with this idempotency key; not started again")
    else:
        note(f"operation {short} started")
    if not change.wait:
        record = {
            "operation_id": handle.operation_id,
            "workflow_id": handle.workflow_id,
            "attached": handle.attached,
            "status": OperationStatus.RUNNING.value,
        }
        show_one(record, f"watch it with `stormsail operation watch {short}`", "operation_id", output)
        return int(ExitCode.OK)
    result = await follow(client, handle.operation_id, place, change.timeout_seconds)
    return finish(handle.operation_id, request.operation_type, result, output, text)


async def _start(client: DeliveryClient, place: Place, request: OperationRequest) -> OperationHandle:
    entry = Entry(
        f"operation.start.{request.operation_type}",
        f"cluster/{request.account}/{cluster_of(request)}",
        request.reason,
        request.application,
        request.account,
        after={"operation_type": request.operation_type, "payload": request.payload},
    )
    async with audited(place, entry) as written:
        handle = await client.start(request.model_copy(update={"requested_by": written.by}))
        written.outcome |= {"operation_id": handle.operation_id, "attached": handle.attached}
        return handle


def finish(
    operation_id: str,
    operation_type: str,
    result: OperationResult,
    output: str,
    text: Callable[[OperationResult], str],
) -> int:
    """Print how an operation ended and return the exit code."""
    say_outcome(result)
    status = OperationStatus.SUCCEEDED if result.ok else OperationStatus.TERMINAL
    record = {"operation_id": operation_id, "operation_type": operation_type, "status": status.value}
    record |= result.model_dump(mode="json")
    if result.ok:
        show_one(record, text(result), "operation_id", output)
        return int(ExitCode.OK)
    if output not in {"table", "wide"}:
        show_one(record, "", "operation_id", output)
    note(f"next:  `stormsail operation get {short_id(operation_id)}` shows every step")
    return int(ExitCode.OPERATION_FAILED)


def _show_dry_run(request: OperationRequest, plan: Plan, output: str) -> None:
    record = {"dry_run": True, "plan": list(plan.lines), "request": request.model_dump(mode="json")}
    show_one(record, "dry run: nothing was done", "", output)


def _confirm(plan: Plan, change: ChangeOptions) -> None:
    if change.yes:
        return
    person = sys.stdin.isatty() and sys.stderr.isatty()
    if person and (plan.ask or plan.needs_yes):
        question = f"{plan.needs_yes}. Go on?" if plan.needs_yes else "Go on?"
        click.confirm(question, abort=True, err=True)
    elif plan.needs_yes:
        raise CommandFailed(
            f"{plan.needs_yes}; that needs a yes",
            next_step="run it again with --yes",
            code=ExitCode.NEEDS_APPROVAL,
        )


def output_lines(result: OperationResult) -> list[str]:
    """Return the result's own output as `key: value` lines."""
    lines = []
    for key, value in result.output.items():
        if value not in ("", None, [], {}):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).replace("_", " ").lower()
            lines.append(f"  {name}: {_words(value)}")
    return lines


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)
