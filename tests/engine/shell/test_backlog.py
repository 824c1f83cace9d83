"""The order in which waiting tasks go out, without a queue around them."""

import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.priority import ORDINARY, TaskPriority
from stormsail.engine.core.work import Task, TaskKind
from stormsail.engine.shell import backlog as room
from stormsail.engine.shell.backlog import Backlog, QueueName, WaitingTask

LEVELS = 5
KEY = RunKey("default", "w", "r")
QUEUE = QueueName("default", TaskKind.ACTIVITY, "q")
priorities = st.builds(TaskPriority, st.integers(0, 7), st.sampled_from("abcd"), st.sampled_from([0.0, 0.5, 1.0, 4.0]))


def waiting(event_id: int, priority: TaskPriority = ORDINARY, ready_at_ms: int = 0) -> WaitingTask:
    return WaitingTask(KEY, Task(TaskKind.ACTIVITY, "q", event_id, 1, False, ready_at_ms, priority), QUEUE)


def put(backlog: Backlog, *tasks: WaitingTask) -> None:
    for task in tasks:
        backlog.add(task, task.task.priority.weight(None))


def taken(backlog: Backlog, most: int = 1 << 30) -> list[WaitingTask]:
    out: list[WaitingTask] = []
    while len(out) < most and (found := backlog.pop(0)) is not None:
        out.append(found)
    return out


def keys(tasks: list[WaitingTask]) -> str:
    return "".join(task.task.priority.fairness_key for task in tasks)


@settings(max_examples=50, deadline=None)
@given(st.lists(priorities, max_size=40))
def test_all_goes_out_once_the_more_urgent_first_and_each_key_in_order(given_: list[TaskPriority]) -> None:
    backlog = Backlog(LEVELS)
    put(backlog, *(waiting(number, priority) for number, priority in enumerate(given_)))
    assert len(backlog) == len(given_)
    out = taken(backlog)
    assert len(backlog) == 0
    assert sorted(task.task.scheduled_event_id for task in out) == list(range(len(given_)))
    levels = [task.task.priority.level(LEVELS) for task in out]
    assert levels == sorted(levels)
    for level in set(levels):
        for key in "abcd":
            ids = [
                task.task.scheduled_event_id
                for task in out
                if task.task.priority.level(LEVELS) == level and task.task.priority.fairness_key == key
            ]
            assert ids == sorted(ids)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(priorities, st.sampled_from(["add", "add", "pop", "put back", "drop"])), max_size=60))
def test_whatever_is_added_taken_dropped_and_put_back_the_least_place_of_the_most_urgent_goes_next(
    steps: list[tuple[TaskPriority, str]],
) -> None:
    backlog, in_hand = Backlog(LEVELS), list[WaitingTask]()
    model: dict[int, WaitingTask] = {}
    for number, (priority, step) in enumerate(steps):
        if step == "add":
            task = waiting(number, priority)
            put(backlog, task)
            model[number] = task
        elif step == "drop" and model:
            dropped = model.pop(sorted(model)[number % len(model)])
            backlog.remove(dropped)
            assert dropped not in backlog
        elif step == "put back" and in_hand:
            back = in_hand.pop(number % len(in_hand))
            backlog.put_back(back)
            model[back.task.scheduled_event_id] = back
        elif step == "pop":
            found = backlog.pop(0)
            assert found is min(
                model.values(), key=lambda task: (task.task.priority.level(LEVELS), task.place), default=None
            )
            if found is not None:
                del model[found.task.scheduled_event_id]
                in_hand.append(found)
        assert len(backlog) == len(model)
        assert {task.task.scheduled_event_id for task in backlog} == model.keys()
        counts = Counter(task.task.priority.level(LEVELS) for task in model.values())
        assert [backlog.count(level) for level in range(1, LEVELS + 1)] == [counts[n] for n in range(1, LEVELS + 1)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 100), st.sampled_from([0.25, 1.0, 3.0]), st.integers(0, 50))
def test_no_key_starves_another(flood: int, weight: float, before: int) -> None:
    """Whatever a key has waiting, a new key's first task goes out within a turn: after as many of the flood's as weigh
    as much as one, and the one that stands at the very same pass."""
    backlog = Backlog(LEVELS)
    put(backlog, *(waiting(number, TaskPriority(0, "flood", weight)) for number in range(flood)))
    gone = taken(backlog, before)
    put(backlog, waiting(1_000, TaskPriority(0, "new")))
    position = [task.task.scheduled_event_id for task in taken(backlog)].index(1_000)
    assert position <= max(1, weight) + 1
    assert len(gone) == min(before, flood)


def test_keys_take_turns_in_the_measure_of_their_weights() -> None:
    backlog = Backlog(LEVELS)
    put(backlog, *(waiting(number, TaskPriority(0, "a", 3.0)) for number in range(300)))
    put(backlog, *(waiting(number + 300, TaskPriority(0, "b", 1.0)) for number in range(300)))
    counted = Counter(keys(taken(backlog, 200)))
    assert abs(counted["a"] - 150) <= 1
    assert len(backlog) == 400


def test_the_order_is_that_of_temporals_server() -> None:
    """As its dev server handed them out, with fairness enabled and one partition."""
    asked = [(0, "", 0), (5, "", 0), (1, "", 0), (3, "", 0), (2, "", 0), (9, "", 0), (4, "", 0)]
    asked += [(1, "a", 0)] * 3 + [(1, "b", 0)] + [(1, "c", 3)] * 4
    backlog = Backlog(LEVELS)
    put(backlog, *(waiting(number, TaskPriority(*priority)) for number, priority in enumerate(asked)))
    out = [task.task.scheduled_event_id for task in taken(backlog)]
    assert out == [11, 12, 13, 2, 7, 10, 14, 8, 9, 4, 0, 3, 6, 1, 5]


def test_without_fairness_the_age_alone_decides_within_a_priority() -> None:
    backlog = Backlog(LEVELS, fair=False)
    put(backlog, *(waiting(number, TaskPriority(0, key, 9.0)) for number, key in enumerate("aaabab")))
    assert keys(taken(backlog)) == "aaabab"


def test_a_key_at_its_limit_is_passed_over_until_its_time() -> None:
    backlog = Backlog(LEVELS)
    put(backlog, *(waiting(number, TaskPriority(1, key)) for number, key in enumerate("aab")))

    def ready_ms(key: str) -> float:
        return 50 if key == "a" else 0

    assert keys([found for _ in range(3) if (found := backlog.pop(10, ready_ms)) is not None]) == "b"
    assert backlog.held_until_ms() == 50
    assert backlog.pop(49, ready_ms) is None
    assert keys([found for _ in range(3) if (found := backlog.pop(50, ready_ms)) is not None]) == "aa"


def test_the_oldest_task_is_known_whatever_goes_out_first() -> None:
    backlog = Backlog(LEVELS)
    old, young = (waiting(number, TaskPriority(3, key), 10 + number) for number, key in enumerate("ab"))
    put(backlog, old, young)
    assert backlog.oldest_ms(3) == 10
    backlog.remove(old)
    assert backlog.oldest_ms(3) == 11
    backlog.put_back(old)
    assert (backlog.oldest_ms(3), backlog.oldest_ms(1)) == (10, 0)


def test_the_oldest_task_is_known_in_whatever_order_tasks_are_put_back() -> None:
    backlog = Backlog(LEVELS)
    put(backlog, *(waiting(number, TaskPriority(3, key), 10 + number) for number, key in enumerate("abc")))
    old, young = taken(backlog, 2)
    backlog.put_back(old)
    backlog.put_back(young)
    assert backlog.oldest_ms(3) == 10


def test_keys_that_come_once_are_not_remembered_for_ever() -> None:
    backlog = Backlog(LEVELS)
    for number in range(room.KEYS_REMEMBERED_MAX * 2):
        put(backlog, waiting(number, TaskPriority(0, str(number))))
        assert backlog.pop(0) is not None
    level = backlog._at(3)
    assert len(level.last_pass) <= room.KEYS_REMEMBERED_MAX + 1
    assert len(level.heads) <= 64


@pytest.mark.slow
def test_a_pick_from_a_hundred_thousand_costs_no_more_than_a_pick_from_a_few() -> None:
    """Told by the CPU time of many picks, with room for slow memory: a scan would take a thousand times as long."""

    def pick_ns(size: int) -> int:
        backlog = Backlog(LEVELS)
        for number in range(size):
            put(backlog, waiting(number, TaskPriority(number % 5 + 1, str(number % 1_000))))
        spent: list[int] = []
        for number in range(300):
            began = time.thread_time_ns()
            found = backlog.pop(0)
            assert found is not None
            put(backlog, replace(found, task=replace(found.task, scheduled_event_id=size + number)))
            spent.append(time.thread_time_ns() - began)
        return sorted(spent)[len(spent) // 2]

    assert pick_ns(100_000) < 20 * pick_ns(100)
