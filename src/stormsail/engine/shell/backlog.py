"""The order in which the waiting tasks of one queue go out: by priority, then fairly among keys, then by age.

Within a priority each fairness key has turns (*passes*) in the measure of its weight, by stride scheduling: a task's
pass is its key's last one and a stride more, and no less than the pass that went out last. So a key with a hundred
thousand tasks holds up another key's first one by a turn at most. Each step costs O(log n) of the keys, however many
tasks wait. Of each key's tasks the first few hundred are held as they are, and the others folded (folded.py).
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.work import Task, TaskKind
from stormsail.engine.shell.folded import Folded, FoldedLine, Unfolded

TaskName = tuple[RunKey, TaskKind, int]
Place = tuple[int, int]
"""A pass, and when it came: what goes first within a priority is less."""

KEYS_REMEMBERED_MAX: Final = 10_000
"""Fairness keys whose last turn is remembered although nothing of them waits. A forgotten one begins anew."""
UNFOLDED_MAX: Final = 500
"""Tasks at the head of a key's line that are held as they are."""
_GONE_MIN: Final = 64
_STRIDE: Final = 1_000


class QueueName(NamedTuple):
    """One task queue of one kind in one namespace."""

    namespace: str
    kind: TaskKind
    name: str


@dataclass(slots=True, eq=False)
class WaitingTask:
    """A task that waits in a queue or is in a poller's hand."""

    key: RunKey
    task: Task
    queue: QueueName
    backlog: bool = False
    """Whether it had to wait for a poller."""
    place: Place = (0, 0)
    """Where it stands in its backlog, which it keeps while it is in hand."""
    name: TaskName = field(init=False)
    """The task's name among all. Kept: it is the key in several maps, and each tuple takes as much as the task."""

    def __post_init__(self) -> None:
        self.name = (self.key, *self.task.ref)


_Tasks = OrderedDict[TaskName, WaitingTask]


@dataclass(slots=True, eq=False)
class _Line:
    """The tasks of one fairness key, in the order of their places. The head is never empty."""

    head: _Tasks = field(default_factory=OrderedDict)
    tail: deque[bytes] = field(default_factory=deque)
    """Folded, and behind all of the head; some of it may have been dropped since."""
    folded: int = 0
    """How many of the tail wait still."""
    number: int = 0
    """By which `Folded` knows it, while any do."""


@dataclass(slots=True)
class _Level:
    """The tasks of one priority. The head of each key that is neither empty nor held back stands in `heads`; what is
    there beside is out of date, and passed over."""

    lines: dict[str, _Line] = field(default_factory=dict)
    """By fairness key."""
    long_lines: dict[str, _Line] = field(default_factory=dict)
    """Those of which some was folded: what is unfolded stands behind younger ones in `arrivals`."""
    folded: int = 0
    heads: list[tuple[int, int, str]] = field(default_factory=list)
    arrivals: _Tasks = field(default_factory=OrderedDict)
    """All that are not folded, the oldest first, but for those of long lines."""
    last_pass: dict[str, int] = field(default_factory=dict)
    """By fairness key."""
    gone_pass: int = 0
    """The greatest that went out."""
    held: set[str] = field(default_factory=set)
    """Keys at their own rate limit."""


class Backlog:
    """The waiting tasks of one queue."""

    def __init__(
        self,
        levels: int,
        *,
        fair: bool = True,
        folded: Folded | None = None,
        unfolded: Callable[[WaitingTask], None] = lambda _: None,
        unfolded_max: int = UNFOLDED_MAX,
    ) -> None:
        """Order by that many priorities. Where it is not `fair`, the age alone decides within one. What is far back is
        kept in `folded`, and `unfolded` is told what is not any more."""
        self._folded = folded if folded is not None else Folded()
        self._unfolded = unfolded
        self._unfolded_max = unfolded_max
        self._levels = [_Level() for _ in range(levels)]
        self._fair = fair
        self._drawn = 0
        self._size = 0
        self._held: list[tuple[float, int, str]] = []
        """Until when which key is held back, at which level; the first to be let go comes first."""

    def __len__(self) -> int:
        return self._size

    def __contains__(self, waiting: object) -> bool:
        if not isinstance(waiting, WaitingTask):
            return False
        return self._at(self._level_of(waiting)).arrivals.get(waiting.name) is waiting

    def __iter__(self) -> Iterator[WaitingTask]:
        """Yield all that waits, level by level, the oldest first; not in the order in which they go out."""
        for level in self._levels:
            yield from level.arrivals.values()
            for line in level.long_lines.values():
                yield from map(_waiting, map(self._folded.unfold, filter(self._folded.holds, line.tail)))

    def add(self, waiting: WaitingTask, weight: float) -> bool:
        """Put a task in; return whether it was folded. `weight`: how many turns its fairness key has where others have
        one."""
        level = self._at(self._level_of(waiting))
        key = waiting.task.priority.fairness_key
        waiting.place = self._new_place(level, key, weight)
        self._size += 1
        line = level.lines.get(key)
        if line is None:
            line = level.lines[key] = _Line()
        elif line.folded or len(line.head) >= self._unfolded_max:
            self._fold(level, line, waiting)
            return True
        level.arrivals[waiting.name] = waiting
        line.head[waiting.name] = waiting
        if len(line.head) == 1:
            self._offer(level, key)
        return False

    def let_by(self, waiting: WaitingTask, weight: float) -> None:
        """Let a task go out as it comes, for nothing waits: its key has had a turn, as if it had been put in and taken
        out."""
        level = self._at(self._level_of(waiting))
        waiting.place = self._new_place(level, waiting.task.priority.fairness_key, weight)
        level.gone_pass = max(level.gone_pass, waiting.place[0])

    def put_back(self, waiting: WaitingTask) -> None:
        """Take back what was taken out, to where it stood."""
        level = self._at(self._level_of(waiting))
        key = waiting.task.priority.fairness_key
        _insert(level.lines.setdefault(key, _Line()).head, waiting, lambda other: other.place)
        _insert(level.arrivals, waiting, lambda other: other.place[1])
        self._size += 1
        self._offer(level, key)

    def remove(self, waiting: WaitingTask) -> None:
        """Take a task out, wherever it stands. No effect when it is not there."""
        level = self._at(self._level_of(waiting))
        if level.arrivals.get(waiting.name) is waiting:
            self._take_out(level, waiting)

    def first_level(self, now_ms: float) -> int | None:
        """Return the priority of what would go out now; None when nothing would."""
        found = self._head(now_ms)
        return None if found is None else found[0]

    def pop(self, now_ms: float, ready_ms: Callable[[str], float] | None = None) -> WaitingTask | None:
        """Take out what goes next; None when nothing may go now. `ready_ms`: from when on a fairness key's next task
        may go, where keys have a rate limit."""
        while (found := self._head(now_ms)) is not None:
            number, key = found
            level = self._at(number)
            ready_at_ms = ready_ms(key) if ready_ms is not None else 0
            if ready_at_ms > now_ms:
                level.held.add(key)
                heapq.heappush(self._held, (ready_at_ms, number, key))
                continue
            waiting = _first(level.lines[key].head)
            self._take_out(level, waiting)
            level.gone_pass = max(level.gone_pass, waiting.place[0])
            return waiting
        return None

    def held_until_ms(self) -> float | None:
        """Return when the next of the keys that are at their limit may go on; None when there is none."""
        return self._held[0][0] if self._held else None

    def let_go(self, until_ms: float | None = None) -> None:
        """Let those keys go on whose time has come by then, or all of them: their limits have changed."""
        while self._held and (until_ms is None or self._held[0][0] <= until_ms):
            _, number, key = heapq.heappop(self._held)
            level = self._at(number)
            level.held.discard(key)
            self._offer(level, key)

    def count(self, level: int) -> int:
        """Return how many tasks of a priority wait."""
        at = self._at(level)
        return len(at.arrivals) + at.folded

    def oldest_ms(self, level: int) -> int:
        """Return when the oldest task of a priority became ready; 0 when none waits."""
        at = self._at(level)
        if not at.arrivals:
            return 0
        ahead = [_first(at.arrivals), *(_first(line.head) for line in at.long_lines.values())]
        return min(ahead, key=lambda one: one.place[1]).task.ready_at_ms

    def _level_of(self, waiting: WaitingTask) -> int:
        return waiting.task.priority.level(len(self._levels))

    def _at(self, number: int) -> _Level:
        return self._levels[number - 1]

    def _new_place(self, level: _Level, key: str, weight: float) -> Place:
        self._drawn += 1
        return (self._turn(level, key, weight), self._drawn)

    def _turn(self, level: _Level, key: str, weight: float) -> int:
        """Return the pass of a key's new task."""
        if not self._fair:
            return 0
        stride = max(1, int(_STRIDE / weight))
        turn = max(level.gone_pass, level.last_pass.get(key, 0) + stride)
        if key not in level.last_pass:
            turn = max(level.gone_pass, stride)
            if len(level.last_pass) > KEYS_REMEMBERED_MAX + 2 * len(level.lines):
                level.last_pass = {each: turn for each, turn in level.last_pass.items() if each in level.lines}
        level.last_pass[key] = turn
        return turn

    def _head(self, now_ms: float) -> tuple[int, str] | None:
        """Return the priority and the fairness key of what goes next, of those that are not held back."""
        self.let_go(now_ms)
        for number, level in enumerate(self._levels, 1):
            while level.heads:
                turn, drawn, key = level.heads[0]
                line = level.lines.get(key)
                if line is not None and key not in level.held and _first(line.head).place == (turn, drawn):
                    return number, key
                heapq.heappop(level.heads)
        return None

    def _offer(self, level: _Level, key: str) -> None:
        """Let the head of a key's line stand among the heads."""
        line = level.lines.get(key)
        if line is None or key in level.held:
            return
        if len(level.heads) > 2 * len(level.lines) + 64:
            level.heads = [
                (*_first(other.head).place, each) for each, other in level.lines.items() if each not in level.held
            ]
            heapq.heapify(level.heads)
        else:
            heapq.heappush(level.heads, (*_first(line.head).place, key))

    def _take_out(self, level: _Level, waiting: WaitingTask) -> None:
        name, key = waiting.name, waiting.task.priority.fairness_key
        del level.arrivals[name]
        self._size -= 1
        line = level.lines[key]
        was_first = _first(line.head) is waiting
        del line.head[name]
        if line.folded and len(line.head) <= self._unfolded_max * 9 // 10:
            self._unfold(level, line)
        if not line.head:
            del level.lines[key]
            level.long_lines.pop(key, None)
        elif was_first:
            self._offer(level, key)

    def _fold(self, level: _Level, line: _Line, waiting: WaitingTask) -> None:
        if not line.folded:
            key = waiting.task.priority.fairness_key
            level.long_lines[key] = line
            line.number = self._folded.open_line(FoldedLine(waiting.queue, key, partial(self._dropped, level, line)))
        line.tail.append(self._folded.fold(line.number, waiting.key, waiting.task, waiting.place))
        line.folded += 1
        level.folded += 1

    def _unfold(self, level: _Level, line: _Line) -> None:
        """Hold as many of a line as they are as may be."""
        while line.folded and len(line.head) < self._unfolded_max:
            one = self._folded.take_back(line.tail.popleft())
            if one is None:
                continue
            self._less_folded(level, line)
            waiting = _waiting(one)
            line.head[waiting.name] = level.arrivals[waiting.name] = waiting
            self._unfolded(waiting)

    def _dropped(self, level: _Level, line: _Line) -> None:
        """A folded task waits no longer. Its record goes when enough others have gone, too."""
        self._size -= 1
        self._less_folded(level, line)
        if len(line.tail) > 2 * line.folded + _GONE_MIN:
            line.tail = deque(filter(self._folded.holds, line.tail))

    def _less_folded(self, level: _Level, line: _Line) -> None:
        line.folded -= 1
        level.folded -= 1
        if not line.folded:
            line.tail.clear()
            self._folded.close_line(line.number)


def _insert(tasks: _Tasks, waiting: WaitingTask, order: Callable[[WaitingTask], Any]) -> None:
    """Put one that came long ago before the first that comes after it. Few, or none, come before it."""
    ahead: list[WaitingTask] = []
    while tasks and order(_first(tasks)) < order(waiting):
        ahead.append(tasks.popitem(last=False)[1])
    for other in (waiting, *reversed(ahead)):
        tasks[other.name] = other
        tasks.move_to_end(other.name, last=False)


def _first(tasks: _Tasks) -> WaitingTask:
    return next(iter(tasks.values()))


def _waiting(one: Unfolded) -> WaitingTask:
    return WaitingTask(one.key, one.task, one.queue, backlog=True, place=one.place)
