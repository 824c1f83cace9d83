"""The part of `auth key` that opens the records; imported only when one of its commands runs."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from stormsail.cli.connection import run
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import Column, instant, note, show_list, show_one
from stormsail.cli.records import opened_records
from stormsail.delivery.records.keys import BadGrant, Grant, Key, Keys, NoSuchKey, TooManyKeys

T = TypeVar("T")

_COLUMNS: Final = (
    Column("key", lambda r: str(r["id"])),
    Column("name", lambda r: str(r["name"])),
    Column("state", lambda r: str(r["state"])),
    Column("ends", lambda r: instant(r["expires_at_ms"])),
    Column("grants", lambda r: ", ".join(r["grants"])),
    Column("created", lambda r: instant(r["created_at_ms"]), wide=True),
)


def run_create(place: Place, url: str, name: str, grants: tuple[str, ...], expires_seconds: float, output: str) -> int:
    """Make a key."""
    try:
        granted = [Grant.read(text) for text in grants]
    except BadGrant as wrong:
        raise CommandFailed(
            f"--grant {wrong}", next_step="`stormsail auth key create --help` shows examples", code=ExitCode.USAGE
        ) from wrong
    if not name.isprintable() or not 0 < len(name) <= 100:
        raise CommandFailed(
            "--name must have 1 to 100 printable characters", next_step="choose another", code=ExitCode.USAGE
        )
    key, text = _with_keys(place, url, lambda keys: keys.create(name, granted, _ends(expires_seconds)))
    return _show_new(key, text, output)


def run_rotate(place: Place, url: str, key_id: str, overlap: float, expires_seconds: float, output: str) -> int:
    """Make a key in another's place."""
    overlap_ms = int(overlap * 1000)
    key, text = _with_keys(place, url, lambda keys: keys.rotate(key_id, overlap_ms, _ends(expires_seconds)))
    note(f"key {key_id} stays good for {overlap:.0f} s at most")
    return _show_new(key, text, output)


def run_list(place: Place, url: str, output: str) -> int:
    """Print the keys."""
    keys = _with_keys(place, url, lambda keys: keys.all())
    empty = "no keys: make one with `stormsail auth key create`"
    show_list([_record(key) for key in keys], _COLUMNS, "id", output, empty=empty)
    return int(ExitCode.OK)


def run_revoke(place: Place, url: str, key_id: str, output: str) -> int:
    """End a key."""
    key = _with_keys(place, url, lambda keys: keys.revoke(key_id))
    show_one(_record(key), f"key {key.id} ({key.name}) is revoked", "id", output)
    return int(ExitCode.OK)


def _with_keys(place: Place, url: str, do: Callable[[Keys], Awaitable[T]]) -> T:
    async def main() -> T:
        async with opened_records(place, url) as database:
            return await do(Keys(database))

    try:
        return run(main)
    except NoSuchKey as absent:
        raise CommandFailed(
            str(absent), next_step="`stormsail auth key list` shows all", code=ExitCode.NOT_FOUND
        ) from absent
    except TooManyKeys as full:
        raise CommandFailed(str(full), next_step="revoke some", code=ExitCode.CONFLICT) from full


def _show_new(key: Key, text: str, output: str) -> int:
    show_one(_record(key) | {"key": text}, text, "id", output)
    note(f"key {key.id} ({key.name}) grants {', '.join(map(str, key.grants))}, until {instant(key.expires_at_ms)}")
    note("It is not shown again: keep it where only its holder reads it.")
    return int(ExitCode.OK)


def _record(key: Key) -> dict[str, Any]:
    now_ms = int(time.time() * 1000)
    ended = "ended" if key.revoked_at_ms is None else "revoked"
    return {
        "id": key.id,
        "name": key.name,
        "state": "good" if key.is_good(now_ms) else ended,
        "grants": [str(grant) for grant in key.grants],
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "revoked_at_ms": key.revoked_at_ms,
    }


def _ends(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)
