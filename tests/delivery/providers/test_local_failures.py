"""What goes wrong around the local provider: the words that a person reads, and that nothing was lost."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from contracts.provider_contract import DEADLINE_SECONDS, finish, observe_until
from delivery.providers.local_account import ROOT, get, hello, running
from stormsail.delivery.model.server_group import Capacity, Health, LaunchSpec, Observation
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, Permanent, ProviderError, Transient
from stormsail.delivery.providers.local import launch, process
from stormsail.delivery.providers.local.converge import restart_due_ms
from stormsail.delivery.providers.local.process import count_processes
from stormsail.delivery.providers.local.provider import LocalProvider, check_platform, open_provider, stop_everything
from stormsail.delivery.providers.local.runtime import RuntimeSocket
from stormsail.delivery.providers.local.state import Home
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DestroyServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

Open = Callable[[], Awaitable[LocalProvider]]


@pytest.fixture
async def open_local(tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[LocalProvider] = []

    async def open_it() -> LocalProvider:
        opened.append(await open_provider("local", {"data_dir": str(tmp_path)}))
        return opened[-1]

    yield open_it
    for one in opened:
        await one.close()
    await stop_everything(tmp_path)
    assert count_processes(tmp_path) == {}


@pytest.fixture
async def provider(open_local: Open) -> LocalProvider:
    return await open_local()


def create(launch: LaunchSpec, count: int = 1, name: str = "shop-v000") -> CreateServerGroup:
    return CreateServerGroup(name=name, capacity=Capacity.fixed(count), launch=launch)


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        (LaunchSpec(command=("no-such-command",)), "no such command: 'no-such-command' is in none of the directories"),
        (LaunchSpec(command=("./missing",)), "no such command: there is no file"),
        (LaunchSpec(command=(str(ROOT / "README.md"),)), "is not executable: `chmod \\+x` it"),
        (LaunchSpec(image="ami-1"), "needs a command to run: set launch.command"),
        (hello(colour="red"), "launch setting 'colour' is unknown; the local provider knows: port, directory"),
        (hello(port="many"), "launch setting 'port'"),
        (hello(directory="/no/such/place"), "there is no directory /no/such/place"),
        (hello(directory="here"), "must be an absolute path"),
        (hello().model_copy(update={"health_path": "health check"}), "must be a URL path that begins with '/'"),
    ],
)
async def test_a_launch_that_cannot_work_is_refused_in_words_and_makes_nothing(
    provider: LocalProvider, tmp_path: Path, launch: LaunchSpec, said: str
) -> None:
    with pytest.raises(InvalidLaunch, match=said):
        await provider.begin("token", create(launch))
    assert (await provider.observe("shop")).server_groups == ()
    assert count_processes(tmp_path) == {}


async def test_a_program_that_the_kernel_refuses_fails_the_create_and_leaves_nothing(
    provider: LocalProvider, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF but not really")
    program.chmod(0o755)
    for _ in range(2):
        with pytest.raises(InvalidLaunch, match=r"cannot run .*program.*Exec format error"):
            await finish(provider, "token", create(LaunchSpec(command=(str(program),)), 2))
    assert (await provider.observe("shop")).server_groups == ()
    assert await provider.applications() == ()


async def test_a_resize_whose_program_is_gone_fails_and_puts_the_capacity_back(
    provider: LocalProvider, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {hello().command[1]} --port $PORT\n")
    program.chmod(0o755)
    await finish(provider, "c", create(LaunchSpec(command=(str(program),))))
    await finish(provider, "e", EnableServerGroup(name="shop-v000"))
    program.unlink()
    with pytest.raises(InvalidLaunch, match="No such file"):
        await finish(provider, "r", ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(3)))
    await provider.reconcile()
    seen = await observe_until(provider, "shop", lambda seen: len(seen.server_groups[0].instances) == 1)
    assert seen.server_groups[0].capacity == Capacity.fixed(1)
    assert seen.server_groups[0].count(Health.UP) == 1


async def test_an_instance_that_exits_at_once_is_down_with_exit_code_and_last_log_lines(
    provider: LocalProvider,
) -> None:
    launch = LaunchSpec(command=("/bin/sh", "-c", "echo reading settings; echo no database >&2; exit 3"))
    await finish(provider, "token", create(launch))
    seen = await observe_until(provider, "shop", lambda seen: seen.server_groups[0].count(Health.DOWN) == 1)
    detail = seen.server_groups[0].instances[0].detail
    assert detail.startswith("exited with code 3 (start 1 without becoming healthy)")
    assert detail.endswith("last log lines: reading settings | no database")


def _starts(seen: Observation) -> int:
    """Return how often the only instance was started, if it is told that it waits for its next start."""
    told = re.search(r"\(start (\d+) .*; starts again in \d+ s", seen.server_groups[0].instances[0].detail)
    return int(told[1]) if told else 0


async def test_an_instance_that_never_was_healthy_is_started_again_more_and_more_rarely(
    provider: LocalProvider, tmp_path: Path
) -> None:
    await provider.reconcile()
    await finish(provider, "token", create(LaunchSpec(command=("/bin/sh", "-c", "exit 1"))))
    await observe_until(provider, "shop", lambda seen: _starts(seen) >= 2)
    # How many seconds are told depends on when one looks; that the wait is kept, and grows, does not.
    instance = Home(tmp_path).application("shop").instance_directory("shop-v000", 0)
    earlier = process.look(instance)
    assert earlier.run is not None
    starts = earlier.run.starts
    await observe_until(provider, "shop", lambda seen: _starts(seen) > starts)
    later = process.look(instance)
    assert later.run is not None
    assert later.run.started_at_ms >= restart_due_ms(earlier)
    assert restart_due_ms(later) - later.run.started_at_ms >= 1000 * 2 ** (later.run.starts - 1)


async def test_an_instance_that_died_after_being_healthy_is_started_again_and_serves(
    provider: LocalProvider, tmp_path: Path
) -> None:
    await finish(provider, "c", create(hello(), 2))
    await finish(provider, "e", EnableServerGroup(name="shop-v000"))
    run = process.look(Home(tmp_path).application("shop").instance_directory("shop-v000", 0)).run
    assert run is not None
    os.kill(run.pid, signal.SIGKILL)
    assert get((await provider.observe("shop")).address)[0] == 200
    await observe_until(provider, "shop", lambda seen: seen.server_groups[0].count(Health.DOWN) == 1)
    await provider.reconcile()  # Only now: who keeps it may start it again before anybody has looked.
    await observe_until(provider, "shop", lambda seen: seen.server_groups[0].count(Health.UP) == 2)
    assert running(tmp_path, "shop-v000") == 2


async def test_a_dead_load_balancer_is_started_again_on_its_address_with_the_servers_that_had_traffic(
    provider: LocalProvider, tmp_path: Path, open_local: Open
) -> None:
    for number in (0, 1):
        await finish(provider, f"c{number}", create(hello(f"v{number}"), 1, f"shop-v00{number}"))
    await finish(provider, "e", EnableServerGroup(name="shop-v001"))
    address = (await provider.observe("shop")).address
    run = process.look(Home(tmp_path).application("shop").balancer).run
    assert run is not None
    os.kill(run.pid, signal.SIGKILL)
    await _until_gone(run.pid)
    with pytest.raises(Transient, match="load balancer of shop is not running"):
        await provider.observe("shop")
    await (await open_local()).reconcile()
    # Where it does not come up within its seconds, the next pass of who keeps it starts it.
    seen = await observe_until(provider, "shop", lambda seen: seen.server_groups[1].count(Health.UP) == 1)
    assert seen.address == address
    assert [group.count(Health.UP) for group in seen.server_groups] == [0, 1]
    assert '"v1"' in get(address)[1]


async def test_a_load_balancer_that_has_other_servers_than_recorded_is_brought_in_line(
    provider: LocalProvider, tmp_path: Path
) -> None:
    await finish(provider, "c", create(hello()))
    await finish(provider, "e", EnableServerGroup(name="shop-v000"))
    line = RuntimeSocket(Home(tmp_path).application("shop").balancer)
    line.drain("shop-v000:0")
    assert line.remove("shop-v000:0")
    line.add("stranger:7", 9, "/")
    await provider.reconcile()
    await observe_until(provider, "shop", lambda seen: seen.server_groups[0].count(Health.UP) == 1)
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    while set(line.servers()) != {"shop-v000:0"}:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def test_a_taken_port_is_a_conflict_that_names_it(provider: LocalProvider, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} on 127.0.0.1 is in use.*name another in 'port'"):
            await provider.begin("token", create(hello(port=port)))
    assert count_processes(tmp_path) == {}
    await finish(provider, "token", create(hello(port=port)))
    assert (await provider.observe("shop")).address == f"127.0.0.1:{port}"
    with pytest.raises(Conflict, match=f"is served on port {port}, not {port + 1}"):
        await provider.begin("other", create(hello(port=port + 1), 1, "shop-v001"))


async def test_instances_of_many_groups_begun_at_once_never_share_a_port(provider: LocalProvider) -> None:
    names = [f"app{number}-v000" for number in range(4)]
    await asyncio.gather(*(finish(provider, name, create(hello(), 3, name)) for name in names))
    seen = [await provider.observe(name.partition("-")[0]) for name in names]
    addresses = [one.address for view in seen for one in view.server_groups[0].instances]
    addresses += [view.address for view in seen]
    assert len(addresses) == 16
    assert len(set(addresses)) == 16


async def test_a_full_disk_refuses_a_change_and_takes_it_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        provider = await open_provider("local", {"data_dir": str(disk)})
        await finish(provider, "c", create(hello()))
        await finish(provider, "e", EnableServerGroup(name="shop-v000"))
        try:
            address = (await provider.observe("shop")).address
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 4096)
            for _ in range(3):
                with pytest.raises(Transient, match=r"cannot write .*No space left.*free some space"):
                    await provider.begin("n", create(hello("v2"), 1, "shop-v001"))
            seen = await provider.observe("shop")
            assert [(group.name, group.count(Health.UP)) for group in seen.server_groups] == [("shop-v000", 1)]
            assert get(address)[0] == 200
            filler.unlink()
            await finish(provider, "n", create(hello("v2"), 1, "shop-v001"))
            assert count_processes(disk) == {"shop-v000": 1, "shop-v001": 1}
        finally:
            (disk / "filler").unlink(missing_ok=True)
            await stop_everything(disk)


async def test_a_very_long_data_directory_works(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 40)
    provider = await open_provider("local", {"data_dir": str(data_dir)})
    try:
        await finish(provider, "c", create(hello()))
        await finish(provider, "e", EnableServerGroup(name="shop-v000"))
        assert get((await provider.observe("shop")).address)[0] == 200
    finally:
        await stop_everything(data_dir)


async def test_names_with_every_allowed_character_work(provider: LocalProvider) -> None:
    name = "..-st_a.ck-a~b^c-d.e_f-v007"
    await finish(provider, "c", create(hello(), 1, name))
    await finish(provider, "e", EnableServerGroup(name=name))
    seen = await provider.observe("..")
    assert seen.server_groups[0].count(Health.UP) == 1
    await finish(provider, "x", DestroyServerGroup(name=name))
    assert await provider.applications() == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop", "has no version: it must end in -v000"),
        ("../shop-v000", "application '../shop'"),
        ("s" * 300 + "-v000", "over 200 bytes"),
    ],
)
async def test_a_name_outside_the_rule_is_refused(provider: LocalProvider, name: str, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        await provider.begin("token", create(hello(), 1, name))


async def test_a_damaged_record_is_named_and_nothing_is_guessed(provider: LocalProvider, tmp_path: Path) -> None:
    await finish(provider, "c", create(hello()))
    record = Home(tmp_path).application("shop").group_directory("shop-v000") / "group.json"
    whole = record.read_text()
    record.write_text(whole[:50])
    with pytest.raises(Permanent, match=r"group.json is damaged"):
        await provider.observe("shop")
    with pytest.raises(ProviderError, match=r"group.json is damaged"):
        await provider.begin("e", EnableServerGroup(name="shop-v000"))
    assert running(tmp_path, "shop-v000") == 1
    record.write_text(whole)


async def test_a_group_of_many_instances_with_credentials_keeps_the_workers_own_to_itself(
    provider: LocalProvider, tmp_path: Path
) -> None:
    os.environ["STORMSAIL_TEST_SECRET"] = "canary"
    try:
        script = "env > seen; exec sleep 100"
        launch = LaunchSpec(
            version="v9",
            command=("/bin/sh", "-c", script),
            environment={"GREETING": "at {host}:{port}"},
            settings={"directory": str(tmp_path)},
        )
        await finish(provider, "c", create(launch))
        seen: dict[str, str] = {}
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        while "PORT" not in seen:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
            with contextlib.suppress(FileNotFoundError, ValueError):
                seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
        assert "STORMSAIL_TEST_SECRET" not in seen
        assert (seen["STORMSAIL_SERVER_GROUP"], seen["STORMSAIL_VERSION"]) == ("shop-v000", "v9")
        assert seen["GREETING"] == f"at {seen['HOST']}:{seen['PORT']}"
    finally:
        del os.environ["STORMSAIL_TEST_SECRET"]


async def test_opening_with_wrong_settings_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="needs the setting data_dir"):
        await open_provider("local", {})
    with pytest.raises(Permanent, match="does not know region; its only setting is data_dir"):
        await open_provider("local", {"data_dir": str(tmp_path), "region": "moon"})


def test_a_system_other_than_linux_is_refused_by_name() -> None:
    with pytest.raises(Permanent, match="it runs on Linux, and this is darwin"):
        check_platform("darwin")


async def test_an_application_that_comes_back_after_its_last_group_went_keeps_its_address(
    provider: LocalProvider,
) -> None:
    addresses = set()
    for number in range(5):
        name = f"shop-v00{number}"
        await finish(provider, f"c{number}", create(hello(), 1, name))
        await finish(provider, f"e{number}", EnableServerGroup(name=name))
        addresses.add((await provider.observe("shop")).address)
        await finish(provider, f"x{number}", DestroyServerGroup(name=name))
    assert len(addresses) == 1


async def _until_gone(pid: int) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    while launch.start_ticks(pid) is not None:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a disk of one megabyte; skip where that is not permitted."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        # Lazily: a process that is only now ending may still be in there.
        subprocess.run(["umount", "-l", str(path)], check=True)
