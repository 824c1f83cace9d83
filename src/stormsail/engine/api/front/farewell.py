"""How a connection ends so that its peer learns why."""

import asyncio
from typing import Final

from ngh2 import ErrorCode

LINGER_S: Final = 1.0
_GOAWAY: Final = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + (0).to_bytes(4, "big")


def goaway(code: ErrorCode) -> bytes:
    """Return a GOAWAY frame by hand, with no stream seen: for the errors after which the library will write nothing."""
    return _GOAWAY + int(code).to_bytes(4, "big")


def close_once_read(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
    """Close once the peer has had a chance to read why: to close over unread bytes would reset the connection, and a
    reset throws away what the peer has not read."""
    if transport.is_closing() or not transport.can_write_eof():
        transport.close()
        return
    try:
        transport.write_eof()
    except OSError:  # the peer is gone already
        transport.abort()
        return
    loop.call_later(LINGER_S, transport.close)
