"""The part of `audit` that opens the records; imported only when one of its commands runs."""

import json
from dataclasses import asdict
from typing import Any, Final

import click

from stormsail.cli.connection import run
from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import Column, instant, show_list
from stormsail.cli.records import opened_records
from stormsail.delivery.records.audit import AuditRecord, AuditTrail

_COLUMNS: Final = (
    Column("when", lambda r: instant(r["at_ms"])),
    Column("who", lambda r: str(r["principal"])),
    Column("via", lambda r: str(r["via"]), wide=True),
    Column("what", lambda r: str(r["verb"])),
    Column("of", lambda r: str(r["target"])),
    Column("state", lambda r: str(r["state"])),
    Column("reason", lambda r: r["reason"] or "-"),
    Column("message", lambda r: r["message"] or "-", wide=True),
)


def run_list(place: Place, url: str, application: str, target: str, limit: int, output: str) -> int:
    """Print the newest changes."""

    async def main() -> list[AuditRecord]:
        async with opened_records(place, url) as database:
            return await AuditTrail(database).page(limit=limit, application=application, target=target)

    records = [_record(record) for record in run(main)]
    empty = "no changes through page or API; `stormsail operation get` shows what operations keep of their own"
    show_list(records, _COLUMNS, "id", output, empty=empty)
    return int(ExitCode.OK)


def run_export(place: Place, url: str) -> int:
    """Print all changes."""

    async def main() -> None:
        async with opened_records(place, url) as database:
            async for record in AuditTrail(database).export():
                click.echo(json.dumps(_record(record), ensure_ascii=False))

    run(main)
    return int(ExitCode.OK)


def _record(record: AuditRecord) -> dict[str, Any]:
    return asdict(record) | {"state": record.state.value}
