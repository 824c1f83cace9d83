"""The part of `server status|backup|fsck` that opens the engine's file."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.notes import alive_address, read_note
from stormsail.cli.options import Place
from stormsail.cli.output import is_terminal, note, show_one
from stormsail.engine.store.backup import back_up
from stormsail.engine.store.check import Checked, check
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.opening import SCHEMA_VERSION

SHOWN_MAX = 20
"""Problems that a person is shown; `-o json` has more."""


def run_status(place: Place, output: str) -> int:
    """Print who runs on a data directory and what its file takes."""
    file = place.data_dir / "engine.db"
    address = alive_address(place.data_dir)
    record: dict[str, Any] = {
        "data_dir": str(place.data_dir),
        "address": address or None,
        "pid": read_note(place.data_dir / "engine.json").get("pid") if address else None,
        "file_bytes": _size(file),
        "log_bytes": _size(file.with_name("engine.db-wal")),
        "schema_version": SCHEMA_VERSION,
    }
    if record["file_bytes"] is None:
        raise CommandFailed(
            f"{place.data_dir} has no engine.db: no engine ever ran there",
            next_step=f"`stormsail server start --data-dir {place.data_dir}` makes one",
            code=ExitCode.NOT_FOUND,
        )
    runs = f"runs at {address}, process {record['pid']}" if address else "does not run"
    text = f"engine   {runs}\nfile     {file}, {_mb(record['file_bytes'])}, log {_mb(record['log_bytes'] or 0)}"
    show_one(record, text, "data_dir", output)
    return int(ExitCode.OK)


def run_backup(destination: Path, checked: bool, place: Place, output: str) -> int:
    """Make a copy, check it, and say so."""
    source = place.data_dir / "engine.db"
    destination = destination.absolute()
    with _clear():
        made = back_up(source, destination)
        found = check(destination, _progress) if checked else None
    if found is not None and found.problem_count:
        _show_problems(found)
        raise CommandFailed(
            f"the copy {destination} is made, but what it was made of is damaged: {found.problem_count} problems",
            next_step=f"`stormsail server fsck {destination}` names them; keep the backup before this one",
        )
    record = {"path": str(made.path), "size_bytes": made.size_bytes, "runs": found.runs if found else None}
    counted = f", {found.runs} runs, {found.events} events, all sound" if found else ", not checked"
    show_one(record, f"{made.path}: {_mb(made.size_bytes)}{counted}", "path", output)
    return int(ExitCode.OK)


def run_fsck(file: Path | None, place: Place, output: str) -> int:
    """Check a file; exit code 1 when something is wrong."""
    path = (file or place.data_dir / "engine.db").absolute()
    with _clear():
        found = check(path, _progress)
    lines = [
        f"{path}: {found.runs} runs, {found.events} events, {found.schedules} schedules, {found.messages} messages"
    ]
    if found.version < SCHEMA_VERSION:
        lines.append(
            f"only its pages were checked: it is of version {found.version}, and an engine that opens it makes it"
            f" version {SCHEMA_VERSION}"
        )
    lines.append("no problem found" if not found.problem_count else f"{found.problem_count} problems found")
    show_one({"path": str(path), **asdict(found)}, "\n".join(lines), "path", output)
    if not found.problem_count:
        return int(ExitCode.OK)
    _show_problems(found)
    note("next:  the engine serves all other runs and refuses these; restore a backup, or delete the runs named")
    return int(ExitCode.ERROR)


def _show_problems(found: Checked) -> None:
    for problem in found.problems[:SHOWN_MAX]:
        note(f"  {problem.where}: {problem.what}")
    if found.problem_count > SHOWN_MAX:
        note(f"  and {found.problem_count - SHOWN_MAX} more; -o json names up to {len(found.problems)}")


def _progress(done: int, whole: int) -> None:
    if is_terminal():
        note(f"checked {done} of {whole} runs")


@contextlib.contextmanager
def _clear() -> Iterator[None]:
    try:
        yield
    except StorageFailed as error:
        raise CommandFailed(str(error), next_step="--data-dir or the argument names the file") from error


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
