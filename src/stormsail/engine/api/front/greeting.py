"""Who is at the other end of a new connection: its address, and what its first bytes say.

HTTP/2 is served. HTTP/1, TLS where there is none, and noise are not, and told so as far as they would understand.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 sends first."""
TEXT: Final = b"This port speaks gRPC on HTTP/2. Point a Temporal SDK, or grpcurl, at it.\n"
"""For people whose browser or tool came to the wrong port."""

_HTTP_1: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n" % len(TEXT)
)
_TLS_HANDSHAKE: Final = 0x16
_METHOD_SIZE_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who does not speak HTTP/2."""

    answer: bytes = b""
    """What to send before the connection is closed."""
    told: str = ""
    """What who runs the server should know."""


def stranger(data: bytes) -> Stranger | None:
    """Return who begins like this; None for HTTP/2, or what may still become it."""
    if data.startswith(PREFACE[: len(data)]):
        return None
    if data[0] == _TLS_HANDSHAKE:
        return Stranger(told="a client speaks TLS to this port, which has none: start with --tls-cert and --tls-key")
    if data[:_METHOD_SIZE_MAX].split(b" ")[0].isalpha():
        return Stranger(answer=_HTTP_1 + TEXT)
    return Stranger()


def peer_of(address: Any) -> tuple[str, bool]:
    """Return who is at the other end, as gRPC writes it, and whether that is this machine."""
    if not isinstance(address, tuple) or len(address) < 2:
        return "unix:", True
    host, port = address[0], address[1]
    ip = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return f"ipv4:{host}:{port}", ip.is_loopback
    mapped = ip.ipv4_mapped
    return f"ipv6:[{host}]:{port}", ip.is_loopback or (mapped is not None and mapped.is_loopback)
