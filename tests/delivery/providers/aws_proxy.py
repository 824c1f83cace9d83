"""Moto's server behind a proxy of ours, over HTTP: it refuses, delays and counts, and lets calls go wrong on demand.

The caller of a call can be killed before or after the call's effect: see `at_call`.
"""

import contextlib
import http.client
import random
import select
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.server import ThreadedMotoServer

REGION = "eu-west-1"
SERVICES = {"autoscaling": "2011-01-01", "ec2": "2016-11-15", "elasticloadbalancing": "2015-12-01"}
HELD_MAX_S = 60.0
"""How long a call that is to time out is held at most: its client is to go before."""

Parameters = Mapping[str, str]


class Fault(StrEnum):
    """What can go wrong with one call."""

    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    INTERNAL_BEFORE = "internal error before the effect"
    INTERNAL_AFTER = "internal error after the effect"
    CUT_BEFORE = "cut before the effect"
    CUT_AFTER = "cut after the effect"
    HALF = "half a reply"
    TIMEOUT_BEFORE = "timeout before the effect"
    TIMEOUT_AFTER = "timeout after the effect"


BEFORE = {Fault.THROTTLED, Fault.UNAVAILABLE, Fault.INTERNAL_BEFORE, Fault.CUT_BEFORE, Fault.TIMEOUT_BEFORE}
TIMEOUTS = {Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER}
QUICK = tuple(fault for fault in Fault if fault not in TIMEOUTS)


class Refusal(Exception):
    """The cloud turns a call down."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass(frozen=True)
class Call:
    """One call that came in."""

    service: str
    action: str
    parameters: Parameters


class Moto:
    """Moto's own server, and how to ask it past the proxy."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.address = "{}:{}".format(*self._server.get_host_and_port())

    def ask(self, service: str, parameters: Parameters) -> tuple[int, bytes]:
        """Send one call of the query protocol."""
        body = urllib.parse.urlencode({"Version": SERVICES[service], **parameters})
        scope = f"Credential=test/20260101/{REGION}/{service}/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        }
        return self._post("/", body.encode(), headers)

    def reset(self) -> None:
        """Forget everything."""
        self._post("/moto-api/reset", b"", {})

    def stop(self) -> None:
        """End the server."""
        self._server.stop()

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Proxy:
    """Counts calls, lets some go wrong, and hands the others to `serve`, one after the other."""

    def __init__(self, serve: Callable[[Call], bytes]) -> None:
        self.calls: list[Call] = []
        self._serve = serve
        self._lock = threading.RLock()
        self._random: random.Random | None = None
        self._share = 0.0
        self._faults: dict[int, Fault] = {}
        self._before: dict[int, Callable[[], None]] = {}
        self._after: dict[int, Callable[[], None]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def actions(self) -> list[str]:
        return [call.action for call in self.calls]

    def fail(self, number: int, fault: Fault) -> None:
        """Let the call of that number from now (the next is 1) go wrong."""
        self._faults[len(self.calls) + number] = fault

    def at_call(self, number: int, happens: Callable[[], None], *, after: bool) -> None:
        """Have something happen right before or right after the effect of the call of that number from now."""
        (self._after if after else self._before)[len(self.calls) + number] = happens

    def fail_at_random(self, seed: int, share: float) -> None:
        """Let a share of all calls go wrong, quickly, as one seed decides."""
        self._random, self._share = random.Random(seed), share

    def be_well(self) -> None:
        """Let nothing go wrong any more."""
        self._random = None
        for plan in (self._faults, self._before, self._after):
            plan.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Serve nothing meanwhile."""
        with self._lock:
            yield

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(
        self, call: Call, send: Callable[[int, bytes], None], cut: Callable[[bytes], None], hold: Callable[[], None]
    ) -> None:
        """Answer one call, or do not."""
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
            fault = self._faults.pop(number, None)
            if fault is None and self._random is not None and self._random.random() < self._share:
                fault = self._random.choice(QUICK)
            if number in self._before:
                self._before.pop(number)()
                cut(b"")
                return
            status, body = 0, b""
            if fault not in BEFORE:
                status, body = self._served(call)
            if number in self._after:
                self._after.pop(number)()
                cut(b"")
                return
        match fault:
            case None:
                send(status, body)
            case Fault.THROTTLED:
                code = "RequestLimitExceeded" if call.service == "ec2" else "Throttling"
                send(503 if call.service == "ec2" else 400, refused(call.service, code, "Rate exceeded"))
            case Fault.UNAVAILABLE:
                send(503, refused(call.service, "ServiceUnavailable", "try again"))
            case Fault.INTERNAL_BEFORE | Fault.INTERNAL_AFTER:
                send(500, refused(call.service, "InternalFailure", "something failed inside"))
            case Fault.CUT_BEFORE | Fault.CUT_AFTER:
                cut(b"")
            case Fault.HALF:
                cut(body[: len(body) // 2])
            case Fault.TIMEOUT_BEFORE | Fault.TIMEOUT_AFTER:
                hold()
                cut(b"")

    def _served(self, call: Call) -> tuple[int, bytes]:
        try:
            return 200, self._serve(call)
        except Refusal as refusal:
            return refusal.status, refused(call.service, refusal.code, str(refusal))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                parameters = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
                scope = self.headers["Authorization"].partition("Credential=")[2].partition(",")[0]
                call = Call(scope.split("/")[3], parameters["Action"], parameters)
                proxy.answer(call, self._send, self._cut, self._hold)

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _cut(self, begun: bytes) -> None:
                if begun:
                    self.send_response(200)
                    self.send_header("Content-Length", str(2 * len(begun) + 10))
                    self.end_headers()
                    self.wfile.write(begun)
                    self.wfile.flush()
                self.close_connection = True
                with contextlib.suppress(OSError):  # The client may have gone first.
                    self.connection.shutdown(socket.SHUT_RDWR)

            def _hold(self) -> None:
                """Wait until the client has given up, which shows by its end of the connection."""
                select.select([self.connection], [], [], HELD_MAX_S)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        return Handler


def refused(service: str, code: str, message: str) -> bytes:
    """Write an error as the service does."""
    error = f"<Code>{code}</Code><Message>{message}</Message>"
    if service == "ec2":
        return f"<Response><Errors><Error>{error}</Error></Errors><RequestID>1</RequestID></Response>".encode()
    return f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>1</RequestId></ErrorResponse>".encode()


def numbered(parameters: Parameters, prefix: str) -> list[str]:
    """Return the values of a numbered list: `Targets.member.1.Id`, ... as prefix `Targets.member.*.Id`."""
    head, _, tail = prefix.partition("*")
    found = []
    while (value := parameters.get(f"{head}{len(found) + 1}{tail}")) is not None:
        found.append(value)
    return found
