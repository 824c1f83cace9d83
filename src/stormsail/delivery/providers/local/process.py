"""Instances as operating-system processes: ordered, found again, read and stopped. All calls are short and synchronous.

What identifies a process is its pid *with* its start time and boot; a pid alone may have been given to a stranger.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from stormsail.delivery.providers.errors import Transient
from stormsail.delivery.providers.local import files, launch

LAUNCH_SECONDS_MAX: Final = 20.0
LOG_TAIL_BYTES: Final = 2_000
_LEFTOVER_AFTER_S: Final = 1.0
_ASKED: Final = "stopping.json"


class Order(BaseModel):
    """What to start. `{port}` and `{host}` are filled in, in the command and in the environment's values."""

    model_config = ConfigDict(frozen=True)

    command: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    log: str
    port: int = 0
    """The loopback port to take, or 0 for any free one."""


class Run(BaseModel):
    """One process that was started. `starts` counts those in a row of which none became healthy, this one included."""

    model_config = ConfigDict(frozen=True)

    pid: int
    start_ticks: int
    boot_id: str
    port: int
    started_at_ms: int
    starts: int


class Ending(BaseModel):
    """How a process ended: its exit code, or the negated number of the signal that killed it."""

    model_config = ConfigDict(frozen=True)

    start_ticks: int
    code: int
    at_ms: int
    refused: str = ""
    """Why the command could not be executed at all; empty for a command that ran."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at an instance's directory found: the last run, if any, and whether that still runs."""

    run: Run | None
    alive: bool
    ending: Ending | None = None
    was_healthy: bool = False
    """Whether this very run has been healthy."""

    def described_end(self) -> str:
        """Say how the run ended, in words."""
        if self.ending is None:
            return "exited (nobody was left to see its exit code)"
        if self.ending.refused:
            return self.ending.refused
        if self.ending.code < 0:
            number = -self.ending.code
            known = number in signal.valid_signals()
            return f"was killed by {signal.Signals(number).name if known else f'signal {number}'}"
        return f"exited with code {self.ending.code}"


def look(directory: Path) -> Found:
    """Read what runs for an instance. Touches no lock, so it never gets into a launcher's way."""
    run = _read(directory / launch.RUN, Run)
    if run is None:
        return Found(None, alive=False)
    alive = _is_same(run)
    ending = None if alive else _read(directory / launch.EXIT, Ending)
    healthy = _read(directory / launch.HEALTHY, _Healthy)
    return Found(
        run,
        alive,
        ending if ending and ending.start_ticks == run.start_ticks else None,
        was_healthy=healthy is not None and healthy.start_ticks == run.start_ticks and healthy.pid == run.pid,
    )


def note_healthy(directory: Path, run: Run) -> None:
    """Note that a run has been healthy."""
    with contextlib.suppress(FileNotFoundError):
        files.write_file(
            directory / launch.HEALTHY, _Healthy(pid=run.pid, start_ticks=run.start_ticks).model_dump_json()
        )


def give_order(directory: Path, order: Order) -> None:
    """Write what is to run; nothing starts yet."""
    files.make_directory(directory)
    files.make_directory(Path(order.log).parent)
    text = order.model_dump_json()
    if files.read_file(directory / launch.ORDER) != text:
        files.write_file(directory / launch.ORDER, text)


def start(directories: Sequence[Path]) -> dict[Path, str]:
    """Start what is ordered in each directory, unless it runs already; return the reasons of those that could not.

    Being killed anywhere in here is safe: a launcher on its way carries on, and the next one finds it.
    """
    launchers = {
        directory: subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        for directory in directories
    }
    refusals = {}
    deadline = time.monotonic() + LAUNCH_SECONDS_MAX
    for directory, launcher in launchers.items():
        try:
            output, errors = launcher.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            # Left to itself: it holds the instance's lock, and whoever looks next finds what it made.
            raise Transient(f"starting a process for {directory} took over {LAUNCH_SECONDS_MAX:.0f} s") from None
        if launcher.returncode == launch.NOT_STARTED:
            refusals[directory] = output.decode(errors="replace")
        elif launcher.returncode not in (launch.STARTED, launch.HELD, launch.WITHDRAWN):
            last = errors.decode(errors="replace").strip().splitlines()[-1:] or [f"code {launcher.returncode}"]
            raise Transient(f"the launcher for {directory} failed: {last[0]}")
    return refusals


def stop(directory: Path, now_ms: int, grace_ms: int) -> bool:
    """Carry the stopping of an instance one step further; True once nothing of it runs or can be started any more.

    First the order is withdrawn; then SIGTERM, once; SIGKILL after the grace time. A launcher on its way either
    finds the order withdrawn, or shows up here as a process. The free lock is the proof of the end.
    """
    if not directory.is_dir():
        return True
    files.remove_file(directory / launch.ORDER)
    found = look(directory)
    if found.alive and found.run is not None:
        asked = _read(directory / _ASKED, _Asked)
        if asked is None or asked.start_ticks != found.run.start_ticks:
            # Asked first and noted after: killed between, one asks twice; the other way round, never.
            _signal(found.run, signal.SIGTERM)
            note = _Asked(start_ticks=found.run.start_ticks, at_ms=now_ms)
            files.write_file(directory / _ASKED, note.model_dump_json())
        elif now_ms - asked.at_ms >= grace_ms:
            _signal(found.run, signal.SIGKILL)
        return False
    return clear_leftovers(directory)


def clear_leftovers(directory: Path) -> bool:
    """Tell whether an instance's lock is free; kill what its dead process left behind holding it.

    A holder that is a launcher of a killed worker is spared for a moment, so that it can end by itself.
    """
    if _lock_is_free(directory):
        return True
    for pid in holders(directory / launch.LOCK):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if time.time() - Path(f"/proc/{pid}").stat().st_ctime > _LEFTOVER_AFTER_S:
                _kill_holder(pid, directory / launch.LOCK)
    return False


def holders(lock: Path) -> Iterator[int]:
    """Yield the processes that have a file open."""
    target = str(lock)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _has_open(int(entry.name), target):
            yield int(entry.name)


def tail(log: Path, lines: int = 5) -> str:
    """Return the last lines of a log, on one line, for messages; empty where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())


def trim(log: Path) -> None:
    """Set a log that has grown too large aside, replacing the one before, and begin it again.

    The instance keeps writing to the same file, so the content is copied; lines written meanwhile may be lost.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > launch.LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def count_processes(data_dir: Path) -> dict[str, int]:
    """Count the running instances of each server group by looking at all processes, not at any record.

    So it shows doubles too. An instance is known by what it was started with; its own children are not counted.
    """
    mark = f"STORMSAIL_DATA_DIR={data_dir.resolve()}".encode()
    counts: dict[str, int] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            pid = int(entry.name)
            environment = set(Path(entry.path, "environ").read_bytes().split(b"\0"))
            if mark in environment and os.getsid(pid) == pid and launch.start_ticks(pid) is not None:
                name = next(item for item in environment if item.startswith(b"STORMSAIL_SERVER_GROUP="))
                group = name.partition(b"=")[2].decode()
                counts[group] = counts.get(group, 0) + 1
        except (FileNotFoundError, ProcessLookupError, PermissionError, StopIteration):
            continue
    return dict(sorted(counts.items()))


def instance_environment(extra: Mapping[str, str], marks: Mapping[str, str]) -> dict[str, str]:
    """Return what an instance sees: a short list from ours, so that no credential leaks, then its own, then ours."""
    kept = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    return {**kept, "HOST": "{host}", "PORT": "{port}", **extra, **marks}


_PASSED_ON: Final = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"})


_Record = TypeVar("_Record", bound=BaseModel)


class _Healthy(BaseModel):
    pid: int
    start_ticks: int


def _read(path: Path, kind: type[_Record]) -> _Record | None:
    text = files.read_file(path)
    if text is None:
        return None
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        # Written whole or not at all, so this is damage; without it the lock still tells whether something runs.
        return None


def _is_same(run: Run) -> bool:
    return run.boot_id == launch.boot_id() and launch.start_ticks(run.pid) == run.start_ticks


class _Asked(BaseModel):
    start_ticks: int
    at_ms: int


def _signal(run: Run, number: signal.Signals) -> None:
    """Signal a run and nobody else: the start time is read after the descriptor pins the pid."""
    try:
        descriptor = os.pidfd_open(run.pid)
    except ProcessLookupError:
        return
    try:
        if _is_same(run):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _kill_holder(pid: int, lock: Path) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        if _has_open(pid, str(lock)):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def _has_open(pid: int, target: str) -> bool:
    try:
        return any(str(Path(entry.path).readlink()) == target for entry in os.scandir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _lock_is_free(directory: Path) -> bool:
    try:
        descriptor = os.open(directory / launch.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
