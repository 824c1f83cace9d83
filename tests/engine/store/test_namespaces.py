"""Namespaces are kept, found by name and id, and listed in pages."""

import asyncio
from pathlib import Path

import pytest
from temporalio.api.namespace.v1 import NamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from stormsail.engine.core.errors import NamespaceAlreadyExists, NamespaceNotFound, ResourceExhausted
from stormsail.engine.core.limits import Limits
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store


def namespace(name: str, description: str = "") -> StoredNamespace:
    """Return a namespace whose id follows from its name."""
    info = NamespaceInfo(name=name, id=f"id-{name}", description=description)
    return StoredNamespace(name, info.id, DescribeNamespaceResponse(namespace_info=info))


def open_store(directory: Path, namespaces_max: int = 100) -> Store:
    """Open a store."""
    return Store.open(directory, now_ms=lambda: 0, limits=Limits(namespaces_max=namespaces_max))


async def test_a_registered_namespace_is_found_and_survives_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.namespaces.register(namespace("a"))
    await store.namespaces.update(namespace("a", "changed"))
    store.close()
    store = open_store(tmp_path)
    assert store.namespaces.get("a") == store.namespaces.get_by_id("id-a") == namespace("a", "changed")
    assert store.namespaces.get("b") is None
    store.close()


async def test_a_name_is_registered_once_also_when_asked_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    outcomes = await asyncio.gather(
        *(store.namespaces.register(namespace("a", str(n))) for n in range(5)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in outcomes) == ["NamespaceAlreadyExists"] * 4 + ["NoneType"]
    first = outcomes.index(None)
    assert store.namespaces.get("a") == namespace("a", str(first))
    with pytest.raises(NamespaceAlreadyExists):
        await store.namespaces.register(namespace("a"))
    store.close()
    store = open_store(tmp_path)
    assert store.namespaces.get("a") == namespace("a", str(first))
    store.close()


async def test_what_is_not_there_cannot_be_updated(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(NamespaceNotFound):
        await store.namespaces.update(namespace("a"))
    store.close()


async def test_more_namespaces_than_the_limit_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path, namespaces_max=2)
    await store.namespaces.register(namespace("a"))
    await store.namespaces.register(namespace("b"))
    with pytest.raises(ResourceExhausted, match="2 namespaces"):
        await store.namespaces.register(namespace("c"))
    store.close()


async def test_pages_list_each_namespace_once_by_name(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for name in ("c", "a", "e", "b", "d"):
        await store.namespaces.register(namespace(name))
    got, token = [], b""
    while True:
        page = store.namespaces.page(2, token)
        got.append([one.name for one in page.namespaces])
        token = page.next_token
        if not token:
            break
    assert got == [["a", "b"], ["c", "d"], ["e"]]
    store.close()
