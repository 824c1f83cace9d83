"""Who is there, by the first bytes alone."""

import pytest

from stormsail.engine.api.front.greeting import PREFACE, TEXT, Stranger, peer_of, stranger


def test_every_beginning_of_the_preface_may_become_http_2() -> None:
    assert all(stranger(PREFACE[:size]) is None for size in range(len(PREFACE) + 1))
    assert stranger(PREFACE + b"\0\0\0\4\0\0\0\0\0") is None


def test_who_speaks_tls_to_a_port_without_it_is_told_of_and_not_answered() -> None:
    who = stranger(b"\x16\x03\x01\x02\x00")
    assert who is not None and not who.answer
    assert "TLS" in who.told and "--tls-cert" in who.told


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n", b"POST /temporal.api HTTP/1.1\r\n", b"G", b"PRIVATE", PREFACE[:-1] + b"x"]
)
def test_who_speaks_http_1_is_told_what_to_do_and_how_much_of_that_there_is(said: bytes) -> None:
    who = stranger(said)
    assert who is not None and not who.told
    head, _, body = who.answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert b"content-length: %d" % len(body) in head.split(b"\r\n")
    assert body == TEXT


@pytest.mark.parametrize("said", [b"\0", b"\xff\xfe", b"12 34"])
def test_noise_is_neither_answered_nor_told_of(said: bytes) -> None:
    assert stranger(said) == Stranger()


@pytest.mark.parametrize(
    ("address", "name", "here"),
    [
        (("127.0.0.1", 5), "ipv4:127.0.0.1:5", True),
        (("192.0.2.1", 5), "ipv4:192.0.2.1:5", False),
        (("::1", 5, 0, 0), "ipv6:[::1]:5", True),
        (("::ffff:127.0.0.1", 5, 0, 0), "ipv6:[::ffff:127.0.0.1]:5", True),
        (("fe80::1%eth0", 5, 0, 2), "ipv6:[fe80::1%eth0]:5", False),
        ("", "unix:", True),
    ],
)
def test_a_peer_is_named_as_grpc_does_and_known_to_be_on_this_machine(address: object, name: str, here: bool) -> None:
    assert peer_of(address) == (name, here)
