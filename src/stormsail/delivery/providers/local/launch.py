"""Starts one process, detached, and never a second one beside it: run as `python -I -S launch.py DIRECTORY`.

The directory holds the order (`launch.json`) and a lock file. Whoever holds the lock is the process, or is about to
become it: the lock is taken first, pid and start time reach the disk next, and only then is the command executed, with
the lock's descriptor inherited. So at whatever instant anybody is killed, a free lock means that nothing runs, and a
held one is never started beside. A withdrawn order (the file is gone once the lock is held) starts nothing.

Three processes: the caller's child, which answers and exits; its child, which only waits so as to note the exit
code; and the command itself, in a session of its own. Standard library only and self-contained, for a start in
some 20 ms without `site`; the rest of the provider imports the file names and the port rules from here.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

LOCK: Final = "lock"
ORDER: Final = "launch.json"
RUN: Final = "run.json"
EXIT: Final = "exit.json"
HEALTHY: Final = "healthy.json"

STARTED: Final = 0
HELD: Final = 4
WITHDRAWN: Final = 5
NOT_STARTED: Final = 6
"""Exit codes of the launcher; with NOT_STARTED its standard output is the reason, in words."""

LOOPBACK: Final = "127.0.0.1"
PORT_FIRST: Final = 20_000
PORT_COUNT: Final = 12_000
"""Ports below Linux's range for outgoing connections (32768 and up), so that no client socket can sit on one."""

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_LOCK_PATIENCE_S: Final = 0.5
_DEFAULT_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


class NoPort(OSError):
    """The wanted port is taken, or none is free."""


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Return the kernel's name for this boot: start times of different boots must not be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def ports_directory() -> Path:
    """Return this user's directory of port locks, shared by all data directories of the machine."""
    path = Path(f"/tmp/stormsail-ports-{os.getuid()}")  # noqa: S108 - ownership is checked below
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.is_symlink():
        raise PermissionError(f"{path} belongs to another user: remove it")
    return path


def reserve_port(port: int) -> int | None:
    """Lock one port machine-wide and check that nobody listens on it; return the lock's descriptor, or None."""
    descriptor = os.open(ports_directory() / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            # As servers do: otherwise connections that a predecessor closed would hold the port for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def candidate_ports(previous: int) -> Iterator[int]:
    """Yield the ports to try: the one used before, then all others from a place that differs by process."""
    if previous:
        yield previous
    offset = os.getpid() * 7919
    for step in range(PORT_COUNT):
        yield PORT_FIRST + (offset + step) % PORT_COUNT


def choose_port(wanted: int, previous: int = 0) -> tuple[int, int]:
    """Reserve the wanted port, or a free one when it is 0; return port and lock descriptor. Raises NoPort."""
    if wanted:
        descriptor = reserve_port(wanted)
        if descriptor is None:
            raise NoPort(f"port {wanted} on {LOOPBACK} is in use by another program")
        return wanted, descriptor
    for port in candidate_ports(previous):
        descriptor = reserve_port(port)
        if descriptor is not None:
            return port, descriptor
    raise NoPort(f"no free port on {LOOPBACK} from {PORT_FIRST} to {PORT_FIRST + PORT_COUNT - 1}")


def read_record(name: str) -> dict[str, Any]:
    """Read a JSON file of the current directory; a missing one is empty."""
    try:
        found: dict[str, Any] = json.loads(Path(name).read_bytes())
    except FileNotFoundError:
        return {}
    return found


def write_record(name: str, record: Mapping[str, Any]) -> None:
    """Replace a JSON file of the current directory; whole, and on disk when this returns."""
    temporary = f"{name}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:  # noqa: PTH123
        file.write(json.dumps(record).encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, name)  # noqa: PTH104
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def main(directory: str) -> int:
    """Start the ordered command unless it runs already; return one of the codes above."""
    mask = os.umask(0o077)
    try:
        os.chdir(directory)
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return WITHDRAWN
    if not _take(lock):
        return HELD
    order = read_record(ORDER)
    if not order:
        return WITHDRAWN
    previous = read_record(RUN)
    try:
        port, port_lock = choose_port(order["port"], previous.get("port", 0))
        answers, answer = os.pipe2(os.O_CLOEXEC)
        log = _open_log(order["log"])
    except OSError as refused:
        return _refuse(str(refused))
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child == 0:
            os.setsid()
            _become(directory, order, previous, port, (lock, port_lock), log, answer, mask)
        for descriptor in (lock, port_lock, log, answer, answers):
            os.close(descriptor)
        _note_exit(child)
        os._exit(0)
    for descriptor in (lock, port_lock, log, answer):
        os.close(descriptor)
    # End of file means that the command replaced the child: the write end closes on exec.
    with open(answers, "rb") as stream:  # noqa: PTH123
        refusal = stream.read().decode()
    return _refuse(refusal) if refusal else STARTED


def _take(lock: int) -> bool:
    """Take the lock, waiting out somebody who merely looks whether it is free."""
    give_up_at = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.02)
        else:
            return True


def _refuse(reason: str) -> int:
    sys.stdout.write(reason)
    sys.stdout.flush()
    return NOT_STARTED


def _open_log(path: str) -> int:
    """Open the log for appending; one that has grown too large is set aside first, replacing the one before."""
    with contextlib.suppress(FileNotFoundError):
        if Path(path).stat().st_size > LOG_BYTES_MAX:
            os.replace(path, f"{path}.1")  # noqa: PTH105
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _become(
    directory: str,
    order: Mapping[str, Any],
    previous: Mapping[str, Any],
    port: int,
    locks: tuple[int, int],
    log: int,
    answer: int,
    mask: int,
) -> None:
    """Note who runs, then turn into the command. Never returns."""
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((null, log, log)):
            os.dup2(descriptor, number)
        healthy = read_record(HEALTHY)
        was_healthy = bool(previous) and healthy.get("start_ticks") == previous["start_ticks"]
        write_record(
            RUN,
            {
                "pid": os.getpid(),
                "start_ticks": start_ticks(os.getpid()),
                "boot_id": boot_id(),
                "port": port,
                "started_at_ms": time.time_ns() // 1_000_000,
                "starts": 1 if was_healthy else previous.get("starts", 0) + 1,
            },
        )
        for lock in locks:
            os.set_inheritable(lock, True)
        reason = _execute(order, port, mask)
        os.chdir(directory)
        # On disk too: the caller may have been killed, and its successor is to know that this was no crash.
        write_record(EXIT, _ending(os.getpid(), 127) | {"refused": reason})
        os.write(2, f"stormsail: {reason}\n".encode())
        os.write(answer, reason.encode())
    except OSError as failure:
        # Not the command's fault: a full disk, say. Without a record of an exit it is simply tried again.
        os.write(answer, str(failure).encode())
    finally:
        os._exit(127)


def _execute(order: Mapping[str, Any], port: int, mask: int) -> str:
    """Replace this process by the command; return only if that fails, saying why."""
    for number in _DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    previous_mask = os.umask(mask)
    environment = {name: _fill(value, port) for name, value in order["environment"].items()}
    command = [_fill(argument, port) for argument in order["command"]]
    try:
        os.chdir(order["directory"])
        os.execvpe(command[0], command, environment)  # noqa: S606
    except OSError as refused:
        os.umask(previous_mask)
        return f"cannot run {command[0]!r} in {order['directory']}: {refused.strerror or refused}"


def _fill(text: str, port: int) -> str:
    return text.replace("{port}", str(port)).replace("{host}", LOOPBACK)


def _note_exit(child: int) -> None:
    """Wait for the command and note how it ended; the directory may have been removed meanwhile."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    # Read while the child cannot have been reaped: even as a zombie its stat line is there.
    ending = _ending(child, 0)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        if read_record(EXIT).get("start_ticks") != ending["start_ticks"]:
            at_ms = time.time_ns() // 1_000_000
            write_record(EXIT, ending | {"code": os.waitstatus_to_exitcode(status), "at_ms": at_ms})


def _ending(pid: int, code: int) -> dict[str, Any]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {"start_ticks": int(fields[19]), "code": code, "at_ms": time.time_ns() // 1_000_000}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
