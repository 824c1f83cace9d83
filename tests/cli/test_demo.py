"""The demo keeps its promises, and would tell if they were broken."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from stormsail.cli.demo.census import processes_of, processes_per_group
from tests.cli.conftest import command, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


def start_demo(*arguments: str) -> tuple["subprocess.Popen[str]", Path]:
    """Start a demo and return it with its data directory, which its first line names."""
    demo = subprocess.Popen(
        command("demo", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stderr is not None
    found = re.search(r"state in (\S+)", demo.stderr.readline())
    assert found is not None
    return demo, Path(found[1])


def test_no_request_fails_and_nothing_is_doubled_or_lost_while_engine_and_worker_are_killed() -> None:
    demo, data_dir = start_demo("--seed", "20")
    out, err = demo.communicate(timeout=250)
    assert demo.returncode == 0, out + err
    last = json.loads(out.splitlines()[-1])
    assert set(last) == {
        "requests",
        "failed",
        "kills",
        "serving",
        "processes_per_group",
        "events_replayed_ok",
        "seconds",
    }
    assert (last["failed"], last["kills"], last["serving"]) == (0, 6, "v2")
    assert last["processes_per_group"] == {"hello-v000": 2, "hello-v001": 2}
    assert last["events_replayed_ok"] is True
    assert len(re.findall("kill -9 engine", err)) == len(re.findall("kill -9 worker", err)) == 3
    assert not data_dir.exists()
    assert processes_of(data_dir) == []


def test_it_fails_when_requests_fail_and_when_a_process_is_doubled() -> None:
    demo, data_dir = start_demo("--seed", "21", "--kills", "0")
    assert demo.stderr is not None
    while "deploy v2" not in (line := demo.stderr.readline()):
        assert line, demo.communicate()
    marks = {"STORMSAIL_DATA_DIR": str(data_dir), "STORMSAIL_SERVER_GROUP": "hello-v000"}
    doubled = subprocess.Popen([sys.executable, "-c", "input()"], env=os.environ | marks, stdin=subprocess.PIPE)
    try:
        eventually(lambda: processes_per_group(data_dir)["hello-v000"] == 3)
        for pid in processes_of(data_dir):
            if b"haproxy" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        out, err = demo.communicate(timeout=250)
    finally:
        doubled.kill()
        doubled.communicate()
    assert demo.returncode == 1, out + err
    assert re.search(r"FAULT +\d+ requests failed: ", out), out
    assert "hello-v000 had 3 processes at once, 2 were asked for" in out
    assert json.loads(out.splitlines()[-1])["failed"] > 0
    assert processes_of(data_dir) == []


def test_a_demo_that_is_kept_can_be_looked_at_and_stopped() -> None:
    demo, data_dir = start_demo("--seed", "22", "--kills", "1", "--keep")
    out, err = demo.communicate(timeout=250)
    try:
        assert demo.returncode == 0, out + err
        assert f"stormsail demo --stop {data_dir}" in err
        [page] = re.findall(r"^  (http://127\.0\.0\.1:\d+)$", err, re.MULTILINE)
        assert "<html" in httpx.get(page, timeout=60).text
        [engine] = re.findall(r"stormsail status --engine (\S+)", err)
        eventually((data_dir / "worker.json").exists)
        status = subprocess.run(
            command("status", "--engine", engine, "-o", "json"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        serving = {item["application"]: item["versions"] for item in json.loads(status.stdout)["applications"]}
        assert serving["hello"] == ["v2"]
    finally:
        subprocess.run(command("demo", "--stop", str(data_dir)), timeout=120, check=True, capture_output=True)
    assert not data_dir.exists()
    assert processes_of(data_dir) == []


def test_ctrl_c_leaves_nothing_behind() -> None:
    demo, data_dir = start_demo("--seed", "23")
    eventually(lambda: processes_per_group(data_dir)["hello-v000"] == 2)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=120)
    assert demo.returncode == 130
    assert processes_of(data_dir) == []
    assert not data_dir.exists()
