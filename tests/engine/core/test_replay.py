"""States from bytes: replay, progress, the machines' tables, and the row that lists are made of."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest
from temporalio.api.common.v1 import Memo, Payload, SearchAttributes
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    TimerFiredEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes,
)

from engine.core import given as g
from histories.world import BEGIN_MS
from stormsail.engine.core import apply, events, progress
from stormsail.engine.core.errors import InvalidTransition
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.machines.run import CLOSING, RUN, WHILE_RUNNING, Run
from stormsail.engine.core.machines.walk import walk
from stormsail.engine.core.machines.workflow_task import WORKFLOW_TASK, WorkflowTask
from stormsail.engine.core.replay import replay
from stormsail.engine.core.requests import ActivityRef, CompleteActivity, HeartbeatActivity, StartActivity
from stormsail.engine.core.visibility_row import visibility_row

KEY = RunKey("n", "w", "r")
ONE = Payload(data=b"1")


def frame(event_id: int, attributes: Any) -> bytes:
    """One event, framed."""
    return events.frame(events.build(event_id, BEGIN_MS, attributes))


def started() -> bytes:
    """The first event."""
    return frame(1, WorkflowExecutionStartedEventAttributes(workflow_id="w"))


def busy() -> g.Given:
    """A run with something of everything: pending, buffered, transient, heartbeating, sticky."""
    given = g.Given()
    given.start(memo=Memo(fields={"a": ONE}))
    given.signal(request_id="seen")
    known = g.upsert(K=g.value("1"))
    given.step(g.activity("a"), g.activity("b"), g.timer("t", 5), known, sticky_attributes=g.sticky())
    turn = given.world.ask(StartActivity(6, 1, "worker", "nonce"))
    given.world.ask(HeartbeatActivity(ActivityRef(token=turn.reply.token), g.payloads("half"), "worker"))
    given.cancel()
    given.poll()
    given.after(5)
    given.signal("buffered")
    return given


def test_history_and_progress_give_back_the_whole_state() -> None:
    given = busy()
    state = given.state
    assert len(state.buffered) == 2 and state.activities[6].heartbeat_details is not None
    history = given.world.frames[given.world.newest]
    assert replay(state.key, [history], progress.pack(state)) == state
    assert replay(state.key, [history[:0], history], progress.pack(state)) == state
    assert state.history_size_bytes == len(history)


def test_history_alone_gives_what_history_says() -> None:
    given = busy()
    state = replay(given.state.key, [given.world.frames[given.world.newest]], b"")
    assert (state.next_event_id, state.timers.keys(), state.buffered) == (given.state.next_event_id, {"t"}, [])


def test_activities_that_only_wait_cost_no_progress() -> None:
    given = g.Given()
    given.start()
    before = len(progress.pack(given.state))
    given.step(*(g.activity(str(number)) for number in range(100)))
    assert len(progress.pack(given.state)) < before


def test_progress_of_another_version_is_refused() -> None:
    given = busy()
    packed = json.loads(progress.pack(given.state)) | {"v": 2}
    with pytest.raises(InvalidTransition, match="version 2, not 1"):
        progress.unpack_into(given.state.copy(), json.dumps(packed).encode())


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (frame(1, WorkflowTaskScheduledEventAttributes()), "WorkflowTaskScheduled cannot happen"),
        (started() + started(), "event 1 where 2 must be"),
        (started() + frame(3, WorkflowTaskScheduledEventAttributes()), "event 3 where 2 must be"),
        (started() + frame(2, WorkflowTaskStartedEventAttributes()), "is absent: WorkflowTaskStarted cannot happen"),
        (
            started()
            + frame(2, WorkflowExecutionTerminatedEventAttributes())
            + frame(3, TimerFiredEventAttributes(timer_id="t")),
            "is terminated: TimerFired cannot happen",
        ),
        (b"\x12\x00", "no event begins at byte 0"),
        (started()[:-1], "is cut off"),
        (b"\x0a\xff", "no length"),
    ],
)
def test_a_damaged_history_is_refused(history: bytes, message: str) -> None:
    with pytest.raises(InvalidTransition, match=message):
        replay(KEY, [history], b"")


def test_buffered_ends_of_activities_come_last_and_point_at_their_starts() -> None:
    given = g.Given()
    given.start()
    given.step(g.activity("a"), force_create_new_workflow_task=True)
    token = given.world.ask(StartActivity(5, 1, "worker", "nonce")).reply.token
    given.poll()
    given.world.ask(CompleteActivity(ActivityRef(token=token), None, "worker"))
    given.signal()
    numbered = apply.numbered_buffer(given.state)
    assert g.names(numbered) == ["ActivityTaskStarted", "WorkflowExecutionSignaled", "ActivityTaskCompleted"]
    assert [event.event_id for event in numbered] == [8, 9, 10]
    assert numbered[2].activity_task_completed_event_attributes.started_event_id == 8


@pytest.mark.parametrize("table", [RUN, WORKFLOW_TASK], ids=["run", "workflow task"])
def test_every_row_of_a_table_leads_on_and_nothing_else_does(table: Mapping[tuple[StrEnum, str], StrEnum]) -> None:
    known = {events.NAME_OF_TYPE[number] for number in EventType.values() if number}
    for (state, name), after in table.items():
        assert name in known
        assert walk(table, state, name, "it") == after
    for state in type(next(iter(table))[0]):
        for name in known:
            if (state, name) not in table:
                with pytest.raises(InvalidTransition, match=f"it is {state.value}: {name} cannot happen"):
                    walk(table, state, name, "it")


def test_the_tables_know_every_event_that_is_applied() -> None:
    pausing = {"WorkflowExecutionPaused", "WorkflowExecutionUnpaused"}
    assert {"WorkflowExecutionStarted", *pausing, *WHILE_RUNNING, *CLOSING} == set(apply.SERVED)
    assert {*WHILE_RUNNING, *pausing} >= apply.WAITING_TYPES
    assert not {name for state, name in RUN if state not in (Run.ABSENT, Run.RUNNING, Run.PAUSED)}
    assert {name for _, name in WORKFLOW_TASK} == {name for name in WHILE_RUNNING if name.startswith("WorkflowTask")}
    assert WorkflowTask.ABSENT in WORKFLOW_TASK.values()


def test_a_row_of_an_open_run_and_of_a_closed_one() -> None:
    given = busy()
    row = visibility_row(given.state)
    assert (row.namespace, row.workflow_id, row.run_id) == ("n", "w", given.world.newest)
    assert (row.workflow_type, row.status, row.task_queue) == ("W", 1, "q")
    assert (row.start_ms, row.execution_ms, row.close_ms, row.execution_duration_ms) == (BEGIN_MS, BEGIN_MS, None, None)
    assert Memo.FromString(row.memo) == Memo(fields={"a": ONE})
    assert SearchAttributes.FromString(row.search_attributes) == SearchAttributes(indexed_fields={"K": g.value("1")})
    assert (row.root_workflow_id, row.root_run_id, row.parent_run_id) == ("w", row.run_id, "")
    given.terminate()
    closed = visibility_row(given.state)
    assert (closed.status, closed.close_ms, closed.execution_duration_ms) == (5, BEGIN_MS + 5_000, 5_000)
    assert (closed.history_events, closed.history_size_bytes) == (len(given.history), given.state.history_size_bytes)
    assert closed.state_transitions == given.state.state_transitions > 5


def test_a_row_does_not_change_with_every_event() -> None:
    given = g.Given()
    given.start()
    before = visibility_row(given.state)
    given.signal()
    assert visibility_row(given.state) == before
