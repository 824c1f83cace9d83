"""Nothing that is due stays undone: every simulated second, each open run's next due instant against the clock.

It is reckoned anew from what each run is waiting for, and not by `deadline_ms`, which remembers: a deadline that is
remembered wrongly looks the same to the engine, its store and whoever asks it.
"""

from collections.abc import Callable
from typing import Final

from stormsail.engine.core import deadlines
from stormsail.engine.shell.engine import Engine
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.trace import Violation
from stormsail.engine.sim.watch import Watch

LOOKS_EVERY_S: Final = 1.0
OVERDUE_S: Final = 5.0
"""How long something may be due on a machine with which nothing is wrong. A firing that is refused because too much
waits is tried again a second later, and it waits for its run's other turns, each of which may wait for the disk."""


class Punctuality:
    """See the module. `engine` is None while the process is down."""

    def __init__(self, watch: Watch, violated: Violated, engine: Callable[[], Engine | None]) -> None:
        self._watch = watch
        self._violated = violated
        self._engine = engine

    def look(self) -> None:
        """T2: what is due is done, as far as the server was there and could write."""
        engine = self._engine()
        if engine is None:
            return
        for key in self._watch.open_runs.values():
            # What is in memory alone counts where it is there: a task that is handed out waits for no worker any more.
            state = engine.runs.in_memory(key) or self._watch.runs[key].state.durable
            due = min(deadlines.dues(state), default=None)
            if due is not None and (late_s := self._watch.late_s(due.at_ms)) > OVERDUE_S:
                told = f"{key}: {due.kind.name} of event {due.event_id} is due for {late_s:.1f} s, and not done"
                self._violated(Violation("T2", told))
