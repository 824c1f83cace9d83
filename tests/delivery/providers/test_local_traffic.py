"""No request fails while server groups change under constant traffic and their caller is killed again and again."""

import asyncio
import contextlib
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from contracts.provider_contract import finish, observe_until
from delivery.providers import rolling_caller
from delivery.providers.local_account import Traffic, get, hello, running
from stormsail.delivery.model.server_group import Capacity, Health
from stormsail.delivery.providers.local import process
from stormsail.delivery.providers.local.converge import look
from stormsail.delivery.providers.local.process import count_processes
from stormsail.delivery.providers.local.provider import LocalProvider, open_provider, stop_everything
from stormsail.delivery.providers.local.state import Home
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
    ShiftTraffic,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

SLOW_BYTES = 120
SLOW_PAUSE_S = 0.5


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    opened = await open_provider("local", {"data_dir": str(tmp_path)})
    yield opened
    await opened.close()
    await stop_everything(tmp_path)
    assert count_processes(tmp_path) == {}


async def test_no_request_fails_while_groups_come_grow_shrink_and_go(provider: LocalProvider) -> None:
    await finish(provider, "c1", CreateServerGroup(name="shop-v001", capacity=Capacity.fixed(2), launch=hello("v1")))
    await finish(provider, "e1", EnableServerGroup(name="shop-v001"))
    traffic = Traffic((await provider.observe("shop")).address)
    with traffic.flowing():
        for token, change in (
            ("c2", CreateServerGroup(name="shop-v002", capacity=Capacity.fixed(1), launch=hello("v2"))),
            ("e2", EnableServerGroup(name="shop-v002")),
            ("r2", ResizeServerGroup(name="shop-v002", capacity=Capacity.fixed(4))),
            ("h2", EnableServerGroup(name="shop-v002")),
            ("d1", DisableServerGroup(name="shop-v001")),
            ("s2", ResizeServerGroup(name="shop-v002", capacity=Capacity.fixed(2))),
            ("g1", EnableServerGroup(name="shop-v001")),
            ("x1", DestroyServerGroup(name="shop-v001")),
        ):
            await finish(provider, token, change)
            traffic.wait_for_more()
    assert traffic.failures == []
    assert traffic.versions == {"v1", "v2"}
    assert traffic.last == "v2"


async def test_no_request_fails_while_another_application_comes_and_goes(provider: LocalProvider) -> None:
    await finish(provider, "c1", CreateServerGroup(name="shop-v001", capacity=Capacity.fixed(1), launch=hello("v1")))
    await finish(provider, "e1", EnableServerGroup(name="shop-v001"))
    traffic = Traffic((await provider.observe("shop")).address)
    with traffic.flowing():
        for number in range(3):
            name = f"cart{number}-v000"
            create = CreateServerGroup(name=name, capacity=Capacity.fixed(1), launch=hello("cart"))
            await finish(provider, f"create {name}", create)
            await finish(provider, f"enable {name}", EnableServerGroup(name=name))
            await finish(provider, f"destroy {name}", DestroyServerGroup(name=name))
        traffic.wait_for_more()
    assert traffic.failures == []
    assert traffic.versions == {"v1"}


async def test_a_request_in_flight_is_finished_before_its_instance_stops(
    provider: LocalProvider, tmp_path: Path
) -> None:
    await finish(provider, "c1", CreateServerGroup(name="shop-v001", capacity=Capacity.fixed(1), launch=hello("v1")))
    await finish(provider, "e1", EnableServerGroup(name="shop-v001"))
    address = (await provider.observe("shop")).address
    answers: list[str] = []
    sent = threading.Event()
    slow = threading.Thread(target=lambda: answers.append(_post_slowly(address, sent)))
    slow.start()
    await _in_flight(tmp_path)
    await finish(provider, "c2", CreateServerGroup(name="shop-v002", capacity=Capacity.fixed(1), launch=hello("v2")))
    await finish(provider, "e2", EnableServerGroup(name="shop-v002"))
    destroy = DestroyServerGroup(name="shop-v001")
    progress = await provider.begin("x1", destroy)
    assert not progress.done
    sent.set()
    await finish(provider, "x1", destroy)
    slow.join()
    assert answers == ["v1"]


async def test_requests_that_outlast_the_drain_limit_are_cut_off(provider: LocalProvider, tmp_path: Path) -> None:
    launch = hello("v1", drain_seconds=0.5, stop_seconds=0.5)
    await finish(provider, "c1", CreateServerGroup(name="shop-v001", capacity=Capacity.fixed(1), launch=launch))
    await finish(provider, "e1", EnableServerGroup(name="shop-v001"))
    address = (await provider.observe("shop")).address
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(_post_slowly(address, threading.Event())))
    slow.start()
    await _in_flight(tmp_path)
    await finish(provider, "x1", DestroyServerGroup(name="shop-v001"))
    slow.join()
    assert answers == [""], "it would have been answered in the end"


async def test_an_instance_that_turns_unhealthy_loses_its_traffic_until_it_is_well_again(
    provider: LocalProvider,
) -> None:
    await finish(provider, "c1", CreateServerGroup(name="shop-v001", capacity=Capacity.fixed(2), launch=hello("v1")))
    await finish(provider, "e1", EnableServerGroup(name="shop-v001"))
    traffic = Traffic((await provider.observe("shop")).address)
    with traffic.flowing():
        pid = int(get(traffic.address)[1].partition('"pid": ')[2].rstrip("}"))
        os.kill(pid, signal.SIGUSR1)
        seen = await observe_until(provider, "shop", lambda seen: seen.server_groups[0].count(Health.DOWN) == 1)
        assert {one.detail for one in seen.server_groups[0].instances} >= {"GET /health answered 503"}
        await _until(lambda: all(str(pid) not in get(traffic.address)[1] for _ in range(6)))
        os.kill(pid, signal.SIGUSR1)
        await observe_until(provider, "shop", lambda seen: seen.server_groups[0].count(Health.UP) == 2)
        await _until(lambda: str(pid) in get(traffic.address)[1])
    assert traffic.failures == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "workers"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_no_request_fails_and_nothing_doubles_when_the_caller_is_killed_again_and_again(
    tmp_path: Path, seed: int, workers: int
) -> None:
    chance = random.Random(seed)
    try:
        with _call(tmp_path, "2") as first:
            assert first.wait(timeout=60) == 0
        traffic = Traffic(_address(tmp_path))
        kills = 0
        with traffic.flowing():
            while True:
                with contextlib.ExitStack() as rivals:
                    # A worker that nobody has told to stop and one that replaces it: two at once, same tokens.
                    callers = [rivals.enter_context(_call(tmp_path)) for _ in range(workers)]
                    try:
                        assert callers[0].stdout
                        assert callers[0].stdout.readline() == "ready\n"
                        assert callers[0].wait(timeout=0.1 + chance.random()) == 0
                        break
                    except subprocess.TimeoutExpired:
                        kills += workers
                    finally:
                        for caller in callers:
                            caller.kill()
                assert kills < 200, "the story never ends"
            traffic.wait_for_more()
        assert traffic.failures == []
        assert traffic.last == f"v{rolling_caller.VERSIONS}"
        assert kills >= 3
        assert count_processes(tmp_path) == {f"shop-v00{rolling_caller.VERSIONS}": 2}
        assert running(tmp_path, "shop-v001") == 0
    finally:
        _stop(tmp_path)


def _call(data_dir: Path, *stop_after: str) -> "subprocess.Popen[str]":
    command = [sys.executable, rolling_caller.__file__, str(data_dir), *stop_after]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _address(data_dir: Path) -> str:
    async def observed() -> str:
        return (await (await open_provider("local", {"data_dir": str(data_dir)})).observe("shop")).address

    return asyncio.run(observed())


def _stop(data_dir: Path) -> None:
    asyncio.run(stop_everything(data_dir))
    assert count_processes(data_dir) == {}


async def _in_flight(data_dir: Path) -> None:
    """Wait until a request stays in flight; once could be the load balancer's own health check."""
    deadline = time.monotonic() + 60
    seen = 0
    while seen < 10:
        assert time.monotonic() < deadline, "no request is in flight"
        await asyncio.sleep(0.02)
        servers = look(Home(data_dir).application("shop")).servers
        seen = seen + 1 if sum(server.sessions for server in servers.values()) else 0


async def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not await asyncio.to_thread(met):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def _post_slowly(address: str, sent: threading.Event) -> str:
    """Send a request whose body ends when `sent` is set, or after a minute; return the version that answered it."""
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(SLOW_BYTES))
        connection.endheaders()
        for left in range(SLOW_BYTES, 0, -1):
            if sent.wait(SLOW_PAUSE_S):
                connection.send(b"x" * left)
                break
            connection.send(b"x")
        return connection.getresponse().read().decode().partition('"version": "')[2].partition('"')[0]
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


async def test_a_share_of_the_requests_is_about_what_was_given_and_a_restarted_balancer_keeps_it(
    provider: LocalProvider, tmp_path: Path
) -> None:
    for name, version, count in (("shop-v000", "v1", 2), ("shop-v001", "v2", 1)):
        await finish(
            provider, name, CreateServerGroup(name=name, capacity=Capacity.fixed(count), launch=hello(version))
        )
    await finish(provider, "e0", EnableServerGroup(name="shop-v000"))
    await finish(provider, "s1", ShiftTraffic(name="shop-v001", percent=20))
    await finish(provider, "e1", EnableServerGroup(name="shop-v001"))
    address = (await provider.observe("shop")).address

    async def share_of_v2() -> float:
        answers = [await asyncio.to_thread(get, address) for _ in range(200)]
        assert {status for status, _ in answers} == {200}
        return sum('"v2"' in body for _, body in answers) / len(answers)

    assert await share_of_v2() == pytest.approx(0.2, abs=0.03)
    balancer = process.look(Home(tmp_path).application("shop").balancer).run
    assert balancer is not None
    os.kill(balancer.pid, signal.SIGKILL)
    await provider.reconcile()
    # Its servers come up one by one: with one of the two, v1 would have less than its part.
    await observe_until(
        provider,
        "shop",
        lambda seen: all(group.count(Health.UP) == group.capacity.desired for group in seen.server_groups),
    )
    assert await share_of_v2() == pytest.approx(0.2, abs=0.03)
