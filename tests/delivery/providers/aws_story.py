"""A server group's life as a list of changes, and how a workflow carries each of them: look, try again, never give up.

Run as a program it serves lines of JSON (settings, story): for each it forks a caller that carries the story, says its
process id, then `done` and a number for each change that is done, then `end`. It is there to be killed.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pydantic import TypeAdapter

from stormsail.delivery.model.server_group import Capacity, LaunchSpec
from stormsail.delivery.providers.aws.provider import open_provider
from stormsail.delivery.providers.errors import Transient, UnknownOutcome
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    Progress,
    Provider,
    ResizeServerGroup,
)

DEADLINE_SECONDS = 60.0
CHANGES: TypeAdapter[list[Change]] = TypeAdapter(list[Change])


def life(name: str, launch: LaunchSpec) -> list[Change]:
    """Return one of every change, in the order of a life."""
    return [
        CreateServerGroup(name=name, capacity=Capacity(min=1, desired=2, max=4), launch=launch),
        EnableServerGroup(name=name, percent=50),
        EnableServerGroup(name=name),
        ResizeServerGroup(name=name, capacity=Capacity.fixed(3)),
        ResizeServerGroup(name=name, capacity=Capacity.fixed(1)),
        DisableServerGroup(name=name),
        DestroyServerGroup(name=name),
    ]


def token_of(number: int, change: Change) -> str:
    """Return the token of a change of a story."""
    return f"{change.name}-{number:03d}-{change.kind}"


async def persist(provider: Provider, token: str, change: Change) -> tuple[Progress, int]:
    """Carry a change to its end through every fault that may pass, as the workflow does; count those faults."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    faults = 0
    while True:
        assert time.monotonic() < deadline, f"{change.kind} of {change.name} is still not done"
        try:
            progress = await provider.begin(token, change)
            while not progress.done and time.monotonic() < deadline:
                await asyncio.sleep(0.005)
                progress = await provider.resume(token, change)
        except (Transient, UnknownOutcome):
            faults += 1
            await asyncio.sleep(0.005)
        else:
            return progress, faults


async def carry(provider: Provider, story: Sequence[Change], first: int = 0) -> None:
    """Carry a story on."""
    for number, change in list(enumerate(story))[first:]:
        await persist(provider, token_of(number, change), change)
        if __name__ == "__main__":
            print(f"done {number}", flush=True)


def serve() -> None:
    """Answer requests until end of input. Forking saves the imports; the provider is made before, without threads."""
    providers: dict[str, Provider] = {}

    def provider_of(settings: Mapping[str, str]) -> Provider:
        key = json.dumps(settings, sort_keys=True)
        if key not in providers:
            providers[key] = asyncio.run(open_provider("aws", settings))
        return providers[key]

    for line in sys.stdin:
        settings, story = json.loads(line)
        provider, changes = provider_of(settings), CHANGES.validate_python(story)
        child = os.fork()
        if child == 0:
            asyncio.run(carry(provider, changes))
            os._exit(0)
        print(f"pid {child}", flush=True)
        os.waitpid(child, 0)
        print("end", flush=True)


if __name__ == "__main__":
    serve()
