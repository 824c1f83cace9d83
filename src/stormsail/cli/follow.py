"""Waiting for an operation with progress on stderr: redrawn on a terminal, plain lines elsewhere."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from stormsail.cli.connection import detached
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import is_terminal, note, short_id, span, stamped
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationProgress, OperationResult, OperationStatus, Step, StepStatus

ICONS: Final = {
    StepStatus.NOT_STARTED: "○",
    StepStatus.RUNNING: "▸",
    StepStatus.SUCCEEDED: "✔",
    StepStatus.TERMINAL: "✖",
    StepStatus.CANCELED: "⊘",
    StepStatus.SKIPPED: "–",
    StepStatus.PAUSED: "‖",
}
_WORDS: Final = {
    StepStatus.NOT_STARTED: "to do",
    StepStatus.RUNNING: "running",
    StepStatus.SUCCEEDED: "done",
    StepStatus.TERMINAL: "failed",
    StepStatus.CANCELED: "cancelled",
    StepStatus.SKIPPED: "skipped",
    StepStatus.PAUSED: "waits",
}
_COLOURS: Final = {
    StepStatus.RUNNING: "cyan",
    StepStatus.SUCCEEDED: "green",
    StepStatus.TERMINAL: "bold red",
    StepStatus.CANCELED: "yellow",
    StepStatus.PAUSED: "bold magenta",
}


async def follow(client: DeliveryClient, operation_id: str, place: Place, timeout_s: float | None) -> OperationResult:
    """Show progress until the operation ends and return its result.

    Ctrl-C and the timeout end the wait only. The client survives restarts of the engine, so this does too.
    """
    try:
        async with asyncio.timeout(timeout_s):
            with _progress_view() as show:
                watching = asyncio.create_task(_show_all(client.watch(operation_id), show))
                try:
                    result = await client.result(operation_id)
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
                show(_at_the_end(result))  # The watch asks a worker, which may be late with the last steps.
                return result
    except TimeoutError:
        raise CommandFailed(
            f"operation {short_id(operation_id)} did not end within {span((timeout_s or 0) * 1000)}; it goes on",
            next_step=f"`stormsail operation watch {short_id(operation_id)}` waits again",
            code=ExitCode.TIMEOUT,
        ) from None
    except asyncio.CancelledError:
        raise detached(operation_id, place) from None


def _at_the_end(result: OperationResult) -> OperationProgress:
    status = OperationStatus.SUCCEEDED if result.ok else OperationStatus.TERMINAL
    return OperationProgress(operation_type="", status=status, steps=result.steps)


async def _show_all(progress: AsyncIterator[OperationProgress], show: Callable[[OperationProgress], None]) -> None:
    async for now in progress:
        show(now)


@contextlib.contextmanager
def _progress_view() -> Iterator[Callable[[OperationProgress], None]]:
    if is_terminal():
        with _live_view() as show:
            yield show
    else:
        yield PlainView().show


class PlainView:
    """One line for each step that changed."""

    def __init__(self) -> None:
        self.shown: dict[int, tuple[StepStatus, str]] = {}
        self.told: set[tuple[int, int]] = set()

    def show(self, progress: OperationProgress) -> None:
        """Print the steps that differ from what was printed before."""
        for index, step in enumerate(progress.steps):
            now = (step.status, step.detail)
            if step.status is not StepStatus.NOT_STARTED and self.shown.get(index) != now:
                # How long a step that has just begun has been running is no news on a line that stays.
                begun = step.status is StepStatus.RUNNING
                stamped(step_line(step.model_copy(update={"started_at_ms": 0}) if begun else step))
            if step.status is StepStatus.PAUSED and (index, step.attempt) not in self.told:
                self.told.add((index, step.attempt))
                note(f"next:  `stormsail operation {_next(step)}; it waits for one of them")
            self.shown[index] = now


def _next(step: Step) -> str:
    # What failed says why; what only waits for a person has nothing to say there.
    return "retry`, `skip`, `rerun` or `cancel`" if step.error else "approve`, `promote` or `abort`"


@contextlib.contextmanager
def _live_view() -> Iterator[Callable[[OperationProgress], None]]:
    from rich.console import Console
    from rich.live import Live

    latest: list[OperationProgress] = []

    def draw() -> Any:
        return render(latest[-1]) if latest else "waiting for the worker to begin ..."

    with Live(console=Console(stderr=True), get_renderable=draw, refresh_per_second=5) as live:

        def show(progress: OperationProgress) -> None:
            latest[:] = [progress]
            live.refresh()

        yield show


def render(progress: OperationProgress) -> Any:
    """Return the steps as rich text, one a line."""
    from rich.text import Text

    text = Text()
    for index, step in enumerate(progress.steps):
        text.append("\n" if index else "")
        text.append(step_line(step), style=_COLOURS.get(step.status, "dim"))
    return text


def step_line(step: Step) -> str:
    """Return a step in one line: icon, word, name, target, time taken, detail."""
    parts = [f"{ICONS[step.status]} {_WORDS[step.status]:<9} {step.name}"]
    if step.target:
        parts.append(step.target)
    if step.started_at_ms:
        ended_at_ms = step.ended_at_ms or time.time() * 1000
        parts.append(f"({span(ended_at_ms - step.started_at_ms)})")
    line = " ".join(parts)
    return f"{line}  {step.detail}" if step.detail else line


def say_outcome(result: OperationResult) -> None:
    """Say on stderr what a failed operation did and what it left."""
    for error in result.errors:
        field = f" ({error.field})" if error.field else ""
        note(f"error: {error.kind}{field}: {error.message}")
    if not result.ok and result.rolled_back:
        note("The previous state was put back.")
    for thing in result.left_behind:
        note(f"warning: left behind: {thing}")
