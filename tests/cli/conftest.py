"""A whole Stormsail for the end-to-end tests of the command line: `stormsail up` on a directory of its own."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stormsail.cli.main import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello.py"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Place:
    """A data directory and how to run commands on it."""

    data_dir: Path

    def run(self, *arguments: str) -> Done:
        """Run a command in this process, because importing the SDK anew takes a second each time."""
        out, err = io.StringIO(), io.StringIO()
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.environment())
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(list(arguments))
        finally:
            os.environ.clear()
            os.environ.update(before)
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Done(code, out.getvalue(), err.getvalue())

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command as a process of its own."""
        return subprocess.Popen(
            command(*arguments),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_ready(self, process: "subprocess.Popen[str]", name: str) -> None:
        """Wait for a started process to leave its note."""
        eventually(lambda: self.note(name) or process.poll() is not None)
        assert process.poll() is None, process.communicate()

    def environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("STORMSAIL_", "TEMPORAL_"))}
        return plain | {"STORMSAIL_DATA_DIR": str(self.data_dir)}

    def note(self, name: str) -> dict[str, Any]:
        """Read what a running engine or worker left; empty while there is none."""
        try:
            note: dict[str, Any] = json.loads((self.data_dir / name).read_text())
        except (OSError, ValueError):
            return {}
        return note

    def deploy(self, application: str, version: str, *more: str, service: str = "") -> Done:
        line = f"{sys.executable} {EXAMPLE} --port {{port}} --version {version} {service}"
        return self.run("deploy", application, "--command", line, "--version", version, *more)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "stormsail.cli", *arguments]


def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition with a bounded deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.02)


def end_services(data_dir: Path) -> None:
    """End what the tests deployed, which stays up when `up` ends: that is a promise."""
    from stormsail.cli.demo.census import processes_of

    eventually(lambda: not [os.kill(pid, signal.SIGKILL) for pid in processes_of(data_dir)])


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Have Ctrl-C mean what it means at a terminal: shells start what runs in the background with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """`stormsail up` on a free port, for all tests of a module."""
    place = Place(tmp_path_factory.mktemp("up"))
    up = place.start("up", "--port", "0")
    try:
        place.until_ready(up, "worker.json")
        yield place
    finally:
        up.terminate()
        said, errors = up.communicate(timeout=100)
        end_services(place.data_dir)
    assert up.returncode == 0, said + errors
