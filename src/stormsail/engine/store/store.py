"""The store: the one file of a data directory, and its parts."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.store import history
from stormsail.engine.store.batches import Batches
from stormsail.engine.store.database import Database
from stormsail.engine.store.errors import RowDamaged, cannot_start
from stormsail.engine.store.history import HistoryPage
from stormsail.engine.store.medium import FILE_SYSTEM, Hold, Medium
from stormsail.engine.store.namespaces import Namespaces
from stormsail.engine.store.outbox import Outbox
from stormsail.engine.store.runs import Runs, WaitingTasks
from stormsail.engine.store.schedules import Schedules
from stormsail.engine.store.search_attributes import SearchAttributes
from stormsail.engine.store.task_queues import TaskQueueConfigs
from stormsail.engine.store.visibility import Visibility


class Store:
    """What is on disk. Reads answer at once with the last committed state; commits return after the fsync.

    Used from one event loop at a time. Every method may raise StorageFailed, after which the process must stop.
    """

    def __init__(self, lock: Hold, database: Database, limits: Limits, now_ms: int, fresh_id: str) -> None:
        """Use `open`."""
        self._lock = lock
        self._database = database
        self.search_attributes = SearchAttributes(database)
        inside_max = limits.activities_inside_max
        self._runs = Runs(database, self.search_attributes, activities_inside_max=inside_max)
        self.namespaces = Namespaces(database, namespaces_max=limits.namespaces_max)
        self.batches = Batches(database)
        self.task_queue_configs = TaskQueueConfigs(database, configs_max=limits.task_queue_configs_max)
        self.visibility = Visibility(database.list_reader, self.search_attributes, page_max=limits.visibility_page_max)
        self.outbox = Outbox(database)
        self.schedules = Schedules(database, self.search_attributes, page_max=limits.visibility_page_max)
        self.cluster_id = database.identify(fresh_id, now_ms)
        """Drawn when the file was made; what GetClusterInfo answers."""

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        now_ms: Callable[[], int],
        limits: Limits = DEFAULT_LIMITS,
        medium: Medium = FILE_SYSTEM,
    ) -> "Store":
        """Open `<directory>/engine.db`, making both where absent. Raises DataDirInUse, SchemaTooNew, StorageFailed."""
        lock = medium.hold(directory)
        try:
            database = Database(directory / "engine.db", queue_max=limits.commit_queue_max, medium=medium)
        except BaseException:
            lock.release()
            raise
        try:
            return cls(lock, database, limits, now_ms(), medium.fresh_id())
        except BaseException as error:
            database.close()
            lock.release()
            if isinstance(error, RowDamaged):
                raise cannot_start(error) from error
            raise

    def commit(self, turns: Sequence[Turn]) -> Awaitable[None]:
        """Commit turns as one: all of them, with the turns they carry along, or none.

        Returns once they are on disk. Raises StorageFull, CommitQueueFull, StorageBusy and RunConflict with nothing
        written; StorageFailed where that is unknown. Cancelling the wait does not cancel the commit.
        """
        return self._runs.commit(turns)

    def load(self, key: RunKey) -> RunState | None:
        """Rebuild a run; None when there is no such run. Raises RunDamaged."""
        return self._runs.load(key)

    async def delete(self, key: RunKey) -> bool:
        """Take a closed run out of the file. Returns once that is on disk; False where it is open, or not there."""
        return await self._runs.delete(key)

    def closed_by(self, namespace: str, until_ms: int, limit: int) -> list[RunKey]:
        """Return runs of a namespace that had closed by then."""
        return self._runs.closed_by(namespace, until_ms, limit)

    def some_of(self, namespace: str, limit: int) -> list[RunKey]:
        """Return some runs of a namespace, open or closed; none where it has none."""
        return self._runs.some_of(namespace, limit)

    def current(self, namespace: str, workflow_id: str) -> RunKey | None:
        """Return the open run of a workflow id, else its newest, else None."""
        return self._runs.current(namespace, workflow_id)

    def history(self, key: RunKey, first_event_id: int, *, max_events: int, max_bytes: int) -> HistoryPage:
        """Return part of a history from an event on: at least one event if there is one. Raises RunDamaged."""
        reader = self._database.reader
        with reader.snapshot():
            place = self._runs.place(key)
            if place is None:
                return HistoryPage(b"", 0, 0)
            return history.page(reader, key, *place, first_event_id, max_events=max_events, max_bytes=max_bytes)

    def history_reverse(self, key: RunKey, last_event_id: int, *, max_events: int, max_bytes: int) -> HistoryPage:
        """Return part of a history from an event (0: the newest) down, newest first. Raises RunDamaged."""
        reader = self._database.reader
        with reader.snapshot():
            place = self._runs.place(key)
            if place is None:
                return HistoryPage(b"", 0, 0)
            return history.page_back(reader, key, *place, last_event_id, max_events=max_events, max_bytes=max_bytes)

    def due(self, until_ms: int, limit: int) -> list[tuple[int, RunKey]]:
        """Return the runs that must be looked at by then, earliest first."""
        return self._runs.due(until_ms, limit)

    def waiting_tasks(self, place: int = 0, runs_max: int = 1 << 30) -> WaitingTasks:
        """Return the tasks that wait for a poller, run by run in order of creation: of so many runs behind a place."""
        return self._runs.waiting_tasks(place, runs_max)

    def close(self) -> None:
        """Finish the commits that wait, close the file and let the directory go. Closing twice is closing once."""
        self._database.close()
        self._lock.release()
