"""The writer's thread: members that wait when an fsync ends share the next one."""

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
        self._queue: SimpleQueue[Member | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="stormsail-store", daemon=True)
        self._thread.start()

    def put(self, member: "Member") -> None:
        """See `medium.Writer`."""
        self._queue.put(member)

    def stop(self) -> None:
        """See `medium.Writer`."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group: list[Member] = []
            size = 0
            item = self._queue.get()
            while item is not None:
                group.append(item)
                size += item.size
                if len(group) == GROUP_MEMBERS_MAX or size >= GROUP_BYTES_MAX:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            stopping = item is None
            self._write(group, stopping)
