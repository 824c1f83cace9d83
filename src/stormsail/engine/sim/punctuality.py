"""Nothing that is due stays undone: every simulated second, each open run's next due instant against the clock.

It is reckoned anew from what each run is waiting for, and not by `deadline_ms`, which remembers: a deadline that is
remembered wrongly looks the same to the engine, its store and whoever asks it.
"""

from collections.abc import Callable
from typing import Final

from stormsail.engine.core import deadlines
from stormsail.engine.core.ids import RunKey
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
        self._overdue: dict[RunKey, tuple[deadlines.Due, float]] = {}
        """What was found due at the look before, and since when it is: an activity that goes on after a pause may be
        past its time at once."""

    def look(self) -> None:
        """T2: what is due is done, as far as the server was there and could write."""
        engine = self._engine()
        found: dict[RunKey, tuple[deadlines.Due, float]] = {}
        now_s = self._watch.time_s()
        for key in self._watch.open_runs.values() if engine is not None else ():
            # What is in memory alone counts where it is there: a task that is handed out waits for no worker any more.
            state = (engine and engine.runs.in_memory(key)) or self._watch.runs[key].state.durable
            due = min(deadlines.dues(state), default=None)
            if due is None or self._watch.late_s(due.at_ms) <= 0:
                continue
            known, since_s = self._overdue.get(key, (due, now_s))
            found[key] = (due, since_s if known == due else now_s)
            late_s = min(now_s - found[key][1], self._watch.late_s(due.at_ms))
            if late_s > OVERDUE_S:
                told = f"{key}: {due.kind.name} of event {due.event_id} is due for {late_s:.1f} s, and not done"
                self._violated(Violation("T2", told))
        self._overdue = found
