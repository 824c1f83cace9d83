"""Cursors: opaque to whoever holds one, bounded, and refused by name when they are not ours."""

import base64
import binascii
from typing import Final

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
CURSOR_MAX: Final = 4096


class BadCursor(Exception):
    """A cursor that this list did not give out."""


def cursor_of(kind: str, token: bytes) -> str:
    """Return the cursor of a list's next page, empty after the last one."""
    return base64.urlsafe_b64encode(kind.encode() + b"\0" + token).decode().rstrip("=") if token else ""


def token_of(kind: str, cursor: str) -> bytes:
    """Return the token in a cursor. Raises BadCursor."""
    if not cursor:
        return b""
    try:
        if len(cursor) > CURSOR_MAX:
            raise BadCursor
        raw = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise BadCursor from None
    mine, _, token = raw.partition(b"\0")
    if mine != kind.encode() or not token:
        raise BadCursor
    return token
