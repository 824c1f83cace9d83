"""Where a planted bug can take hold. The simulator plays without any, or with one of mutants.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import apsw

from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.runs import Core
from stormsail.engine.sim.disk import SimDisk
from stormsail.engine.store.store import Store


def _nothing(_: Any) -> None:
    """Change nothing."""


@dataclass(frozen=True, slots=True)
class Tampering:
    """See the module. Each is called once an engine, but for the disk, which there is one of."""

    core: Core | None = None
    disk: Callable[[SimDisk], None] = _nothing
    store: Callable[[Store, Callable[[], Engine]], Any] = lambda store, _engine: store
    """Puts something before the store. The engine is there only when it is open."""
    connection: Callable[[apsw.Connection], None] = _nothing
    """Changes how SQLite was set up."""
    engine: Callable[[Engine], None] = _nothing
    """Changes an engine that was just opened."""
