"""Commands against a whole Stormsail, in the order in which a person would come to need them."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from stormsail.cli.demo.census import processes_per_group
from tests.cli.conftest import Place, end_services, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


def version_at(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=60) as reply:
        return str(json.load(reply)["version"])


def test_a_deployment_a_second_version_and_the_way_back(running: Place) -> None:
    first = running.deploy("shop", "v1", "--instances", "2", "-o", "json")
    assert first.code == 0, first.err
    assert first.json["status"] == "SUCCEEDED"
    assert re.search(r"^\d\d:\d\d:\d\d ✔ done      createServerGroup shop-v000", first.err, re.MULTILINE)

    second = running.deploy("shop", "v2")
    assert second.code == 0, second.err
    assert "2 instances, strategy redblack" in second.err
    status = running.run("status", "-o", "json").json
    [shop] = status["applications"]
    assert (shop["serving"], shop["versions"], shop["instances_up"]) == (["shop-v001"], ["v2"], 2)
    assert version_at(shop["address"]) == "v2"

    back = running.run("rollback", "shop", "--reason", "v2 is slow")
    assert back.code == 0, back.err
    assert version_at(shop["address"]) == "v1"
    groups = running.run("server-group", "list", "shop", "-o", "json").json
    assert [(group["name"], group["enabled"]) for group in groups] == [("shop-v000", True), ("shop-v001", False)]
    [newest, *_] = running.run("operation", "list", "--app", "shop", "-o", "json").json
    assert (newest["operation_type"], newest["reason"]) == ("rollbackServerGroup", "v2 is slow")


def test_the_keys_that_programs_read_stay(running: Place) -> None:
    assert running.deploy("keys", "v1").code == 0
    assert set(running.run("status", "-o", "json").json) == {
        "engine",
        "engine_version",
        "namespace",
        "task_queue",
        "worker_polling",
        "workers",
        "account",
        "applications",
    }
    [group] = running.run("sg", "ls", "keys", "-o", "json").json
    assert set(group) == {
        "name",
        "application",
        "cluster",
        "account",
        "location",
        "version",
        "enabled",
        "weight_percent",
        "capacity",
        "instances_up",
        "instances_total",
        "created_at_ms",
        "command",
        "image",
        "address",
        "as_of_ms",
    }
    one = running.run("sg", "get", "keys-v000", "-o", "json").json
    assert set(one) == {*group, "instances"}
    assert set(one["instances"][0]) == {"id", "health", "address", "launched_at_ms", "detail"}
    [operation] = running.run("op", "ls", "--app", "keys", "-o", "json").json
    assert set(operation) == {
        "operation_id",
        "workflow_id",
        "operation_type",
        "application",
        "account",
        "cluster",
        "status",
        "started_at_ms",
        "closed_at_ms",
        "reason",
        "requested_by",
        "left_behind",
        "paused",
    }
    whole = running.run("op", "get", operation["operation_id"], "-o", "json").json
    assert set(whole) == {*operation, "steps", "pending", "steering", "result", "failure"}
    assert running.run("sg", "ls", "keys", "-o", "name").out == "keys-v000\n"
    assert json.loads(running.run("sg", "ls", "keys", "-o", "jsonl").out) == {**group, "as_of_ms": any_number()}


class any_number(int):  # noqa: N801 - reads as a word in the comparison
    def __eq__(self, other: object) -> bool:
        return isinstance(other, int)

    __hash__ = int.__hash__


def test_resize_disable_and_destroy_ask_when_it_hurts(running: Place) -> None:
    assert running.deploy("guard", "v1").code == 0
    grown = running.run("server-group", "resize", "guard-v000", "2")
    assert grown.code == 0, grown.err
    assert processes_per_group(running.data_dir)["guard-v000"] == 2
    for arguments in (("disable", "guard-v000"), ("resize", "guard-v000", "0"), ("destroy", "guard-v000")):
        refused = running.run("server-group", *arguments)
        assert refused.code == 8, refused.err
        assert "guard-v000" in refused.err
        assert "run it again with --yes" in refused.err
    assert processes_per_group(running.data_dir)["guard-v000"] == 2
    gone = running.run("server-group", "destroy", "guard-v000", "--yes")
    assert gone.code == 0, gone.err
    assert processes_per_group(running.data_dir)["guard-v000"] == 0
    missing = running.run("server-group", "get", "guard-v000")
    assert missing.code == 5
    assert "no server group 'guard-v000'" in missing.err


def test_single_instances_are_taken_out_put_back_and_replaced_and_a_version_is_cloned(running: Place) -> None:
    assert running.deploy("single", "v1", "--instances", "2").code == 0
    for verb in ("deregister", "register", "terminate"):
        done = running.run("server-group", verb, "single-v000", "single-v000:0")
        assert done.code == 0, done.err
    one = running.run("server-group", "get", "single-v000", "-o", "json").json
    assert [(item["id"], item["health"]) for item in one["instances"]] == [
        ("single-v000:1", "Up"),
        ("single-v000:2", "Up"),
    ]
    smaller = running.run("server-group", "terminate", "single-v000", "single-v000:1", "--shrink")
    assert smaller.code == 0, smaller.err
    last = running.run("server-group", "terminate", "single-v000", "single-v000:2", "--shrink")
    assert last.code == 8, last.err
    cloned = running.run("server-group", "clone", "single-v000", "--version", "v2")
    assert cloned.code == 0, cloned.err
    groups = running.run("server-group", "list", "single", "-o", "json").json
    assert [(group["name"], group["version"], group["enabled"]) for group in groups] == [
        ("single-v000", "v1", False),
        ("single-v001", "v2", True),
    ]
    back = running.run("rollback", "single", "--previous-image")
    assert back.code == 0, back.err
    assert running.run("server-group", "get", "single-v002", "-o", "json").json["version"] == "v1"


def test_a_dry_run_shows_the_plan_and_does_nothing(running: Place) -> None:
    before = running.run("operation", "list", "-o", "json").json
    planned = running.deploy("dry", "v1", "--dry-run", "-o", "json")
    assert planned.code == 0, planned.err
    assert planned.json["plan"] == ["deploy dry-v000 (v1): 1 instance, strategy redblack"]
    assert planned.json["request"]["operation_type"] == "createServerGroup"
    assert running.run("operation", "list", "-o", "json").json == before


def test_what_is_not_there_is_named_with_exit_code_5(running: Place) -> None:
    for arguments, text in [
        (("server-group", "list", "nowhere"), "no application 'nowhere'"),
        (("server-group", "get", "nowhere-v000"), "no server group 'nowhere-v000'"),
        (("server-group", "enable", "nowhere-v000"), "no server group 'nowhere-v000'"),
        (("rollback", "nowhere"), "no application 'nowhere'"),
        (("operation", "get", "00000000-dead"), "no operation '00000000-dead'"),
        (("operation", "cancel", "00000000-dead"), "no operation '00000000-dead'"),
        (("status", "--namespace", "nowhere"), "no namespace 'nowhere'"),
    ]:
        done = running.run(*arguments)
        assert (done.code, done.out) == (5, ""), done.err
        assert text in done.err


def test_a_first_version_has_nothing_to_go_back_to(running: Place) -> None:
    assert running.deploy("first", "v1").code == 0
    done = running.run("rollback", "first")
    assert done.code == 5
    assert "there is no previous version to go back to" in done.err


def test_a_command_that_is_not_there_fails_the_operation_and_the_old_version_serves(running: Place) -> None:
    assert running.deploy("steady", "v1").code == 0
    failed = running.run("deploy", "steady", "--command", "no-such-program-7 --port {port}")
    assert failed.code == 3
    assert "no-such-program-7" in failed.err
    [shown] = running.run("server-group", "list", "steady", "-o", "json").json
    assert (shown["name"], shown["enabled"]) == ("steady-v000", True)


def test_a_service_that_is_never_healthy_is_rolled_back_and_the_old_version_serves(running: Place) -> None:
    assert running.deploy("sick", "v1").code == 0
    failed = running.deploy("sick", "v2", "--health-timeout", "2s", service="--unhealthy")
    assert failed.code == 3
    assert "did not have 1 healthy instance" in failed.err
    assert "The previous state was put back" in failed.err
    serving = [group for group in running.run("sg", "ls", "sick", "-o", "json").json if group["enabled"]]
    assert [group["name"] for group in serving] == ["sick-v000"]
    assert version_at(serving[0]["address"]) == "v1"


def test_the_end_of_waiting_is_not_the_end_of_the_operation(running: Place) -> None:
    waiting = running.deploy("long", "v1", "--timeout", "1s", service="--unhealthy")
    assert waiting.code == 7
    assert "it goes on" in waiting.err
    [operation] = running.run("op", "ls", "--app", "long", "--status", "running", "-o", "json").json
    operation_id = operation["operation_id"]

    conflict = running.deploy("long", "v2")
    assert conflict.code == 6
    assert "is changing cluster long" in conflict.err

    watching = running.start("operation", "watch", operation_id)
    assert watching.stderr is not None
    assert "determineSourceServerGroup" in watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert f"detached: operation {operation_id[:13]} goes on" in said
    assert f"stormsail operation watch {operation_id[:13]}" in said
    assert running.run("op", "get", operation_id[:13], "-o", "json").json["status"] == "RUNNING"

    cancelled = running.run("operation", "cancel", operation_id, "--reason", "test")
    assert cancelled.code == 0, cancelled.err
    assert running.run("operation", "watch", operation_id).code == 3
    again = running.run("operation", "cancel", operation_id)
    assert again.code == 6
    assert "has ended already" in again.err


def test_the_same_idempotency_key_deploys_once(running: Place) -> None:
    key = ("--idempotency-key", "build-42", "-o", "json")
    first = running.deploy("once", "v1", *key)
    second = running.deploy("once", "v1", *key)
    assert (first.code, second.code) == (0, 0), second.err
    assert first.json["operation_id"] == second.json["operation_id"]
    assert "not started again" in second.err
    assert running.run("sg", "ls", "once", "-o", "name").out == "once-v000\n"


def test_engine_and_worker_come_back_after_kill_9_and_services_never_left(running: Place) -> None:
    assert running.deploy("tough", "v1", "--instances", "2").code == 0
    before = processes_per_group(running.data_dir)["tough-v000"]
    engine, worker = running.note("engine.json"), running.note("worker.json")
    os.kill(engine["pid"], signal.SIGKILL)
    os.kill(worker["pid"], signal.SIGKILL)
    # Asked while nothing answers: commands wait for an engine that `up` is starting again.
    done = running.deploy("tough", "v2")
    assert done.code == 0, done.err
    again = running.note("engine.json")
    assert again["address"] == engine["address"]
    assert again["pid"] != engine["pid"]
    counts = processes_per_group(running.data_dir)
    assert (before, counts["tough-v000"], counts["tough-v001"]) == (2, 2, 2)


def test_a_second_server_on_the_same_data_directory_is_refused(running: Place) -> None:
    for arguments in (("server", "start", "--port", "0"), ("up", "--port", "0")):
        refused = running.run(*arguments)
        assert refused.code == 6, refused.err
        assert f"{running.data_dir} is in use by process {running.note('engine.json')['pid']}" in refused.err


def test_a_port_that_is_taken_is_named(running: Place, tmp_path: Path) -> None:
    port = running.note("engine.json")["address"].rpartition(":")[2]
    for arguments in (("server", "start"), ("up",)):
        refused = running.run(*arguments, "--port", port, "--data-dir", str(tmp_path))
        assert refused.code == 6, refused.err
        assert f"127.0.0.1:{port}" in refused.err
        assert "choose another --port" in refused.err


def test_doctor_and_status_say_that_all_is_well(running: Place) -> None:
    findings = running.run("doctor", "-o", "json")
    assert findings.code == 0, findings.out
    assert {finding["level"] for finding in findings.json} == {"ok"}
    status = running.run("status")
    assert status.code == 0
    assert running.note("engine.json")["address"] in status.out


def test_nobody_answering_is_said_in_one_line_with_what_to_do(tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = place.run("status", "--engine", "127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "error: no engine answers at 127.0.0.1:1: nothing listens there",
        "next:  start everything here with `stormsail up`, or name another engine with --engine HOST:PORT",
    ]
    worker = place.run("worker", "start", "--engine", "127.0.0.1:1", "--connect-timeout", "0.5s")
    assert worker.code == 1
    assert "no engine answers at 127.0.0.1:1" in worker.err


def test_something_else_on_the_engines_port_is_no_engine(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        done = Place(tmp_path).run("status", "--engine", f"127.0.0.1:{server.server_port}")
        assert done.code == 1
        assert f"no engine answers at 127.0.0.1:{server.server_port}" in done.err
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def test_an_engine_without_a_worker_is_told_apart(tmp_path: Path) -> None:
    place = Place(tmp_path)
    engine = place.start("server", "start", "--port", "0")
    try:
        place.until_ready(engine, "engine.json")
        status = place.run("status", "-o", "json")
        assert (status.code, status.json["worker_polling"]) == (1, False)
        asked = place.run("server-group", "list")
        assert asked.code == 1
        assert "no worker answered" in asked.err
        assert place.run("doctor").code == 1
        # A worker that says that it is ready polls already: whoever asks next gets an answer.
        worker = place.start("worker", "start", "--engine", place.note("engine.json")["address"])
        try:
            place.until_ready(worker, "worker.json")
            status = place.run("status", "-o", "json")
            assert (status.code, status.json["worker_polling"]) == (0, True)
        finally:
            worker.terminate()
            worker.communicate(timeout=60)
            end_services(place.data_dir)
    finally:
        engine.terminate()
        engine.communicate(timeout=60)
    assert engine.returncode == 0
    assert not (tmp_path / "engine.json").exists()


def test_up_says_where_page_api_and_engine_are_and_each_answers(tmp_path: Path) -> None:
    place = Place(tmp_path)
    up = place.start("up", "--port", "0")
    try:
        place.until_ready(up, "web.json")
        page, engine = place.note("web.json")["address"], place.note("engine.json")["address"]
        assert "<html" in httpx.get(page, timeout=60).text
        view = httpx.get(f"{page}/api/v1/overview", timeout=60).json()
        assert {source["status"] for source in view["sources"]} == {"ok"}
        assert view["task_queue"]["has_worker"]
    finally:
        up.terminate()
        _, said = up.communicate(timeout=100)
    for line in (f"engine: {engine}", f"page:   {page}", f"API:    {page}/api/v1"):
        assert line in said


def test_children_do_not_outlive_an_up_that_is_killed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    up = place.start("up", "--port", "0")
    try:
        place.until_ready(up, "web.json")
        pids = [place.note(name)["pid"] for name in ("engine.json", "worker.json", "web.json")]
    finally:
        up.kill()
        up.communicate(timeout=60)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_reader_that_goes_away_is_no_failure_to_shout_about(tmp_path: Path) -> None:
    line = f"{sys.executable} -m stormsail.cli completion bash | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=100, check=True)
    assert done.stderr == ""
