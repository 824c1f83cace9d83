"""The demo's instruments must themselves be right: the traffic counts every failure, the census every process."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from stormsail.cli.demo.census import Census, end_all, processes_of, processes_per_group
from stormsail.cli.demo.show import example_service
from stormsail.cli.demo.traffic import Traffic
from stormsail.cli.main import run
from stormsail.delivery.providers.local import launch

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def answer(status: str, body: dict[str, str], *, close: bool) -> bytes:
    content = json.dumps(body).encode()
    closing = "Connection: close\r\n" if close else ""
    return f"HTTP/1.1 {status}\r\n{closing}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for at most a minute."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to pass")


async def traffic_to(serve: Serve, *, until: Callable[[Traffic], bool]) -> Traffic:
    async with asyncio.timeout(60), serving(serve) as port:
        traffic = Traffic("127.0.0.1", port, 400.0)
        sending = asyncio.create_task(traffic.send())
        await eventually(lambda: until(traffic))
        traffic.stopping = True
        await sending
    return traffic


async def test_every_good_answer_is_counted_by_version() -> None:
    async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                close = b"Connection: close" in head
                writer.write(answer("200 OK", {"version": "v1"}, close=close))
                await writer.drain()
                if close:
                    break
        writer.close()

    traffic = await traffic_to(good, until=lambda traffic: traffic.requests >= 100)
    summary = traffic.summary(final=True)
    assert summary["failed"] == 0
    assert summary["versions"] == {"v1": summary["requests"]}
    assert summary["last_version"] == "v1"


async def test_a_bad_status_is_a_failure_with_its_reason() -> None:
    async def unavailable(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer("503 Service Unavailable", {}, close=True))
            await writer.drain()
        writer.close()

    traffic = await traffic_to(unavailable, until=lambda traffic: traffic.requests >= 50)
    summary = traffic.summary(final=True)
    assert summary["failed"] == summary["requests"]
    assert summary["reasons"] == {"status 503": summary["failed"]}


async def test_an_answer_that_is_cut_off_is_a_failure_and_is_not_asked_for_again() -> None:
    asked = 0

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            asked += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await writer.drain()
        writer.close()

    traffic = await traffic_to(cut, until=lambda traffic: traffic.requests >= 50)
    assert traffic.summary(final=True)["failed"] == traffic.requests == asked


async def test_nobody_listening_is_a_failure() -> None:
    async with asyncio.timeout(60):
        async with serving(lambda _reader, writer: asyncio.sleep(0, writer.close())) as port:
            pass
        traffic = Traffic("127.0.0.1", port, 400.0)
        sending = asyncio.create_task(traffic.send())
        await eventually(lambda: traffic.requests >= 20)
        traffic.stopping = True
        await sending
    assert sum(traffic.reasons.values()) == traffic.requests


def start(
    data_dir: Path, group: str, script: str = "print('up', flush=True); input()", *arguments: str
) -> subprocess.Popen[bytes]:
    marks = {"STORMSAIL_DATA_DIR": str(data_dir), "STORMSAIL_SERVER_GROUP": group}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | marks,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


async def test_the_census_counts_the_processes_of_each_group_of_one_data_directory(tmp_path: Path) -> None:
    census = Census(tmp_path)
    running = [start(tmp_path, "hello-v000"), start(tmp_path, "hello-v000"), start(tmp_path, "hello-v001")]
    stranger = start(tmp_path / "other", "hello-v000")
    try:
        assert processes_per_group(tmp_path) == {"hello-v000": 2, "hello-v001": 1}
        counting = asyncio.create_task(census.run())
        async with asyncio.timeout(60):
            await eventually(lambda: census.scans >= 1)
            counting.cancel()
            ending = asyncio.create_task(end_all(tmp_path))
            for process in running:
                await asyncio.to_thread(process.wait)
            await ending
        assert census.most == {"hello-v000": 2, "hello-v001": 1}
        assert processes_of(tmp_path) == []
        assert stranger.poll() is None
    finally:
        for process in (*running, stranger):
            process.kill()
            process.communicate()


STUBBORN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
service = "import signal; signal.signal(signal.SIGTERM, signal.SIG_DFL); input()"
print("up", flush=True)
while True:
    subprocess.run([sys.executable, "-c", service], stdin=sys.stdin)
"""
"""Starts a service again whenever it ends, and does not end when it is asked to."""


@pytest.mark.parametrize("starts_others", ["--data-dir={}", f"{launch.__file__} {{}}/instance"])
async def test_what_starts_others_is_ended_before_them_and_a_launcher_is_one_of_those(
    tmp_path: Path, starts_others: str
) -> None:
    stubborn = start(tmp_path, "hello-v000", STUBBORN, *starts_others.format(tmp_path).split())
    try:
        await eventually(lambda: len(processes_of(tmp_path)) == 2)
        assert processes_of(tmp_path)[0] == stubborn.pid
        assert stubborn.pid in await end_all(tmp_path, asked_seconds=60, give_up_seconds=0)
        ending = asyncio.create_task(end_all(tmp_path, asked_seconds=0.1))
        await asyncio.to_thread(stubborn.wait)
        assert await ending == []
    finally:
        stubborn.kill()
        stubborn.communicate()
    assert processes_of(tmp_path) == []


def test_the_example_service_is_there() -> None:
    assert example_service().is_file()


def test_only_what_a_demo_made_can_be_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--stop", str(tmp_path)]) == 2
    assert "is not a directory that a demo made" in capsys.readouterr().err
    assert tmp_path.exists()
