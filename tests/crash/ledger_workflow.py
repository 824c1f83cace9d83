"""The workflow that the crash run drives: what it was told, in order, with an activity and a timer now and then."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

QUEUE = "ledger"


@activity.defn
async def note(entry: str) -> str:
    """Answer what was told."""
    return f"noted {entry}"


@workflow.defn
class Ledger:
    """Collects entries until it is told to end; each is there once, and entries of one sender in their order."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.ended = False
        self.done = 0

    @workflow.run
    async def run(self) -> list[str]:
        while True:
            await workflow.wait_condition(lambda: self.ended or len(self.entries) > self.done)
            if len(self.entries) == self.done:
                await workflow.wait_condition(workflow.all_handlers_finished)
                return self.entries
            entry = self.entries[self.done]
            self.done += 1
            if self.done % 3 == 0:
                noted = await workflow.execute_activity(
                    note,
                    entry,
                    start_to_close_timeout=timedelta(seconds=5),
                    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1.0),
                )
                assert noted == f"noted {entry}"
            if self.done % 5 == 0:
                await asyncio.sleep(0.05)

    @workflow.signal
    def tell(self, entry: str) -> None:
        """Take an entry without an answer."""
        self.entries.append(entry)

    @workflow.update
    async def add(self, entry: str) -> int:
        """Take an entry and answer how many there are."""
        self.entries.append(entry)
        await asyncio.sleep(0.02)
        return len(self.entries)

    @workflow.signal
    def end(self) -> None:
        """Finish what was told, and return it."""
        self.ended = True
