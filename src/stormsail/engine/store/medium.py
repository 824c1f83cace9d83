"""What a database stands on: the disk under SQLite, and who runs its writer.

There are two: the file system with a thread, and the simulator's disk, which loses what was not synced.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from stormsail.engine.store.directory import hold_directory, prepare_files
from stormsail.engine.store.writer import WriterThread

if TYPE_CHECKING:
    from stormsail.engine.store.database import Member

CHECKPOINT_PAGES: Final = 4_000
"""Log pages after which the writer copies them into the file; 16 MB."""


class Hold(Protocol):
    """A data directory held against other servers."""

    def release(self) -> None:
        """Let it go."""
        ...


class Writer(Protocol):
    """Hands members, in order and in groups, to the function it was made with: `write(group, last)`."""

    def put(self, member: "Member") -> None:
        """Have a member written."""
        ...

    def stop(self) -> None:
        """Write what waits, with `last` set, and return when it is written."""
        ...


@dataclass(frozen=True, slots=True)
class Medium:
    """See the module. The defaults are the file system's."""

    vfs: str | None = None
    """SQLite's name of the disk; None is its own."""
    one_connection: bool = False
    """The disk has no shared memory: one connection reads and writes. The writer then runs in the readers' thread."""
    checkpoint_pages: int = CHECKPOINT_PAGES
    hold: Callable[[Path], Hold] = hold_directory
    prepare: Callable[[Path], None] = prepare_files
    """Makes an empty file where there is none, and syncs what is there of it and of its log."""
    writer: "Callable[[Callable[[Sequence[Member], bool], None]], Writer]" = WriterThread
    fresh_id: Callable[[], str] = lambda: str(uuid.uuid4())
    """Draws the id of a file that is made."""


FILE_SYSTEM: Final = Medium()
