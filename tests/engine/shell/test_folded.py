"""Tasks far back in a line, held in a few bytes: they are what they were, and go out as if they had not been folded."""

import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.priority import ORDINARY, TaskPriority
from stormsail.engine.core.work import Task, TaskKind
from stormsail.engine.shell.backlog import UNFOLDED_MAX, Backlog, QueueName, TaskName, WaitingTask
from stormsail.engine.shell.folded import Folded, FoldedLine
from stormsail.engine.shell.matching import Matching

LEVELS = 5
QUEUE = QueueName("default", TaskKind.ACTIVITY, "q")
NEVER = 1 << 30
run_ids = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda one: str(one).upper()),
    st.uuids().map(lambda one: one.hex + "----"),
    st.text(max_size=40),
)
priorities = st.builds(TaskPriority, st.integers(0, 7), st.sampled_from("abcd"), st.sampled_from([0.0, 0.5, 1.0, 4.0]))


def task_of(event_id: int, priority: TaskPriority = ORDINARY, attempt: int = 1, ready_at_ms: int = 0) -> Task:
    return Task(QUEUE.kind, QUEUE.name, event_id, attempt, False, ready_at_ms, priority)


def key_of(number: int) -> RunKey:
    return RunKey(
        QUEUE.namespace,
        f"backlog-{number}",
        str(UUID(int=(number + 1) * 0x9E3779B97F4A7C15 * 0x9E3779B97F4A7C15 % (1 << 128))),
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=20),
    run_ids,
    st.sampled_from(TaskKind),
    st.integers(0, 1 << 31),
    st.integers(0, 1 << 31),
    st.booleans(),
    st.integers(0, 1 << 50),
    st.one_of(st.just(ORDINARY), st.builds(TaskPriority, st.integers(0, 1 << 31 - 1), st.text(), st.floats(0, 1e30))),
    st.tuples(st.integers(0, 1 << 62), st.integers(0, 1 << 62)),
)
def test_a_task_that_was_folded_is_what_it_was(
    workflow_id: str,
    run_id: str,
    kind: TaskKind,
    event_id: int,
    attempt: int,
    sticky: bool,
    ready_at_ms: int,
    priority: TaskPriority,
    place: tuple[int, int],
) -> None:
    folded, dropped = Folded(), list[int]()
    queue = QueueName("ns", kind, "q")
    number = folded.open_line(FoldedLine(queue, priority.fairness_key, lambda: dropped.append(1)))
    key = RunKey("ns", workflow_id, run_id)
    task = Task(kind, "q", event_id, attempt, sticky, ready_at_ms, priority)
    record = folded.fold(number, key, task, place)
    assert (*folded.unfold(record),) == (queue, key, task, place)
    assert folded.knows(key, *task.ref) and folded.holds(record)
    assert folded.names() == [(key, *task.ref)]
    for other in (RunKey("other", workflow_id, run_id), RunKey("ns", workflow_id + "x", run_id)):
        assert not folded.knows(other, *task.ref)
    assert not folded.knows(key, kind, event_id + 1)
    folded.drop(key, *task.ref)
    folded.drop(key, *task.ref)
    assert dropped == [1]
    assert not len(folded) and folded.take_back(record) is None


@dataclass
class Queue:
    """A backlog, and what there is outside of it."""

    unfolded_max: int
    in_hand: dict[int, WaitingTask] = field(default_factory=dict)
    tasks: dict[TaskName, WaitingTask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folded = Folded()
        self.backlog = Backlog(LEVELS, folded=self.folded, unfolded=self.unfold, unfolded_max=self.unfolded_max)

    def unfold(self, waiting: WaitingTask) -> None:
        assert waiting.name not in self.tasks
        self.tasks[waiting.name] = waiting

    def add(self, number: int, task: Task) -> None:
        waiting = WaitingTask(key_of(number), task, QUEUE)
        self.drop(waiting.name)
        if not self.backlog.add(waiting, task.priority.weight(None)):
            self.tasks[waiting.name] = waiting

    def drop(self, name: TaskName) -> None:
        waiting = self.tasks.pop(name, None)
        if waiting is None:
            self.folded.drop(*name)
        else:
            self.backlog.remove(waiting)

    def pop(self, now_ms: int) -> int | None:
        """Take the next; key `d` is at its limit until 50."""
        found = self.backlog.pop(now_ms, lambda key: 50 if key == "d" else 0)
        if found is None:
            return None
        assert self.tasks[found.name] is found
        self.in_hand[found.task.scheduled_event_id] = found
        return found.task.scheduled_event_id

    def put_back(self, number: int) -> None:
        found = self.in_hand.pop(number)
        if self.tasks.get(found.name) is found:
            self.backlog.put_back(found)

    def seen(self) -> object:
        """Return all that can be seen of it."""
        backlog = self.backlog
        waiting = sorted((one.place, one.key, one.task) for one in backlog)
        levels = [(backlog.count(level), backlog.oldest_ms(level)) for level in range(1, LEVELS + 1)]
        names = sorted(str(name) for name in (*self.tasks, *self.folded.names()))
        return len(backlog), waiting, levels, names, backlog.first_level(0), backlog.held_until_ms()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 10]),
    st.lists(
        st.tuples(
            st.one_of(st.just(ORDINARY), priorities),
            st.sampled_from(["add"] * 6 + ["pop"] * 3 + ["put back", "drop", "drop", "again", "later"]),
            st.integers(0, 1 << 20),
        ),
        max_size=120,
    ),
)
def test_whether_tasks_are_folded_cannot_be_seen(unfolded_max: int, steps: list[tuple[TaskPriority, str, int]]) -> None:
    plain, folding = Queue(NEVER), Queue(unfolded_max)
    for number, (priority, step, chance) in enumerate(steps):
        in_hand = sorted(plain.in_hand)
        for queue in (plain, folding):
            match step:
                case "add":
                    queue.add(number, task_of(number, priority, ready_at_ms=number))
                case "again" if number:
                    queue.add(chance % number, task_of(chance % number, priority, 2, ready_at_ms=number))
                case "drop" if number:
                    queue.drop((key_of(chance % number), QUEUE.kind, chance % number))
                case "put back" if in_hand:
                    queue.put_back(in_hand[chance % len(in_hand)])
                case _:
                    queue.pop(50 if step == "later" else 0)
        assert plain.seen() == folding.seen()
    out: list[list[int]] = [[], []]
    for queue, went in zip((plain, folding), out, strict=True):
        while (found := queue.pop(50)) is not None:
            went.append(found)
    assert out[0] == out[1]
    assert not len(folding.folded) and not folding.folded._lines


class Clock:
    """Stands still."""

    def now_ms(self) -> int:
        """See Clock."""
        return 1_000_000

    def call_later(self, _: float, __: object) -> object:
        """See Clock."""
        raise AssertionError("nothing is limited here")


def filled(count: int) -> Matching:
    matching = Matching(Clock(), DEFAULT_LIMITS)  # type: ignore[arg-type]
    fill(matching, range(count))
    return matching


def fill(matching: Matching, numbers: Iterable[int]) -> None:
    for number in numbers:
        matching.add(key_of(number), Task(TaskKind.WORKFLOW, "q", 2, 1, False, 1_000 + number, ORDINARY))


async def test_a_long_queue_loses_what_is_dropped_and_gives_out_the_rest_in_order() -> None:
    count = 3 * UNFOLDED_MAX
    matching = filled(count)
    queue = QueueName("default", TaskKind.WORKFLOW, "q")
    names = [(key_of(number), TaskKind.WORKFLOW, 2) for number in range(count)]
    assert matching.waiting == count and matching.names() == set(names)
    assert matching.backlog(queue) == (count, 1_000_000 - 1_000)
    for name in names[::3]:
        matching.drop(name)
        assert not matching.knows(name)
    wanted = [name for number, name in enumerate(names) if number % 3]
    assert matching.backlog(queue) == (len(wanted), 1_000_000 - 1_001)
    out = []
    for _ in wanted:
        found = await matching.take(queue, 0)
        assert isinstance(found, WaitingTask) and matching.knows(found.name) and found.backlog
        out.append(found.name)
        matching.done(found)
    assert out == wanted
    assert await matching.take(queue, 0) is None
    assert (matching.waiting, matching.names()) == (0, set())


def test_a_task_that_comes_again_is_not_found_where_it_was_folded_before() -> None:
    matching = filled(UNFOLDED_MAX + 10)
    again = Task(TaskKind.WORKFLOW, "q", 2, 2, False, 5_000, ORDINARY)
    matching.add(key_of(UNFOLDED_MAX + 3), again)
    assert matching.waiting == UNFOLDED_MAX + 10
    matching.add(key_of(UNFOLDED_MAX + 3), replace(again, queue="other"))
    assert matching.waiting == UNFOLDED_MAX + 10
    assert matching.backlog(QueueName("default", TaskKind.WORKFLOW, "q"))[0] == UNFOLDED_MAX + 9


def test_whoever_waits_far_back_for_a_worker_that_is_gone_is_told_of() -> None:
    matching = filled(UNFOLDED_MAX + 10)
    gone = matching.shut_down_sticky(QueueName("default", TaskKind.WORKFLOW, "q"))
    assert sorted(gone) == sorted(key_of(number) for number in range(UNFOLDED_MAX + 10))


@pytest.mark.slow
def test_a_task_of_a_long_backlog_takes_less_than_three_hundred_bytes() -> None:
    matching = filled(2 * UNFOLDED_MAX)
    tracemalloc.start()
    try:
        fill(matching, range(2 * UNFOLDED_MAX, 2 * UNFOLDED_MAX + 5_000))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert matching.waiting == 2 * UNFOLDED_MAX + 5_000
    assert taken / 5_000 < 300
