"""Workflows that start and signal others, for the tests that run a real worker."""

import asyncio
from datetime import timedelta

from temporalio import workflow


@workflow.defn
class Kin:
    """A child that waits for a word."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, what: str) -> str:
        await workflow.wait_condition(lambda: bool(self.heard))
        return f"{what}:{','.join(self.heard)}"

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(what)


@workflow.defn
class Crowd:
    """Starts many children and signals each."""

    @workflow.run
    async def run(self, count: int) -> list[str]:
        async def one(number: int) -> str:
            child = await workflow.start_child_workflow(
                Kin.run, "waits", id=f"{workflow.info().workflow_id} {number}", task_timeout=timedelta(seconds=2)
            )
            await child.signal(Kin.hear, str(number))
            return await child

        return list(await asyncio.gather(*(one(number) for number in range(count))))


WORKFLOWS = [Kin, Crowd]
