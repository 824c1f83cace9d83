"""The part of `operation retry`, `skip` and `rerun` that talks to the engine."""

from collections.abc import Iterable
from typing import Any, Final

from stormsail.cli.audited import Entry, audited
from stormsail.cli.connection import connected, run
from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import instant, note, short_id, show_one
from stormsail.delivery.model.steering import SteeringRecord, Verb

_DONE: Final = {
    Verb.RETRY: "retried",
    Verb.SKIP: "skipped",
    Verb.RERUN: "rerun with another input",
    Verb.APPROVE: "approved",
    Verb.PROMOTE: "promoted",
    Verb.PAUSE: "will wait before its next step",
    Verb.ABORT: "aborted",
    Verb.CANCEL: "cancelled",
}


def run_steer(
    verb: str, operation_id: str, step: str, reason: str, changes: dict[str, Any], place: Place, output: str
) -> int:
    """Ask, and print the record of what was taken. What is turned down is the command's failure, exit code 6."""

    async def main() -> tuple[str, SteeringRecord]:
        async with connected(place) as client:
            found = (await client.get(operation_id)).summary
            whole = found.operation_id
            after = {"step": step, "input": changes}
            target = f"operation/{whole}"
            entry = Entry(f"operation.{verb}", target, reason, found.application, found.account, after=after)
            async with audited(place, entry) as written:
                record = await client.steer(
                    whole, Verb(verb), step=step, reason=reason, requested_by=written.by, changes=changes
                )
                written.outcome |= {"step": record.step, "before": record.before, "after": record.after}
            return whole, record

    whole, record = run(main)
    shown = {"operation_id": whole, **record.model_dump(mode="json")}
    show_one(shown, f"{record.step or 'the rollout'}: {_DONE[record.verb]}", "operation_id", output)
    note(f"next:  `stormsail operation watch {short_id(whole)}` follows it to its end")
    return int(ExitCode.OK)


def steering_lines(records: Iterable[SteeringRecord]) -> list[str]:
    """Return what people asked of an operation, one line each."""
    lines = []
    for record in records:
        what = f"{record.step or 'the operation'}: {_DONE[record.verb]}"
        if not record.accepted:
            what = f"{record.step or 'the operation'}: {record.verb} was turned down ({record.message})"
        changes = "".join(f"; {name} {value} -> {record.after.get(name)}" for name, value in record.before.items())
        why = f", because: {record.reason}" if record.reason else ""
        lines.append(f"{instant(record.at_ms)}  {what} by {record.by or 'somebody'}{why}{changes}")
    return lines
