"""What can go wrong with the file that everything is kept in, said so that an operator knows what to do."""

from pathlib import Path

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure

from stormsail.engine.core.errors import ResourceExhausted, Unavailable
from stormsail.engine.core.ids import RunKey


class StorageFailed(Exception):
    """The disk or the file can no longer be trusted. Whether the last commit is on disk is unknown: stop the process.

    Nothing is ever retried after this, an fsync least of all: the kernel may have dropped the pages it failed to write.
    """


class SchemaTooNew(StorageFailed):
    """A newer Stormsail wrote this file; this one must not touch it."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"{path} has schema version {found}, and this Stormsail knows versions up to {known}. "
            "Start the newer Stormsail that wrote it, or choose another data directory."
        )


class NotOurFile(StorageFailed):
    """The file at the database's place is something else."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"{path} is not a Stormsail engine database: {found}. "
            "Move that file away or choose another data directory; it was left as it is."
        )


class DataDirInUse(Exception):
    """Another server holds the data directory."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        self.pid = pid
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"The data directory {directory} is in use by {holder}. "
            "One server at a time may use it: stop that one or choose another data directory."
        )


class StorageFull(ResourceExhausted):
    """No space is left. Nothing of the request was written; reads go on, and writes do again once there is space."""

    def __init__(self, path: Path) -> None:
        detail = ResourceExhaustedFailure(
            cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_PERSISTENCE_STORAGE_LIMIT,
            scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
        )
        super().__init__(f"No space is left for {path}: nothing was written. Free disk space and try again.", detail)


class CommitQueueFull(ResourceExhausted):
    """The disk is slower than the requests; the client comes back later."""

    def __init__(self, waiting: int) -> None:
        detail = ResourceExhaustedFailure(
            cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
            scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
        )
        super().__init__(f"{waiting} commits wait for the disk, which is the limit. Try again later.", detail)


class QueryTooCostly(ResourceExhausted):
    """A list or count looked at too many rows."""

    def __init__(self) -> None:
        super().__init__(
            "The query looks at too many workflows. Narrow it, for example by WorkflowId, WorkflowType or StartTime."
        )


class StorageBusy(Unavailable):
    """Another program holds the file's write lock, for example a sqlite3 shell. Nothing was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"Another program keeps {path} locked: nothing was written. Close it and try again.")


class RunConflict(AssertionError):
    """A commit that would break an invariant, such as two open runs of one workflow id. Nothing of it was written."""


class RowDamaged(AssertionError):
    """A row of the file does not match its checksum, or holds what its table cannot hold."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"A row of {path} is damaged. `stormsail server fsck` tells which; other rows are not touched."
        )


def cannot_start(damaged: RowDamaged) -> StorageFailed:
    """What is told where a server needs the row to start."""
    return StorageFailed(f"{damaged} A server cannot start without it: restore the file from a backup.")


class RunDamaged(AssertionError):
    """What is stored of this run does not match its checksums, or events are missing. Other runs are not touched."""

    def __init__(self, key: RunKey, found: str) -> None:
        self.key = key
        self.found = found
        super().__init__(f"The stored run {key} is damaged: {found}. It is not served; restore it from a backup.")


class ScheduleDamaged(AssertionError):
    """What is stored of this schedule does not match its checksum. Other schedules are not touched."""

    def __init__(self, name: str, found: str) -> None:
        self.found = found
        super().__init__(f"The stored schedule {name} is damaged: {found}. It does not act; restore it from a backup.")


class WriteRejected(Exception):
    """SQLite would not take a member's rows. Whoever built the rows knows what that means and says so."""
