"""What is in memory of runs is bounded in number and in bytes; what somebody counts on stays."""

from typing import Any

from engine.store.given import key, signaled, started
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.shell.run_cache import STATE_BYTES, RunCache, estimated_bytes

SMALL_BYTES = estimated_bytes(started(key("w")).state)


class Cache:
    """A cache, which of its runs are held, and which it let go."""

    def __init__(self, **bounds: Any) -> None:
        self.held: set[RunKey] = set()
        self.dropped: list[str] = []
        self.cache = RunCache(
            **{"runs_max": 100, "size_max": 1 << 30, **bounds},
            held=lambda state: state.key in self.held,
            dropped=lambda dropped: self.dropped.append(dropped.workflow_id),
        )

    def put(self, name: str, **fields: Any) -> RunState:
        """Put a run that was just started."""
        state = started(key(name), **fields).state
        self.cache.put(state)
        return state


def test_those_used_longest_ago_go_when_there_are_too_many() -> None:
    given = Cache(runs_max=2)
    states = [given.put(name) for name in "ab"]
    assert given.cache.get(key("a")) is states[0]
    assert given.cache.peek(key("b")) is states[1]
    given.put("c")
    assert given.dropped == ["b"]
    assert given.cache.get(key("b")) is None
    assert given.cache.drop(key("a"))
    assert not given.cache.drop(key("a"))
    assert len(given.cache) == 1


def test_those_used_longest_ago_go_when_they_are_too_large() -> None:
    given = Cache(size_max=3 * SMALL_BYTES)
    for name in "abcd":
        given.put(name)
    assert given.dropped == ["a"]
    given.put("large", memo={"m": bytes(2 * SMALL_BYTES)})
    assert given.dropped == ["a", "b", "c", "d"]
    assert len(given.cache) == 1, "the last one stays, however large"
    given.put("e")
    assert given.dropped == ["a", "b", "c", "d", "large"]
    assert STATE_BYTES < given.cache.size_bytes < 2 * SMALL_BYTES


def test_one_that_somebody_counts_on_stays_and_others_go() -> None:
    given = Cache(size_max=3 * SMALL_BYTES)
    given.held = {key("a"), key("b")}
    for name in "abcdef":
        given.put(name)
    assert given.dropped == ["c", "d", "e"]
    assert given.cache.peek(key("a"))


def test_what_a_long_history_left_in_the_state_counts_and_the_rest_does_not() -> None:
    given = Cache()
    state = given.put("w")
    for _ in range(100):
        turn = signaled(state, bytes(10_000))
        state = turn.state
        given.cache.put(state)
        assert given.cache.size_bytes >= estimated_bytes(state)
    assert state.history_size_bytes > 1_000_000
    assert given.cache.size_bytes < 100_000, "signals are in the history alone"
    given.cache.drop(state.key)
    assert given.cache.size_bytes == 0
