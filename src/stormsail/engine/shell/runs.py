"""Turns of runs, in order: load, decide, commit, replace the cached state, wake, reply.

The turns of one workflow id happen one after another, whichever run of the chain they concern. A caller who goes away
while waiting for its place leaves without trace; one who goes away later does not stop its turn, only misses the reply.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from stormsail.engine.core.deadlines import deadline_ms
from stormsail.engine.core.decide import decide, decide_start
from stormsail.engine.core.decide.reset import decide_reset
from stormsail.engine.core.errors import NotFound, Refused, Unavailable
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.messages import RunMessage
from stormsail.engine.core.requests import (
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    ResetWorkflow,
    RunRequest,
    SignalWorkflow,
    StartActivity,
    StartRequest,
)
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.shell.clock import Clock
from stormsail.engine.shell.driven import Undertakings
from stormsail.engine.shell.joined import Joined, RunQuarantined
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.recent import RecentEvents
from stormsail.engine.shell.run_cache import RunCache
from stormsail.engine.shell.turn_order import TurnOrder, Workflow
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.history import HistoryPage
from stormsail.engine.store.runs import WaitingTasks
from stormsail.engine.store.store import Store

_log: Final = structlog.get_logger(__name__)
_CONTINUED: Final = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
_PART_BYTES: Final = 4 * 1024 * 1024
_JOINABLE: Final = frozenset({SignalWorkflow, StartActivity, CompleteActivity, FailActivity, HeartbeatActivity})
"""What many may ask of one run at once. They change one run and no other, and always something that is written."""
AnyRequest = RunRequest | StartRequest | ResetWorkflow


@dataclass(frozen=True, slots=True)
class Core:
    """The pure functions a turn goes through. Tests put faulty ones here."""

    decide: Callable[[RunState, RunRequest, int, Ids, Limits], Turn] = decide
    decide_start: Callable[[RunState | None, StartRequest, int, Ids, Limits], Turn] = decide_start
    deadline_ms: Callable[[RunState], int | None] = deadline_ms


class Runs:
    """The states of runs, and the only way to change one."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        admission: Admission,
        committed: Callable[[Turn, AnyRequest], None],
        forgotten: Callable[[RunKey], None] = lambda _: None,
        waited_for: Callable[[RunKey], bool] = lambda _: False,
        core: Core | None = None,
    ) -> None:
        """`committed` is called after each commit, before the reply and before the next turn of the same workflow;
        `forgotten` when a run's state leaves memory: what was there alone is gone; `waited_for` says whether a caller
        waits for that, so that it had better stay."""
        self.core = core or Core()
        self.failed = asyncio.Event()
        self.broken = 0
        self._store = store
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._admission = admission
        self._committed = committed
        self._forgotten = forgotten
        self._waited_for = waited_for
        self._order = TurnOrder()
        self._states = RunCache(
            runs_max=limits.open_runs_cached_max,
            size_max=limits.open_runs_cached_size_max,
            held=self._is_held,
            dropped=self._left_memory,
        )
        self._recent = RecentEvents(
            size_max=limits.recent_events_size_max, run_size_max=limits.recent_events_of_run_size_max
        )
        self._current: OrderedDict[Workflow, RunKey] = OrderedDict()
        self._quarantined: dict[RunKey, str] = {}
        self._commits = Undertakings()
        self._joined = Joined(
            self._order, admission=admission, read=self._read_serving, next_=self._next, write=self._write
        )
        self._stopping = ""

    async def execute(
        self,
        namespace: str,
        workflow_id: str,
        run_id: str,
        request: RunRequest,
        *,
        takes: RunMessage | None = None,
        carried: bool = False,
    ) -> Any:
        """Do one request on one run; an empty run id means the current run. Returns once it is on disk.

        `takes`: the message that asks for it; it leaves the outbox with the same commit. `carried`: the caller is
        carried out itself (driven.py), so that nobody can cancel it while it waits."""
        if takes is None and type(request) in _JOINABLE:
            workflow = (namespace, workflow_id)
            if self._order.taken(workflow) or workflow in self._joined:
                self.check_serving()
                return await self._joined.execute(workflow, run_id, request)

        def work() -> Turn:
            return self._next(self.read(namespace, workflow_id, run_id), request)

        return await self._take_turn((namespace, workflow_id), work, request, takes, carried=carried)

    async def start(self, namespace: str, request: StartRequest, *, takes: RunMessage | None = None) -> Any:
        """Start a workflow, or do what its policies say where one is there. Returns the reply once it is on disk.

        `takes`: see `execute`."""
        workflow_id = request.request.workflow_id

        def work() -> Turn:
            key = self._find_current((namespace, workflow_id))
            current = None if key is None else self._state(key)
            subject = key or RunKey(namespace, workflow_id, "")
            return self._decided(subject, self.core.decide_start, current, request)

        return await self._take_turn((namespace, workflow_id), work, request, takes)

    async def reset(self, request: ResetWorkflowExecutionRequest) -> Any:
        """Begin a new run with part of a run's history; return its id once that is on disk."""
        namespace, execution = request.namespace, request.workflow_execution

        def work() -> Turn:
            base = self.read(namespace, execution.workflow_id, execution.run_id)
            current = self.read(namespace, execution.workflow_id, "")
            followers = []
            following, seen = base, {base.key.run_id}
            while following.new_run_id and following.status == _CONTINUED and following.new_run_id not in seen:
                try:
                    following = self.read(namespace, execution.workflow_id, following.new_run_id)
                except NotFound:
                    break  # Deleted since: what it was told is lost.
                seen.add(following.key.run_id)
                followers.append((following.key, self._history(following.key)))
            history = self._history(base.key)
            return self._decided(base.key, decide_reset, base, current, history, followers, request)

        return await self._take_turn((namespace, execution.workflow_id), work, ResetWorkflow(request), None)

    async def delete(self, key: RunKey) -> bool:
        """Take a closed run out of the store. Returns once that is on disk; False where it is open, or not there."""
        self.check_serving()
        self._admission.enter_turn(new_work=False)
        try:
            await self._order.acquire(key.workflow)
        except BaseException:
            self._admission.leave_turn()
            raise
        return await self._commits.carried_out(self._delete(key))

    def closed_by(self, namespace: str, until_ms: int, most: int) -> list[RunKey]:
        """Return runs of a namespace that had closed by then."""
        with self._reading(RunKey(namespace, "", "")):
            return self._store.closed_by(namespace, until_ms, most)

    def read(self, namespace: str, workflow_id: str, run_id: str) -> RunState:
        """Return the newest committed state; not to be changed. An empty run id means the current run."""
        if run_id:
            return self._state(RunKey(namespace, workflow_id, run_id))
        key = self._find_current((namespace, workflow_id))
        if key is None:
            raise NotFound(f"workflow not found for ID: {workflow_id}")
        return self._state(key)

    def page(self, key: RunKey, first_event_id: int, *, max_events: int, max_bytes: int) -> HistoryPage:
        """Return part of a run's stored history. Raises NotFound for a run whose rows are gone: a deletion takes them
        before it takes the state from memory, and nobody may be shown a history that ends too early."""
        recent = self._recent.page(key, first_event_id, max_events=max_events, max_bytes=max_bytes)
        if recent is not None:
            return recent
        with self._reading(key):
            page = self._store.history(key, first_event_id, max_events=max_events, max_bytes=max_bytes)
        return _there(key, page)

    def page_reverse(self, key: RunKey, first_event_id: int, *, max_events: int, max_bytes: int) -> HistoryPage:
        """Return part of a run's stored history, newest first. Raises NotFound as `page` does."""
        with self._reading(key):
            page = self._store.history_reverse(key, first_event_id, max_events=max_events, max_bytes=max_bytes)
        return _there(key, page)

    def due(self, until_ms: int, most: int) -> list[tuple[int, RunKey]]:
        """Return the runs that must be looked at by then, earliest first."""
        with self._reading(RunKey("", "", "")):
            return self._store.due(until_ms, most)

    def waiting_tasks(self, place: int, runs_max: int) -> WaitingTasks:
        """Return the tasks that the store has waiting, of so many runs behind a place."""
        with self._reading(RunKey("", "", "")):
            return self._store.waiting_tasks(place, runs_max)

    def in_memory(self, key: RunKey) -> RunState | None:
        """Return a run's newest committed state where it is here, and None where only the store has it."""
        return self._states.peek(key)

    def check_serving(self) -> None:
        """Raise Unavailable when the server is stopping or its storage failed."""
        if self._stopping:
            raise Unavailable(self._stopping)

    def refuse(self, reason: str) -> None:
        """Refuse further turns with this reason."""
        self._stopping = self._stopping or reason

    async def drop(self, message: RunMessage, answers: Sequence[RunMessage]) -> None:
        """Drop a message that no run takes, and send what answers it. Returns once that is on disk."""
        try:
            await self._store.outbox.settle(message, answers)
        except StorageFailed as error:
            self._storage_failed(error)
            raise Unavailable(self._stopping) from error

    async def written(self) -> None:
        """Wait for the turns that are being written."""
        await self._commits.over()
        while self._joined.running:
            await asyncio.wait(self._joined.running)
            await self._commits.over()

    def quarantine(self, key: RunKey, broken: Exception) -> RunQuarantined:
        """Put a run aside because of a broken invariant, count and log it; return the refusal to raise."""
        rule = str(broken) or type(broken).__name__
        if key.run_id:
            self._quarantined[key] = rule
            if len(self._quarantined) > self._limits.quarantined_max:
                del self._quarantined[next(iter(self._quarantined))]
        self._forget(key)
        self.broken += 1
        _log.error("run_quarantined", run=str(key), rule=rule, quarantined=len(self._quarantined), exc_info=broken)
        return RunQuarantined(key, rule)

    def storage_failed(self, error: StorageFailed) -> Unavailable:
        """Stop serving, for the storage failed in a room with rows of its own; return the refusal to raise."""
        self._storage_failed(error)
        return Unavailable(self._stopping)

    async def _take_turn(
        self,
        workflow: Workflow,
        work: Callable[[], Turn],
        request: AnyRequest,
        takes: RunMessage | None,
        *,
        carried: bool = False,
    ) -> Any:
        self.check_serving()
        self._admission.enter_turn(new_work=takes is None and isinstance(request, StartRequest))
        try:
            await self._order.acquire(workflow)
        except BaseException:
            self._admission.leave_turn()
            raise
        to_write = False
        try:
            self.check_serving()
            turn = work()
            turn.takes = takes
            if turn.empty:
                if turn.held:
                    # Nothing of it is for the disk: it is done as soon as it is decided.
                    self._keep(turn)
                    self._committed(turn, request)
                return _reply(turn)
            to_write = True
        finally:
            if not to_write:
                self._leave(workflow)
        writing = self._commit(workflow, turn, request)
        await (writing if carried else self._commits.carried_out(writing))
        return _reply(turn)

    def _read_serving(self, workflow: Workflow, run_id: str) -> RunState:
        self.check_serving()
        return self.read(*workflow, run_id)

    def _next(self, state: RunState, request: RunRequest) -> Turn:
        return self._decided(state.key, self.core.decide, state, request)

    async def _commit(self, workflow: Workflow, turn: Turn, request: AnyRequest) -> None:
        """Write a turn and pass it on. No caller can cancel it."""
        try:
            await self._write(workflow, turn, request)
        finally:
            self._leave(workflow)

    async def _write(self, workflow: Workflow, turn: Turn, request: AnyRequest) -> None:
        """Write a turn and let the world know."""
        try:
            await self._store.commit([turn])
            for each in turn.every:
                self._keep(each)
            self._committed(turn, request)
        except Refused:
            raise
        except StorageFailed as error:
            self._storage_failed(error)
            raise Unavailable(self._stopping) from error
        except AssertionError as broken:
            raise self.quarantine(turn.state.key, broken) from broken
        except BaseException:
            # Nobody knows whether it is on disk. What the disk says is the truth: forget ours.
            for each in turn.every:
                self._forget(each.state.key)
            self._current.pop(workflow, None)
            raise

    async def _delete(self, key: RunKey) -> bool:
        """No caller can cancel it."""
        try:
            self.check_serving()
            deleted = await self._store.delete(key)
        except StorageFailed as error:
            self._storage_failed(error)
            raise Unavailable(self._stopping) from error
        finally:
            # Whatever became of it, what the disk says is the truth.
            self._forget(key)
            self._current.pop(key.workflow, None)
            self._quarantined.pop(key, None)
            self._leave(key.workflow)
        return deleted

    def _history(self, key: RunKey) -> list[bytes]:
        """Return all of a run's history, in parts."""
        parts, next_event_id = [], 1
        while next_event_id:
            limits = self._limits
            page = self.page(key, next_event_id, max_events=limits.history_events_max, max_bytes=_PART_BYTES)
            parts.append(page.frames)
            next_event_id = page.next_event_id
        return parts

    def _leave(self, workflow: Workflow) -> None:
        self._order.release(workflow)
        self._admission.leave_turn()

    def _storage_failed(self, error: StorageFailed) -> None:
        self._stopping = f"The server's storage failed and it is stopping: {error}. Restart it once the disk is sound."
        if not self.failed.is_set():
            _log.critical("storage_failed", error=str(error))
        self.failed.set()

    def _decided(self, key: RunKey, deciding: Callable[..., Turn], *given: object) -> Turn:
        try:
            return deciding(*given, self._clock.now_ms(), self._ids, self._limits)
        except AssertionError as broken:
            raise self.quarantine(key, broken) from broken

    def _state(self, key: RunKey) -> RunState:
        rule = self._quarantined.get(key)
        if rule is not None:
            raise RunQuarantined(key, rule)
        state = self._states.get(key)
        if state is None:
            state = self._load(key)
            self._states.put(state)
        return state

    def _load(self, key: RunKey) -> RunState:
        with self._reading(key):
            state = self._store.load(key)
        if state is None:
            raise _no_run(key)
        return state

    @contextmanager
    def _reading(self, key: RunKey) -> Iterator[None]:
        """Turn what can go wrong when reading a run into what its caller is told."""
        try:
            yield
        except StorageFailed as error:
            self._storage_failed(error)
            raise Unavailable(self._stopping) from error
        except AssertionError as broken:
            raise self.quarantine(key, broken) from broken

    def _find_current(self, workflow: Workflow) -> RunKey | None:
        key = self._current.get(workflow)
        if key is not None:
            self._current.move_to_end(workflow)
            return key
        with self._reading(RunKey(*workflow, "")):
            key = self._store.current(*workflow)
        if key is not None:
            self._remember_current(key)
        return key

    def _keep(self, turn: Turn) -> None:
        self._states.put(turn.state)
        self._recent.add(turn)
        if turn.before is None:
            self._remember_current(turn.state.key)

    def _is_held(self, state: RunState) -> bool:
        """Whether a run had better stay in memory, for somebody counts on what is there alone.

        A worker has its task, and there are no more of these than workers have room for; or a caller waits for an
        update that was only admitted, and there are no more of these than may wait. Callers whose runs drove each other
        out would ask again and again, and never be served.
        """
        task = state.workflow_task
        if task is not None and task.held_start is not None:
            return True
        return bool(state.updates_admitted) and self._waited_for(state.key)

    def _forget(self, key: RunKey) -> None:
        if self._states.drop(key):
            self._left_memory(key)
        else:
            self._recent.forget(key)

    def _left_memory(self, key: RunKey) -> None:
        self._recent.forget(key)
        self._forgotten(key)

    def _remember_current(self, key: RunKey) -> None:
        self._current[key.workflow] = key
        self._current.move_to_end(key.workflow)
        while len(self._current) > self._limits.open_runs_cached_max:
            self._current.popitem(last=False)


def _no_run(key: RunKey) -> NotFound:
    """What is told of a run that there is not, in Temporal's words."""
    return NotFound(f'workflow execution not found for workflow ID "{key.workflow_id}" and run ID "{key.run_id}"')


def _there(key: RunKey, page: HistoryPage) -> HistoryPage:
    if not page.frames:
        raise _no_run(key)
    return page


def _reply(turn: Turn) -> Any:
    if turn.refusal is not None:
        raise turn.refusal
    return turn.reply
