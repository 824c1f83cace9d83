"""Ports for servers that are started later, or killed and started again: nobody else gets them meanwhile."""

import itertools
import os
import socket
from typing import Final

FIRST: Final = 10_000
COUNT: Final = 10_000
"""Below 32768, where the kernel begins to take ports for whoever listens on any or connects to somewhere: a port that
the kernel gave and took back may be some client's own end a moment later, and then its server cannot start. And below
20000, where the local provider begins to look for its own."""

_asked = itertools.count(os.getpid() * 211)
"""Test processes run side by side: each looks in another place."""


def free_port() -> int:
    """Return a port on which nothing listens, another one each time."""
    for number in itertools.islice(_asked, COUNT):
        port = FIRST + number % COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port from {FIRST} to {FIRST + COUNT - 1} is free")
