"""Words that a running engine, worker or `up` leaves in its data directory, so that commands find it without --engine.

A note that outlives its killed writer is harmless: `alive_address` checks that the process is there.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from stormsail.cli.errors import CommandFailed


@contextlib.contextmanager
def left_note(path: Path, address: str) -> Iterator[None]:
    """Leave the engine's address and our pid for the length of a block; the file is whole whenever it is there."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps({"address": address, "pid": os.getpid()}) + "\n")
        draft.replace(path)
    except OSError as error:
        raise CommandFailed(
            f"data directory {path.parent} cannot be written to: {error.strerror}",
            next_step="free some space or mend the disk; `stormsail doctor` checks both",
        ) from error
    try:
        yield
    finally:
        if read_note(path).get("pid") == os.getpid():
            path.unlink(missing_ok=True)


def read_note(path: Path) -> dict[str, object]:
    """Read a note; empty while there is none."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text())
        if isinstance(value, dict):
            return value
    return {}


def alive_address(data_dir: Path) -> str:
    """Return the address of the engine that runs, or is kept running, on a data directory; empty when none is."""
    return _address_of_living(data_dir / "engine.json") or _address_of_living(data_dir / "up.json")


def has_up(data_dir: Path) -> bool:
    """Whether an `up` works on a data directory, which starts engine, worker and page again when they die."""
    return bool(_address_of_living(data_dir / "up.json"))


def _address_of_living(path: Path) -> str:
    note = read_note(path)
    pid = note.get("pid")
    return str(note.get("address", "")) if isinstance(pid, int) and _is_alive(pid) else ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
