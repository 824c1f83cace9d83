"""Opening delivery's records: a SQLite file beside the engine's, or any database that a URL names.

SQLite runs here with a rollback journal and not WAL: Python's own library may carry SQLite's WAL-reset bug (fixed in
3.51.3), and people change things a few times a minute, not thousands of times a second.
"""

import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, event, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

FILE: Final = "delivery.db"
BUSY_MS: Final = 5_000
HEAD: Final = "0001"
"""The newest revision in migrations/versions, so that a start which finds it need not load Alembic's scripts."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


class RecordsUnavailable(Exception):
    """The records cannot be read or written; the message says why in the database's words."""


class RecordsNewer(RecordsUnavailable):
    """The records were written by a newer version."""


def records_url(data_dir: Path, url: str = "") -> str:
    """Return where the records are: as said, else a file in the data directory."""
    return url or f"sqlite+aiosqlite:///{data_dir / FILE}"


def wall_ms() -> int:
    """Return the wall clock's time: records are read by people."""
    return time.time_ns() // 1_000_000


class Database:
    """An open database with all migrations done."""

    def __init__(self, engine: AsyncEngine, now_ms: Callable[[], int] = wall_ms) -> None:
        self.engine = engine
        self.now_ms = now_ms
        self.process = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:12]}"
        """Who writes: changes that a process which is gone left open are told apart by it."""

    @staticmethod
    async def open(url: str, now_ms: Callable[[], int] = wall_ms) -> "Database":
        """Open and migrate. Raises RecordsUnavailable, and RecordsNewer for those of a newer version."""
        file = url.removeprefix("sqlite+aiosqlite:///") if url.startswith("sqlite+aiosqlite:///") else ""
        try:
            if file:
                # Made here, so that nobody else of this machine may read it.
                os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
            engine = create_async_engine(url)
            if file:
                event.listen(engine.sync_engine, "connect", _durable)
                event.listen(engine.sync_engine, "begin", _begin)
            async with engine.begin() as connection:
                await connection.run_sync(_migrate, url)
        except CommandError as error:
            raise RecordsNewer(
                f"the records are of a newer version of Stormsail ({error}): start that one, or restore a backup"
            ) from error
        except ModuleNotFoundError as error:
            raise RecordsUnavailable(
                f"the records' URL needs the package {error.name!r}, which is not installed: `pip install {error.name}`"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise RecordsUnavailable(f"the records cannot be opened: {_words(error)}") from error
        return Database(engine, now_ms)

    async def close(self) -> None:
        """Let go of all connections."""
        await self.engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Do a block in one transaction, on disk when the block is left. Raises RecordsUnavailable."""
        async with self._begun(self.engine) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read in a block, without keeping writers away. Raises RecordsUnavailable."""
        async with self._begun(self.engine.execution_options(reads=True)) as connection:
            yield connection

    @asynccontextmanager
    async def _begun(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        try:
            async with engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise RecordsUnavailable(f"the records cannot be used: {_words(error)}") from error


def _migrate(connection: Connection, url: str) -> None:
    """Bring the tables to the newest revision, in one transaction: of two processes that start at once, one does it."""
    if inspect(connection).has_table("alembic_version"):
        known = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if known == HEAD:
            return
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _durable(connection: Any, _: object) -> None:
    # Transactions are begun by `_begin`: Python's own way begins none before a CREATE TABLE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", f"busy_timeout={BUSY_MS}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Take the write lock at once where a block may write: nobody is refused in the middle then."""
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _words(error: BaseException) -> str:
    """Return the database's own words, without the statement and its values."""
    return str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error).splitlines()[0]
