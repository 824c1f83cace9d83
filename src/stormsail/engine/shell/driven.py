"""Coroutines without tasks: begun at once, and carried on by what they wait for.

A task costs more than most calls here do between two waits: its place in the set of all tasks, a turn of the loop
before its first step, and `shield` where it must go on without its caller. A driven coroutine may await futures, tasks
and `sleep(0)`; what asks for the current task (`asyncio.timeout`, `TaskGroup`) is not for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Ended = Callable[[Any, BaseException | None], None]
"""Told what a coroutine returned, or what it raised."""


class Driven(Generic[T]):
    """One coroutine under way. `ended` is called once."""

    __slots__ = ("_awaited", "_cancelled", "_ended", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], ended: Ended) -> None:
        self._work = work
        self._ended = ended
        self._awaited: asyncio.Future[Any] | None = None
        self._cancelled = False

    def go(self, _: "asyncio.Future[Any] | None" = None) -> None:
        """Go on to the next wait, or to the end. Call it once, to begin; what is awaited calls it again."""
        self._awaited = None
        try:
            if self._cancelled:
                self._cancelled = False
                awaited = self._work.throw(asyncio.CancelledError())
            else:
                awaited = self._work.send(None)
        except StopIteration as end:
            self._ended(end.value, None)
        except (KeyboardInterrupt, SystemExit) as error:
            self._ended(None, error)
            raise
        except BaseException as error:
            self._ended(None, error)
        else:
            self.go_on_after(awaited)

    def go_on_after(self, awaited: "asyncio.Future[Any] | None") -> None:
        """Go on when this is done: what the coroutine gave when it was begun, by whom it was."""
        if awaited is None:  # sleep(0)
            asyncio.get_running_loop().call_soon(self.go)
            return
        # Who takes a future from a coroutine that awaits it clears this mark, as a task does.
        assert awaited._asyncio_future_blocking
        awaited._asyncio_future_blocking = False
        self._awaited = awaited
        awaited.add_done_callback(self.go)
        if self._cancelled and awaited.cancel():
            self._cancelled = False

    def cancel(self) -> None:
        """Raise CancelledError where it waits, or at its next wait."""
        if self._awaited is None or not self._awaited.cancel():
            self._cancelled = True

    def close(self) -> None:
        """End it where it stands, for good: its loop has ended."""
        self._work.close()


class Undertakings:
    """Work that goes on whatever becomes of who waits for it, and can be waited for as a whole."""

    def __init__(self) -> None:
        """Make it where the event loop runs on which it is all done."""
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._none_left: asyncio.Future[None] | None = None

    def carried_out(self, work: Coroutine[Any, Any, T], *, unheard: Callable[[T], None] | None = None) -> Awaitable[T]:
        """Begin work; await what is returned, at once, for its result. Being cancelled leaves the work alone; its
        result then goes to `unheard`, and its failure to nobody, for it was told where it arose."""
        heard: asyncio.Future[T] = self._loop.create_future()
        try:
            awaited = work.send(None)
        except StopIteration as end:  # it had nothing to wait for
            heard.set_result(end.value)
            return heard

        def ended(result: Any, error: BaseException | None) -> None:
            self._under_way -= 1
            if not self._under_way and self._none_left is not None:
                self._none_left.set_result(None)
                self._none_left = None
            if heard.done():
                if error is None and unheard is not None:
                    unheard(result)
            elif error is None:
                heard.set_result(result)
            elif isinstance(error, asyncio.CancelledError):
                heard.cancel()
            else:
                heard.set_exception(error)
                heard.exception()  # which asyncio would log, should the caller be cancelled before it comes to know

        self._under_way += 1
        Driven(work, ended).go_on_after(awaited)
        return heard if unheard is None else _heard(heard, unheard)

    async def over(self) -> None:
        """Wait until none is under way."""
        while self._under_way:
            if self._none_left is None:
                self._none_left = self._loop.create_future()
            await asyncio.shield(self._none_left)


async def _heard(heard: "asyncio.Future[T]", unheard: Callable[[T], None]) -> T:
    try:
        return await heard
    except asyncio.CancelledError:
        if not heard.cancelled() and heard.exception() is None:
            unheard(heard.result())  # it came together with the cancellation
        raise
