"""What `server start` refuses before it starts anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from stormsail.cli.main import run
from stormsail.engine.api.keys import Keys


def test_a_key_is_made_and_a_file_of_keys_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.toml"
    assert run(["server", "key", str(file), "--name", "ci", "--grant", "own:default"]) == 2
    assert "write RIGHT:NAMESPACE" in capsys.readouterr().err
    assert not file.exists()
    assert run(["server", "start", "--data-dir", str(tmp_path / "d"), "--api-key-file", str(file)]) == 2
    said = capsys.readouterr().err
    assert f"{file} cannot be read: No such file" in said
    assert "stormsail server key" in said
    keys = []
    for name in ("ci", "people"):
        assert run(["server", "key", str(file), "--name", name, "--grant", "write:default"]) == 0
        keys.append(capsys.readouterr().out.strip())
    assert file.stat().st_mode & 0o777 == 0o600
    known = Keys(file, lambda: 0)
    assert [known.principal(f"Bearer {key}").name for key in keys] == ["ci", "people"]


def test_keys_without_tls_do_not_open_an_address_to_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--ip", "0.0.0.0", "--api-key-file", "keys.toml"]
    assert run(["server", "start", "--data-dir", str(tmp_path / "d"), *flags]) == 2
    assert "anybody who reaches it could run anything" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        (["--tls-cert", "x"], "--tls-key"),
        (["--tls-key", "x"], "--tls-cert"),
        (["--tls-client-ca", "x"], "--tls-cert"),
    ],
)
def test_half_of_tls_is_refused(
    flags: list[str], missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["server", "start", "--data-dir", str(tmp_path / "d"), *flags]) == 2
    assert f"{missing} is missing" in capsys.readouterr().err


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--tls-cert", str(tmp_path / "none.pem"), "--tls-key", str(tmp_path / "none.key")]
    assert run(["server", "start", "--data-dir", str(tmp_path / "d"), "--port", "0", *flags]) == 2
    assert "none.pem cannot be read: No such file" in capsys.readouterr().err


def test_an_open_address_needs_more_than_a_certificate_of_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--ip", "0.0.0.0", "--tls-cert", "x", "--tls-key", "x"]
    assert run(["server", "start", "--data-dir", str(tmp_path / "d"), *flags]) == 2
    assert "anybody who reaches it could run anything" in capsys.readouterr().err


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "192.168.1.7"])
def test_an_address_that_others_reach_is_refused(ip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["server", "start", "--data-dir", str(tmp_path / "d"), "--ip", ip]) == 2
    said = capsys.readouterr().err
    assert "anybody who reaches it could run anything" in said
    assert "--insecure-allow-any-address" in said


def test_an_ip_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["server", "start", "--data-dir", str(tmp_path / "d"), "--ip", "example"]) == 2
    assert "'example' is not an IP address" in capsys.readouterr().err


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(["worker", "start", "--data-dir", str(tmp_path / "file" / "d")]) == 1
    said = capsys.readouterr().err
    assert f"data directory {tmp_path / 'file' / 'd'} cannot be made" in said


@pytest.mark.slow
def test_the_engine_does_not_run_without_its_assertions(tmp_path: Path) -> None:
    command = [sys.executable, "-O", "-m", "stormsail.cli", "server", "start", "--data-dir", str(tmp_path / "d")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert "does not run under `python -O`" in done.stderr
