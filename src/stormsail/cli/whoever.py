"""Who runs a command, as operations, workflows and the audit name them."""

import getpass
import socket


def requested_by() -> str:
    """Return user@host of whoever runs this."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"unknown@{socket.gethostname()}"
