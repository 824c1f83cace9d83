"""A real delivery worker on the model clouds of a campaign: `python -m stormsail.cli.campaign.real_worker`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from stormsail.cli.campaign.remote_cloud import RemoteCloud
from stormsail.cli.notes import left_note
from stormsail.cli.process import follow_parent
from stormsail.delivery.client import DeliveryClient, EngineUnreachable
from stormsail.delivery.worker import run_worker

RETRY_S: Final = 0.25


async def work(data_dir: Path, engine: str, socket: Path, accounts: list[str]) -> None:
    """Serve the accounts until killed, through any outage of the engine."""
    while True:
        try:
            client = await DeliveryClient.connect(engine)
        except EngineUnreachable:
            await asyncio.sleep(RETRY_S)
        else:
            break
    with left_note(data_dir / "worker.json", engine):
        await run_worker(client.client, {account: RemoteCloud(socket, account) for account in accounts})


def main(arguments: list[str]) -> None:
    """Read the arguments: data directory, engine, socket, parent, accounts."""
    data_dir, engine, socket, parent, *accounts = arguments
    follow_parent(int(parent))
    asyncio.run(work(Path(data_dir), engine, Path(socket), accounts))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
