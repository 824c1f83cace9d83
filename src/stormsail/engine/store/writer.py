"""The writer's thread: members put in one turn of the event loop, or while an fsync runs, share the next one."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stormsail.engine.store.database import Member

GROUP_MEMBERS_MAX: Final = 512
GROUP_BYTES_MAX: Final = 32 * 1024 * 1024


class WriterThread:
    """See `medium.Writer`."""

    def __init__(self, write: "Callable[[Sequence[Member], bool], None]") -> None:
        self._write = write
        self._put: list[Member] = []
        """In this turn of the loop. Handed over at its end: a thread woken for the first of them would take the
        interpreter from whoever is about to put the second, and sync once for each."""
        self._queue: SimpleQueue[list[Member] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="stormsail-store", daemon=True)
        self._thread.start()

    def put(self, member: "Member") -> None:
        """See `medium.Writer`. Called from a running event loop."""
        if not self._put:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._put.append(member)

    def stop(self) -> None:
        """See `medium.Writer`."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join()

    def _hand_over(self) -> None:
        if self._put:
            self._queue.put(self._put)
            self._put = []

    def _run(self) -> None:
        stopping = False
        waiting: list[Member] = []
        while not (stopping and not waiting):
            if not waiting:
                taken = self._queue.get()
                stopping = taken is None
                waiting = taken or []
            while not stopping and len(waiting) < GROUP_MEMBERS_MAX:
                try:
                    taken = self._queue.get_nowait()
                except Empty:
                    break
                stopping = taken is None
                waiting += taken or []
            group = _first_of(waiting)
            waiting = waiting[len(group) :]
            self._write(group, stopping and not waiting)


def _first_of(waiting: "list[Member]") -> "list[Member]":
    """Return as many as one group may hold."""
    size = 0
    for number, member in enumerate(waiting[:GROUP_MEMBERS_MAX], 1):
        size += member.size
        if size >= GROUP_BYTES_MAX:
            return waiting[:number]
    return waiting[:GROUP_MEMBERS_MAX]
