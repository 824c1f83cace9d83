"""Runs as stored: what rows a turn becomes, and how a run is found and rebuilt from them."""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stormsail.engine.core import deadlines, progress, replay, work
from stormsail.engine.core.errors import InvalidTransition
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.visibility_row import VisibilityRow, shown_attributes, visibility_row
from stormsail.engine.core.work import Task
from stormsail.engine.store import activities, history, outbox, tasks
from stormsail.engine.store.database import Database, Member, Statement
from stormsail.engine.store.errors import RowDamaged, RunConflict, RunDamaged, WriteRejected
from stormsail.engine.store.reader import Reader, Row
from stormsail.engine.store.search_attributes import DELETE_INDEXED, SearchAttributes

RIDS_CACHED_MAX: Final = 50_000
_SELECT_WAITING: Final = (
    "SELECT rid, namespace, workflow_id, run_id, tasks FROM run "
    "WHERE tasks IS NOT NULL AND rid > ? ORDER BY rid LIMIT ?"
)
_SELECT_NEXT_WAITING: Final = "SELECT rid FROM run WHERE tasks IS NOT NULL AND rid > ? ORDER BY rid LIMIT 1"

COLUMNS: Final = (
    "rid, namespace, workflow_id, run_id, status, next_event, due_ms, tasks, workflow_type, task_queue, "
    "start_ms, execution_ms, close_ms, history_events, history_size_bytes, state_transitions, execution_duration_ms, "
    "parent_workflow_id, parent_run_id, root_workflow_id, root_run_id, progress_crc, progress"
)
_PUT_HEAD: Final = f"INSERT INTO run ({COLUMNS}) VALUES "  # noqa: S608 - constants of this file only
_PUT_ROW: Final = "(" + ", ".join(["?"] * len(COLUMNS.split(","))) + ")"
_PUT_TAIL: Final = " ON CONFLICT (rid) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in COLUMNS.split(", ")[4:]
)
# A run is closed before its follower is opened, also where they are committed together: two open ones are refused.
CLOSE_RUN: Final = Statement(rank=0, head=_PUT_HEAD, row=_PUT_ROW, tail=_PUT_TAIL)
OPEN_RUN: Final = Statement(rank=10, head=_PUT_HEAD, row=_PUT_ROW, tail=_PUT_TAIL)
MOVE_RUN: Final = Statement(
    rank=20,
    head="UPDATE run SET next_event = v.column2, due_ms = v.column3, tasks = v.column4, progress_crc = v.column5, "
    "progress = v.column6 FROM (VALUES ",
    row="(?, ?, ?, ?, ?, ?)",
    tail=") AS v WHERE rid = v.column1",
    one="UPDATE run SET next_event = ?2, due_ms = ?3, tasks = ?4, progress_crc = ?5, progress = ?6 WHERE rid = ?1",
    exact=True,
)
"""A turn that changes nothing that lists show: most of them."""
PUT_ATTRIBUTES: Final = Statement(
    rank=40,
    head="INSERT INTO attributes (rid, memo, search_attributes) VALUES ",
    row="(?, ?, ?)",
    tail=" ON CONFLICT (rid) DO UPDATE SET memo = excluded.memo, search_attributes = excluded.search_attributes",
)


DELETE_RUN: Final = Statement(rank=60, head="DELETE FROM run WHERE rid IN (", row="?", tail=")", exact=True)
DELETE_ATTRIBUTES: Final = Statement(rank=61, head="DELETE FROM attributes WHERE rid IN (", row="?", tail=")")


@dataclass(frozen=True, slots=True)
class WaitingTasks:
    """Tasks of some runs. `next_place` is where to go on, None when there are no more."""

    tasks: list[tuple[RunKey, Task]]
    next_place: int | None


class Runs:
    """The runs of one database."""

    def __init__(self, database: Database, attributes: SearchAttributes, *, activities_inside_max: int) -> None:
        """`activities_inside_max`: runs that have more pending activities keep them apart (activities.py)."""
        self._database = database
        self._attributes = attributes
        self._reader = database.reader
        self._rids: dict[RunKey, int] = {}
        """Row ids of runs seen lately; the first in is the first out."""
        self._activities_inside_max = activities_inside_max
        self._apart: set[int] = set()
        """Row ids of runs whose activities are apart, as their newest commit or load told."""
        self._last_rid: int = database.reader.read("SELECT coalesce(max(rid), 0) FROM run")[0][0]

    async def commit(self, turns: Sequence[Turn]) -> None:
        """Commit turns as one: all of them, with the turns they carry along, or none. Returns once they are on disk."""
        flat: list[Turn] = []
        for turn in turns:
            _flatten(turn, flat)
        if not flat:
            return
        rids = [self._rid_for(turn) for turn in flat]
        rows: list[tuple[Statement, Row]] = []
        for turn, rid in zip(flat, rids, strict=True):
            rows += self._rows(turn, rid)
        rows += outbox.rows_of(flat)
        try:
            await self._database.commit(Member(rows, touches=frozenset(rids)))
        except WriteRejected as error:
            names = ", ".join(str(turn.state.key) for turn in flat)
            raise RunConflict(f"the store refused a turn of {names}, and nothing of it was written: {error}") from error
        for turn, rid in zip(flat, rids, strict=True):
            if turn.before is None:
                self._remember(turn.state.key, rid)
            self._note_apart(rid, apart=self._is_apart(turn.state))

    def load(self, key: RunKey) -> RunState | None:
        """Rebuild a run from its history and progress; None when there is no such run."""
        found = load_run(self._reader, key)
        if found is None:
            return None
        self._remember(key, found.rid)
        self._note_apart(found.rid, apart=found.apart)
        return found.state

    def current(self, namespace: str, workflow_id: str) -> RunKey | None:
        """Return the open run of a workflow id, else its newest, else None."""
        chain = "SELECT run_id, close_ms FROM run WHERE namespace = ? AND workflow_id = ?"
        found = self._reader.read(f"{chain} ORDER BY rid DESC LIMIT 1", (namespace, workflow_id))
        if found and found[0][1] is not None:
            found = self._reader.read(f"{chain} AND close_ms IS NULL", (namespace, workflow_id)) or found
        return RunKey(namespace, workflow_id, found[0][0]) if found else None

    async def delete(self, key: RunKey) -> bool:
        """Take a closed run out of the file with all that is kept of it. Returns once that is on disk.

        Says whether it was there and closed: an open one is left as it is.
        """
        rid = self.rid(key)
        if rid is None or self._reader.read("SELECT close_ms FROM run WHERE rid = ?", (rid,)) == [(None,)]:
            return False
        rows: list[tuple[Statement, Row]] = [
            (DELETE_RUN, (rid,)),
            (DELETE_ATTRIBUTES, (rid,)),
            (DELETE_INDEXED, (rid,)),
            (history.DELETE_HISTORY, history.ids_of(rid)),
        ]
        await self._database.commit(Member(rows, touches=frozenset([rid])))
        self._rids.pop(key, None)
        return True

    def closed_by(self, namespace: str, until_ms: int, limit: int) -> list[RunKey]:
        """Return runs of a namespace that had closed by then."""
        rows = self._reader.read(
            "SELECT workflow_id, run_id FROM run "
            "WHERE namespace = ? AND coalesce(close_ms, 9223372036854775807) <= ? LIMIT ?",
            (namespace, until_ms, limit),
        )
        return [RunKey(namespace, workflow_id, run_id) for workflow_id, run_id in rows]

    def some_of(self, namespace: str, limit: int) -> list[RunKey]:
        """Return some runs of a namespace, open or closed; none where it has none."""
        rows = self._reader.read("SELECT workflow_id, run_id FROM run WHERE namespace = ? LIMIT ?", (namespace, limit))
        return [RunKey(namespace, workflow_id, run_id) for workflow_id, run_id in rows]

    def due(self, until_ms: int, limit: int) -> list[tuple[int, RunKey]]:
        """Return the runs that must be looked at by then, earliest first."""
        try:
            rows = self._reader.read(
                "SELECT due_ms, namespace, workflow_id, run_id FROM run WHERE due_ms <= ? ORDER BY due_ms LIMIT ?",
                (until_ms, limit),
            )
        except RowDamaged:
            return self._due_one_by_one(until_ms, limit)
        return [(due_ms, RunKey(*names)) for due_ms, *names in rows]

    def _due_one_by_one(self, until_ms: int, limit: int) -> list[tuple[int, RunKey]]:
        """Do what `due` does where a row among them cannot be read: it is passed over, and the others are not."""
        found: list[tuple[int, RunKey]] = []
        numbers = self._reader.read(
            "SELECT due_ms, rid FROM run WHERE due_ms <= ? ORDER BY due_ms LIMIT ?", (until_ms, limit)
        )
        for due_ms, rid in numbers:
            try:
                names = self._reader.read("SELECT namespace, workflow_id, run_id FROM run WHERE rid = ?", (rid,))
            except RowDamaged as damaged:
                logging.getLogger(__name__).error("the deadline of the run in row %s is passed over: %s", rid, damaged)
            else:
                found += [(due_ms, RunKey(*each)) for each in names]
        return found

    def waiting_tasks(self, place: int, runs_max: int) -> WaitingTasks:
        """Return the tasks that wait for a poller, of so many runs in order of creation: those behind a place.

        Where a run's row does not match its checksum, its tasks are told from its history; where that is damaged too,
        it has none: whoever asks for the run is told what is wrong, and the others go on. Where a row cannot be read at
        all, those before and behind it are returned one by one.
        """
        try:
            rows = self._reader.read(_SELECT_WAITING, (place, runs_max))
        except RowDamaged as damaged:
            if runs_max > 1:
                return self.waiting_tasks(place, 1)
            (rid,) = self._reader.read(_SELECT_NEXT_WAITING, (place,))[0]
            logging.getLogger(__name__).error("the tasks of the run in row %s are passed over: %s", rid, damaged)
            return WaitingTasks([], rid)
        found: list[tuple[RunKey, Task]] = []
        for rid, namespace, workflow_id, run_id, packed in rows:
            key = RunKey(namespace, workflow_id, run_id)
            found += [(key, task) for task in self._unpacked(key, rid, packed)]
        return WaitingTasks(found, rows[-1][0] if len(rows) == runs_max else None)

    def rid(self, key: RunKey) -> int | None:
        """Return a stored run's row id."""
        known = self._rids.get(key)
        if known is not None:
            return known
        found = self._reader.read(
            "SELECT rid, workflow_id FROM run WHERE namespace = ? AND run_id = ?", (key.namespace, key.run_id)
        )
        if not found or found[0][1] != key.workflow_id:
            return None
        self._remember(key, found[0][0])
        return int(found[0][0])

    def place(self, key: RunKey) -> tuple[int, int] | None:
        """Return a stored run's row id and the id that its next event will have; inside the caller's snapshot."""
        rid = self.rid(key)
        found = self._reader.read("SELECT next_event FROM run WHERE rid = ?", (rid,)) if rid is not None else []
        return (rid, found[0][0]) if found and rid is not None else None

    def _unpacked(self, key: RunKey, rid: int, packed: bytes) -> list[Task]:
        waiting = tasks.unpack(key, packed)
        if waiting is None:
            return self._tasks_from_history(key)
        if not waiting.apart:
            return waiting.tasks
        try:
            return waiting.tasks + activities.read_tasks(self._reader, key, rid)
        except RunDamaged:
            return self._tasks_from_history(key)

    def _tasks_from_history(self, key: RunKey) -> list[Task]:
        try:
            state = self.load(key)
        except RunDamaged as damaged:
            logging.getLogger(__name__).error("%s", damaged)
            return []
        return list(work.tasks(state).values()) if state is not None else []

    def _rows(self, turn: Turn, rid: int) -> list[tuple[Statement, Row]]:
        before = shown_attributes(turn.before) if turn.before is not None else {}
        after = shown_attributes(turn.state)
        apart, was_apart = self._is_apart(turn.state), rid in self._apart
        rows = _rows(turn, rid, reshown=turn.before is None or before != after, apart=apart)
        if before != after:
            rows += self._attributes.rows(turn.state.key.namespace, rid, before, after)
        if apart or was_apart:
            rows += activities.changes(rid, turn.before, turn.state, was_apart=was_apart, apart=apart)
        return rows

    def _is_apart(self, state: RunState) -> bool:
        return state.open and len(state.activities) > self._activities_inside_max

    def _note_apart(self, rid: int, *, apart: bool) -> None:
        if apart:
            self._apart.add(rid)
        else:
            self._apart.discard(rid)

    def _rid_for(self, turn: Turn) -> int:
        if turn.before is None:
            self._last_rid += 1
            return self._last_rid
        rid = self.rid(turn.state.key)
        if rid is None:
            raise RunConflict(f"a turn of {turn.state.key}, which is not stored")
        return rid

    def _remember(self, key: RunKey, rid: int) -> None:
        self._rids[key] = rid
        if len(self._rids) > RIDS_CACHED_MAX:
            del self._rids[next(iter(self._rids))]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run as it was found. `apart`: its activities are in rows of their own."""

    rid: int
    state: RunState
    apart: bool


def load_run(reader: Reader, key: RunKey) -> Loaded | None:
    """Rebuild a run from its history and progress; None when there is no such run.

    Raises RunDamaged where a checksum does not match, events are missing, or they do not make a legal history.
    """
    with reader.snapshot():
        try:
            found = reader.read(
                "SELECT rid, workflow_id, status, next_event, progress_crc, progress FROM run "
                "WHERE namespace = ? AND run_id = ?",
                (key.namespace, key.run_id),
            )
        except RowDamaged as error:
            raise RunDamaged(key, "its row cannot be read") from error
        if not found or found[0][1] != key.workflow_id:
            return None
        rid, _, status, next_event, crc, packed = found[0]
        # A damaged page may hold values of any type, whatever the table says.
        if type(packed) is not bytes or _progress_crc(key.run_id, status, next_event, packed) != crc:
            raise RunDamaged(key, "the checksum of its progress does not match")
        rows = list(history.read_all(reader, key, rid, next_event))
        apart = progress.is_apart(packed)
        known = activities.read(reader, key, rid) if apart else progress.NOTHING_APART
    try:
        state = replay.replay(key, rows, packed, known)
    except InvalidTransition as error:
        raise RunDamaged(key, str(error)) from error
    if state.status != status or state.next_event_id != next_event:
        raise RunDamaged(key, f"its history ends in status {state.status} where {status} was committed")
    return Loaded(rid, state, apart)


def row_of(state: RunState, rid: int, *, apart: bool = False, shown: VisibilityRow | None = None) -> Row:
    """Return the row that a run has in this state: `due_ms`, `tasks` and what lists show are derived from it. `apart`:
    its activities have rows of their own; `shown`: its visibility row, where that is known already."""
    shown = shown or visibility_row(state)
    packed = progress.pack(state, apart=apart)
    closed = not state.open
    return (
        rid,
        shown.namespace,
        shown.workflow_id,
        shown.run_id,
        shown.status,
        state.next_event_id,
        deadlines.deadline_ms(state),
        tasks.pack(state, apart=apart),
        shown.workflow_type,
        shown.task_queue,
        shown.start_ms,
        shown.execution_ms,
        shown.close_ms,
        shown.history_events if closed else None,
        shown.history_size_bytes if closed else None,
        shown.state_transitions if closed else None,
        shown.execution_duration_ms if closed else None,
        shown.parent_workflow_id or None,
        shown.parent_run_id or None,
        shown.root_workflow_id or None,
        shown.root_run_id or None,
        _progress_crc(state.key.run_id, state.status, state.next_event_id, packed),
        packed,
    )


def _flatten(turn: Turn, into: list[Turn]) -> None:
    for other in turn.also:
        _flatten(other, into)
    if turn.events or turn.noted or turn.messages or turn.takes:
        into.append(turn)


def _rows(turn: Turn, rid: int, *, reshown: bool, apart: bool) -> list[tuple[Statement, Row]]:
    """Return the rows that a turn writes; with `reshown`, what lists show of the run's attributes changed."""
    before, state = turn.before, turn.state.durable
    rows: list[tuple[Statement, Row]] = []
    if turn.events:
        first = turn.events[0].event_id
        rows.append((history.INSERT_HISTORY, history.row_of(rid, state.key.run_id, first, turn.frames)))
    changed = reshown or before is None or before.memo != state.memo
    if before is not None and not changed and before.status == state.status:
        packed = progress.pack(state, apart=apart)
        crc = _progress_crc(state.key.run_id, state.status, state.next_event_id, packed)
        due_ms, waiting = deadlines.deadline_ms(state), tasks.pack(state, apart=apart)
        rows.append((MOVE_RUN, (rid, state.next_event_id, due_ms, waiting, crc, packed)))
        return rows
    shown = visibility_row(state)
    rows.append((OPEN_RUN if state.open else CLOSE_RUN, row_of(state, rid, apart=apart, shown=shown)))
    if changed and (before is not None or shown.memo or shown.search_attributes):
        rows.append((PUT_ATTRIBUTES, (rid, shown.memo, shown.search_attributes)))
    return rows


def _progress_crc(run_id: str, status: int, next_event_id: int, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(f"{run_id}/{status}/{next_event_id}".encode()))
