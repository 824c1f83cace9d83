"""A worker process that may be killed at any moment: `python -m crash.worker HOST:PORT`."""

import asyncio
import sys

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from crash.ledger_workflow import QUEUE, Ledger, note


async def main(address: str) -> None:
    """Work for ever. A worker gives up where the server is away for long while it begins: then another begins."""
    while True:
        try:
            client = await Client.connect(address)
            worker = Worker(
                client,
                task_queue=QUEUE,
                workflows=[Ledger],
                activities=[note],
                workflow_runner=UnsandboxedWorkflowRunner(),
            )
            await worker.run()
        except RuntimeError as error:
            print(error, file=sys.stderr, flush=True)
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
