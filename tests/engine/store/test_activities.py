"""Runs with many pending activities: each is a row of its own, and a turn writes those that it changed."""

import random
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, Priority
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    ActivityTaskStartedEventAttributes,
    WorkflowExecutionOptionsUpdatedEventAttributes,
    WorkflowExecutionPausedEventAttributes,
    WorkflowExecutionUnpausedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from engine.store.given import AT_MS, completed, key, started
from stormsail.engine.core import notes
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.work import tasks
from stormsail.engine.store import history, runs
from stormsail.engine.store.check import check
from stormsail.engine.store.errors import RunDamaged
from stormsail.engine.store.opening import APPLICATION_ID, MIGRATIONS
from stormsail.engine.store.store import Store

FEW = replace(DEFAULT_LIMITS, activities_inside_max=3)


def open_store(directory: Path, limits: object = FEW) -> Store:
    return Store.open(directory, now_ms=lambda: AT_MS, limits=limits)  # type: ignore[arg-type]


def schedule(turn: Turn, count: int, priority: Priority | None = None) -> Turn:
    """Schedule activities."""
    for _ in range(count):
        scheduled = ActivityTaskScheduledEventAttributes(
            activity_id=f"a{turn.state.next_event_id}",
            activity_type=ActivityType(name="A"),
            task_queue=TaskQueue(name="q"),
            priority=priority,
        )
        scheduled.start_to_close_timeout.FromSeconds(10)
        turn.emit(scheduled)
    return turn


def begin(turn: Turn, event_id: int) -> Turn:
    """Hand an activity out."""
    turn.note(notes.ActivityStarted(event_id, AT_MS + 5, "nonce", "worker"))
    return turn


def close(turn: Turn, event_id: int) -> Turn:
    """End an activity that was handed out."""
    turn.emit(ActivityTaskStartedEventAttributes(scheduled_event_id=event_id, attempt=1))
    turn.emit(ActivityTaskCompletedEventAttributes(scheduled_event_id=event_id))
    return turn


def one_change(state: RunState, chance: random.Random) -> Turn:
    """Return a turn that does one of all that happens to activities."""
    turn = Turn.on(state, AT_MS)
    waiting = [event_id for event_id, one in state.activities.items() if not one.started_at_ms]
    held = [event_id for event_id, one in state.activities.items() if one.started_at_ms]
    some = Payloads(payloads=[Payload(data=b"half")])
    failure = Failure(message="again")
    match chance.randrange(8):
        case 0 | 1:
            schedule(turn, chance.randint(1, 3))
        case 2 if waiting:
            begin(turn, chance.choice(waiting))
        case 3 if held:
            turn.note(notes.ActivityHeartbeat(chance.choice(held), AT_MS + 9, some, "worker"))
        case 4 if held:
            turn.note(notes.ActivityRetry(chance.choice(held), 2, AT_MS + 10, AT_MS + 99, failure))
        case 5 if held:
            close(turn, chance.choice(held))
        case 6 if state.paused:
            turn.emit(WorkflowExecutionUnpausedEventAttributes())
        case 6:
            turn.emit(WorkflowExecutionPausedEventAttributes())
        case _:
            key_of = Priority(priority_key=chance.randint(1, 5))
            turn.emit(WorkflowExecutionOptionsUpdatedEventAttributes(priority=key_of))
    return turn


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_what_is_read_back_is_what_was_committed_whatever_happens(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    turn = started(key("w"))
    store = open_store(tmp_path)
    many = 0
    for _ in range(60):
        await store.commit([turn])
        many += len(turn.state.activities) > 3
        assert store.load(key("w")) == turn.state
        found = {task.ref: task for _, task in store.waiting_tasks().tasks}
        assert found == tasks(turn.state)
        if chance.random() < 0.1:
            store.close()
            store = open_store(tmp_path)
        loaded = store.load(key("w"))
        assert loaded is not None
        turn = one_change(loaded, chance)
    assert 10 < many < 60
    assert check(tmp_path / "engine.db").problems == ()
    await store.commit([turn])
    await store.commit([completed(turn.state)])
    checked = check(tmp_path / "engine.db")
    assert checked.problems == ()
    store.close()
    connection = apsw.Connection(str(tmp_path / "engine.db"))
    assert connection.execute("SELECT count(*) FROM activity").get == 0


@pytest.mark.slow
async def test_a_turn_writes_no_more_with_two_thousand_pending_activities_than_with_ten(tmp_path: Path) -> None:
    written: dict[int, list[int]] = {}
    for pending in (10, 2_000):
        store = open_store(tmp_path / str(pending), DEFAULT_LIMITS)
        turn = schedule(started(key("w")), pending)
        await store.commit([turn])
        written[pending] = []
        for change in (begin, close):
            turn = change(Turn.on(turn.state, AT_MS), 5)
            rows = store._runs._rows(turn, 1)
            written[pending].append(sum(len(value) for _, row in rows for value in row if type(value) is bytes))
            await store.commit([turn])
        assert store.load(key("w")) == turn.state
        store.close()
    assert all(many <= few for few, many in zip(written[10], written[2_000], strict=True)), written
    assert max(written[2_000]) < 1_000


async def test_a_file_that_kept_all_in_one_value_is_read_and_then_written_row_by_row(tmp_path: Path) -> None:
    turn = schedule(started(key("w")), 40)
    turn.note(notes.ActivityStarted(7, AT_MS + 5, "nonce", "worker"))
    connection = apsw.Connection(str(tmp_path / "engine.db"))
    steps = (Path(runs.__file__).with_name("schema.sql"), *MIGRATIONS)
    for step in steps[:7]:
        connection.execute(step.read_text())
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 7)
    row = runs.row_of(turn.state, 1)
    connection.execute(f"INSERT INTO run ({runs.COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)
    frames = history.row_of(1, "w-1", 1, turn.frames)
    connection.execute("INSERT INTO history (id, events, crc, data) VALUES (?, ?, ?, ?)", frames)
    connection.close()

    store = open_store(tmp_path)
    loaded = store.load(key("w"))
    assert loaded == turn.state
    assert {task.ref for _, task in store.waiting_tasks().tasks} == tasks(turn.state).keys()
    following = begin(Turn.on(loaded, AT_MS), 9)
    await store.commit([following])
    store.close()
    store = open_store(tmp_path)
    assert store.load(key("w")) == following.state
    assert {task.ref for _, task in store.waiting_tasks().tasks} == tasks(following.state).keys()
    store.close()
    assert check(tmp_path / "engine.db").problems == ()
    connection = apsw.Connection(str(tmp_path / "engine.db"))
    assert connection.execute("SELECT count(*) FROM activity").get == 40


@pytest.mark.parametrize(
    ("damage", "said", "checked"),
    [
        ("DELETE FROM activity WHERE id = (1 << 24) + 5", "other activities than are pending", "run"),
        ("UPDATE activity SET id = (1 << 24) + 90 WHERE id = (1 << 24) + 5", "its activity 90 does not match", "run"),
        ("UPDATE activity SET data = x'5b7b7d2c305d' WHERE id = (1 << 24) + 5", "its activity 5 does not match", "run"),
        ("INSERT INTO activity SELECT id + (1 << 24), crc, data FROM activity", "", "belong to no run"),
    ],
)
async def test_activities_that_are_damaged_are_told_and_not_guessed_at(
    tmp_path: Path, damage: str, said: str, checked: str
) -> None:
    store = open_store(tmp_path)
    turn = schedule(started(key("w")), 10)
    await store.commit([turn])
    store.close()
    connection = apsw.Connection(str(tmp_path / "engine.db"))
    connection.execute(damage)
    connection.close()
    store = open_store(tmp_path)
    if said:
        with pytest.raises(RunDamaged, match=said):
            store.load(key("w"))
    else:
        assert store.load(key("w")) == turn.state
    store.close()
    found = check(tmp_path / "engine.db").problems
    assert found and checked in f"{found[0].where} {found[0].what}"
