"""Child processes of the command line: tied to their parent, restarted when they die, stopped in order."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.notes import read_note

BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MAX_SECONDS: Final = 10.0
STEADY_SECONDS: Final = 10.0
"""A child that lived this long starts again without backoff."""
STOP_SECONDS: Final = 15.0
READY_SECONDS: Final = 60.0
READY_PAUSE_SECONDS: Final = 0.05
LOG_BYTES_MAX: Final = 10_000_000

_PR_SET_PDEATHSIG: Final = 1


def follow_parent(parent: int | None) -> None:
    """Have the kernel send us SIGTERM when our parent dies; nothing happens where no parent was named.

    Without it an `up` that is killed with SIGKILL would leave an engine that holds the data directory.
    """
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # The parent died before the kernel was asked.
        os.kill(os.getpid(), signal.SIGTERM)


def stormsail_command(*arguments: str) -> list[str]:
    """Return the command line that runs another `stormsail` on this interpreter."""
    return [sys.executable, "-m", "stormsail.cli", *arguments]


@dataclass
class Child:
    """One supervised process. Once it has proved that it can start, it is restarted whenever it dies until `stop`."""

    name: str
    command: Callable[[], Sequence[str]]
    """Asked before each start, because a restart may have learned more (the port that was free)."""
    log: Path
    say: Callable[[str], None]
    first_pause_seconds: float = BACKOFF_FIRST_SECONDS
    proved: bool = False
    """Set by whoever saw it ready; before that a death is a failed start, which no second try would mend."""
    starts: int = 0
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    running: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    stopping: bool = False

    async def run(self) -> None:
        """Start the process and start it again each time it ends, with growing pauses if it ends at once."""
        pause = self.first_pause_seconds
        while True:
            began = time.monotonic()
            code = await self._once()
            if self.stopping or not self.proved:
                return
            if time.monotonic() - began >= STEADY_SECONDS:
                pause = self.first_pause_seconds
            self.say(f"{self.name}: {ending(code)}; starting it again in {pause:.1f} s{self._last_words(code)}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_MAX_SECONDS)

    async def _once(self) -> int:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as sink:
            # Its own session, so that Ctrl-C in the terminal reaches the supervisor alone, which stops in order.
            self.process = await asyncio.create_subprocess_exec(
                *self.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        self.starts += 1
        self.running.set()
        code = await self.process.wait()
        self.running.clear()
        return code

    async def stop(self) -> None:
        """Ask the process to end, and kill it when it does not within STOP_SECONDS."""
        self.stopping = True
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            self.say(f"{self.name}: did not stop within {STOP_SECONDS:.0f} s; killed")
            process.kill()
            await process.wait()

    def _last_words(self, code: int) -> str:
        """Return the last error of the log, because that is what a person needs to see. The killed say nothing."""
        said = [line for line in tail(self.log) if line.startswith("error: ")]
        return f". It said: {said[-1]}" if said and code > 0 else ""


async def until_ready(child: Child, note: Path) -> str:
    """Wait until a child has left its note and return the address in it; fail with its own words if it ends first."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        process = child.process
        said = read_note(note)
        if process is not None and said.get("pid") == process.pid:
            child.proved = True
            return str(said.get("address", ""))
        if process is not None and process.returncode is not None:
            raise start_failed(child, process.returncode)
        await asyncio.sleep(READY_PAUSE_SECONDS)
    raise CommandFailed(
        f"the {child.name} was not ready within {READY_SECONDS:.0f} s",
        next_step=f"read {child.log}; `stormsail doctor` checks this machine",
        code=ExitCode.TIMEOUT,
    )


def start_failed(child: Child, code: int) -> CommandFailed:
    """Turn what a child printed before it ended into the failure of the command that started it."""
    lines = tail(child.log)
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    step = [line.removeprefix("next:  ") for line in lines if line.startswith("next:  ")]
    return CommandFailed(
        said[-1] if said else f"the {child.name} {ending(code)} at its first start",
        next_step=step[-1] if step else f"read {child.log}",
        code=ExitCode(code) if code in ExitCode._value2member_map_ and code else ExitCode.ERROR,
    )


def tail(path: Path, lines: int = 20) -> list[str]:
    """Return the last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def ending(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
