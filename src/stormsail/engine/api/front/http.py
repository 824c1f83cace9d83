"""Our end of HTTP/2 as the library is set up for it: what a peer may do, and what it is told that it may."""

from typing import Final

from ngh2 import Configuration, Connection, Role, Setting

from stormsail.engine.api.front.front import Bounds

_HEADERS_COUNT_MAX: Final = 256


def new_http(bounds: Bounds) -> Connection:
    """Return the state of a connection on which nothing was said."""
    return Connection(
        Role.SERVER,
        Configuration(
            stream_reset_rate_limit=(bounds.streams_max, 1_000),
            max_inbound_header_list_size=bounds.headers_size_max,
            max_inbound_header_count=_HEADERS_COUNT_MAX,
            max_send_header_block_length=1024 * 1024,
            max_continuations=16,
        ),
    )


def greet(http: Connection, bounds: Bounds) -> None:
    """Queue our settings, which come before everything else."""
    http.initiate_connection(
        {
            Setting.MAX_CONCURRENT_STREAMS: bounds.streams_max,
            Setting.INITIAL_WINDOW_SIZE: bounds.window_size,
            Setting.MAX_HEADER_LIST_SIZE: bounds.headers_size_max,
            Setting.MAX_FRAME_SIZE: 1 << 20,
        }
    )
    http.set_local_window_size(bounds.connection_window_size)
