"""The checksum of a small row: what is read of it is what was written, or it is told to be damaged.

Histories, progress, activities, tasks, messages and schedules have checksums of their own, over more than a row holds.
"""

import zlib
from typing import Any, Final

import apsw

SQL_NAME: Final = "row_crc"
"""What migrations call it by: rows that were written before it was there get it when the file is brought up."""


def row_crc(*values: object) -> int:
    """Return the CRC-32 of a row's values, each with its type and length, so that none runs into the next."""
    crc = 0
    for value in values:
        packed = value if isinstance(value, bytes) else str(value).encode()
        crc = zlib.crc32(packed, zlib.crc32(f"{type(value).__name__} {len(packed)} ".encode(), crc))
    return crc


def sealed(*values: object) -> tuple[Any, ...]:
    """Return a row as it is written: its values, and behind them their checksum. `Reader.checked` is the other way."""
    return (*values, row_crc(*values))


def teach(connection: apsw.Connection) -> None:
    """Let the statements of a connection call it."""
    connection.create_scalar_function(SQL_NAME, row_crc, -1, deterministic=True)
