"""Namespaces that were deleted are emptied, over a restart too, and have their name back only then."""

import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from engine.shell.conftest import NAMESPACE, World
from stormsail.engine.core.errors import Unavailable
from stormsail.engine.store.namespaces import StoredNamespace


def registered(world: World) -> StoredNamespace:
    described = DescribeNamespaceResponse()
    described.namespace_info.name = NAMESPACE
    return StoredNamespace(NAMESPACE, world.ids.uuid(), described)


async def test_what_a_crash_left_is_deleted_after_it(closed_world: World) -> None:
    world = closed_world
    await world.open_gated()
    await world.store.namespaces.register(registered(world))
    for number in range(60):
        await world.start(f"w{number}")
    world.store.open.clear()  # open runs cannot be ended, so the removal gets no further
    deleted = await world.soon(world.engine.removal.remove(world.store.namespaces.get(NAMESPACE)))
    assert world.store.namespaces.get(NAMESPACE) is None
    assert world.store.namespaces.get(deleted) is not None
    with pytest.raises(Unavailable, match="what it had is not gone yet"):
        await world.store.namespaces.register(registered(world))
    world.store.open.set()
    await world.restart()
    await world.soon(world.engine.removal.ended([NAMESPACE]))
    assert world.store.some_of(NAMESPACE, 1) == []
    assert world.store.namespaces.get(deleted) is None
    await world.store.namespaces.register(registered(world))
