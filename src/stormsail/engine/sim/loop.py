"""An event loop whose every choice comes from a seed: which ready callback runs next, and what time it is.

It overrides asyncio's private `_run_once`, and nothing else in the simulator touches asyncio's insides. Time stands
still while anything is ready and then jumps to the next deadline; when there is neither, everybody waits for ever.
"""

import asyncio
import contextlib
import heapq
import random
import warnings
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeVar

from stormsail.engine.shell.driven import Driven

T = TypeVar("T")
KEPT: Final = 5_000
"""Tasks and futures kept before those that are done are let go, and twice what is left from then on."""
_TICK_S: Final = 1e-7
"""What lies at least between two calls from another thread: what the first leads to is done before the second."""
STEPS_MAX: Final = 400_000
"""Callbacks after which a run is taken for one that never ends."""


class Deadlock(Exception):
    """Nothing is ready and nothing is scheduled, but the run has not ended."""


class Endless(Exception):
    """Too many callbacks ran: something spins."""


class Life:
    """One life of a simulated process. Once it is over, none of its callbacks runs any more, not even a `finally`."""

    __slots__ = ("alive", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True


LIFE: Final[ContextVar[Life | None]] = ContextVar("life", default=None)
"""Whose callback this is. Tasks and callbacks inherit it; None is the simulated world outside the process."""


class SimLoop(asyncio.BaseEventLoop):
    """See the module. `shuffled`: pick the next ready callback by chance, else in asyncio's own order."""

    _ready: list[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, chance: random.Random, *, shuffled: bool = True) -> None:
        super().__init__()
        self._chance = chance
        self._shuffled = shuffled
        self._now_s = self._woken_s = 0.0
        self._ready = []
        self._kept_max = self._futures_max = KEPT
        self._kept: list[tuple[asyncio.Task[Any], Context]] = []
        self._futures: list[asyncio.Future[Any]] = []
        self.steps = 0
        self.steps_max = STEPS_MAX
        self.watch: Callable[[], None] | None = None
        """Called after every callback; what it raises ends the run."""
        self.set_task_factory(self._keep_task)

    def time(self) -> float:
        """Return the simulated time."""
        return self._now_s

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call back a little later, as a loop does that another thread has to wake; in the order of the calls."""
        self._woken_s = max(self._woken_s + _TICK_S, self._now_s + self._chance.random() * 0.001)
        return self.call_at(self._woken_s, callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        """Make a future and keep it to the end, with the driven coroutine that waits for it: as `_keep_task` does."""
        future: asyncio.Future[Any] = asyncio.Future(loop=self)
        self._futures.append(future)
        if len(self._futures) > self._futures_max:
            self._futures = [kept for kept in self._futures if not kept.done()]
            self._futures_max = max(KEPT, 2 * len(self._futures))
        return future

    def run_in_executor(  # type: ignore[override]
        self, _executor: object, function: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Do what other loops do in another thread a little later, here."""
        done: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if done.cancelled():
                return
            try:
                done.set_result(function(*args))
            except Exception as error:
                done.set_exception(error)

        self.call_later(self._chance.random() * 0.001, work)
        return done

    def stop_dead(self) -> None:
        """End everything after the run: what is still pending is closed, and what that would have happen does not."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # some coroutines wait for another's beginning
            self._close_pending()
            self._kept.clear()
            self._futures.clear()
            self._ready.clear()
            self._scheduled.clear()
        self.close()

    def _close_pending(self) -> None:
        for task, context in self._kept:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(RuntimeError):
                    context.run(task.get_coro().close)  # where it set its context variables, it sets them back
        for future in self._futures:
            for callback, context in future._callbacks or ():
                if isinstance(driven := getattr(callback, "__self__", None), Driven):
                    with contextlib.suppress(RuntimeError):
                        context.run(driven.close)

    def _keep_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        """Make a task and keep it to the end: one that a dead process left behind must not be closed by the collector,
        at a moment that no seed decides."""
        context: Context = options.pop("context", None) or copy_context()
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context, **options)
        self._kept.append((task, context))
        if len(self._kept) > self._kept_max:
            self._kept = [kept for kept in self._kept if not kept[0].done()]
            self._kept_max = max(KEPT, 2 * len(self._kept))
        return task

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
            if not scheduled:
                if self._stopping:
                    return
                raise Deadlock("nothing is ready and nothing is scheduled: everybody waits for ever")
            self._now_s = max(self._now_s, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now_s:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        self._run_one(ready)

    def _run_one(self, ready: list[asyncio.Handle]) -> None:
        place = int(self._chance.random() * len(ready)) if self._shuffled else 0
        handle = ready.pop(place)
        if handle._cancelled:
            return
        life = handle._context.get(LIFE)  # type: ignore[attr-defined]
        if life is not None and not life.alive:
            return
        self.steps += 1
        if self.steps > self.steps_max:
            raise Endless(f"{self.steps} callbacks ran and there is no end")
        handle._run()
        if self.watch is not None:
            self.watch()

    def _process_events(self, event_list: Any) -> None:
        """There is no input or output here."""

    def _write_to_self(self) -> None:
        """There is no other thread here."""


def run(loop: SimLoop, main: Any) -> Any:
    """Run a coroutine to its end on the loop, and end the loop."""
    asyncio.set_event_loop(None)
    try:
        return loop.run_until_complete(main)
    finally:
        with contextlib.suppress(RuntimeError):
            loop.stop_dead()
