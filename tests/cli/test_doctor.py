"""The doctor's findings: what is wrong, and what to do next."""

import json
import os
import socket
from pathlib import Path

import pytest

from ports import free_port
from stormsail.cli.doctor import check_data_dir, check_fsync, check_haproxy, nearest_existing, something_listens
from stormsail.cli.main import run


def test_a_healthy_machine_without_an_engine_is_told_to_start_one(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Word of an engine that is alive (this process) and does not listen.
    (tmp_path / "engine.json").write_text(json.dumps({"address": f"127.0.0.1:{free_port()}", "pid": os.getpid()}))
    assert run(["doctor", "--data-dir", str(tmp_path), "-o", "json"]) == 0
    findings = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert findings["engine"]["level"] == "ok"
    assert "is free" in findings["engine"]["detail"]
    assert findings["worker"] == {
        "check": "worker",
        "level": "warn",
        "detail": "none, because no engine runs",
        "next_step": "start both with `stormsail up`",
    }


def test_an_engine_that_was_named_and_is_not_there_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert run(["doctor", "--data-dir", str(tmp_path), "--engine", address]) == 1
    said = capsys.readouterr().out
    assert f"fail  engine: nothing listens at {address}" in said
    assert "next: correct --engine, or start it" in said


def test_a_file_in_the_place_of_the_data_directory_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_data_dir(tmp_path / "file" / "below").level == "fail"


def test_the_data_directory_is_checked_where_it_would_be_made(tmp_path: Path) -> None:
    assert nearest_existing(tmp_path / "a" / "b") == tmp_path
    assert check_data_dir(tmp_path / "a" / "b").detail.endswith("(will be made)")
    assert check_fsync(tmp_path / "a" / "b").level == "ok"
    assert list(tmp_path.iterdir()) == []


def test_the_load_balancer_comes_with_the_installation() -> None:
    assert check_haproxy().level == "ok"


def test_a_port_is_taken_when_something_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert something_listens(f"127.0.0.1:{server.getsockname()[1]}")
    assert not something_listens(f"127.0.0.1:{free_port()}")
