"""A caller to be killed: carries one rolling story of changes through, from wherever it stands.

Run as `python rolling_caller.py DATA_DIR [STOP_AFTER]`. Prints `ready` once it begins and exits with 0 at the end.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from delivery.providers.local_account import hello
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.local.provider import open_provider
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
)

VERSIONS = 4


def story() -> list[Change]:
    """Return the changes: v1 stands; then each version comes, grows, takes over, and its predecessor goes."""
    changes: list[Change] = []
    for number in range(1, VERSIONS + 1):
        name, before = f"shop-v{number:03d}", f"shop-v{number - 1:03d}"
        launch = hello(f"v{number}", "--startup-delay", "0.2")
        changes += [
            CreateServerGroup(name=name, capacity=Capacity.fixed(1), launch=launch),
            EnableServerGroup(name=name),
            ResizeServerGroup(name=name, capacity=Capacity.fixed(3)),
            EnableServerGroup(name=name),
        ]
        if number > 1:
            changes += [
                DisableServerGroup(name=before, percent=50),
                DisableServerGroup(name=before),
                ResizeServerGroup(name=before, capacity=Capacity.fixed(1)),
                DestroyServerGroup(name=before),
                ResizeServerGroup(name=name, capacity=Capacity.fixed(2)),
            ]
    return changes


async def main(data_dir: str, stop_after: int) -> None:
    """Carry the story on."""
    print("ready", flush=True)
    provider = await open_provider("local", {"data_dir": data_dir})
    await provider.reconcile()
    for number, change in enumerate(story()[:stop_after]):
        while not (await provider.resume(f"token-{number}", change)).done:
            pass
    await provider.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000))
