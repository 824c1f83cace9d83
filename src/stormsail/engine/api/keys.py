"""API keys: who a caller is, and what that one may do in which namespace.

The file holds of each key a hash alone. A key is `ss_ID_SECRET`, sent as `authorization: Bearer KEY`, as Temporal's
SDKs send their `api_key`. With no file nobody is asked, and then nothing here runs.
"""

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from stormsail.engine.api.rights import Right
from stormsail.engine.core.errors import PermissionDenied, Unauthenticated

KEYS_MAX: Final = 1_000
_FILE_SIZE_MAX: Final = 1024 * 1024
_KEY: Final = re.compile(r"ss_(?P<id>[0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_GRANT: Final = re.compile(r"(?P<right>read|write|admin):(?P<namespace>[^\s:]+)")
_FIELDS: Final = {"id": str, "name": str, "sha256": str, "grants": list, "expires": datetime}
_OPTIONAL: Final = {"expires"}
_NOBODYS: Final = "0" * 64


class KeysUnusable(Exception):
    """The file of keys cannot be used; the message names it, the place and the rule, fit to print."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A right in the namespaces that a pattern with `*` matches."""

    right: Right
    namespace: str

    @staticmethod
    def read(text: str) -> "Grant":
        """Read `RIGHT:NAMESPACE`. Raises ValueError, which says how it is written."""
        match = _GRANT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a grant: write RIGHT:NAMESPACE with read, write or admin, for example write:default"
                " or read:*"
            )
        return Grant(Right[match["right"].upper()], match["namespace"])


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls."""

    name: str
    grants: tuple[Grant, ...]
    expires_at_ms: int | None = None
    sha256: str = field(default=_NOBODYS, repr=False)

    def may(self, right: Right, namespace: str) -> bool:
        """Whether it has a right in a namespace; in all there are where that is empty."""
        return right is Right.ANY or any(
            grant.right >= right and (grant.namespace == "*" or fnmatchcase(namespace, grant.namespace))
            for grant in self.grants
        )

    def require(self, method: str, right: Right, namespaces: Iterable[str]) -> None:
        """Raise PermissionDenied unless it has a right in each of the namespaces. Whether there is such a namespace is
        not told."""
        for namespace in namespaces:
            if not self.may(right, namespace):
                where = f"namespace {namespace!r}" if namespace else "all namespaces ('*')"
                raise PermissionDenied(
                    f"{method} needs the right {right.name.lower()!r} in {where}, which the API key {self.name!r} has"
                    " not: ask whoever keeps the server's --api-key-file for it."
                )


class Keys:
    """The keys of one file."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        """Raises KeysUnusable."""
        self._path = path
        self._now_ms = now_ms
        self._by_id: Mapping[str, Principal] = _read(path)

    def reload(self) -> None:
        """Read the file again; calls from now on go by what it holds. Raises KeysUnusable, and keeps the old ones."""
        self._by_id = _read(self._path)

    def principal(self, authorization: str) -> Principal:
        """Return whose key it is. Raises Unauthenticated."""
        scheme, _, key = authorization.partition(" ")
        if not authorization or scheme.lower() != "bearer":
            raise Unauthenticated(
                "This server asks for an API key: send it as `authorization: Bearer KEY` (the SDKs' option api_key, or"
                " TEMPORAL_API_KEY for stormsail's commands)."
            )
        match = _KEY.fullmatch(key)
        found = self._by_id.get(match["id"]) if match is not None else None
        expected = _NOBODYS if found is None else found.sha256
        # Compared also where there is no such key: how long an answer takes does not tell which ids there are.
        if not hmac.compare_digest(_hash(key), expected) or found is None:
            raise Unauthenticated("The API key is not one of this server's, or was revoked.")
        if found.expires_at_ms is not None and self._now_ms() >= found.expires_at_ms:
            raise Unauthenticated(f"The API key {found.name!r} has expired: ask for a new one.")
        return found


def new_key(name: str, grants: Iterable[str], expires: datetime | None) -> tuple[str, str]:
    """Draw a key; return it, which is not to be kept, and what the file is to hold of it. Raises ValueError."""
    if not re.fullmatch(r"[\w .@-]{1,100}", name):
        raise ValueError(f"{name!r} is not a name: up to 100 letters, digits, spaces, dots, dashes and @")
    granted = [str(grant) for grant in grants]
    for each in granted:
        Grant.read(each)
    identity = secrets.token_hex(8)
    key = f"ss_{identity}_{secrets.token_urlsafe(32)}"
    lines = [
        "[[key]]",
        f'id = "{identity}"',
        f'name = "{name}"',
        f'sha256 = "{_hash(key)}"',
        "grants = [" + ", ".join(f"'{grant}'" for grant in granted) + "]",
    ]
    if expires is not None:
        lines.append(f"expires = {expires.astimezone(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')}")
    return key, "\n".join(lines) + "\n"


def _hash(key: str) -> str:
    """A key is 256 bits drawn at random, so one round of a fast hash is as good as many of a slow one."""
    return hashlib.sha256(key.encode()).hexdigest()


def _read(path: Path) -> Mapping[str, Principal]:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_SIZE_MAX + 1)
        mode = path.stat().st_mode
    except OSError as error:
        raise KeysUnusable(f"{path} cannot be read: {error.strerror or error}") from error
    if mode & 0o022:
        raise KeysUnusable(f"{path} can be written by others than its owner: chmod 600 {path}")
    if len(raw) > _FILE_SIZE_MAX:
        raise KeysUnusable(f"{path} is larger than {_FILE_SIZE_MAX} bytes")
    try:
        told = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeysUnusable(f"{path} is no TOML: {error}") from error
    rows = told.pop("key", [])
    if told or not isinstance(rows, list) or not rows or len(rows) > KEYS_MAX:
        raise KeysUnusable(f"{path} holds one to {KEYS_MAX} tables [[key]], and nothing else")
    keys: dict[str, Principal] = {}
    for number, row in enumerate(rows, 1):
        try:
            identity, principal = _principal(row)
        except ValueError as error:
            raise KeysUnusable(f"{path}, key {number}: {error}") from error
        if identity in keys:
            raise KeysUnusable(f"{path}, key {number}: there are two keys of the id {identity}")
        keys[identity] = principal
    return keys


def _principal(row: Any) -> tuple[str, Principal]:
    """Read one table. Raises ValueError, which names the field and the rule."""
    if not isinstance(row, dict):
        raise ValueError("is no table")
    for name in row.keys() - _FIELDS.keys():
        raise ValueError(f"{name!r} is no field: they are {', '.join(_FIELDS)}")
    for name, kind in _FIELDS.items():
        if name not in row and name not in _OPTIONAL:
            raise ValueError(f"{name} is missing")
        if name in row and not isinstance(row[name], kind):
            raise ValueError(f"{name} is not a {kind.__name__}")
    if not re.fullmatch(r"[0-9a-f]{16}", row["id"]) or not re.fullmatch(r"[0-9a-f]{64}", row["sha256"]):
        raise ValueError("id is 16 and sha256 64 hexadecimal digits, as `stormsail server key` writes them")
    if not row["name"] or not row["grants"]:
        raise ValueError("name and grants are not empty")
    expires = row.get("expires")
    if expires is not None and expires.tzinfo is None:
        raise ValueError("expires has no time zone: end it with Z")
    grants = tuple(Grant.read(str(grant)) for grant in row["grants"])
    return row["id"], Principal(
        row["name"], grants, None if expires is None else int(expires.timestamp() * 1000), row["sha256"]
    )
