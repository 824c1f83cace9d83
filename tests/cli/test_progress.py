"""Progress without a terminal, outcomes, and how processes are watched over."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from stormsail.cli.follow import PlainView, follow, render, say_outcome, step_line
from stormsail.cli.options import Place
from stormsail.cli.process import Child, ending, tail
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import (
    OperationError,
    OperationProgress,
    OperationResult,
    OperationStatus,
    Step,
    StepStatus,
)


def progress(*steps: Step) -> OperationProgress:
    return OperationProgress(operation_type="createServerGroup", status=OperationStatus.RUNNING, steps=steps)


def step(name: str, status: StepStatus, detail: str = "") -> Step:
    return Step(name=name, target="hello-v001", status=status, started_at_ms=1_000, ended_at_ms=3_500, detail=detail)


def test_each_step_that_changed_is_one_line_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    waiting = Step(name="disableServerGroup")
    view.show(progress(step("createServerGroup", StepStatus.RUNNING), waiting))
    view.show(progress(step("createServerGroup", StepStatus.RUNNING), waiting))
    view.show(progress(step("createServerGroup", StepStatus.SUCCEEDED), waiting))
    captured = capsys.readouterr()
    lines = [line.partition(" ")[2] for line in captured.err.splitlines()]
    assert lines == [
        "▸ running   createServerGroup hello-v001",
        "✔ done      createServerGroup hello-v001 (2.5 s)",
    ]
    assert captured.out == ""


def test_a_step_is_told_by_icon_and_word_not_by_colour_alone() -> None:
    assert step_line(step("waitForUpInstances", StepStatus.TERMINAL, "1 of 2 up")) == (
        "✖ failed    waitForUpInstances hello-v001 (2.5 s)  1 of 2 up"
    )
    drawn = render(progress(step("a", StepStatus.SUCCEEDED), step("b", StepStatus.RUNNING)))
    assert drawn.plain.splitlines() == ["✔ done      a hello-v001 (2.5 s)", "▸ running   b hello-v001 (2.5 s)"]


def test_a_step_that_waits_for_a_person_says_so_once_an_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    for attempt in (1, 1, 2):
        failed = step("createServerGroup", StepStatus.PAUSED, "no")
        view.show(progress(failed.model_copy(update={"attempt": attempt, "error": "no"})))
    said = capsys.readouterr().err
    assert said.count("‖ waits     createServerGroup hello-v001 (2.5 s)  no") == 1
    assert said.count("`stormsail operation retry`, `skip`, `rerun` or `cancel`") == 2


def test_a_failure_says_what_was_put_back_and_what_was_left(capsys: pytest.CaptureFixture[str]) -> None:
    failed = OperationResult(
        ok=False,
        errors=(OperationError(kind="NeverHealthy", message="hello-v001 has 0 of 2 instances up after 30 min"),),
        rolled_back=True,
        left_behind=("server group hello-v001",),
    )
    say_outcome(failed)
    assert capsys.readouterr().err.splitlines() == [
        "error: NeverHealthy: hello-v001 has 0 of 2 instances up after 30 min",
        "The previous state was put back.",
        "warning: left behind: server group hello-v001",
    ]


class Late:
    """A client whose watch shows nothing before the operation has ended."""

    async def result(self, _: str) -> OperationResult:
        return OperationResult(ok=True, steps=(step("createServerGroup", StepStatus.SUCCEEDED),))

    async def watch(self, _: str) -> AsyncIterator[OperationProgress]:
        await asyncio.Event().wait()
        yield progress()


async def test_the_last_steps_are_told_though_the_watch_is_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = await follow(cast(DeliveryClient, Late()), "0190aaaa", Place("", "default", tmp_path), None)
    assert result.ok
    assert "✔ done      createServerGroup hello-v001 (2.5 s)" in capsys.readouterr().err


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for at most a minute."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to pass")


@contextlib.asynccontextmanager
async def supervised(child: Child) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(child.run())
    try:
        yield task
    finally:
        await child.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = Child("sleeper", lambda: program, tmp_path / "log", said.append, first_pause_seconds=0.0, proved=True)
    async with asyncio.timeout(60), supervised(child):
        await child.running.wait()
        assert child.process is not None
        first = child.process.pid
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: child.starts >= 2)
        assert child.process.pid != first
    assert said == ["sleeper: was killed by SIGKILL; starting it again in 0.0 s"]


async def test_a_child_that_keeps_failing_is_started_with_growing_pauses(tmp_path: Path) -> None:
    said: list[str] = []
    program = [sys.executable, "-c", "print('error: no such thing'); raise SystemExit(7)"]
    child = Child("broken", lambda: program, tmp_path / "log", said.append, first_pause_seconds=0.01, proved=True)
    async with asyncio.timeout(60), supervised(child):
        await eventually(lambda: child.starts >= 4)
    assert said[0] == "broken: ended with exit code 7; starting it again in 0.0 s. It said: error: no such thing"
    assert tail(tmp_path / "log")[0] == "error: no such thing"


async def test_a_child_that_was_told_to_stop_stays_stopped(tmp_path: Path) -> None:
    child = Child("sleeper", lambda: [sys.executable, "-c", "input()"], tmp_path / "log", print)
    async with asyncio.timeout(60), supervised(child) as task:
        await child.running.wait()
        await child.stop()
        await task
    assert child.starts == 1


def test_endings_are_said_in_words() -> None:
    assert ending(0) == "ended with exit code 0"
    assert ending(-9) == "was killed by SIGKILL"
