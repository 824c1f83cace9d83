"""The load balancer's runtime socket: servers come, take traffic, are drained and go, without any reload."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stormsail.delivery.providers.errors import Transient

BACKEND: Final = "servers"
SOCKET: Final = "haproxy.sock"
HEALTH_MAP: Final = "health.map"
EVEN_WEIGHT: Final = 100
"""The weight of a server where all are alike."""
WEIGHT_MAX: Final = 256
CHECK_OPTIONS: Final = "check inter 1s fastinter 200ms downinter 500ms rise 1 fall 3"
"""A dynamic server takes nothing from `default-server`. Three failures 200 ms apart take a dead server out; a slow
answer, which only means a busy machine, does not."""

_ANSWER_SECONDS_MAX: Final = 5.0
_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
_FORCED_MAINTENANCE: Final = 0x01
_FORCED_DRAIN: Final = 0x08


@dataclass(frozen=True, slots=True)
class Server:
    """One server as the load balancer sees it at this moment."""

    name: str
    port: int
    ready: bool
    """Whether new requests may be sent to it, as far as we told the load balancer."""
    up: bool
    """Whether the load balancer's own health checks agree."""
    sessions: int
    """Requests in flight or queued for it, and connections in use."""
    weight: int = EVEN_WEIGHT
    """Its part of new requests, among all that are up; at 0 it gets none."""

    @property
    def takes_traffic(self) -> bool:
        """Whether requests really go there now."""
        return self.ready and self.up


def server_name(group: str, index: int) -> str:
    """Return the load balancer's name for an instance. It has no `~` and `^`, but knows `:`, which names do not."""
    return f"{group.replace('~', ':t').replace('^', ':c')}:{index}"


class RuntimeSocket:
    """Speaks to the load balancer that runs in a directory. Raises Transient when it does not answer."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ask(self, command: str) -> str:
        """Send one command and return its answer."""
        try:
            return self._exchange(command)
        except OSError as failure:
            raise Transient(f"the load balancer in {self._directory} does not answer: {failure}") from None

    def servers(self) -> dict[str, Server]:
        """Read all servers by name."""
        in_use = {
            row["bkname/svname"].partition("/")[2]: int(row["used_cur"])
            for row in read_table(self.ask(f"show servers conn {BACKEND}"))
        }
        waiting = {
            row["svname"]: int(row["qcur"] or 0) + int(row["scur"] or 0)
            for row in read_table(self.ask(f"show stat {BACKEND} 4 -1"), separator=",")
        }
        found = {}
        for row in read_table(self.ask(f"show servers state {BACKEND}")):
            name = row["srv_name"]
            admin = int(row["srv_admin_state"])
            found[name] = Server(
                name=name,
                port=int(row["srv_port"]),
                ready=not admin & (_FORCED_MAINTENANCE | _FORCED_DRAIN),
                up=row["srv_op_state"] == "2",
                sessions=max(in_use.get(name, 0), waiting.get(name, 0)),
                weight=int(row["srv_uweight"]),
            )
        return found

    def add(self, name: str, port: int, health_path: str, weight: int = EVEN_WEIGHT) -> None:
        """Add a server and send it traffic. It is to be healthy already; added again, nothing changes."""
        self.ask(f"del map {HEALTH_MAP} {name}")
        self._tell(f"add map {HEALTH_MAP} {name} {health_path}")
        self._tell(
            f"add server {BACKEND}/{name} 127.0.0.1:{port} {CHECK_OPTIONS} weight {weight}", "New server registered."
        )
        self.ready(name)

    def weigh(self, name: str, weight: int) -> None:
        """Change a server's part of new requests."""
        self._tell(f"set server {BACKEND}/{name} weight {weight}")

    def ready(self, name: str) -> None:
        """Send a known server traffic."""
        self._tell(f"enable health {BACKEND}/{name}")
        self._tell(f"set server {BACKEND}/{name} state ready")

    def drain(self, name: str) -> None:
        """Send a server no new requests; those in flight go on."""
        self._tell(f"set server {BACKEND}/{name} state drain")

    def remove(self, name: str, *, cut_off: bool = False) -> bool:
        """Remove a drained server; False while a connection is still there. `cut_off` ends those in flight."""
        self._tell(f"set server {BACKEND}/{name} state maint")
        if cut_off:
            self._tell(f"shutdown sessions server {BACKEND}/{name}")
        answer = self.ask(f"del server {BACKEND}/{name}")
        if "Server deleted" in answer:
            self.ask(f"del map {HEALTH_MAP} {name}")
            return True
        if "connection" in answer:
            return False
        raise Transient(f"the load balancer would not remove server {name}: {answer}")

    def _tell(self, command: str, expected: str = "") -> None:
        answer = self.ask(command)
        if answer and answer != expected:
            raise Transient(f"the load balancer answered {answer!r} to {command!r}")

    def _exchange(self, command: str) -> str:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(_ANSWER_SECONDS_MAX)
                # Through the descriptor, as a socket's path may have no more than 107 bytes and ours may be longer.
                line.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
                line.sendall(f"{command}\n".encode())
                answer = bytearray()
                while len(answer) < _ANSWER_BYTES_MAX and (chunk := line.recv(65536)):
                    answer += chunk
        finally:
            os.close(descriptor)
        return answer.decode(errors="replace").strip()


def read_table(text: str, separator: str | None = None) -> list[dict[str, str]]:
    """Read a table whose header line begins with `#`; lines before it are a version number."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("#")), None)
    if start is None:
        raise Transient(f"the load balancer answered {text[:100]!r} instead of a table")
    header = lines[start].lstrip("# ").split(separator)
    return [dict(zip(header, line.split(separator), strict=False)) for line in lines[start + 1 :] if line.strip()]
