"""`stormsail web start` as a process, which a test may kill."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from delivery.stage import Stage
from stormsail.cli.notes import read_note

START_MAX_S = 60.0


@dataclass
class Served:
    """A running web process and where it answers."""

    process: "subprocess.Popen[bytes]"
    address: str


def at_stage(stage: Stage) -> tuple[str, ...]:
    """Return the flags that show a stage."""
    return (f"--engine={stage.address}", f"--task-queue={stage.account}", f"--account={stage.account}")


@contextlib.contextmanager
def served(directory: Path, *flags: str) -> Iterator[Served]:
    """Serve a data directory until the block ends."""
    command = [sys.executable, "-m", "stormsail.cli", "web", "start", f"--data-dir={directory}", "--port=0", *flags]
    (directory / "web.json").unlink(missing_ok=True)
    with (directory / "web.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            give_up_at = time.monotonic() + START_MAX_S
            while (note := read_note(directory / "web.json")).get("pid") != process.pid:
                assert process.poll() is None, (directory / "web.log").read_text()
                assert time.monotonic() < give_up_at
                time.sleep(0.05)
            yield Served(process, str(note["address"]))
        finally:
            process.terminate()
