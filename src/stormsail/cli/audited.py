"""Whether what a command changes is written to an audit: the same one as the page's changes, where a place has one."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stormsail.cli.notes import alive_address
from stormsail.cli.options import Place
from stormsail.cli.output import note
from stormsail.cli.whoever import requested_by

VIA: Final = "cli"
FILE: Final = "delivery.db"
VERB_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """What a command is about to change."""

    verb: str
    """Noun and verb, as the page's changes are called: `operation.retry`."""
    target: str
    reason: str = ""
    application: str = ""
    account: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Written:
    """An entry while its change is made."""

    by: str
    """Who the change is asked for by: of an entry in the audit it says so, because what operations keep of their own
    stands in the same list and would be told twice."""
    outcome: dict[str, Any] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def audited(place: Place, entry: Entry) -> AsyncIterator[Written]:
    """Have the change that a block makes in the audit, before it is made and with its outcome after.

    A command is what people have left in an outage: without records, or with some that cannot be written, it says so
    and goes on.
    """
    url = records_of(place)
    if not url:
        if entry.reason and entry.verb.startswith(("schedule.", "workflow.update")):
            note("note: there are no records here, and Temporal keeps no reason of this: it is kept nowhere")
        yield Written(requested_by())
        return
    # Loading what writes takes a third of a second, which commands without records need not spend.
    from stormsail.cli.audited_run import writing

    async with writing(url, entry, f"{VIA}:{requested_by()}") as written:
        yield written


def records_of(place: Place) -> str:
    """Return where this place's records are, or nothing: those in a data directory are of the engine that runs on it.

    `STORMSAIL_RECORDS_URL` names those of any other engine.
    """
    named = os.environ.get("STORMSAIL_RECORDS_URL", "")
    if named:
        return named
    elsewhere = bool(place.engine) and place.engine != alive_address(place.data_dir)
    file = place.data_dir / FILE
    return "" if elsewhere or not file.is_file() else f"sqlite+aiosqlite:///{file}"
