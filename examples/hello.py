"""The example service: answers `GET /` and `POST /` with its version and pid, and `GET /health`.

Standard library only. It speaks HTTP/1.1 with keep-alive and ends gracefully: after SIGTERM it accepts nothing new,
finishes the requests in flight and exits with 0. SIGUSR1 makes a healthy one unhealthy, and the other way round.
"""

import argparse
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(ThreadingHTTPServer):
    """The server with its settings. Its threads are joined on close, so that no answer is cut off."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], version: str, startup_delay: float, unhealthy: bool) -> None:
        super().__init__(address, Handler)
        self.version = version
        self.ready_at = time.monotonic() + startup_delay
        self.unhealthy = unhealthy
        self.stopping = False


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Hello
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 5
    """Seconds that an idle connection is kept, and so the longest that an idle client can delay the exit."""

    def do_GET(self) -> None:
        """Answer `/` and `/health`; `/slow?SECONDS` answers after that time, to try draining with."""
        path, _, query = self.path.partition("?")
        if path == "/slow":
            time.sleep(min(float(query or "1"), 60.0))
        if path == "/health":
            ready = time.monotonic() >= self.server.ready_at and not self.server.unhealthy
            self._answer(200 if ready else 503, {"healthy": ready})
        elif path in ("/", "/slow"):
            self._answer(200, {"version": self.server.version, "pid": os.getpid()})
        else:
            self._answer(404, {"error": f"no such path: {path}"})

    def do_POST(self) -> None:
        """Answer like `GET /`, with the number of bytes received."""
        length = int(self.headers.get("Content-Length", "0"))
        received = len(self.rfile.read(length))
        self._answer(200, {"version": self.server.version, "pid": os.getpid(), "received": received})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.server.stopping:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: a line per request would be most of the log."""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8080")))
    parser.add_argument("--version", default=os.environ.get("STORMSAIL_VERSION", "v1"))
    parser.add_argument("--startup-delay", type=float, default=0.0, help="seconds until the health check passes")
    parser.add_argument("--unhealthy", action="store_true", help="never pass the health check")
    options = parser.parse_args()
    server = Hello((options.host, options.port), options.version, options.startup_delay, options.unhealthy)

    def stop(*_: object) -> None:
        server.stopping = True
        # shutdown() waits for the serving loop, which this handler interrupts: it must not run in it.
        threading.Thread(target=server.shutdown).start()

    def turn(*_: object) -> None:
        server.unhealthy = not server.unhealthy

    signal.signal(signal.SIGUSR1, turn)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"{options.version} listens on {options.host}:{server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
