"""The provider's own HTTP health check: one GET, no redirects, 2xx is healthy."""

import asyncio
from dataclasses import dataclass
from typing import Final

CHECK_SECONDS_MAX: Final = 3.0
_STATUS_LINE_BYTES_MAX: Final = 8_192


@dataclass(frozen=True, slots=True)
class Check:
    """What one health check of one process found. `pid` and `start_ticks` say which: a later process is another."""

    pid: int
    start_ticks: int
    healthy: bool
    detail: str


async def get_status(host: str, port: int, path: str) -> tuple[bool, str]:
    """Ask a service for its health; return whether it is healthy, and what it answered, in words."""
    what = f"GET {path}"
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            status = await _status(host, port, path)
    except TimeoutError:
        return False, f"{what} got no answer within {CHECK_SECONDS_MAX:.0f} s"
    except ConnectionRefusedError:
        return False, f"{what}: nothing listens on port {port} yet"
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as failure:
        return False, f"{what} failed: {failure or type(failure).__name__}"
    return 200 <= status < 300, f"{what} answered {status}"


async def _status(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port, limit=_STATUS_LINE_BYTES_MAX)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: stormsail\r\nConnection: close\r\n\r\n".encode()
        )
        line = await reader.readuntil(b"\r\n")
    finally:
        writer.close()
    protocol, _, rest = line.decode("latin-1").partition(" ")
    if not protocol.startswith("HTTP/"):
        raise ValueError("the answer is not HTTP")
    return int(rest[:3])
