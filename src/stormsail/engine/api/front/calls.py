"""What a call is to the coroutine that serves it, whoever carried it here."""

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from stormsail.engine.core.values import quick


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """One call as the caller made it."""

    method: str
    """`/service/Method`."""
    metadata: Mapping[str, str]
    """Text values; what the caller sent under keys that end in `-bin` is in `Metadata.binary`."""
    deadline_s: float | None
    """Seconds that the caller will wait from now; None when it set no deadline."""
    peer: str = ""

    @property
    def name(self) -> str:
        """The method's name without its service."""
        return self.method.rpartition("/")[2]


Rpc = Callable[[Call, bytes], Coroutine[Any, Any, bytes | Message]]
"""A method: the caller's bytes to the reply. Raises `Refused` to turn the caller down, when called or awaited."""
StreamRpc = Callable[[Call, AsyncIterator[bytes]], AsyncIterator[bytes]]
"""A method that takes and answers any number of messages."""


class Metadata(Mapping[str, str]):
    """A call's headers, decoded when somebody asks: most handlers never do."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        """`fields` are the headers by name; of a repeated name the last value."""
        self._fields = fields

    def __getitem__(self, key: str) -> str:
        if key.startswith(":") or key.endswith("-bin"):
            raise KeyError(key)
        return self._fields[key.encode()].decode("ascii", "replace")

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def binary(self, key: str) -> bytes | None:
        """Return the value of a key that ends in `-bin`; None when there is none, or it is no base64."""
        value = self._fields.get(key.encode())
        if value is None:
            return None
        try:
            return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
        except binascii.Error:
            return None

    def _decoded(self) -> dict[str, str]:
        return {
            name.decode("ascii", "replace"): value.decode("ascii", "replace")
            for name, value in self._fields.items()
            if not name.startswith(b":") and not name.endswith(b"-bin")
        }
