"""Where the page listens: not for other machines without a key, over TLS with a good certificate, on a free port."""

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from stormsail.cli.main import run
from stormsail.delivery.records.audit import AuditTrail, Change
from stormsail.delivery.records.database import Database, records_url
from stormsail.delivery.records.keys import Grant, Keys, Role
from stormsail.web.serve import BadCertificate, NoKeys, PortTaken, bound, serve
from stormsail.web.settings import WebSettings
from stormsail.web.sources.engine import EngineAddress
from web.conftest import NOBODY


@pytest.fixture
def settings(tmp_path: Path, migrated: bytes) -> WebSettings:
    (tmp_path / "delivery.db").write_bytes(migrated)
    return WebSettings(tmp_path, EngineAddress(NOBODY), port=0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@contextlib.asynccontextmanager
async def serving(settings: WebSettings) -> AsyncIterator[str]:
    """Serve until the block ends; yield the address."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, stop=stop, started=address.set_result))
    await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            await task
        yield address.result()
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.slow
async def test_it_does_not_listen_for_other_machines_while_nobody_would_need_a_key(settings: WebSettings) -> None:
    everywhere = replace(settings, host="0.0.0.0")
    with pytest.raises(NoKeys, match="no key to sign in with"):
        async with serving(everywhere):
            pass
    database = await Database.open(records_url(settings.data_dir))
    await Keys(database).create("ended", [Grant(Role.READ)], 1)
    with pytest.raises(NoKeys):
        async with serving(everywhere):
            pass
    _, text = await Keys(database).create("ada", [Grant(Role.READ)], None)
    async with serving(everywhere) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        assert (await client.get("/api/v1/audit")).status_code == 401
        assert (await client.get("/api/v1/audit", headers={"Authorization": f"Bearer {text}"})).status_code == 200
    await database.close()


@pytest.mark.slow
async def test_over_tls_cookies_are_for_tls_alone(settings: WebSettings, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    database = await Database.open(records_url(settings.data_dir))
    _, text = await Keys(database).create("ada", [Grant(Role.READ)], None)
    await database.close()
    trust = ssl.create_default_context(cafile=str(cert))
    async with serving(replace(settings, tls_cert=cert, tls_key=key)) as address:
        address = address.replace("127.0.0.1", "localhost")
        async with httpx.AsyncClient(base_url=address, verify=trust, timeout=60) as client:
            response = await client.post("/sign-in", data={"key": text})
            assert "Secure" in response.headers["set-cookie"]
            assert response.headers["strict-transport-security"]


async def test_a_certificate_that_does_not_go_with_its_key_is_refused(
    settings: WebSettings, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    with pytest.raises(BadCertificate, match="cannot be used"):
        async with serving(replace(settings, tls_cert=key, tls_key=cert)):
            pass


async def test_a_port_that_is_taken_is_told(settings: WebSettings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortTaken, match="cannot be listened on"):
            async with serving(replace(settings, port=other.getsockname()[1])):
                pass


async def test_headers_without_end_are_cut_off_and_others_are_served_on(settings: WebSettings) -> None:
    async with serving(settings) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        # The connection is closed as soon as it is too much, which may be before all of it was sent.
        with contextlib.suppress(httpx.TransportError):
            assert (await client.get("/healthz", headers={"X-Long": "x" * 200_000})).status_code == 400
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.slow
def test_keys_are_made_listed_rotated_and_revoked_by_command(
    settings: WebSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    here = f"--data-dir={settings.data_dir}"

    def said(*arguments: str) -> tuple[int, str, str]:
        code = run(["auth", "key", *arguments, here])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    code, out, err = said("create", "--name=ci", "--grant=write:web@local", "-o", "json")
    made = json.loads(out)
    assert (code, made["state"], made["grants"]) == (0, "good", ["write:web@local"])
    assert "not shown again" in err
    assert made["key"].startswith(f"ss_{made['id']}_")
    rotated = json.loads(said("rotate", made["id"], "--overlap=1h", "-o", "json")[1])
    assert json.loads(said("revoke", made["id"], "-o", "json")[1])["state"] == "revoked"
    listed = json.loads(said("list", "-o", "json")[1])
    assert [(one["id"], one["state"]) for one in listed] == [(made["id"], "revoked"), (rotated["id"], "good")]
    assert all("key" not in one for one in listed)
    code, _, err = said("revoke", "nobody")
    assert (code, "stormsail auth key list" in err) == (5, True)
    code, _, err = said("create", "--name=x", "--grant=admin:*")
    assert (code, "ROLE:APPLICATION" in err) == (2, True)


def test_a_certificate_alone_is_told_before_anything_starts(
    settings: WebSettings, certificate: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["web", "start", f"--data-dir={settings.data_dir}", f"--tls-cert={certificate[0]}"]) == 2
    assert "--tls-cert and --tls-key belong together" in capsys.readouterr().err


@pytest.mark.slow
def test_the_audit_is_read_by_command_with_nothing_running(
    settings: WebSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    async def change() -> None:
        database = await Database.open(records_url(settings.data_dir))
        trail = AuditTrail(database)
        async with database.transaction() as connection:
            for number in (1, 2):
                await trail.begin(connection, Change("local:ada", "page", "operation.retry", f"operation/{number}"))
        await database.close()

    asyncio.run(change())
    here = f"--data-dir={settings.data_dir}"
    assert run(["audit", "list", here, "-o", "json"]) == 0
    assert [entry["target"] for entry in json.loads(capsys.readouterr().out)] == ["operation/2", "operation/1"]
    assert run(["audit", "list", here, "--target=operation/1"]) == 0
    table = capsys.readouterr().out
    assert ("local:ada" in table, "operation/2" in table) == (True, False)
    assert run(["audit", "export", here]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [1, 2]
    assert run(["audit", "list", "--records-url=mysql+asyncmy://nowhere/x", here]) == 1
    assert "pip install asyncmy" in capsys.readouterr().err


async def test_answers_leave_at_once_and_do_not_wait_for_an_acknowledgement(settings: WebSettings) -> None:
    nodelay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def met(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nodelay.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listening = bound(settings)
    async with await asyncio.start_server(met, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname())
        assert await nodelay
        writer.close()
