"""What a caller wants to be told when something completes. Nothing is: Nexus delivers callbacks, and is not served.

Temporal's own server delivers only to addresses that its operator allows, and none are unless told otherwise: an
address is refused here in the same words.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from temporalio.api.common.v1 import Callback

from stormsail.engine.core.errors import InvalidArgument, Unimplemented

URL_LENGTH_MAX: Final = 1_000
SYSTEM_URL: Final = "temporal://system"
_VARIANT: Final = "*common.Callback_Internal_"


def check(callbacks: Sequence[Callback]) -> None:
    """Refuse callbacks; an empty list is none."""
    for callback in callbacks:
        match callback.WhichOneof("variant"):
            case "nexus":
                _refuse(callback.nexus.url)
            case "internal":
                raise InvalidArgument(f"unsupported callback variant: {_VARIANT}")
            case _:
                raise Unimplemented("unknown callback variant: <nil>")


def _refuse(url: str) -> None:
    if len(url) > URL_LENGTH_MAX:
        raise InvalidArgument(f"invalid url: url length longer than max length allowed of {URL_LENGTH_MAX}")
    if url == SYSTEM_URL:
        raise Unimplemented(f"completion_callbacks to {SYSTEM_URL} are not served here: Nexus is not.")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidArgument(f"invalid callback url: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidArgument(f"invalid url: unknown scheme: {url}")
    if not parts.netloc:
        raise InvalidArgument("invalid url: missing host")
    raise InvalidArgument(f"invalid url: url does not match any configured callback address: {url}")
