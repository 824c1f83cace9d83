"""The runs that somebody looked at lately: the watcher looks whether they have moved on, each once for all viewers."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

RUNS_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class FollowedRun:
    """One run. An operation's has an application and an account."""

    workflow_id: str
    run_id: str
    application: str = ""
    account: str = ""


class Followed:
    """The runs looked at last, at most RUNS_MAX: who looks at more sees the others when they come back to them."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, FollowedRun] = OrderedDict()

    def look_at(self, run: FollowedRun) -> None:
        """Somebody looks at a run. What is known of its application stays known."""
        before = self._runs.get(run.run_id)
        self._runs[run.run_id] = before if before is not None and before.application else run
        self._runs.move_to_end(run.run_id)
        while len(self._runs) > RUNS_MAX:
            self._runs.popitem(last=False)

    def leave(self, run_id: str) -> None:
        """A run has ended: nothing of it will change."""
        self._runs.pop(run_id, None)

    def runs(self) -> tuple[FollowedRun, ...]:
        """Return them."""
        return tuple(self._runs.values())
