"""The steps of one operation as people see them, oldest first."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from pydantic import BaseModel

from stormsail.delivery.model.operation import Step, StepStatus
from stormsail.delivery.model.steering import SteerRequest, Verb
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.steering import SteeredCall

STEP_DETAIL_MAX: Final = 500
"""Characters of a step's detail; the rest is in the result's error."""


class StepList:
    """Steps are begun, noted about and ended; none is ever taken off the list."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._steps: list[Step] = []

    @property
    def all(self) -> tuple[Step, ...]:
        """Every step so far."""
        return tuple(self._steps)

    def begin(self, name: str, target: str = "", call: str = "") -> int:
        """Begin a step and return its place in the list."""
        running, now_ms = StepStatus.RUNNING, self._now_ms()
        self._steps.append(Step(name=name, target=target, call=call, status=running, started_at_ms=now_ms))
        return len(self._steps) - 1

    def note(self, detail: str) -> None:
        """Say in words what the newest step found or does."""
        self.update(len(self._steps) - 1, detail=detail[:STEP_DETAIL_MAX])

    def show(self, call: SteeredCall) -> int | None:
        """Show a call as its step's newest; None where it stands outside of a step."""
        index = len(self._steps) - 1
        if index < 0 or self._steps[index].status is not StepStatus.RUNNING:
            return None
        self.update(index, call=call.call, input=_shown(call.input), error="")
        return index

    def show_again(self, call: SteeredCall, index: int | None, command: SteerRequest) -> None:
        """Show what a person asked of a call."""
        if index is None:
            return
        skipped = command.verb is Verb.SKIP
        said = f"{_SAID.get(command.verb, command.verb)} by {command.by or 'somebody'}"
        self.update(
            index,
            status=StepStatus.SKIPPED if skipped else StepStatus.RUNNING,
            attempt=call.attempt,
            detail=f"{said}: {command.reason}" if command.reason else said,
            input=_shown(call.input),
        )

    def update(self, index: int, **fields: Any) -> None:
        """Change what is shown of a step."""
        self._steps[index] = self._steps[index].model_copy(update=fields)

    def end(self, index: int, status: StepStatus, detail: str) -> None:
        """End a step; one that a person had skipped stays so."""
        step = self._steps[index]
        skipped = step.status is StepStatus.SKIPPED and status is StepStatus.SUCCEEDED
        self.update(
            index,
            status=StepStatus.SKIPPED if skipped else status,
            ended_at_ms=self._now_ms(),
            detail=detail[:STEP_DETAIL_MAX] or step.detail,
            error=detail if status is StepStatus.TERMINAL else step.error,
        )


class ShownStep:
    """Shows what happens inside as one step.

    Not a generator: a run that is let go of in the middle is closed in whatever order, and a generator that was closed
    before the block around it is left would complain.
    """

    def __init__(self, steps: StepList, name: str, target: str) -> None:
        self._steps = steps
        self._name = name
        self._target = target
        self._index = -1

    async def __aenter__(self) -> None:
        self._index = self._steps.begin(self._name, self._target)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self._steps.end(self._index, StepStatus.SUCCEEDED, "")
        elif isinstance(error, OperationFailure):
            self._steps.end(self._index, StepStatus.TERMINAL, str(error))
        elif issubclass(kind, asyncio.CancelledError):
            self._steps.end(self._index, StepStatus.CANCELED, "")


_SAID: Final = {Verb.SKIP: "skipped", Verb.APPROVE: "approved", Verb.PROMOTE: "promoted"}


def _shown(given: BaseModel | None) -> dict[str, Any]:
    return {} if given is None else given.model_dump(mode="json")
