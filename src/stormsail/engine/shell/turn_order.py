"""Whose turn it is: the turns of one workflow id happen one after another, first come first served."""

import asyncio
from collections import deque

Workflow = tuple[str, str]
"""A namespace and a workflow id."""


class TurnOrder:
    """Who has the turn of a workflow id, and who is next."""

    def __init__(self) -> None:
        self._waiting: dict[Workflow, deque[asyncio.Future[None]] | None] = {}
        """Who waits for the turn that somebody has; None until anybody does."""

    async def acquire(self, workflow: Workflow) -> None:
        """Wait for the turn, first come first served. Being cancelled gives up the place."""
        if workflow not in self._waiting:
            self._waiting[workflow] = None
            return
        queue = self._waiting[workflow]
        if queue is None:
            queue = self._waiting[workflow] = deque()
        place = asyncio.get_running_loop().create_future()
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release(workflow)  # the turn came and the cancellation with it: pass it on
            else:
                queue.remove(place)
            raise

    def release(self, workflow: Workflow) -> None:
        """Pass the turn on to the next."""
        queue = self._waiting[workflow]
        while queue:
            place = queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        del self._waiting[workflow]

    def taken(self, workflow: Workflow) -> bool:
        """Say whether somebody has the turn now."""
        return workflow in self._waiting
