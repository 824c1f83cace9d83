"""API keys: `ss_<id>_<secret>`, of which only a hash of the secret is kept; with what each grants, and until when."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from sqlalchemy import Row, insert, select, update

from stormsail.delivery.records.database import Database
from stormsail.delivery.records.tables import KEYS

PREFIX: Final = "ss"
KEYS_MAX: Final = 1000
_GRANT: Final = re.compile(r"(?P<role>[a-z]+):(?P<application>[A-Za-z0-9._*-]+)(?:@(?P<account>[A-Za-z0-9._*-]+))?")


class Role(StrEnum):
    """What may be done. Each stands alone, but whoever may do anything to a thing may read it."""

    READ = "read"
    EXECUTE = "execute"
    """Steer what runs: retry, skip, rerun, cancel; trigger and pause schedules; signal."""
    WRITE = "write"
    """Change what is deployed: start operations."""


class BadGrant(ValueError):
    """A grant that is not written as one; the message shows how."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One role on the applications and accounts that two patterns with `*` match."""

    role: Role
    application: str = "*"
    account: str = "*"

    @staticmethod
    def read(text: str) -> "Grant":
        """Read `ROLE:APPLICATION[@ACCOUNT]`. Raises BadGrant."""
        match = _GRANT.fullmatch(text)
        if match is None or match["role"] not in list(Role):
            raise BadGrant(
                f"{text!r} is not a grant: write ROLE:APPLICATION or ROLE:APPLICATION@ACCOUNT with read, execute or "
                "write, for example write:hello or read:*@local"
            )
        return Grant(Role(match["role"]), match["application"], match["account"] or "*")

    def __str__(self) -> str:
        """Write it."""
        return f"{self.role}:{self.application}@{self.account}"

    def gives(self, role: Role, application: str, account: str) -> bool:
        """Whether it gives a role on a thing. `*` asks for all there are: only a grant on all of them gives that."""
        if self.role is not role and role is not Role.READ:
            return False
        return fnmatchcase(application, self.application) and fnmatchcase(account, self.account)


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is kept."""

    id: str
    name: str
    grants: tuple[Grant, ...]
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None

    def is_good(self, now_ms: int) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or now_ms < self.expires_at_ms)


class NoSuchKey(Exception):
    """There is no key of that id."""


class TooManyKeys(Exception):
    """There are as many keys as may be."""


class Keys:
    """The keys of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, grants: Iterable[Grant], expires_at_ms: int | None) -> tuple[Key, str]:
        """Make a key; return it and its text, which is never to be seen again."""
        if len(await self.all()) >= KEYS_MAX:
            raise TooManyKeys(f"there are {KEYS_MAX} keys: revoke and remove some first")
        identity, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        key = Key(identity, name, tuple(grants), self._database.now_ms(), expires_at_ms, None)
        async with self._database.transaction() as connection:
            await connection.execute(
                insert(KEYS).values(
                    id=key.id,
                    name=key.name,
                    hash=_hash(secret),
                    grants=json.dumps([str(grant) for grant in key.grants]),
                    created_at_ms=key.created_at_ms,
                    expires_at_ms=key.expires_at_ms,
                )
            )
        return key, f"{PREFIX}_{identity}_{secret}"

    async def rotate(self, identity: str, overlap_ms: int, expires_at_ms: int | None) -> tuple[Key, str]:
        """Make a key with the same name and grants, and let the old one end after an overlap. Raises NoSuchKey."""
        old = await self.get(identity)
        new = await self.create(old.name, old.grants, expires_at_ms)
        ends = self._database.now_ms() + overlap_ms
        if old.expires_at_ms is None or old.expires_at_ms > ends:
            async with self._database.transaction() as connection:
                await connection.execute(update(KEYS).where(KEYS.c.id == identity).values(expires_at_ms=ends))
        return new

    async def revoke(self, identity: str) -> Key:
        """End a key now. Raises NoSuchKey."""
        await self.get(identity)
        async with self._database.transaction() as connection:
            await connection.execute(
                update(KEYS)
                .where(KEYS.c.id == identity, KEYS.c.revoked_at_ms.is_(None))
                .values(revoked_at_ms=self._database.now_ms())
            )
        return await self.get(identity)

    async def all(self) -> list[Key]:
        """Return all keys, oldest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(KEYS).order_by(KEYS.c.created_at_ms, KEYS.c.id))
            return [_key(row) for row in rows]

    async def get(self, identity: str) -> Key:
        """Return a key. Raises NoSuchKey."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(KEYS).where(KEYS.c.id == identity))).first()
        if row is None:
            raise NoSuchKey(f"there is no key {identity!r}: `stormsail auth key list` shows those that are")
        return _key(row)

    async def find(self, text: str) -> Key | None:
        """Return the key that a text is, if it is good now; None for every other text."""
        prefix, _, rest = text.partition("_")
        identity, _, secret = rest.partition("_")
        async with self._database.reading() as connection:
            row = (await connection.execute(select(KEYS).where(KEYS.c.id == identity[:32]))).first()
        # Compared in constant time, also where there is no such key: how long a no takes says nothing.
        same = hmac.compare_digest(_hash(secret), row.hash if row is not None else bytes(32))
        if row is None or not same or prefix != PREFIX:
            return None
        key = _key(row)
        return key if key.is_good(self._database.now_ms()) else None


def _hash(secret: str) -> bytes:
    # The secret is 256 random bits, so a slow hash would protect nothing more.
    return hashlib.sha256(secret.encode()).digest()


def _key(row: Row[Any]) -> Key:
    grants = tuple(Grant.read(text) for text in json.loads(row.grants))
    return Key(row.id, row.name, grants, row.created_at_ms, row.expires_at_ms, row.revoked_at_ms)
