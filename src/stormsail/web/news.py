"""What has changed: a version for each topic, and whoever waits to hear of one.

Nothing is queued for anybody: a listener is told which topics have a newer version than it knows, so one that is slow,
or was away for a while, hears of each topic once.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

TOPICS: Final = ("operations", "applications", "workflows", "schedules", "workers", "engine", "audit")
"""The topics that there always are. Runs have their own: `operation:<id>`, `workflow:<workflow id>`."""

RUN_TOPICS_MAX: Final = 1000
LISTENERS_MAX: Final = 256
LATELY_S: Final = 30.0
"""How long before it listens a viewer may have read what it shows."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's newest version, and whose it is; empty names mean everybody's."""

    name: str
    version: int
    at_s: float
    """When it got that version, by the process's clock."""
    application: str = ""
    account: str = ""


class News:
    """The topics of one process. Versions count up together, so one number says what somebody knows."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self.epoch = secrets.token_hex(4)
        """Names this process: versions of another one mean nothing here."""
        self.version = 0
        self.listening = asyncio.Event()
        """Set while anybody listens: nobody asks any source for news otherwise."""
        self.hurry = asyncio.Event()
        """Set when something was changed here: whoever looks for news should look now."""
        self.closed = False
        self._topics: OrderedDict[str, Topic] = OrderedDict((name, Topic(name, 0, 0.0)) for name in TOPICS)
        self._changed = asyncio.Event()
        self._listeners = 0

    def bump(self, *names: str, application: str = "", account: str = "") -> None:
        """Give topics a new version, and wake whoever listens."""
        for name in names:
            self.version += 1
            self._topics[name] = Topic(name, self.version, self._now_s(), application, account)
            self._topics.move_to_end(name)
        runs = len(self._topics) - len(TOPICS)
        if runs > RUN_TOPICS_MAX:
            oldest = [name for name in self._topics if name not in TOPICS][: runs - RUN_TOPICS_MAX]
            for name in oldest:
                del self._topics[name]
        self._wake()

    def since(self, version: int) -> list[Topic]:
        """Return the topics that are newer than a version, oldest first."""
        return [topic for topic in self._topics.values() if topic.version > version]

    def lately(self) -> int:
        """Return the version that a new listener is taken to know: it read what it shows a while before it listens."""
        old = self._now_s() - LATELY_S
        return max((topic.version for topic in self._topics.values() if topic.at_s <= old), default=0)

    def known(self, event_id: str) -> int:
        """Return the version in an event's id; of another process, or where it is none, one older than all."""
        epoch, _, version = event_id.partition("-")
        return int(version) if epoch == self.epoch and version.isdecimal() and len(version) < 20 else -1

    async def wait(self, version: int, timeout_s: float) -> bool:
        """Wait until something is newer than a version; False when nothing came in time, or the process ends."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.version <= version and not self.closed:
                    changed = self._changed
                    await changed.wait()
        except TimeoutError:
            return False
        return not self.closed

    @property
    def is_full(self) -> bool:
        """Whether as many listen as may."""
        return self._listeners >= LISTENERS_MAX

    @contextmanager
    def listener(self) -> Iterator[None]:
        """Be counted among those who listen."""
        self._listeners += 1
        self.listening.set()
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self.listening.clear()

    def close(self) -> None:
        """End all waits: the process is about to end."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
