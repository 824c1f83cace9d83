"""gRPC's own layer: lengths, compression, deadlines, and texts in headers."""

import gzip
import random
import re
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stormsail.engine.api.front.calls import Metadata
from stormsail.engine.api.front.framing import _EXPANSION_MAX, Malformed, framed, header_text, only_message, timeout_s
from stormsail.engine.core.errors import ResourceExhausted, Unimplemented

SIZE_MAX = 1_000


def body(message: bytes, flag: int = 1) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


@given(st.binary(max_size=2_000), st.booleans())
def test_what_is_framed_is_read_again(message: bytes, packed: bool) -> None:
    assert only_message(framed(message, gzip=packed), b"gzip", 10_000) == message


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_both_ways_to_compress_are_read(encoding: bytes, pack: object) -> None:
    assert callable(pack)
    assert only_message(body(pack(b"a" * SIZE_MAX)), encoding, SIZE_MAX) == b"a" * SIZE_MAX


@pytest.mark.parametrize("size", [SIZE_MAX + 1, SIZE_MAX * 16])
def test_what_unpacks_to_more_than_the_limit_is_refused_with_its_size(size: int) -> None:
    with pytest.raises(ResourceExhausted, match=rf"received message larger than max \({size} vs. {SIZE_MAX}\)"):
        only_message(body(gzip.compress(b"a" * size)), b"gzip", SIZE_MAX)


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
@pytest.mark.parametrize("size_max", [4 << 20, 400_000])
def test_what_is_too_short_to_be_too_much_is_unpacked_as_what_is_longer(
    encoding: bytes, pack: Callable[[bytes], bytes], size_max: int
) -> None:
    message = random.Random(1).randbytes(300) + bytes(
        100_000
    )  # packed to some 420 bytes: below one limit, above the other
    packed = pack(message)
    assert (len(packed) * _EXPANSION_MAX <= size_max) is (size_max > 400_000)
    assert only_message(body(packed), encoding, size_max) == message
    with pytest.raises(Malformed, match="ends too early"):
        only_message(body(packed[:-1]), encoding, size_max)
    with pytest.raises(Malformed, match="cannot be unpacked"):
        only_message(body(b"?" + packed), encoding, size_max)


def test_no_byte_stands_for_more_than_is_reckoned_with() -> None:
    for size in (1_000, 100_000, 10_000_000):
        raw = zlib.compressobj(9, wbits=-15)
        packed = raw.compress(bytes(size)) + raw.flush()
        assert size <= len(packed) * _EXPANSION_MAX


def test_a_bomb_is_not_unpacked_to_its_end() -> None:
    bomb = gzip.compress(b"\0" * 60_000_000, 9)
    assert len(bomb) < 60_000
    with pytest.raises(ResourceExhausted) as refused:
        only_message(body(bomb), b"gzip", 60_000)
    match = re.search(r"\((\d+) vs", refused.value.message)
    assert match is not None
    assert int(match[1]) < 60_000 * 16 + 256 * 1024


@pytest.mark.parametrize(
    ("raw", "encoding", "error"),
    [
        (b"", b"identity", Unimplemented),
        (b"\0\0\0", b"identity", Unimplemented),
        (body(b"abc", 0) + b"x", b"identity", Unimplemented),
        (body(b"abc", 0) + body(b"abc", 0), b"identity", Unimplemented),
        (body(b"abc", 0)[:-1], b"identity", Unimplemented),
        (body(b"abc", 2), b"gzip", Malformed),
        (body(b"abc", 1), b"gzip", Malformed),
        (body(b"abc", 1), b"snappy", Unimplemented),
        (body(gzip.compress(b"abc", mtime=0), 1), b"identity", Unimplemented),
        (body(gzip.compress(b"abc" * 100, mtime=0)[:-9], 1), b"gzip", Malformed),
        (body(b"", 1), b"gzip", Malformed),
    ],
)
def test_what_is_not_one_message_is_refused(raw: bytes, encoding: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        only_message(raw, encoding, SIZE_MAX)


@given(st.binary(max_size=100), st.sampled_from([b"identity", b"gzip", b"deflate", b""]))
def test_no_bytes_break_it(raw: bytes, encoding: bytes) -> None:
    try:
        only_message(raw, encoding, SIZE_MAX)
    except (ResourceExhausted, Unimplemented, Malformed):
        return


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"10S", 10), (b"99999999m", 99_999.999), (b"5u", 5e-6), (b"7n", 7e-9), (b"0S", 0)],
)
def test_a_deadline_is_read(value: bytes, seconds: float) -> None:
    assert timeout_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"-1S", b"1.5S", b"123456789S", b"1s", b"1S ", "١S".encode()])
def test_a_strange_deadline_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed):
        timeout_s(value)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("plain text, with ~ and so on.", b"plain text, with ~ and so on."),
        ("100% größe\n", b"100%25 gr%C3%B6%C3%9Fe%0A"),
        ("", b""),
        ("\x7f", b"%7F"),
    ],
)
def test_a_text_is_escaped_for_a_header(text: str, header: bytes) -> None:
    assert header_text(text) == header


@given(st.text())
def test_a_text_is_always_fit_for_a_header(text: str) -> None:
    header = header_text(text)
    assert all(0x20 <= byte <= 0x7E for byte in header)


def test_a_long_text_is_cut_between_characters() -> None:
    header = header_text("ö" * 10_000)
    assert len(header) < 30_000
    assert header.endswith(b"%C3%B6%E2%80%A6")


def test_metadata_are_read_by_key() -> None:
    metadata = Metadata({b":path": b"/s/M", b"a": b"2", b"k-bin": b"AAE", b"bad-bin": b"***"})
    assert dict(metadata) == {"a": "2"}
    assert [metadata.get(key) for key in ("a", "b", ":path", "k-bin")] == ["2", None, None, None]
    assert metadata.binary("k-bin") == b"\x00\x01"
    assert metadata.binary("bad-bin") is None
    assert metadata.binary("none-bin") is None
