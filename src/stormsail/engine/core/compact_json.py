"""JSON without spaces, as bytes: what a turn writes beside its events.

`json.JSONEncoder.encode` makes an encoder for each call, which takes longer than to encode the few bytes that we write.
This is the one that it makes, made once.
"""

import json
from collections.abc import Callable
from json import encoder
from typing import Any, Final

quoted: Final[Callable[[str], str]] = encoder.encode_basestring_ascii
_PLAIN: Final = json.JSONEncoder(separators=(",", ":"))
_encoded: Final = encoder.c_make_encoder(  # type: ignore[attr-defined]
    None,
    _PLAIN.default,
    quoted,
    _PLAIN.indent,
    _PLAIN.key_separator,
    _PLAIN.item_separator,
    _PLAIN.sort_keys,
    _PLAIN.skipkeys,
    _PLAIN.allow_nan,
)


def pack(value: Any) -> bytes:
    """Return a value as JSON. One that contains itself is an endless recursion: what is given here never does."""
    return "".join(_encoded(value, 0)).encode()


def text(value: Any) -> str:
    """Return a value as it stands in JSON: numbers, words and truths at once, for a run's progress has little else."""
    kind = value.__class__
    if kind is int:
        return str(value)
    if kind is str:
        return quoted(value)
    if kind is bool:
        return "true" if value else "false"
    return "".join(_encoded(value, 0))
