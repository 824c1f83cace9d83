"""Opening delivery's records for the length of a command, with their failures as the command's own."""

import contextlib
from collections.abc import AsyncIterator

from stormsail.cli.errors import CommandFailed
from stormsail.cli.options import Place
from stormsail.delivery.records.database import Database, RecordsUnavailable, records_url


@contextlib.asynccontextmanager
async def opened_records(place: Place, url: str) -> AsyncIterator[Database]:
    """Open the records of a place, or those that a URL names."""
    try:
        database = await Database.open(records_url(place.data_dir, url))
        try:
            yield database
        finally:
            await database.close()
    except RecordsUnavailable as away:
        raise CommandFailed(
            str(away), next_step="look at the disk (`stormsail doctor`) or at what --records-url names"
        ) from away
