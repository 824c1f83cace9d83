"""TLS: who may speak to the server, and what those are told who may not."""

import asyncio
import socket
import ssl
from pathlib import Path

import grpc
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc import aio

from engine.api.front.certificates import Pair, issued
from engine.api.front.peers import MIB, echo, serving
from stormsail.engine.api.transport import Bounds, Tls, TlsUnusable, Transport

BOUNDS = Bounds(message_size_max=MIB)


CA = issued("authority")
SERVER = issued("server", CA)
CLIENT = issued("client", CA)
OTHER_CA = issued("another authority")


@pytest.fixture
def files(tmp_path: Path) -> Tls:
    """The server's certificate and the authority of its clients, in files."""
    (tmp_path / "server.pem").write_bytes(SERVER.cert_pem)
    (tmp_path / "server.key").write_bytes(SERVER.key_pem())
    (tmp_path / "ca.pem").write_bytes(CA.cert_pem)
    return Tls(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")


async def ask(port: int, client: Pair | None = None, ca: Pair = CA) -> bytes:
    """Call with grpcio, as the client that has the certificate."""
    credentials = grpc.ssl_channel_credentials(
        ca.cert_pem, client.key_pem() if client else None, client.cert_pem if client else None
    )
    async with aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        answer: bytes = await channel.unary_unary("/s/Echo")(b"secret", timeout=60)
        return answer


async def test_a_call_over_tls_is_answered(files: Tls) -> None:
    async with serving({"/s/Echo": echo}, tls=Tls(files.cert, files.key)) as port:
        assert await ask(port) == b"secret"


async def test_large_messages_pass_over_tls(files: Tls) -> None:
    async with serving({"/s/Echo": echo}, tls=Tls(files.cert, files.key)) as port:
        credentials = grpc.ssl_channel_credentials(CA.cert_pem)
        options = (("grpc.max_receive_message_length", -1),)
        async with aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            calls = [channel.unary_unary("/s/Echo")(bytes(3 * MIB), timeout=60) for _ in range(4)]
            assert [len(await call) for call in calls] == [3 * MIB] * 4


async def test_mutual_tls_lets_in_who_has_a_certificate_of_the_authority(files: Tls) -> None:
    async with serving({"/s/Echo": echo}, tls=files) as port:
        assert await ask(port, CLIENT) == b"secret"


@pytest.mark.parametrize(
    ("why", "client"),
    [
        ("no certificate", None),
        ("its own authority", OTHER_CA),
        ("another authority", issued("client", OTHER_CA)),
        ("expired", issued("client", CA, days=-1)),
        ("a server's certificate", issued("client", CA, usage=ExtendedKeyUsageOID.SERVER_AUTH)),
    ],
)
async def test_mutual_tls_turns_away(files: Tls, why: str, client: Pair | None) -> None:
    async with serving({"/s/Echo": echo}, tls=files) as port:
        with pytest.raises(aio.AioRpcError) as refused:
            await ask(port, client)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE, why
        assert await ask(port, CLIENT) == b"secret"


def handshake(port: int, context: ssl.SSLContext) -> str | None:
    """Shake hands and return the protocol agreed on."""
    with socket.create_connection(("127.0.0.1", port), 60) as raw, context.wrap_socket(raw) as wrapped:
        return wrapped.selected_alpn_protocol()


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=CA.cert_pem.decode())
    return context


async def test_http_2_is_agreed_on(files: Tls) -> None:
    context = trusting()
    context.set_alpn_protocols(["http/1.1", "h2"])
    async with serving({"/s/Echo": echo}, tls=Tls(files.cert, files.key)) as port:
        assert await asyncio.to_thread(handshake, port, context) == "h2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused(files: Tls) -> None:
    context = trusting()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with serving({"/s/Echo": echo}, tls=Tls(files.cert, files.key)) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(handshake, port, context)


async def test_plaintext_on_a_tls_port_gets_nothing_and_harms_nobody(files: Tls) -> None:
    async with serving({"/s/Echo": echo}, tls=Tls(files.cert, files.key)) as port:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary("/s/Echo")(b"secret", timeout=2)
        assert await ask(port) == b"secret"


async def test_new_certificates_are_read_while_the_server_runs(files: Tls) -> None:
    transport = Transport({"/s/Echo": echo}, ["s"], bounds=BOUNDS, tls=Tls(files.cert, files.key))
    port = await transport.start("127.0.0.1", 0)
    try:
        assert await ask(port) == b"secret"
        renewed = issued("server", OTHER_CA)
        files.cert.write_bytes(renewed.cert_pem)
        with pytest.raises(TlsUnusable, match="does not belong"):
            transport.reload_tls()
        assert await ask(port) == b"secret"
        files.key.write_bytes(renewed.key_pem())
        transport.reload_tls()
        assert await ask(port, ca=OTHER_CA) == b"secret"
    finally:
        await transport.stop(0)


@pytest.mark.parametrize(
    ("field", "content", "why"),
    [
        ("cert", b"", "is empty"),
        ("cert", b"no pem", "not a certificate with its key, in PEM"),
        ("key", SERVER.cert_pem, "server.key"),
        ("key", CLIENT.key_pem(), "the key does not belong to the certificate"),
        ("key", SERVER.key_pem(b"password"), "protected by a password"),
        ("client_ca", b"no pem", "ca.pem"),
        ("client_ca", None, "cannot be read: No such file"),
    ],
)
def test_files_that_cannot_be_used_are_named(files: Tls, field: str, content: bytes | None, why: str) -> None:
    path: Path = getattr(files, field)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(TlsUnusable, match=why) as refused:
        Transport({}, ["s"], bounds=BOUNDS, tls=files)
    assert path.name in str(refused.value)
