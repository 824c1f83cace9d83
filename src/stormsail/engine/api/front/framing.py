"""gRPC's own layer above HTTP/2: messages with a length in front, compressed or not; deadlines; texts in headers."""

import re
import struct
import zlib
from functools import lru_cache
from typing import Final

from stormsail.engine.core.errors import Refused, ResourceExhausted, Unimplemented

PREFIX_SIZE: Final = 5
_SIZE: Final = struct.Struct(">I")
ACCEPTED_ENCODINGS: Final = b"identity,gzip,deflate"
_WINDOW_BITS: Final = {b"gzip": 31, b"deflate": 15}
_COMPRESSED_AT: Final = 1
_HARD_SIZE_FACTOR: Final = 16
"""How far beyond the limit a compressed message is still unpacked, to say in the refusal how large it is."""
_CHUNK_SIZE: Final = 256 * 1024
_EXPANSION_MAX: Final = 1_032
"""So many bytes are the most that one byte of deflate's stands for."""
_SHORT_SIZE: Final = 4 * 1024
"""What most requests unpack to at most; more is found room for as it comes."""
_TIMEOUT: Final = re.compile(rb"(\d{1,8})([HMSmun])")
_TIMEOUT_MAX_S: Final = 365 * 86_400.0
_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TEXT_SIZE_MAX: Final = 8 * 1024
"""Of a status text in a header: clients refuse longer headers, and then nobody learns anything."""


class Malformed(Refused):
    """Not what gRPC's rules for a message or header allow."""

    status = "INTERNAL"


def framed(message: bytes, *, gzip: bool = False) -> bytes:
    """Put a message's length in front of it."""
    if not gzip:
        return len(message).to_bytes(PREFIX_SIZE, "big") + message
    packer = zlib.compressobj(_COMPRESSED_AT, wbits=31)
    packed = packer.compress(message) + packer.flush()
    return b"\x01" + len(packed).to_bytes(4, "big") + packed


def declared_size(body: bytes | bytearray) -> int:
    """Return the size that the first message of a body has, by its prefix, before unpacking."""
    size: int = _SIZE.unpack_from(body, 1)[0]
    return size


def only_message(body: bytes | bytearray, encoding: bytes, size_max: int) -> bytes:
    """Return the one message that a request is. Raises Refused."""
    size = len(body) - PREFIX_SIZE
    if size < 0 or size != _SIZE.unpack_from(body, 1)[0]:
        check_part(body, size_max)
        raise Unimplemented("the request is not exactly one message: this method takes one and answers one")
    return unpacked(body[0], bytes(body[PREFIX_SIZE:]), encoding, size_max)


def check_part(body: bytes | bytearray, size_max: int) -> None:
    """Refuse what has come of a body once it is, or says that it is, too large. Raises ResourceExhausted."""
    size = len(body) - PREFIX_SIZE
    if size >= 0 and (declared := declared_size(body)) > size_max:
        raise too_large(declared, size_max)
    if size > size_max:
        raise too_large(size, size_max)


def unpacked(flag: int, message: bytes, encoding: bytes, size_max: int) -> bytes:
    """Return a message as the caller meant it. Raises Refused."""
    size = len(message)
    if size > size_max:
        raise too_large(size, size_max)
    if flag == 0:
        return message
    if flag != 1:
        raise Malformed(f"the message's compressed flag is {flag}; it is 0 or 1")
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        named = encoding.decode("ascii", "replace")[:100] or "none"
        raise Unimplemented(f"grpc-encoding {named!r} is not known here: send gzip, deflate or identity")
    if size * _EXPANSION_MAX <= size_max:  # so short that it cannot stand for too much
        try:
            return zlib.decompress(message, bits, _SHORT_SIZE)
        except zlib.error:
            return _inflated_in_steps(message, bits, size_max)  # which tells what is wrong with it
    return _inflated_in_steps(message, bits, size_max)


def _inflated_in_steps(packed: bytes, bits: int, size_max: int) -> bytes:
    """Unpack in bounded steps: a kilobyte may stand for a megabyte."""
    unpacker = zlib.decompressobj(bits)
    out = bytearray()
    size = 0
    try:
        while True:
            part = unpacker.decompress(packed, _CHUNK_SIZE)
            size += len(part)
            if size > size_max * _HARD_SIZE_FACTOR:
                raise too_large(size, size_max)
            if size <= size_max:
                out += part
            packed = unpacker.unconsumed_tail
            if unpacker.eof or not (part or packed):
                break
    except zlib.error as error:
        raise Malformed("the compressed message cannot be unpacked") from error
    if not unpacker.eof:
        raise Malformed("the compressed message ends too early")
    if size > size_max:
        raise too_large(size, size_max)
    return bytes(out)


def too_large(size: int, size_max: int) -> ResourceExhausted:
    """Say so in the words that the SDKs' core looks for: it then fails the workflow task for good, and does not retry
    it for ever."""
    return ResourceExhausted(
        f"grpc: received message larger than max ({size} vs. {size_max}): send less in one request"
    )


@lru_cache(maxsize=256)
def timeout_s(value: bytes) -> float:
    """Read a `grpc-timeout` header; longer than a year is as good as a year. Raises Malformed."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise Malformed("grpc-timeout is up to eight digits and a unit: H, M, S, m, u or n")
    return min(int(match[1]) * _UNIT_S[match[2]], _TIMEOUT_MAX_S)


def header_text(text: str) -> bytes:
    """Encode a status text for the `grpc-message` header."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > _TEXT_SIZE_MAX:
        raw = raw[:_TEXT_SIZE_MAX].decode("utf-8", "ignore").encode() + "…".encode()
    if raw.isascii() and b"%" not in raw and raw.decode().isprintable():
        return raw
    return b"".join(b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in raw)
