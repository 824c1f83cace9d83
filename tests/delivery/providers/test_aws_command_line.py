"""A worker that serves an AWS account from a file, and the command line that works on it."""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from delivery.engines import EngineProcess
from delivery.providers.aws_account import settings
from delivery.providers.aws_cloud import GOOD, StrictCloud
from delivery.stage import until_answered

COMMAND = [sys.executable, "-m", "stormsail.cli"]
STOP_MAX_S = 60.0


async def test_a_deployment_goes_to_the_account_that_is_named(
    engine: EngineProcess, cloud: StrictCloud, tmp_path: Path
) -> None:
    cloud.target_group("shop-blue")
    account = f"prod{uuid.uuid4().hex[:6]}"
    lines = [f'{name} = "{value}"' for name, value in settings(cloud).items()]
    (tmp_path / "accounts.toml").write_text(
        "\n".join(["local = false", f"[accounts.{account}]", 'provider = "aws"', *lines])
    )
    place = ["--engine", engine.address, "--data-dir", str(tmp_path), "--task-queue", account]
    environment = {**os.environ, "STORMSAIL_TASK_QUEUE": account}
    with (tmp_path / "worker.log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            *COMMAND, "worker", "start", *place, env=environment, stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        listing = ["server-group", "list", "--account", account, "--engine", engine.address, "-o", "name"]
        await until_answered(lambda: run(environment, *listing), lambda answer: answer[0] == 0, "the worker polls")
        code, said = await run(
            environment,
            *["deploy", "shop", "--account", account, "--image", GOOD, "--version", "v1", "--instances", "2"],
            *["--setting", "instance_type=t3.micro", "--setting", f'subnets=["{cloud.subnet}"]'],
            *["--setting", 'target_groups=["shop-blue"]', "--engine", engine.address],
        )
        assert code == 0, said + (tmp_path / "worker.log").read_text()
        assert cloud.running("shop-v000") == 2
        code, said = await run(environment, *listing)
        assert (code, said) == (0, "shop-v000\n")
    finally:
        worker.terminate()
        await asyncio.wait_for(worker.wait(), STOP_MAX_S)
    assert f"serving accounts {account}" in (tmp_path / "worker.log").read_text()


async def run(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run one command; return its exit code and what it printed."""
    command = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(command.communicate(), 120)
    assert command.returncode is not None
    return command.returncode, out.decode() if command.returncode == 0 else out.decode() + err.decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[accounts.prod]\nprovider = "awz"', "Did you mean aws?"),
        ('[accounts.prod]\nregion = "x"', "say which provider it is of"),
    ],
)
@pytest.mark.slow
async def test_a_file_that_cannot_be_taken_ends_the_worker_before_it_begins(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "accounts.toml").write_text(text)
    code, said = await run(dict(os.environ), "worker", "start", "--data-dir", str(tmp_path))
    assert (code, says in said) == (2, True), said
