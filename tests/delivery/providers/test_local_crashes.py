"""Whoever is killed at whatever step: exactly the wanted processes run in the end, and none beside them."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contracts.provider_contract import finish, finish_cancel
from delivery.providers import dying
from delivery.providers.local_account import hello, running
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.errors import Conflict
from stormsail.delivery.providers.local import launch, process
from stormsail.delivery.providers.local.process import Order, count_processes
from stormsail.delivery.providers.local.provider import open_provider, stop_everything
from stormsail.delivery.providers.local.state import Home
from stormsail.delivery.providers.provider import CreateServerGroup

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

CREATE = CreateServerGroup(name="shop-v000", capacity=Capacity.fixed(2), launch=hello())


class Dying:
    """The process that begins a create and dies at a step."""

    def __init__(self) -> None:
        command = [sys.executable, dying.__file__, "serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, data_dir: Path, step: int) -> str:
        """Begin in a fresh child; say how that ended."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{data_dir} {step}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def caller() -> Iterator[Dying]:
    found = Dying()
    yield found
    found.close()


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path
    await stop_everything(tmp_path)
    assert count_processes(tmp_path) == {}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Path]:
    """Yield the directory of an ordered `sleep`; end whatever runs there afterwards."""
    directory = tmp_path / "instance"
    process.give_order(directory, _sleep(tmp_path))
    yield directory
    _stop(directory)
    assert count_processes(tmp_path) == {}


async def test_a_create_whose_caller_dies_at_any_step_is_completed_and_never_doubled(
    tmp_path: Path, caller: Dying
) -> None:
    step, killed = 0, True
    while killed:
        step += 1
        data_dir = tmp_path / str(step)
        data_dir.mkdir()
        killed = caller.begin(data_dir, step) == "killed"
        provider = await open_provider("local", {"data_dir": str(data_dir)})
        await finish(provider, "token", CREATE)
        assert running(data_dir, "shop-v000") == 2, f"after dying at step {step}"
        assert len((await provider.observe("shop")).server_groups) == 1
        await stop_everything(data_dir)
        assert count_processes(data_dir) == {}, f"after dying at step {step}"
    assert step > 30, "the steps were not counted"


async def test_a_create_whose_callers_die_at_random_instants_starts_each_instance_once(data_dir: Path) -> None:
    chance = random.Random(7)
    script = (
        "import asyncio, sys\n"
        "from contracts.provider_contract import finish\n"
        "from stormsail.delivery.providers.local.provider import open_provider\n"
        "from stormsail.delivery.providers.provider import CreateServerGroup\n"
        "async def main():\n"
        "    provider = await open_provider('local', {'data_dir': sys.argv[1]})\n"
        "    print('ready', flush=True)\n"
        "    await finish(provider, 'token', CreateServerGroup.model_validate_json(sys.argv[2]))\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(12):
        command = [sys.executable, "-c", script, str(data_dir), CREATE.model_dump_json()]
        caller = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment)
        assert caller.stdout
        assert await caller.stdout.readline() == b"ready\n"
        await asyncio.sleep(chance.random() * 0.15)
        with contextlib.suppress(ProcessLookupError):
            caller.kill()
        await caller.wait()
        assert running(data_dir, "shop-v000") <= 2
    provider = await open_provider("local", {"data_dir": str(data_dir)})
    await finish(provider, "token", CREATE)
    assert running(data_dir, "shop-v000") == 2
    seen = (await provider.observe("shop")).server_groups[0]
    logs = [data_dir / "local" / "logs" / "shop-v000" / f"{index}.log" for index in range(2)]
    assert [log.read_text().count("listens on") for log in logs] == [1, 1]
    assert len(seen.instances) == 2


@pytest.mark.parametrize("step", [8, 14, 18, 22, 26, 30])
async def test_a_create_that_was_cut_off_is_cancelled_without_a_rest(data_dir: Path, caller: Dying, step: int) -> None:
    assert caller.begin(data_dir, step) == "killed"
    provider = await open_provider("local", {"data_dir": str(data_dir)})
    begun = bool(Home(data_dir).application("shop").groups())
    await finish_cancel(provider, "token", CREATE)
    assert await provider.applications() == ()
    assert count_processes(data_dir) == {}
    if begun:
        with pytest.raises(Conflict, match="canceled"):
            await provider.resume("token", CREATE)


def test_a_launcher_that_dies_at_any_step_leaves_one_process_or_none_and_the_next_makes_it_one(
    tmp_path: Path,
) -> None:
    step, finished = 0, False
    while not finished:
        step += 1
        home = tmp_path / str(step)
        directory = home / "instance"
        process.give_order(directory, _sleep(home))
        command = [sys.executable, "-I", "-S", dying.__file__, "launch", launch.__file__, str(step), str(directory)]
        finished = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == launch.STARTED
        _wait_until_started(home, directory)
        run = process.look(directory).run
        assert run is not None
        assert count_processes(home) == {"sleepers": 1}, f"after dying at step {step}"
        assert process.start([directory]) == {}
        assert count_processes(home) == {"sleepers": 1}
        assert process.look(directory).run == run
        _stop(directory)
        assert count_processes(home) == {}, f"after dying at step {step}"
    assert step > 10, "the steps were not counted"


def test_launchers_that_race_start_one_process(tmp_path: Path, instance: Path) -> None:
    launchers = [
        subprocess.Popen([sys.executable, "-I", "-S", launch.__file__, str(instance)], stdout=subprocess.DEVNULL)
        for _ in range(8)
    ]
    codes = sorted(launcher.wait() for launcher in launchers)
    assert codes == [launch.STARTED] + [launch.HELD] * 7
    assert count_processes(tmp_path) == {"sleepers": 1}


def test_a_withdrawn_order_starts_nothing_even_if_its_launcher_comes_late(tmp_path: Path, instance: Path) -> None:
    (instance / launch.ORDER).unlink()
    late = subprocess.run([sys.executable, "-I", "-S", launch.__file__, str(instance)], check=False)
    assert late.returncode == launch.WITHDRAWN
    assert count_processes(tmp_path) == {}


def test_a_pid_that_was_given_to_a_stranger_is_never_signalled(tmp_path: Path, instance: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        ticks = launch.start_ticks(stranger.pid)
        assert ticks is not None
        record = {"pid": stranger.pid, "start_ticks": ticks - 1, "boot_id": launch.boot_id()}
        (instance / launch.RUN).write_text(json.dumps({**record, "port": 1, "started_at_ms": 1, "starts": 1}))
        assert not process.look(instance).alive
        assert process.stop(instance, 0, grace_ms=0)
        assert stranger.poll() is None
        stranger.kill()


def test_an_instance_that_ignores_sigterm_is_killed_after_the_grace_time(tmp_path: Path) -> None:
    directory = tmp_path / "instance"
    stubborn = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    order = _sleep(tmp_path).model_copy(update={"command": ("/bin/sh", "-c", stubborn)})
    process.give_order(directory, order)
    assert process.start([directory]) == {}
    _wait_for_text(Path(order.log), "up")
    assert not process.stop(directory, 1_000, grace_ms=500)
    assert not process.stop(directory, 1_499, grace_ms=500)
    assert process.look(directory).alive
    assert not process.stop(directory, 1_500, grace_ms=500)
    _stop(directory)
    assert process.look(directory).described_end() == "was killed by SIGKILL"


def test_what_a_dead_instance_left_running_is_killed_before_it_counts_as_gone(tmp_path: Path) -> None:
    directory = tmp_path / "instance"
    order = _sleep(tmp_path).model_copy(update={"command": ("/bin/sh", "-c", "sleep 300 & echo $!; wait")})
    process.give_order(directory, order)
    assert process.start([directory]) == {}
    _wait_for_text(Path(order.log), "\n")
    child = int(Path(order.log).read_text())
    run = process.look(directory).run
    assert run is not None
    os.kill(run.pid, signal.SIGKILL)
    _stop(directory)
    assert launch.start_ticks(child) is None


def _sleep(data_dir: Path) -> Order:
    return Order(
        command=("sleep", "300"),
        environment={
            "PATH": os.environ["PATH"],
            "STORMSAIL_DATA_DIR": str(data_dir),
            "STORMSAIL_SERVER_GROUP": "sleepers",
        },
        directory="/",
        log=str(data_dir / "log"),
    )


def _wait_until_started(home: Path, directory: Path) -> None:
    """Launch until it runs: what died on its way may leave nothing, or a process that is only now coming up."""
    deadline = time.monotonic() + 60
    while not (process.look(directory).alive and count_processes(home)):
        assert time.monotonic() < deadline, f"nothing started in {directory}"
        process.start([directory])


def _wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.01)


def _stop(directory: Path) -> None:
    deadline = time.monotonic() + 60
    while not process.stop(directory, time.time_ns() // 1_000_000, grace_ms=2_000):
        assert time.monotonic() < deadline, f"what runs in {directory} does not stop"
        time.sleep(0.01)
