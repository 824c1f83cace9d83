"""A worker process that may be killed at any moment: `python -m crash.worker HOST:PORT`."""

import asyncio
import sys

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from crash.ledger_workflow import QUEUE, Ledger, note


async def main(address: str) -> None:
    while True:
        try:
            client = await Client.connect(address)
            break
        except RuntimeError:
            await asyncio.sleep(0.1)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Ledger],
        activities=[note],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    print("polling", flush=True)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
