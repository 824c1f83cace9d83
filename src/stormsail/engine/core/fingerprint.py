"""FarmHash's 32-bit fingerprint, for inputs of at least 25 bytes: what Temporal spreads schedules' actions by."""

from typing import Final

LENGTH_MIN: Final = 25
_C1: Final = 0xCC9E2D51
_C2: Final = 0x1B873593
_ADDED: Final = 0xE6546B64
_MASK: Final = 0xFFFFFFFF


def fingerprint32(data: bytes) -> int:
    """Return the fingerprint of at least 25 bytes."""
    length = len(data)
    assert length >= LENGTH_MIN
    h, g, f = length, _C1 * length & _MASK, _C1 * length & _MASK
    tail = [_rotate(_word(data, length - back) * _C1, 17) * _C2 for back in (4, 8, 16, 12, 20)]
    h = _mixed(_mixed(h ^ tail[0]) ^ tail[2])
    g = _mixed(_mixed(g ^ tail[1]) ^ tail[3])
    f = _rotate(f + tail[4], 19) + 113
    for at in range(0, (length - 1) // 20 * 20, 20):
        a, b, c, d, e = (_word(data, at + 4 * index) for index in range(5))
        h, g, f = h + a, g + b, f + c
        h = _murmur(d, h) + e
        g = _murmur(c, g) + a
        f = _murmur(b + e * _C1, f) + d
        f += g
        g += f
    g = _rotate(_rotate(g, 11) * _C1, 17) * _C1
    f = _rotate(_rotate(f, 11) * _C1, 17) * _C1
    h = _rotate(_mixed(h + g), 17) * _C1
    return _rotate(_mixed(h + f), 17) * _C1 & _MASK


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _rotate(value: int, by: int) -> int:
    value &= _MASK
    return (value >> by | value << (32 - by)) & _MASK


def _mixed(value: int) -> int:
    return _rotate(value, 19) * 5 + _ADDED & _MASK


def _murmur(value: int, into: int) -> int:
    return _mixed(into ^ _rotate(value * _C1, 17) * _C2)
