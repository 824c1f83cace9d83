"""What every store must do, whatever disk is under it. A test class derives from `StoreContract`."""

import asyncio
from pathlib import Path

import pytest
from temporalio.api.history.v1 import History

from engine.store.given import AT_MS, completed, continued, key, signaled, started, timer_started
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.visibility_row import visibility_row
from stormsail.engine.core.work import tasks
from stormsail.engine.store.errors import DataDirInUse, RunConflict
from stormsail.engine.store.store import Store


def event_ids(frames: bytes) -> list[int]:
    """Return the ids of the events in a serialised History."""
    return [event.event_id for event in History.FromString(frames).events]


class StoreContract:
    """The suite."""

    def open(self, directory: Path) -> Store:
        """Open a store on a directory."""
        return Store.open(directory, now_ms=lambda: AT_MS)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        store = self.open(tmp_path / "data")
        yield store
        store.close()

    async def test_what_was_committed_is_loaded_as_it_was(self, store: Store) -> None:
        turn = started(key("w"), memo={"who": b"me"})
        await store.commit([turn])
        assert store.load(key("w")) == turn.state
        moved = signaled(turn.state, b"x" * 5_000, times=3)
        await store.commit([moved])
        assert store.load(key("w")) == moved.state
        closed = completed(moved.state)
        await store.commit([closed])
        assert store.load(key("w")) == closed.state

    async def test_everything_is_there_after_closing_and_opening(self, tmp_path: Path) -> None:
        store = self.open(tmp_path / "data")
        turns = [started(key(f"w{n}"), timeout_ms=n + 1) for n in range(100)]
        await asyncio.gather(*(store.commit([turn]) for turn in turns))
        cluster_id = store.cluster_id
        store.close()
        store.close()
        store = self.open(tmp_path / "data")
        assert [store.load(turn.state.key) for turn in turns] == [turn.state for turn in turns]
        assert store.cluster_id == cluster_id
        again = started(key("w100"))
        await store.commit([again])
        assert store.load(key("w100")) == again.state
        store.close()

    async def test_a_run_is_found_only_by_its_whole_name(self, store: Store) -> None:
        await store.commit([started(key("w"))])
        assert store.load(key("w", "run-2")) is None
        assert store.load(key("other", "w-1")) is None
        assert store.load(key("w", namespace="other")) is None
        assert store.current("other", "w") is None
        page = store.history(key("w", namespace="other"), 1, max_events=10, max_bytes=10_000)
        assert (page.frames, page.next_event_id, page.last_event_id) == (b"", 0, 0)

    async def test_two_namespaces_may_use_the_same_ids(self, store: Store) -> None:
        turns = [started(key("w", namespace=namespace), queue=namespace) for namespace in ("a", "b")]
        await store.commit(turns)
        assert [store.load(turn.state.key) for turn in turns] == [turn.state for turn in turns]

    async def test_the_current_run_is_the_open_one_else_the_newest(self, store: Store) -> None:
        assert store.current("default", "w") is None
        first = started(key("w", "run-1"))
        await store.commit([first])
        assert store.current("default", "w") == key("w", "run-1")
        closed = completed(first.state)
        await store.commit([closed])
        assert store.current("default", "w") == key("w", "run-1")
        second = started(key("w", "run-2"))
        await store.commit([second])
        assert store.current("default", "w") == key("w", "run-2")
        await store.commit([completed(second.state)])
        assert store.current("default", "w") == key("w", "run-2")

    async def test_a_run_and_its_follower_are_committed_together(self, store: Store) -> None:
        first = started(key("w", "run-1"))
        await store.commit([first])
        turn = continued(first.state, "run-2")
        await store.commit([turn])
        assert store.load(key("w", "run-1")) == turn.state
        assert store.load(key("w", "run-2")) == turn.also[0].state
        assert store.current("default", "w") == key("w", "run-2")

    async def test_two_open_runs_of_one_workflow_id_are_refused(self, store: Store) -> None:
        first = started(key("w", "run-1"))
        await store.commit([first])
        with pytest.raises(RunConflict):
            await store.commit([started(key("other")), started(key("w", "run-2"))])
        assert store.load(key("other")) is None, "all of a commit or none"
        assert store.load(key("w", "run-2")) is None
        assert store.load(key("w", "run-1")) == first.state

    async def test_the_same_run_twice_is_refused(self, store: Store) -> None:
        first = started(key("w"))
        await store.commit([first])
        await store.commit([completed(first.state)])
        with pytest.raises(RunConflict):
            await store.commit([started(key("w"))])

    async def test_a_turn_of_a_run_that_is_not_stored_is_refused(self, store: Store) -> None:
        with pytest.raises(RunConflict):
            await store.commit([signaled(started(key("w")).state)])

    async def test_a_commit_that_is_refused_does_not_fail_those_beside_it(self, store: Store) -> None:
        await store.commit([started(key("taken", "run-1"))])
        turns = [started(key(f"w{n}")) for n in range(40)]
        turns.insert(20, started(key("taken", "run-2")))
        outcomes = await asyncio.gather(*(store.commit([turn]) for turn in turns), return_exceptions=True)
        assert [type(one) for one in outcomes if one is not None] == [RunConflict]
        assert [store.load(key(f"w{n}")) is not None for n in range(40)] == [True] * 40

    async def test_turns_of_one_run_in_one_group_keep_their_order(self, store: Store) -> None:
        first = started(key("w"))
        turns: list[Turn] = [first]
        for _ in range(30):
            turns.append(signaled(turns[-1].state))
        await store.commit([first])
        await asyncio.gather(*(store.commit([turn]) for turn in turns[1:]))
        assert store.load(key("w")) == turns[-1].state

    async def test_nothing_to_commit_is_no_commit(self, store: Store) -> None:
        turn = started(key("w"))
        await store.commit([turn])
        await store.commit([])
        await store.commit([Turn.on(turn.state, AT_MS)])
        assert store.load(key("w")) == turn.state

    async def test_a_wait_that_is_given_up_does_not_undo_the_commit(self, store: Store) -> None:
        waiting = asyncio.create_task(store.commit([started(key("w"))]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await store.commit([started(key("later"))])
        assert store.load(key("w")) is not None

    async def test_histories_are_served_in_pages_by_events_and_bytes(self, store: Store) -> None:
        turns = [started(key("w"))]
        for times in (1, 7, 2, 1, 30):
            turns.append(signaled(turns[-1].state, b"x" * 100, times=times))
        for turn in turns:
            await store.commit([turn])
        whole = b"".join(frame for turn in turns for frame in turn.frames)
        frames = [frame for turn in turns for frame in turn.frames]
        for max_events, max_bytes in ((1, 10**6), (3, 10**6), (8, 10**6), (1_000, 300), (1_000, 1), (43, 10**6)):
            for read, expected in ((store.history, frames), (store.history_reverse, frames[::-1])):
                got, at, pages = b"", 1 if read == store.history else 0, 0
                while at or not pages:
                    page = read(key("w"), at, max_events=max_events, max_bytes=max_bytes)
                    ids = event_ids(page.frames)
                    assert 1 <= len(ids) <= max_events
                    assert len(page.frames) <= max_bytes or len(ids) == 1
                    assert page.last_event_id == ids[-1]
                    got, at, pages = got + page.frames, page.next_event_id, pages + 1
                assert got == b"".join(expected)
        assert store.history(key("w"), 1, max_events=1_000, max_bytes=10**6).frames == whole

    async def test_a_history_is_served_from_the_middle_of_a_turn(self, store: Store) -> None:
        first = started(key("w"))
        await store.commit([first])
        await store.commit([signaled(first.state, times=5)])
        assert event_ids(store.history(key("w"), 5, max_events=100, max_bytes=10**6).frames) == [5, 6, 7]
        assert event_ids(store.history_reverse(key("w"), 4, max_events=100, max_bytes=10**6).frames) == [4, 3, 2, 1]
        assert store.history(key("w"), 8, max_events=100, max_bytes=10**6).frames == b""

    async def test_runs_are_found_when_they_are_due(self, store: Store) -> None:
        states = {}
        for name, after_ms in (("late", 9_000), ("soon", 1_000), ("middle", 5_000)):
            first = started(key(name), task=False)
            timer = timer_started(first.state, "t", after_ms)
            await store.commit([first])
            await store.commit([timer])
            states[name] = timer.state
        await store.commit([started(key("never"), task=False)])
        found = [(AT_MS + 1_000, key("soon")), (AT_MS + 5_000, key("middle")), (AT_MS + 9_000, key("late"))]
        assert store.due(AT_MS + 9_000, 10) == found
        assert store.due(AT_MS + 8_999, 10) == found[:2]
        assert store.due(AT_MS + 9_000, 1) == found[:1]
        await store.commit([completed(states["soon"])])
        assert store.due(AT_MS + 9_000, 10) == found[1:]

    async def test_tasks_wait_until_they_are_taken_or_the_run_closes(self, store: Store) -> None:
        turns = [started(key(f"w{n}"), queue=f"q{n}") for n in range(3)]
        await store.commit(turns)
        expected = [(turn.state.key, task) for turn in turns for task in tasks(turn.state).values()]
        assert store.waiting_tasks().tasks == expected
        assert len(expected) == 3
        await store.commit([completed(turns[1].state)])
        assert [found.workflow_id for found, _ in store.waiting_tasks().tasks] == ["w0", "w2"]

    async def test_what_lists_show_is_what_the_run_says(self, store: Store) -> None:
        first = started(key("w"), memo={"a": b"1"})
        await store.commit([first])
        assert store.visibility.list("default", "", 10, b"").rows == [visibility_row(first.state)]
        moved = signaled(first.state)
        await store.commit([moved])
        assert store.visibility.list("default", "", 10, b"").rows == [visibility_row(moved.state)]
        closed = completed(moved.state)
        await store.commit([closed])
        assert store.visibility.list("default", "", 10, b"").rows == [visibility_row(closed.state)]

    async def test_one_server_at_a_time_has_the_directory(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(DataDirInUse):
            self.open(tmp_path / "data")
        store.close()
        self.open(tmp_path / "data").close()
