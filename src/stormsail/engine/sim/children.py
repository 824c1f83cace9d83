"""C1: what a parent asked for happened to its children once, and what it was told of them is what they did."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from temporalio.api.enums.v1 import ParentClosePolicy
from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core import events
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.sim.program import CHILD_ENDS, CHILD_MARK

Histories = Mapping[RunKey, Sequence[HistoryEvent]]
Broken = Callable[[str, str], None]

BYSTANDER: Final = "bystander"
"""Who it is that ends children beside their parents."""
_STOPS: Final = ("WorkflowExecutionCancelRequested", "WorkflowExecutionTerminated")


def check(histories: Histories, broken: Broken) -> None:
    """Hold every parent's history against those of its children."""
    born = _born(histories)
    for key, history in histories.items():
        asked: dict[int, Any] = {}
        heard: dict[int, list[tuple[str, Any]]] = defaultdict(list)
        for event in history:
            name = NAME_OF_TYPE[event.event_type]
            attributes: Any = events.attributes_of(event)
            if name == "StartChildWorkflowExecutionInitiated":
                asked[event.event_id] = attributes
            elif "Child" in name:
                heard[attributes.initiated_event_id].append((name, attributes))
        for initiated, attributes in asked.items():
            runs = born[key.run_id, initiated]
            _check_child(key, attributes.workflow_id, runs, heard[initiated], histories, broken)
            for child in runs if attributes.workflow_id.endswith(CHILD_MARK) else ():
                _check_asked_to_stop(child, attributes.parent_close_policy, histories, broken)


def _born(histories: Histories) -> dict[tuple[str, int], list[RunKey]]:
    """Return the first runs of children, by the run and the event that asked for them."""
    born: dict[tuple[str, int], list[RunKey]] = defaultdict(list)
    for key, history in histories.items():
        start = history[0].workflow_execution_started_event_attributes
        if start.parent_initiated_event_id and not start.continued_execution_run_id:
            born[start.parent_workflow_execution.run_id, start.parent_initiated_event_id].append(key)
    return born


def _check_child(
    parent: RunKey,
    child_id: str,
    runs: list[RunKey],
    heard: list[tuple[str, Any]],
    histories: Histories,
    broken: Broken,
) -> None:
    names = [name for name, _ in heard]
    if len(runs) > 1:
        broken("C1", f"{parent} asked once for {child_id}, which was begun {len(runs)} times")
    if len(names) != len(set(names)) or sum(name in CHILD_ENDS for name in names) > 1:
        broken("C1", f"{parent} is told of {child_id}: {', '.join(names)}")
    for name, attributes in heard:
        if name == "ChildWorkflowExecutionStarted":
            told = attributes.workflow_execution.run_id
            if told not in {run.run_id for run in runs}:
                broken("C1", f"{parent} is told that {child_id} began as run {told}, which is not there")
        elif name == "StartChildWorkflowExecutionFailed" and runs:
            broken("C1", f"{parent} is told that {child_id} was not begun, and it was")
        elif name in CHILD_ENDS and runs:
            ended = NAME_OF_TYPE[_last(runs[0], histories)[-1].event_type]
            if ended != CHILD_ENDS[name]:
                broken("C1", f"{parent} is told {name} of {child_id}, which ended with {ended}")


def _check_asked_to_stop(
    child: RunKey, policy: ParentClosePolicy.ValueType, histories: Histories, broken: Broken
) -> None:
    """A parent that closes does to a child what its policy says, and does it once."""
    stops = [
        name
        for event in histories[child]
        if (name := NAME_OF_TYPE[event.event_type]) in _STOPS
        and getattr(events.attributes_of(event), "identity", "") != BYSTANDER
    ]
    if len(stops) > 1:
        broken("C1", f"{child} was stopped more than once: {', '.join(stops)}")
    if stops and policy == ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON:
        broken("C1", f"{child} is to be left alone when its parent closes, and has {stops[0]}")


def _last(key: RunKey, histories: Histories) -> Sequence[HistoryEvent]:
    """Return the history of the last run of a chain."""
    while following := str(getattr(events.attributes_of(histories[key][-1]), "new_execution_run_id", "")):
        key = RunKey(key.namespace, key.workflow_id, following)
    return histories[key]
