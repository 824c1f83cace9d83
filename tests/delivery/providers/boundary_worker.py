"""A delivery worker that kills itself at an activity: before or after that has done its work, or never.

`python boundary_worker.py ENGINE QUEUE PROVIDER SETTINGS before|after|never [NUMBER]`. It is the second activity unless
another number is given: the first one of each life is carried to its end, so every boundary of an operation but the
first meets a kill, and it comes on all the same.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput
from temporalio.worker import Interceptor as WorkerInterceptor

from stormsail.delivery.providers.catalog import open_account
from stormsail.delivery.worker import run_worker


class Dying(Interceptor, WorkerInterceptor):
    """Counts the activities of this process."""

    def __init__(self, when: str, at: int) -> None:
        self.when = when
        self.at = at
        self.begun = 0

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        dying = self

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                dying.begun += 1
                dies = dying.begun == dying.at
                if dies and dying.when == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                found = await super().execute_activity(input)
                if dies and dying.when == "after":
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

        return Inbound(next)


async def main(engine: str, queue: str, provider: str, settings: str, when: str, at: str = "2") -> None:
    """Serve the account that is named like the queue, until killed."""
    client = await Client.connect(engine, data_converter=pydantic_data_converter, interceptors=[Dying(when, int(at))])
    await run_worker(client, {queue: await open_account(provider, queue, json.loads(settings))}, queue)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
