"""What must hold when all has come to rest: every acknowledgement against every history, lists against a model."""

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)

from stormsail.engine.core import events, work
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.shell.engine import Engine
from stormsail.engine.sim import children, updates
from stormsail.engine.sim.client import read_history
from stormsail.engine.sim.ledger import Ledger
from stormsail.engine.sim.network import Network, Violated
from stormsail.engine.sim.program import FROM_PARENT, NotDeterministic, derive, text_of
from stormsail.engine.sim.trace import Violation
from stormsail.engine.sim.watch import Watch

Histories = dict[RunKey, list[HistoryEvent]]
_STATUS = ("", "Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut")


class Finals:
    """See the module."""

    def __init__(
        self, network: Network, ledger: Ledger, watch: Watch, violated: Violated, chance: random.Random
    ) -> None:
        self._network = network
        self._ledger = ledger
        self._watch = watch
        self._violated = violated
        self._chance = chance
        self._reset: set[tuple[str, str]] = set()
        """Workflows of which a run was reset: the new one has what the old one had."""

    def at_rest(self, engine: Engine) -> None:
        """Check an engine that has nothing to do: nothing leaked, nothing waits that should not."""
        if engine.admission.turns:
            self._broken("B1", f"{engine.admission.turns} turns are counted as under way, and none is")
        limits = engine.limits
        if len(engine.runs._states) > limits.open_runs_cached_max:
            self._broken("B1", f"{len(engine.runs._states)} runs are cached, {limits.open_runs_cached_max} may be")
        if engine.outbox.waiting or engine.store.outbox.waiting(10, 1 << 20)[0]:
            self._broken("L1", "messages between runs wait, and nobody brings them")
        self._watch.timetable.at_rest({key.workflow for key in self._watch.begun})
        wanted = {
            (key, *task.ref) for key, known in self._watch.runs.items() for task in work.tasks(known.state).values()
        }
        found = engine.matching.names()
        if wanted != found:
            self._broken("L1", f"matching holds other tasks than the runs have: {sorted(map(str, wanted ^ found))[:3]}")
        for queue in engine.matching._queues.values():
            if {waiting.name for waiting in queue.backlog} - found:
                self._broken("B1", "a queue holds tasks that are none")

    async def read_all(self) -> Histories:
        """Read every history through the API."""
        histories: Histories = {}
        for key in list(self._watch.runs):
            read = await read_history(self._network, "auditor", key, self._chance.choice((0, 3, 100)))
            if read is None and key not in self._watch.deleted:
                self._broken("D1", f"the history of {key} cannot be read")
            if read is None:
                continue
            run = WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id)
            self._ledger.saw(key.namespace, run, read)
            if len(read) < len(self._ledger.read.get(key, ())):
                self._broken("H3", f"the history of {key} has become shorter")
            histories[key] = read
        # What was deleted is known by its commits: what others did to it and it to others must fit all the same.
        return histories | {key: known.events for key, known in self._watch.deleted.items()}

    def check(self, histories: Histories) -> None:
        """Hold what was acknowledged against the histories."""
        for key, history in histories.items():
            known = self._watch.known(key)
            self._watch.check_replay(known)
            if len(history) != len(known.events):
                self._broken("H1", f"{key} shows {len(history)} events of {len(known.events)}")
            try:
                derive(history)
            except NotDeterministic as wrong:
                self._broken("H2", f"{key}: {wrong}")
            self._check_activities(key, history)
            self._check_tasks(key, history)
            self._check_links(key, history, histories)
            self._check_reset(key, history, histories)
        self._reset = {key.workflow for key in histories if self._watch.known(key).state.reset_at_ms}
        children.check(histories, self._broken)
        updates.check(self._ledger.updates, histories, self._reset, self._broken)
        self._check_starts(histories)
        self._check_signals(histories)
        self._check_done(histories)

    async def check_lists(self) -> None:
        """V1: lists and counts show what the runs are, for some filters and page sizes."""
        for namespace in sorted({key.namespace for key in self._watch.runs}):
            states = [known.state for key, known in self._watch.runs.items() if key.namespace == namespace]
            for query, fits in self._filters(states):
                expected = {state.key.run_id for state in states if fits(state)}
                found = await self._list(namespace, query)
                if sorted(found) != sorted(expected):
                    self._broken("V1", f"list {query!r} in {namespace} shows {len(found)} runs, not {len(expected)}")
                count = await self._network.call(
                    "auditor",
                    "CountWorkflowExecutions",
                    CountWorkflowExecutionsRequest(namespace=namespace, query=query),
                    CountWorkflowExecutionsResponse,
                )
                if count.count != len(expected):
                    self._broken("V1", f"count {query!r} in {namespace} is {count.count}, not {len(expected)}")

    def _filters(self, states: list[RunState]) -> list[tuple[str, Callable[[RunState], bool]]]:
        one = self._chance.choice(states)
        status, name = one.status, one.key.workflow_id
        return [
            ("", lambda _: True),
            (f"ExecutionStatus = '{_STATUS[status]}'", lambda state: state.status == status),
            (f"WorkflowId = '{name}'", lambda state: state.key.workflow_id == name),
            (
                f"WorkflowId = '{name}' AND ExecutionStatus = '{_STATUS[status]}'",
                lambda state: state.key.workflow_id == name and state.status == status,
            ),
            (
                f"ExecutionStatus != '{_STATUS[status]}' AND HistoryLength > 9",
                lambda state: state.status != status and not state.open and state.last_event_id > 9,
            ),
        ]

    async def _list(self, namespace: str, query: str) -> list[str]:
        found: list[str] = []
        token = b""
        size = self._chance.choice((0, 1, 3))
        while True:
            request = ListWorkflowExecutionsRequest(
                namespace=namespace, query=query, page_size=size, next_page_token=token
            )
            page = await self._network.call(
                "auditor", "ListWorkflowExecutions", request, ListWorkflowExecutionsResponse
            )
            found += [one.execution.run_id for one in page.executions]
            token = page.next_page_token
            if not token:
                return found

    def _check_activities(self, key: RunKey, history: list[HistoryEvent]) -> None:
        """A1: what is recorded is the answer of the attempt that is recorded."""
        started: dict[int, Any] = {}
        for event in history:
            name = NAME_OF_TYPE[event.event_type]
            attributes: Any = events.attributes_of(event)
            if name == "ActivityTaskStarted":
                started[event.event_id] = attributes
            elif name in ("ActivityTaskCompleted", "ActivityTaskFailed", "ActivityTaskCanceled"):
                meant = self._ledger.answering.get(attributes.identity)
                start = started.get(attributes.started_event_id)
                if meant is not None and start is not None and start.attempt != meant:
                    self._broken(
                        "A1", f"{key}: {name} {event.event_id} is of attempt {meant}, and stands for {start.attempt}"
                    )

    def _check_tasks(self, key: RunKey, history: list[HistoryEvent]) -> None:
        """W1: each completion is of the task that is recorded with it."""
        for event in history:
            if NAME_OF_TYPE[event.event_type] != "WorkflowTaskCompleted":
                continue
            done = event.workflow_task_completed_event_attributes
            scheduled = history[done.scheduled_event_id - 1].workflow_task_scheduled_event_attributes
            recorded = f"{done.started_event_id}/{scheduled.attempt}"
            if done.binary_checksum != recorded:
                self._broken("W1", f"{key}: task {recorded} was completed by the worker of {done.binary_checksum}")

    def _check_links(self, key: RunKey, history: list[HistoryEvent], histories: Histories) -> None:
        """R1: chains link both ways."""
        start = history[0].workflow_execution_started_event_attributes
        # What a reset makes says of itself what its base run says, and nobody says that it follows.
        if (before_id := start.continued_execution_run_id) and not self._watch.known(key).state.reset_at_ms:
            before = RunKey(key.namespace, key.workflow_id, before_id)
            if before not in histories or _follower(histories[before][-1]) != key.run_id:
                self._broken("R1", f"{key} says that it follows {before_id}, which does not say so")
        if (after_id := _follower(history[-1])) and RunKey(key.namespace, key.workflow_id, after_id) not in histories:
            self._broken("R1", f"{key} says that {after_id} follows, which is not there")
        elif after_id:
            after = histories[RunKey(key.namespace, key.workflow_id, after_id)][0]
            if after.workflow_execution_started_event_attributes.continued_execution_run_id != key.run_id:
                self._broken("R1", f"{key} says that {after_id} follows, which does not say so")

    def _check_reset(self, key: RunKey, history: list[HistoryEvent], histories: Histories) -> None:
        """D1: what a run was told, the run that a reset made of it hears as well."""
        for event in history:
            failed = event.workflow_task_failed_event_attributes
            base = RunKey(key.namespace, key.workflow_id, failed.base_run_id)
            if NAME_OF_TYPE[event.event_type] == "WorkflowTaskFailed" and failed.new_run_id == key.run_id:
                told = _signals(histories.get(base, []))
                if lost := [name for name in told if name not in _signals(history)]:
                    self._broken("D1", f"{key} was made of {base.run_id}, and does not hear of {lost[0]}")

    def _check_starts(self, histories: Histories) -> None:
        begun: dict[str, list[RunKey]] = defaultdict(list)
        for key in histories:
            state = self._watch.known(key).state
            if not state.start.continued_execution_run_id and not state.reset_at_ms:
                begun[state.start_request_id].append(key)
        for start in self._ledger.starts:
            key = RunKey(start.namespace, start.workflow_id, start.run_id)
            if start.run_id and key not in histories:
                self._broken("D1", f"{key} was acknowledged as started, and is not there")
            if start.started and begun[start.request_id][:1] != [key] and key not in begun[start.request_id]:
                self._broken("D1", f"{key} was acknowledged as begun by a request that did not begin it")
            if len(begun[start.request_id]) > 1 and not self._overtaken(start.request_id, begun):
                self._broken("D2", f"request {start.request_id} began {len(begun[start.request_id])} runs")

    def _overtaken(self, request_id: str, begun: dict[str, list[RunKey]]) -> bool:
        """Whether another start came between: a workflow id remembers the request of its newest run only, as it does
        in the server we follow."""
        order = self._watch.begun
        runs = sorted(begun[request_id], key=order.index)
        if any(key in self._watch.deleted for key in runs[:-1]):
            return True  # nobody knows any more what began it
        between = order[order.index(runs[0]) + 1 : order.index(runs[-1])]
        return any(
            key.workflow == runs[0].workflow and self._watch.known(key).state.start_request_id != request_id
            for key in between
        )

    def _check_signals(self, histories: Histories) -> None:
        """D1, D2, S1 and X1 for signals."""
        where: dict[str, list[RunKey]] = defaultdict(list)
        for key, history in histories.items():
            names = _signals(history)
            for name in names:
                where[name].append(key)
                if not name.startswith((f"{key.namespace}.", FROM_PARENT)):
                    self._broken("X1", f"{key} has the signal {name} of another namespace")
            self._check_signal_order(key, names)
        for name, found in where.items():
            if name.startswith(FROM_PARENT) and len(found) > 1:
                self._broken("C1", f"signal {name} of a parent is there {len(found)} times")
        for sent in self._ledger.signals:
            found = where[sent.name]
            if sent.run_id and RunKey(sent.namespace, sent.workflow_id, sent.run_id) not in found:
                self._broken("D1", f"signal {sent.name} was acknowledged by {sent.run_id}, and is not there")
            if len(found) != len(set(found)):
                self._broken("D2", f"signal {sent.name} is there twice")
            if sent.named_run and len(found) > 1 and found[0].workflow not in self._reset:
                self._broken("D2", f"signal {sent.name} named one run and is in {len(found)}")

    def _check_signal_order(self, key: RunKey, names: list[str]) -> None:
        acknowledged = {sent.name: sent for sent in self._ledger.signals if sent.run_id == key.run_id}
        last: dict[str, int] = {}
        for name in names:
            sent = acknowledged.get(name)
            if sent is None:
                continue
            if sent.number < last.get(sent.client, 0):
                self._broken("S1", f"{key}: signal {name} stands behind a later one of its client")
            last[sent.client] = sent.number

    def _check_done(self, histories: Histories) -> None:
        """D1 for what workers and terminators were told."""
        recorded: dict[tuple[RunKey, str], set[str]] = defaultdict(set)
        for key, history in histories.items():
            for event in history:
                attributes: Any = events.attributes_of(event)
                recorded[key, NAME_OF_TYPE[event.event_type]].add(getattr(attributes, "identity", ""))
        for key, identity in self._ledger.tasks_done:
            if identity not in recorded[key, "WorkflowTaskCompleted"]:
                self._broken("D1", f"{key}: the workflow task completed by {identity} is not in its history")
        for key, identity in self._ledger.activities_done:
            if identity not in recorded[key, "ActivityTaskCompleted"]:
                self._broken("D1", f"{key}: the activity completed by {identity} is not in its history")
        for namespace, workflow_id, identity in self._ledger.terminated:
            runs = [key for key in histories if key.workflow == (namespace, workflow_id)]
            if not any(identity in recorded[key, "WorkflowExecutionTerminated"] for key in runs):
                self._broken("D1", f"{workflow_id} was terminated by {identity}, and no run of it says so")
        for name, asked in (("Paused", self._ledger.paused), ("Unpaused", self._ledger.unpaused)):
            for key, request_id in asked:
                told = [getattr(events.attributes_of(event), "request_id", "") for event in histories[key]]
                if request_id not in told:
                    self._broken("D1", f"{key}: what {request_id} asked for was acknowledged, and it is not {name}")
        for key, history in histories.items():
            if NAME_OF_TYPE[history[-1].event_type] == "WorkflowExecutionCompleted":
                done: Any = events.attributes_of(history[-1])
                signals = sum(1 for event in history if NAME_OF_TYPE[event.event_type] == "WorkflowExecutionSignaled")
                if len([name for name in text_of(done.result).split(",") if name]) != signals:
                    self._broken("W1", f"{key} completed without having seen all of its {signals} signals")

    def _broken(self, invariant: str, text: str) -> None:
        self._violated(Violation(invariant, text))


def _signals(history: list[HistoryEvent]) -> list[str]:
    return [
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in history
        if NAME_OF_TYPE[event.event_type] == "WorkflowExecutionSignaled"
    ]


def _follower(closing: HistoryEvent) -> str:
    attributes: Any = events.attributes_of(closing)
    return str(getattr(attributes, "new_execution_run_id", ""))
