"""Waiting tasks far back in a long line, each in some two hundred bytes instead of a thousand.

A task is folded into one `bytes`, which the collector of cycles does not look at either, and found again by a short
name. What all tasks of a line have in common is kept once.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.priority import ORDINARY, TaskPriority
from stormsail.engine.core.work import Task, TaskKind

if TYPE_CHECKING:
    from stormsail.engine.shell.backlog import QueueName

_HEAD: Final = struct.Struct(">QQqIIIBH")
"""Place (pass, and when it came), ready at, scheduled event id, attempt, line, flags, size of the run id."""
_PRIORITY: Final = struct.Struct(">id")
_NAME: Final = struct.Struct(">IIB")
_STICKY, _UUID, _PRIORITIZED = 1, 2, 4
_UUID_TEXT_SIZE: Final = 36
_UUID_SIZE: Final = 16


class Unfolded(NamedTuple):
    """A task as it was before it was folded, with its queue and its place."""

    queue: "QueueName"
    key: RunKey
    task: Task
    place: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class FoldedLine:
    """What the folded tasks of one line have in common, and who is told when one of them is dropped."""

    queue: "QueueName"
    fairness_key: str
    dropped: Callable[[], None]


class Folded:
    """All folded tasks, by their names."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._lines: dict[int, FoldedLine] = {}
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._records)

    def open_line(self, line: FoldedLine) -> int:
        """Return a number for a line, which stays its until it is closed."""
        self._drawn = (self._drawn + 1) % (1 << 32)
        assert self._drawn not in self._lines
        self._lines[self._drawn] = line
        return self._drawn

    def close_line(self, number: int) -> None:
        """Forget a line that has no folded task any more."""
        del self._lines[number]

    def fold(self, number: int, key: RunKey, task: Task, place: tuple[int, int]) -> bytes:
        """Fold a task, and remember it under its name. One of the same name must have been dropped."""
        run_id = _uuid(key.run_id)
        flags = (_STICKY if task.sticky else 0) | (_UUID if run_id is not None else 0)
        if run_id is None:
            run_id = _utf_8(key.run_id)
        priority, told = task.priority, b""
        if priority.key or priority.fairness_weight:
            flags |= _PRIORITIZED
            told = _PRIORITY.pack(priority.key, priority.fairness_weight)
        head = _HEAD.pack(*place, task.ready_at_ms, task.scheduled_event_id, task.attempt, number, flags, len(run_id))
        record = head + told + run_id + _utf_8(key.workflow_id)
        name = _name(key, task.kind, task.scheduled_event_id)
        assert name not in self._records
        self._records[name] = record
        return record

    def unfold(self, record: bytes) -> Unfolded:
        """Return a task as it was."""
        turn, drawn, ready_at_ms, event_id, attempt, number, flags, run_size = _HEAD.unpack_from(record)
        line, at = self._lines[number], _HEAD.size
        priority = ORDINARY if not line.fairness_key else TaskPriority(0, line.fairness_key)
        if flags & _PRIORITIZED:
            level, weight = _PRIORITY.unpack_from(record, at)
            priority = TaskPriority(level, line.fairness_key, weight)
            at += _PRIORITY.size
        run = record[at : at + run_size]
        run_id = _uuid_text(run) if flags & _UUID else run.decode("utf-8", "surrogatepass")
        workflow_id = record[at + run_size :].decode("utf-8", "surrogatepass")
        queue = line.queue
        task = Task(queue.kind, queue.name, event_id, attempt, bool(flags & _STICKY), ready_at_ms, priority)
        return Unfolded(queue, RunKey(queue.namespace, workflow_id, run_id), task, (turn, drawn))

    def holds(self, record: bytes) -> bool:
        """Whether a record's task was neither dropped nor taken back."""
        one = self.unfold(record)
        return self._records.get(_name(one.key, *one.task.ref)) is record

    def take_back(self, record: bytes) -> Unfolded | None:
        """Return a task as it was, and forget its record; None where it was dropped."""
        one = self.unfold(record)
        name = _name(one.key, *one.task.ref)
        if self._records.get(name) is not record:
            return None
        del self._records[name]
        return one

    def knows(self, key: RunKey, kind: TaskKind, event_id: int) -> bool:
        """Whether a task of that name is folded."""
        return bool(self._records) and _name(key, kind, event_id) in self._records

    def drop(self, key: RunKey, kind: TaskKind, event_id: int) -> None:
        """Forget a task. No effect when it is not folded."""
        if not self._records:
            return
        record = self._records.pop(_name(key, kind, event_id), None)
        if record is not None:
            self._lines[_HEAD.unpack_from(record)[5]].dropped()

    def names(self) -> list[tuple[RunKey, TaskKind, int]]:
        """Return the names of all, for a look from outside: it takes long."""
        found = [self.unfold(record) for record in self._records.values()]
        return [(one.key, *one.task.ref) for one in found]


def _name(key: RunKey, kind: TaskKind, event_id: int) -> bytes:
    """Return a task's name in a few bytes where its run's id is one that an engine drew, and at length otherwise."""
    run_id = _uuid(key.run_id)
    workflow = _utf_8(f"{key.namespace}\0{key.workflow_id}")
    form = (1 if kind == TaskKind.ACTIVITY else 0) | (_UUID if run_id is not None else 0)
    rest = _NAME.pack(zlib.crc32(workflow), event_id, form)
    return rest + run_id if run_id is not None else b"".join((rest, workflow, b"\0", _utf_8(key.run_id)))


def _uuid(run_id: str) -> bytes | None:
    """Return an id as 16 bytes; None where it is written in another way than engines do."""
    if len(run_id) != _UUID_TEXT_SIZE:
        return None
    try:
        packed = bytes.fromhex(run_id.replace("-", ""))
    except ValueError:
        return None
    return packed if len(packed) == _UUID_SIZE and _uuid_text(packed) == run_id else None


def _uuid_text(packed: bytes) -> str:
    text = packed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _utf_8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
