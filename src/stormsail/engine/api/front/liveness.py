"""Whether a silent peer is still there: a client whose machine is gone would keep its polls open for ever."""

import asyncio
from collections.abc import Callable


class Liveness:
    """Watches one connection from when it is made. After a silence it pings, and after another it gives the peer up."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        silence_s: float,
        answer_s: float,
        ping: Callable[[], bool],
        give_up: Callable[[], None],
    ) -> None:
        """`ping` returns whether there is a way to ping."""
        self._loop = loop
        self._silence_s = silence_s
        self._answer_s = answer_s
        self._ping = ping
        self._give_up = give_up
        self._heard = False
        self._pinged = False
        self._tick = loop.call_later(silence_s, self._look)

    def heard(self) -> None:
        """Take note that the peer has sent something."""
        self._heard = True
        self._pinged = False

    def stop(self) -> None:
        """Watch no longer."""
        self._tick.cancel()

    def _look(self) -> None:
        wait_s = self._silence_s
        if not self._heard:
            if self._pinged or not self._ping():
                self._give_up()
                return
            self._pinged = True
            wait_s = self._answer_s
        self._heard = False
        self._tick = self._loop.call_later(wait_s, self._look)
