"""Live traffic as its own process: `python -m stormsail.cli.demo.traffic HOST PORT RATE`.

Half of the requests come on a schedule, each on a connection of its own; the other half on kept connections, one
request after the other. Nothing is ever sent twice: whatever has no good answer counts as failed. One JSON line each
quarter second goes to stdout; end of file on stdin ends it, after the answers still owed have come.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any, Final

KEPT_CONNECTIONS: Final = 8
ANSWER_SECONDS_MAX: Final = 10.0
IN_FLIGHT_MAX: Final = 500
REPORT_SECONDS: Final = 0.25

_REQUEST: Final = "GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: stormsail-demo\r\n{close}\r\n"


class Failed(Exception):
    """A request without a good answer; the text is the reason that is counted."""


class Traffic:
    """What was asked and what came back."""

    def __init__(self, host: str, port: int, rate: float) -> None:
        self.host = host
        self.port = port
        self.rate = rate
        self.stopping = False
        self.requests = 0
        self.reasons: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.last_version = ""
        self.milliseconds: list[float] = []

    async def run(self) -> None:
        """Send until stdin ends, and report all along."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        sending = asyncio.create_task(self.send())
        reporting = asyncio.create_task(self._report())
        await reader.read()
        self.stopping = True
        await sending
        reporting.cancel()
        print(json.dumps(self.summary(final=True)), flush=True)

    async def send(self) -> None:
        """Send until `stopping` is set; returns when every answer still owed has come."""
        await asyncio.gather(self._scheduled(), *(self._kept(index) for index in range(KEPT_CONNECTIONS)))

    async def _scheduled(self) -> None:
        """Open loop: the next request is sent on time whether or not the last was answered."""
        gap = 2 / self.rate
        due = time.monotonic()
        flying: set[asyncio.Task[None]] = set()
        while not self.stopping:
            if len(flying) >= IN_FLIGHT_MAX:
                await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self._once())
            flying.add(task)
            task.add_done_callback(flying.discard)
            due += gap
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*flying)

    async def _once(self) -> None:
        async def ask() -> None:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                await self._ask(reader, writer, close=True)
            finally:
                writer.close()

        await self._counted(ask())

    async def _kept(self, index: int) -> None:
        """One client that keeps its connection; it opens another only when the server has said that it closes."""
        gap = 2 * KEPT_CONNECTIONS / self.rate
        due = time.monotonic() + gap * index / KEPT_CONNECTIONS
        connection: list[Any] = []

        async def ask() -> None:
            if not connection:
                connection.extend(await asyncio.open_connection(self.host, self.port))
            reader, writer = connection
            if not await self._ask(reader, writer, close=False):
                writer.close()
                connection.clear()

        while not self.stopping:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not await self._counted(ask()) and connection:
                connection[1].close()
                connection.clear()
            due = max(due + gap, time.monotonic() - 1.0)
        if connection:
            connection[1].close()

    async def _counted(self, asking: Any) -> bool:
        self.requests += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await asking
        except TimeoutError:
            self.reasons[f"no answer within {ANSWER_SECONDS_MAX:.0f} s"] += 1
            return False
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.reasons[f"{type(error).__name__}: {error}"[:120]] += 1
            return False
        except Failed as failed:
            self.reasons[str(failed)] += 1
            return False
        self.milliseconds.append((time.monotonic() - began) * 1000)
        return True

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, close: bool) -> bool:
        """Send one request and read its answer; return whether the connection stays open. Raises Failed."""
        text = _REQUEST.format(host=self.host, close="Connection: close\r\n" if close else "")
        writer.write(text.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status = head[0].split(" ")[1]
        if status != "200":
            raise Failed(f"status {status}")
        version = str(json.loads(body).get("version", "?"))
        self.versions[version] += 1
        self.last_version = version
        return headers.get("connection", "").lower() != "close"

    async def _report(self) -> None:
        while True:
            print(json.dumps(self.summary(final=False)), flush=True)
            await asyncio.sleep(REPORT_SECONDS)

    def summary(self, *, final: bool) -> dict[str, Any]:
        """Return the counts so far; latencies only in the final one, because sorting them takes time."""
        summary: dict[str, Any] = {
            "final": final,
            "requests": self.requests,
            "failed": sum(self.reasons.values()),
            "reasons": dict(self.reasons),
            "versions": dict(self.versions),
            "last_version": self.last_version,
        }
        if final and self.milliseconds:
            ordered = sorted(self.milliseconds)
            summary["p50_ms"] = round(ordered[len(ordered) // 2], 2)
            summary["p99_ms"] = round(ordered[len(ordered) * 99 // 100], 2)
            summary["max_ms"] = round(ordered[-1], 2)
        return summary


if __name__ == "__main__":
    asyncio.run(Traffic(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])).run())
