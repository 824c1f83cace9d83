"""How the one file is opened: what is refused, and what SQLite is told before anything else."""

import contextlib
from pathlib import Path
from typing import Final

import apsw

from stormsail.engine.store import checksum
from stormsail.engine.store.errors import NotOurFile, SchemaTooNew, StorageFailed
from stormsail.engine.store.medium import Medium

APPLICATION_ID: Final = 0x53746F72
"""`Stor`, in PRAGMA application_id."""
MIGRATIONS: Final = tuple(sorted((Path(__file__).parent / "migrations").glob("[0-9]*.sql")))
"""What was added to schema.sql since, in order; a file is at the version of the last one that it has."""
SCHEMA_VERSION: Final = 1 + len(MIGRATIONS)
OLDEST_SQLITE: Final = "3.51.3"
"""Older ones can corrupt a database when its write-ahead log is reset."""
LOG_KEPT_BYTES: Final = 64 * 1024 * 1024
BUSY_TIMEOUT_MS: Final = 2_000


def connect(path: Path, medium: Medium) -> apsw.Connection:
    """Open the file, and change nothing in it before it is known to be ours."""
    if _version(apsw.sqlite_lib_version()) < _version(OLDEST_SQLITE):
        raise StorageFailed(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt its log; {OLDEST_SQLITE} or newer is needed: upgrade apsw."
        )
    try:
        connection = apsw.Connection(str(path), vfs=medium.vfs, statementcachesize=512)
    except apsw.Error as error:
        raise StorageFailed(f"{path} cannot be opened: {type(error).__name__}: {error}.") from error
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if medium.one_connection:
            connection.pragma("locking_mode", "EXCLUSIVE")
        _refuse_foreign(connection, path)
        found = connection.pragma("journal_mode", "wal")
        if found != "wal":
            raise StorageFailed(f"{path} cannot keep a write-ahead log here; choose a data directory on a local disk.")
        connection.pragma("synchronous", "FULL")
        connection.pragma("wal_autocheckpoint", 0)
        connection.pragma("journal_size_limit", LOG_KEPT_BYTES)
        connection.pragma("cache_size", -32_000)
        connection.pragma("temp_store", "MEMORY")
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # A plan does not depend on the values bound: else SQLite plans some statements anew for each call.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    except apsw.Error as error:
        close(connection)
        raise unusable(path, error) from error
    except StorageFailed:
        close(connection)
        raise
    return connection


def close(connection: apsw.Connection) -> None:
    """Close a connection that is given up; that the disk fails here too is no news to anybody."""
    with contextlib.suppress(apsw.Error):
        connection.close()


def _refuse_foreign(connection: apsw.Connection, path: Path) -> None:
    owner, version = connection.pragma("application_id"), connection.pragma("user_version")
    if owner == APPLICATION_ID and version > SCHEMA_VERSION:
        raise SchemaTooNew(path, version, SCHEMA_VERSION)
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if owner != APPLICATION_ID and (owner or version or tables):
        raise NotOurFile(path, "it is a SQLite database of another program")


def make_schema(connection: apsw.Connection, path: Path) -> None:
    """Make the tables that the file does not have yet, all or none of each version's."""
    try:
        version = connection.pragma("user_version")
        checksum.teach(connection)
        steps = [Path(__file__).with_name("schema.sql"), *MIGRATIONS]
        for number, step in enumerate(steps[version:], version + 1):
            connection.execute(
                f"BEGIN IMMEDIATE; {step.read_text(encoding='utf-8')}; PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {number}; COMMIT"
            )
    except apsw.Error as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: apsw.Error) -> StorageFailed:
    match error:
        case apsw.NotADBError():
            return NotOurFile(path, "it is no SQLite database")
        case apsw.FullError():
            return StorageFailed(f"No space is left to make {path}. Free disk space and start again.")
        case _:
            return StorageFailed(
                f"{path} cannot be opened: {type(error).__name__}: {error}. Check the disk and who may read the file."
            )


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
