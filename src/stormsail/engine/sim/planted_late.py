"""Bugs planted in schedules, pauses, resets, deletions, priorities and deadlines."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from temporalio.api.enums.v1 import ResetReapplyType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from stormsail.engine.core.decide import decide
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.priority import TaskPriority
from stormsail.engine.core.requests import PauseActivity, RunRequest, StartWorkflow, UnpauseWorkflow
from stormsail.engine.core.schedules.state import Schedule
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.shell.engine import Engine
from stormsail.engine.sim.planted_store import Before

_SCHEDULER: Final = "temporal-scheduler-"
_EARLY_MS: Final = 10_000


class ForgetsStarts(Before):
    """What a schedule has decided to start is in memory alone."""

    @property
    def schedules(self) -> Any:
        return _StartsForgotten(self._inner.schedules)


class _StartsForgotten:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, before: Schedule | None, after: Schedule | None, due_ms: int | None) -> None:
        await self._inner.commit(before, after and replace(after, starting=()), due_ms)


class KeepsDeleted(Before):
    """A deletion is acknowledged, and nothing is deleted."""

    async def delete(self, key: RunKey) -> bool:
        state = self._inner.load(key)
        return state is not None and not state.open


def draws_request_ids_anew(engine: Engine) -> None:
    """Each try of a schedule's start has another request id."""
    start = engine.runs.start
    drawn = [0]

    async def starting(namespace: str, request: Any, **more: Any) -> Any:
        if isinstance(request, StartWorkflow) and request.request.identity.startswith(_SCHEDULER):
            drawn[0] += 1
            request.request.request_id += f".{drawn[0]}"
        return await start(namespace, request, **more)

    engine.runs.start = starting  # type: ignore[method-assign]


def hears_no_ends(engine: Engine) -> None:
    """A schedule does not hear that its workflow has ended."""
    engine.schedules.run_committed = lambda state: None  # type: ignore[method-assign]  # noqa: ARG005


def notes_no_pause(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    turn = decide(state, request, now_ms, ids, limits)
    return Turn.on(state, now_ms) if isinstance(request, PauseActivity) else turn


def unpauses_into_silence(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """A run that goes on gets no workflow task."""
    turn = decide(state, request, now_ms, ids, limits)
    if not isinstance(request, UnpauseWorkflow):
        return turn
    alone = Turn.on(state, now_ms)
    alone.emit(turn.events[0].workflow_execution_unpaused_event_attributes)
    return alone


def sweeps_early(engine: Engine) -> None:
    """Retention ends too early."""
    closed_by = engine.retention._closed_by

    def early(namespace: str, until_ms: int, most: int) -> Sequence[RunKey]:
        return closed_by(namespace, until_ms + _EARLY_MS, most)

    engine.retention._closed_by = early


def never_sweeps(engine: Engine) -> None:
    """Retention finds nothing to delete."""
    engine.retention._closed_by = lambda _namespace, _until_ms, _most: []


def tells_nothing_again(engine: Engine) -> None:
    """A reset run does not hear of the signals that came after the point of its reset."""
    reset = engine.runs.reset

    async def forgetting(request: ResetWorkflowExecutionRequest) -> Any:
        request.reset_reapply_type = ResetReapplyType.RESET_REAPPLY_TYPE_NONE
        return await reset(request)

    engine.runs.reset = forgetting  # type: ignore[method-assign]


def turns_urgency_round(engine: Engine) -> None:
    """What is more urgent waits for what is less."""
    add = engine.matching.add

    def reversing(key: RunKey, task: Any) -> None:
        level = task.priority.level(engine.matching.levels)
        add(key, replace(task, priority=TaskPriority(engine.matching.levels + 1 - level)))

    engine.matching.add = reversing  # type: ignore[method-assign]


def keeps_deadlines(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """When something of an activity is due is remembered in a copy of it, for which it is wrong."""
    turn = decide(state, request, now_ms, ids, limits)
    for event_id, activity in turn.state.activities.items():
        old = state.activities.get(event_id)
        if old is not None and old.first_due_ms >= 0:
            object.__setattr__(activity, "first_due_ms", old.first_due_ms)
    return turn
