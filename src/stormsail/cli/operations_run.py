"""The part of `operation` that talks to the engine; imported only when one of its commands runs."""

import time
from dataclasses import asdict
from typing import Any, Final

from stormsail.cli.audited import Entry, audited
from stormsail.cli.changes import finish, output_lines
from stormsail.cli.connection import connected, run
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.follow import follow, step_line
from stormsail.cli.options import Place
from stormsail.cli.output import Column, instant, note, short_id, show_list, show_one, span, style
from stormsail.cli.steering_run import steering_lines
from stormsail.delivery.client import OperationCanceled, OperationDetail, OperationSummary
from stormsail.delivery.model.operation import OperationResult, OperationStatus

_STATUS_WORDS: Final = {
    "RUNNING": "▸ running",
    "SUCCEEDED": "✔ succeeded",
    "TERMINAL": "✖ failed",
    "CANCELED": "⊘ cancelled",
}
_PAUSED: Final = "‖ waits for a person"
_COLUMNS: Final = (
    Column("operation", lambda r: short_id(r["operation_id"])),
    Column("id", lambda r: str(r["operation_id"]), wide=True),
    Column("type", lambda r: str(r["operation_type"])),
    Column("cluster", lambda r: str(r["cluster"])),
    Column("status", lambda r: _PAUSED if r["paused"] else _STATUS_WORDS[r["status"]]),
    Column("started", lambda r: instant(r["started_at_ms"])),
    Column("took", lambda r: span((r["closed_at_ms"] or time.time() * 1000) - r["started_at_ms"])),
    Column("by", lambda r: r["requested_by"] or "-", wide=True),
    Column("reason", lambda r: r["reason"] or "-"),
)


def run_list(application: str, status: str | None, limit: int, place: Place, output: str) -> int:
    """Print operations."""

    async def main() -> list[OperationSummary]:
        async with connected(place) as client:
            wanted = OperationStatus(status.upper()) if status else None
            return await client.list(application=application, status=wanted, limit=limit)

    records = [summary_record(summary) for summary in run(main)]
    show_list(records, _COLUMNS, "operation_id", output, empty="no operations")
    return int(ExitCode.OK)


def run_get(operation_id: str, place: Place, output: str) -> int:
    """Print one operation whole."""

    async def main() -> OperationDetail:
        async with connected(place) as client:
            return await client.get(operation_id)

    detail = run(main)
    record = summary_record(detail.summary) | {
        "steps": [step.model_dump(mode="json") for step in detail.progress.steps] if detail.progress else [],
        "pending": [asdict(activity) for activity in detail.pending],
        "steering": [record.model_dump(mode="json") for record in detail.steering],
        "result": detail.result.model_dump(mode="json") if detail.result else None,
        "failure": detail.failure,
    }
    show_one(record, _described(detail), "operation_id", output)
    return int(ExitCode.OK)


def run_watch(operation_id: str, timeout: float | None, place: Place, output: str) -> int:
    """Follow an operation to its end; the exit code tells how it ended."""

    async def main() -> int:
        async with connected(place) as client:
            detail = await client.get(operation_id)
            whole = detail.summary.operation_id
            result = await follow(client, whole, place, timeout)
            return finish(whole, detail.summary.operation_type, result, output, _ended)

    return run(main)


def run_cancel(operation_id: str, reason: str, wait: bool, timeout: float | None, place: Place, output: str) -> int:
    """Cancel an operation and, if asked, wait until it has put things back."""

    async def main() -> int:
        async with connected(place) as client:
            summary = (await client.get(operation_id)).summary
            if summary.status is not OperationStatus.RUNNING:
                raise _ended_before(summary)
            target = f"operation/{summary.operation_id}"
            entry = Entry("operation.cancel", target, reason, summary.application, summary.account)
            async with audited(place, entry) as written:
                await client.cancel(summary.operation_id, reason, written.by)
            note(f"asked operation {short_id(summary.operation_id)} to stop")
            left_behind: tuple[str, ...] = ()
            if wait:
                try:
                    result = await follow(client, summary.operation_id, place, timeout)
                except OperationCanceled as canceled:
                    left_behind = canceled.left_behind
                else:
                    # It reached its own end before the cancel did.
                    finish(summary.operation_id, summary.operation_type, result, output, _ended)
                    raise _ended_before(summary)
            for thing in left_behind:
                note(f"warning: left behind: {thing}")
            status = OperationStatus.CANCELED if wait else OperationStatus.RUNNING
            record = {"operation_id": summary.operation_id, "status": status.value, "left_behind": [*left_behind]}
            show_one(record, "cancelled" if wait else "cancel asked for", "operation_id", output)
            return int(ExitCode.OK)

    return run(main)


def summary_record(summary: OperationSummary) -> dict[str, Any]:
    """Return what programs read of an operation; the keys are part of the command line's contract."""
    record = asdict(summary)
    record["status"] = summary.status.value
    record["left_behind"] = list(summary.left_behind)
    return record


def _ended_before(summary: OperationSummary) -> CommandFailed:
    return CommandFailed(
        f"operation {short_id(summary.operation_id)} has ended already, there is nothing to cancel",
        next_step=f"`stormsail operation get {short_id(summary.operation_id)}` shows how it ended",
        code=ExitCode.CONFLICT,
    )


def _ended(result: OperationResult) -> str:
    return "\n".join(["succeeded", *output_lines(result)])


def _described(detail: OperationDetail) -> str:
    summary = detail.summary
    rows = {
        "operation": summary.operation_id,
        "type": summary.operation_type,
        "cluster": f"{summary.cluster} (account {summary.account})",
        "status": f"{_PAUSED} at {summary.paused}" if summary.paused else _STATUS_WORDS[summary.status.value],
        "started": instant(summary.started_at_ms),
        "ended": instant(summary.closed_at_ms),
        "by": summary.requested_by or "-",
        "reason": summary.reason or "-",
    }
    width = max(map(len, rows))
    lines = [f"{style(key.ljust(width), bold=True)}  {value}" for key, value in rows.items()]
    if detail.failure:
        lines += ["", f"failure: {detail.failure}"]
    for error in detail.result.errors if detail.result else ():
        lines += ["", f"error: {error.kind}{f' ({error.field})' if error.field else ''}: {error.message}"]
    lines += [f"left behind: {thing}" for thing in summary.left_behind]
    if detail.progress and detail.progress.steps:
        lines += ["", style("steps", bold=True), *(f"  {step_line(step)}" for step in detail.progress.steps)]
    elif detail.progress is None and summary.status is OperationStatus.RUNNING:
        lines += ["", "no worker answers, so its steps cannot be shown; `stormsail status` tells more"]
    if detail.steering:
        lines += ["", style("asked by people", bold=True), *(f"  {line}" for line in steering_lines(detail.steering))]
    for activity in detail.pending:
        again = f", next try at {instant(activity.next_retry_at_ms)}" if activity.next_retry_at_ms else ""
        lines += ["", f"waits for {activity.name} ({activity.step}), attempt {activity.attempt}{again}"]
        lines += [f"  last failure: {activity.last_failure}"] if activity.last_failure else []
        lines += [f"  {activity.detail}"] if activity.detail else []
    if detail.result and detail.result.output:
        lines += ["", style("result", bold=True), *output_lines(detail.result)]
    return "\n".join(lines)
