"""Bugs planted in the shell of an open engine: parts of it forget to do what they should."""

from typing import Any

from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.machines.run import CLOSING
from stormsail.engine.core.messages import ChildClosed, RunMessage
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.shell.engine import Engine


def skips_wake_of_pollers(engine: Engine) -> None:
    add = engine.matching.add
    seen = [0]

    def skipping(key: RunKey, task: Any) -> None:
        seen[0] += 1
        if seen[0] % 10:
            add(key, task)

    engine.matching.add = skipping  # type: ignore[method-assign]


def skips_wake_of_waiters(engine: Engine) -> None:
    engine.waiters.wake = lambda key, *, closed: None  # type: ignore[method-assign]  # noqa: ARG005


def keeps_task_rows(engine: Engine) -> None:
    engine.matching.drop = lambda name: None  # type: ignore[method-assign]  # noqa: ARG005


def loses_deadline(engine: Engine) -> None:
    set_ = engine.timers.set

    def losing(key: RunKey, at_ms: int | None) -> None:
        if at_ms is None or at_ms % 3:
            set_(key, at_ms)

    engine.timers.set = losing  # type: ignore[method-assign]
    engine.timers._refill = lambda: setattr(engine.timers, "_known_until_ms", 1 << 60)  # type: ignore[method-assign]


def wrong_cache_key(engine: Engine) -> None:
    """The current run of a workflow id is remembered without its namespace."""
    find = engine.runs._find_current
    remembered: dict[str, RunKey] = {}

    def finding(workflow: tuple[str, str]) -> RunKey | None:
        key = remembered.get(workflow[1])
        if key is not None and engine.runs._state(key).open:
            return key
        key = find(workflow)
        if key is not None:
            remembered[workflow[1]] = key
        return key

    engine.runs._find_current = finding  # type: ignore[method-assign]


def two_turns_at_once(engine: Engine) -> None:
    async def at_once(_workflow: tuple[str, str]) -> None:
        return None

    engine.runs._order.acquire = at_once  # type: ignore[method-assign, assignment]
    engine.runs._order.release = lambda workflow: None  # type: ignore[method-assign]  # noqa: ARG005


def queries_old_state(engine: Engine) -> None:
    """Queries do not wait for the workflow task that shows what was acknowledged."""
    engine.queries._runs = TaskBlind(engine.runs)  # type: ignore[assignment]


class TaskBlind:
    def __init__(self, runs: Any) -> None:
        self._runs = runs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runs, name)

    def read(self, namespace: str, workflow_id: str, run_id: str) -> RunState:
        state: RunState = self._runs.read(namespace, workflow_id, run_id).copy()
        state.workflow_task = None
        return state


def leaks_admission(engine: Engine) -> None:
    engine.admission.leave_turn = lambda: None  # type: ignore[method-assign]


def caches_for_ever(engine: Engine) -> None:
    engine.runs._states.runs_max = 1 << 30


def keeps_stale_state(engine: Engine) -> None:
    """A run that closes stays the current one's cached state: what it was before it closed."""
    keep = engine.runs._keep

    def keeping(turn: Turn) -> None:
        if turn.events and NAME_OF_TYPE[turn.events[-1].event_type] in CLOSING and turn.before is not None:
            return
        keep(turn)

    engine.runs._keep = keeping  # type: ignore[method-assign]


def keeps_started(engine: Engine) -> None:
    drop = engine.matching.drop
    kept: set[Any] = set()

    def again(waiting: Any) -> None:
        if waiting.task.kind == "workflow" and waiting.name not in kept:
            kept.add(waiting.name)
            engine.matching._tasks[waiting.name] = waiting
            queue = engine.matching._queue(waiting.queue)
            queue.backlog.put_back(waiting)
        else:
            drop(waiting.name)

    engine.matching.done = again  # type: ignore[method-assign]


def leaves_messages(engine: Engine) -> None:
    """Messages between runs are brought only when an engine opens."""
    engine.outbox.add = lambda message: None  # type: ignore[method-assign]  # noqa: ARG005


def keeps_child_ends_to_itself(engine: Engine) -> None:
    """A parent is never told that its child has ended."""
    bring = engine.outbox._bring_once

    async def forgetting(message: RunMessage) -> None:
        if isinstance(message.body, ChildClosed):
            await engine.store.outbox.settle(message, [])
        else:
            await bring(message)

    engine.outbox._bring_once = forgetting  # type: ignore[method-assign]
