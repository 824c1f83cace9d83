"""What the benchmark writes, and the bare client that it measures with."""

import argparse
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, GetSystemInfoResponse

from bench.bare import SERVICE, BareClient, CallFailed
from bench.engines import engines
from bench.report import write
from bench.syncs import taken_a_s
from stormsail.engine.api.transport import Bounds, Call, Transport
from stormsail.engine.core.errors import NotFound

GIVEN = argparse.Namespace(rounds=2, seconds=6.0, whole=True, syncs_a_s=[2_000.0, 1_000.0])


def ran(w1_ms: float, done: int) -> dict[str, Any]:
    w2 = {"done": done, "seconds": 2.0, "client_cpu_s": 1.0}
    return {"w1_ms": [w1_ms] * 3, "w2": w2, "w3_ms": [w1_ms * 10], "calls": 0, "server_cpu_s": 0.5}


def variant(done: int) -> dict[str, Any]:
    return {"done": done, "seconds": 2.0, "client_cpu_s": 1.0, "server_cpu_s": 0.5}


RESULTS: dict[str, dict[str, Any]] = {
    "stormsail": {"name": "Stormsail", "missing": "", "durable": True, "rounds": [ran(10, 200), ran(20, 400)]},
    "other": {"name": "Other <one>", "missing": "", "durable": True, "rounds": [ran(100, 20), {"failed": "it broke"}]},
    "absent": {"name": "Absent", "missing": "not installed", "durable": True, "rounds": []},
}


def test_the_report_gives_medians_ranges_and_ratios_and_names_what_is_left_out(tmp_path: Path) -> None:
    text = write(tmp_path, RESULTS, GIVEN).read_text()
    assert "| Stormsail | yes | 15.0 (10.0–20.0) |" in text
    assert "150.0 (100.0–200.0)" in text
    assert "* Other <one>: W2 at 1/15.0 of our rate" in text
    assert "* Absent: not installed." in text
    assert "* Other <one>: it broke." in text
    assert json.loads((tmp_path / "bench.json").read_text()).keys() == RESULTS.keys()


def test_the_report_says_how_fast_the_disk_is(tmp_path: Path) -> None:
    text = write(tmp_path, RESULTS, GIVEN).read_text()
    assert "* The disk takes 1500 (1000–2000) appends of 4 KiB a second, each synced." in text


def test_the_disk_is_asked_how_many_syncs_it_takes_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    assert taken_a_s(tmp_path, 0.05) > 0
    assert list(tmp_path.iterdir()) == []


def test_parts_that_are_run_alone_have_a_page_of_their_own(tmp_path: Path) -> None:
    parked = {"started": 1_000_000, "starts_a_s": 900.0, "start_cpu_ms": 0.5, "memory_bytes": 190.0}
    opened = {"in_flight": 100_000, "answers_s": 0.5, "first_task_s": 0.6, "first_task_cpu_s": 0.4}
    ours = {"name": "Stormsail", "missing": "", "durable": True, "rounds": [], "parked": parked, "open": opened}
    ours["signals"] = {"signals_a_s": 2_000.0, "signal_cpu_ms": 0.17}
    given = argparse.Namespace(rounds=1, seconds=3.0, whole=False, only=["parked", "open"], syncs_a_s=[])
    path = write(tmp_path, {"stormsail": ours}, given)
    assert path.name == "scale.md"
    assert "| Stormsail | 1,000,000 | 900 | 0.50 | 190 | – | lost | none | – |" in path.read_text()
    assert "| Stormsail | 2,000 | 0.17 |" in path.read_text()
    assert "| Stormsail | 100,000 | 0.50 | 0.60 (0.40 of CPU) |" in path.read_text()


def test_the_report_tells_what_is_left_when_the_sdk_is_not_what_is_measured(tmp_path: Path) -> None:
    found = {
        "stormsail": RESULTS["stormsail"]
        | {"variants": [{"bare": variant(800), "plain": variant(200), "hurried": variant(400)}]},
        "other": RESULTS["other"]
        | {"variants": [{"bare": variant(40), "plain": variant(40), "hurried": variant(40)}, {"failed": "late"}]},
    }
    text = write(tmp_path, found, GIVEN).read_text()
    assert "| Stormsail | 400.0 | 0.62 | 1.25 | 100.0 | 2.50 | 5.00 | 200.0 | 1.25 | 2.50 |" in text
    assert (
        "* Other <one>: bare at 1/20.0 of our rate, plain at 1/5.0 of our rate, hurried at 1/10.0 of our rate." in text
    )
    assert "* Other <one>, variants: late." in text


def test_the_chart_is_well_formed_and_has_a_bar_for_each_engine_that_ran(tmp_path: Path) -> None:
    write(tmp_path, RESULTS, GIVEN)
    chart = ElementTree.fromstring((tmp_path / "bench.svg").read_text())
    texts = [text.text for text in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Stormsail", "Other <one>", "150", "10"} <= set(texts)


def test_what_cannot_run_says_why() -> None:
    known = {engine.key: engine for engine in engines()}
    assert not known["stormsail"].missing
    assert all(engine.missing or engine.command is not None or engine.key == "dbos-sqlite" for engine in known.values())


async def system_info(_: Call, request: bytes) -> GetSystemInfoResponse:
    GetSystemInfoRequest.FromString(request)
    return GetSystemInfoResponse(server_version="x" * 100_000)


async def not_found(_: Call, __: bytes) -> bytes:
    raise NotFound("not here")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    path = SERVICE.decode()
    methods = {f"{path}GetSystemInfo": system_info, f"{path}Refuse": not_found}
    transport = Transport(methods, ["s"], bounds=Bounds(message_size_max=1 << 20))
    yield await transport.start("127.0.0.1", 0)
    await transport.stop(0)


async def test_the_bare_client_calls_and_tells_refusals(port: int) -> None:
    async with BareClient(port) as client:
        answer = await client.call("GetSystemInfo", GetSystemInfoRequest(), GetSystemInfoResponse)
        assert len(answer.server_version) == 100_000
        with pytest.raises(CallFailed, match="Refuse: status 5, not here"):
            await client.call("Refuse", GetSystemInfoRequest(), GetSystemInfoResponse)
