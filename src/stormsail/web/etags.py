"""ETags of what is answered, blind to when it was read: an answer that says the same has the same tag."""

import hashlib
import re
from typing import Any, Final

from pydantic import TypeAdapter

_WHEN_READ: Final = re.compile(rb'"(?:as_of_ms|age_ms)":(?:\d+|null),?')


def etag_of(view: Any) -> str:
    """Return the tag of a view; of nothing, a tag that is nothing's."""
    return tag_of(TypeAdapter(type(view)).dump_json(view))


def tag_of(body: bytes) -> str:
    """Return the tag of an answer's body."""
    return f'W/"{hashlib.sha256(_WHEN_READ.sub(b"", body)).hexdigest()[:32]}"'


def matches(condition: str, etag: str) -> bool:
    """Whether an If-Match or If-None-Match holds for a tag; compared weakly, because ours are weak."""
    wanted = [one.strip() for one in condition.split(",")]
    return "*" in wanted or etag in wanted or etag.removeprefix("W/") in wanted
