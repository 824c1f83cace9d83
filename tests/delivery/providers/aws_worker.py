"""A delivery worker that serves one AWS account: `python aws_worker.py ENGINE QUEUE ACCOUNT SETTINGS`. To be killed."""

import asyncio
import json
import sys

from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.providers.aws.provider import open_provider
from stormsail.delivery.worker import run_worker


async def main(engine: str, queue: str, account: str, settings: str) -> None:
    """Serve until killed."""
    client = await DeliveryClient.connect(engine, task_queue=queue)
    await run_worker(client.client, {account: await open_provider(account, json.loads(settings))}, queue)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
