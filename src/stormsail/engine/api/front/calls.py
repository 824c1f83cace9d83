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
    """A call's headers, decoded when somebody asks: most handlers never do. Of a repeated key the last value counts."""

    __slots__ = ("_headers", "_values")

    def __init__(self, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._headers = headers
        self._values: dict[str, str] | None = None

    def __getitem__(self, key: str) -> str:
        wanted = key.encode()
        for name, value in reversed(self._headers):
            if name == wanted and not (key.startswith(":") or key.endswith("-bin")):
                return value.decode("ascii", "replace")
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def binary(self, key: str) -> bytes | None:
        """Return the value of a key that ends in `-bin`; None when there is none, or it is no base64."""
        wanted = key.encode()
        for name, value in reversed(self._headers):
            if name == wanted:
                try:
                    return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
                except binascii.Error:
                    return None
        return None

    def _decoded(self) -> dict[str, str]:
        if self._values is None:
            self._values = {
                name.decode("ascii", "replace"): value.decode("ascii", "replace")
                for name, value in self._headers
                if not name.startswith(b":") and not name.endswith(b"-bin")
            }
        return self._values
