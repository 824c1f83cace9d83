"""A local account to test with: a data directory, the example service, and clients that never retry."""

import contextlib
import http.client
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.local.process import count_processes

ROOT = Path(__file__).parents[3]
HELLO = ROOT / "examples" / "hello.py"
DEADLINE_SECONDS = 60.0


def hello(version: str = "v1", *arguments: str, **settings: object) -> LaunchSpec:
    """Return the example service at a version."""
    command = (sys.executable, str(HELLO), "--port", "{port}", "--version", version, *arguments)
    return LaunchSpec(version=version, command=command, settings=settings)


def running(data_dir: Path, group: str) -> int:
    """Count a group's processes by looking at all processes of the machine."""
    return count_processes(data_dir).get(group, 0)


def get(address: str, path: str = "/") -> tuple[int, str]:
    """Send one request; return status and body."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def wait_until(wanted: "Iterator[bool]", what: str) -> None:
    """Wait for a condition, given as a generator that looks again each time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    for met in wanted:
        if met:
            return
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


@dataclass
class Traffic:
    """Clients that send requests without a pause longer than a few milliseconds, and never send one twice."""

    address: str
    sent: int = 0
    failures: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    last: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def flowing(self, clients: int = 4) -> "Iterator[Traffic]":
        """Send from several clients at once: half keep their connection, half open one for each request."""
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_for_more(self, count: int = 50) -> None:
        """Wait until that many more requests were answered."""
        goal = self.sent + count
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.sent < goal and not self.failures:
            assert time.monotonic() < deadline, "the traffic stands still"
            time.sleep(0.01)

    def _send(self, number: int) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        while not self._stop.is_set():
            method = "POST" if number % 4 >= 2 else "GET"
            try:
                connection.request(method, "/", body=b"x" * 100 if method == "POST" else None)
                response = connection.getresponse()
                body = response.read().decode()
            except (OSError, http.client.HTTPException) as failure:
                self._note(f"{method}: {failure!r}", "")
                connection.close()
            else:
                self._note("" if response.status == 200 else f"{method}: {response.status} {body}", body)
            if number % 2:
                connection.close()
            self._stop.wait(0.004)
        connection.close()

    def _note(self, failure: str, body: str) -> None:
        with self._lock:
            self.sent += 1
            if failure:
                self.failures.append(f"request {self.sent}: {failure}")
            else:
                self.last = body.partition('"version": "')[2].partition('"')[0]
                self.versions.add(self.last)
