"""API keys: what the file may hold, who is let in, and what each may do in which namespace."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetSystemInfoRequest,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from engine.api.test_server import serving, settings_in
from engine.shell.conftest import World
from stormsail.engine.api.interceptors import bind
from stormsail.engine.api.keys import Keys, KeysUnusable, new_key
from stormsail.engine.api.methods import METHODS, Method
from stormsail.engine.api.namespaces import register_missing
from stormsail.engine.api.rights import RIGHTS, Right
from stormsail.engine.api.transport import Call, Rpc
from stormsail.engine.core.errors import PermissionDenied, Refused, Unauthenticated

SERVED = sorted(method.name for method in METHODS.values() if method.handler is not None)
NAMESPACED = [
    method
    for method in METHODS.values()
    if method.handler is not None and "namespace" in method.request.DESCRIPTOR.fields_by_name
]
ROLES = ("read", "write", "admin")


class Kept:
    """A file of keys, and the keys themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[str, str] = {}
        self._tables: dict[str, str] = {}

    def add(self, name: str, *grants: str, expires: datetime | None = None) -> str:
        self.texts[name], self._tables[name] = new_key(name, grants, expires)
        return self._write(name)

    def revoke(self, name: str) -> None:
        del self._tables[name]
        self._write(name)

    def _write(self, name: str) -> str:
        self.path.write_text("\n".join(self._tables.values()))
        self.path.chmod(0o600)
        return self.texts[name]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "keys.toml")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "data")
    await world.open()
    await register_missing(world.store, ("mine", "other"), world.limits)
    yield world
    await world.close()


def test_every_method_that_is_served_has_a_right() -> None:
    assert sorted(RIGHTS) == SERVED


def test_a_key_is_known_by_its_hash_alone_and_is_not_in_the_file(kept: Kept) -> None:
    text = kept.add("ci", "write:mine", "read:team-*")
    principal = Keys(kept.path, lambda: 0).principal(f"Bearer {text}")
    assert principal.name == "ci"
    assert text.rpartition("_")[2] not in kept.path.read_text()
    assert text not in repr(principal)
    may = [
        (right.name, where)
        for right in Right
        for where in ("mine", "team-a", "else", "")
        if principal.may(right, where)
    ]
    assert may == [
        *(("ANY", where) for where in ("mine", "team-a", "else", "")),
        ("READ", "mine"),
        ("READ", "team-a"),
        ("WRITE", "mine"),
    ]


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer x", "Basic {key}", "{key}", "Bearer {key}x", "Bearer ss_{zero}_{secret}"]
)
def test_what_is_no_key_is_not_let_in(kept: Kept, sent: str) -> None:
    key = kept.add("ci", "admin:*")
    secret = key[len("ss_") + 17 :]
    with pytest.raises(Unauthenticated) as raised:
        Keys(kept.path, lambda: 0).principal(sent.format(key=key, zero="0" * 16, secret=secret))
    assert secret not in raised.value.message


def test_a_key_ends_when_it_expires(kept: Kept) -> None:
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    key = kept.add("ci", "admin:*", expires=ends)
    now_ms = int(ends.timestamp() * 1000) - 1
    keys = Keys(kept.path, lambda: now_ms)
    assert keys.principal(f"bearer {key}").name == "ci"
    now_ms += 1
    with pytest.raises(Unauthenticated, match="has expired"):
        keys.principal(f"bearer {key}")


GOOD = """[[key]]
id = "0123456789abcdef"
name = "ci"
sha256 = "{hash}"
grants = ["write:default"]
""".format(hash="a" * 64)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "one to 1000 tables"),
        ("= 1", "no TOML"),
        ("\xff", "holds one to|no TOML"),
        ("key = 1", "one to 1000 tables"),
        ("other = 1\n" + GOOD, "and nothing else"),
        (GOOD + GOOD, "two keys of the id 0123456789abcdef"),
        (GOOD.replace("name =", "nam ="), "'nam' is no field"),
        (GOOD.replace('name = "ci"\n', ""), "name is missing"),
        (GOOD.replace('"ci"', "7"), "name is not a str"),
        (GOOD.replace('"ci"', '""'), "not empty"),
        (GOOD.replace("aaaa", "zz"), "64 hexadecimal digits"),
        (GOOD.replace("write:default", "own:default"), "'own:default' is not a grant"),
        (GOOD.replace('["write:default"]', "[]"), "not empty"),
        (GOOD + "expires = 2027-01-01T00:00:00\n", "no time zone"),
        (GOOD + 'expires = "soon"\n', "expires is not a datetime"),
        ("#" * 1024 * 1024 + "\n", "larger than"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_with_the_place(kept: Kept, content: str, why: str) -> None:
    kept.path.write_text(content)
    kept.path.chmod(0o600)
    with pytest.raises(KeysUnusable, match=why) as raised:
        Keys(kept.path, lambda: 0)
    assert str(kept.path) in str(raised.value)


def test_a_file_that_others_may_write_or_that_is_not_there_is_refused(kept: Kept) -> None:
    with pytest.raises(KeysUnusable, match="cannot be read: No such file"):
        Keys(kept.path, lambda: 0)
    kept.add("ci", "admin:*")
    kept.path.chmod(0o660)
    with pytest.raises(KeysUnusable, match="written by others"):
        Keys(kept.path, lambda: 0)


async def ask(rpcs: Mapping[str, Rpc], method: Method, namespace: str, key: str) -> str:
    """Make a call that names the namespace alone; return how it was refused, or nothing."""
    headers = {"authorization": f"Bearer {key}"}
    try:
        await rpcs[method.path](
            Call(method.path, headers, 0.0), method.request(namespace=namespace).SerializeToString()
        )
    except Refused as refused:
        return refused.status
    return ""


async def test_each_method_is_refused_to_who_lacks_the_right_and_in_every_other_namespace(
    world: World, kept: Kept
) -> None:
    for role in ROLES:
        kept.add(role, f"{role}:mine")
    rpcs = bind(world.engine, Keys(kept.path, world.clock.now_ms))
    denied = []
    for method in NAMESPACED:
        needed = max(RIGHTS[method.name], Right.READ)
        for role in ROLES:
            for namespace in ("mine", "other", "unknown", ""):
                allowed = namespace == "mine" and Right[role.upper()] >= needed
                if allowed and method.name in ("DeleteNamespace", "RegisterNamespace"):
                    continue  # it would do so
                status = await ask(rpcs, method, namespace, kept.texts[role])
                if (status == "PERMISSION_DENIED") is allowed or status == "UNAUTHENTICATED":
                    denied.append((method.name, role, namespace, status))
    assert denied == []


async def test_without_a_key_nothing_is_served(world: World, kept: Kept) -> None:
    kept.add("ci", "admin:*")
    rpcs = bind(world.engine, Keys(kept.path, world.clock.now_ms))
    statuses = set()
    for method in METHODS.values():
        if method.handler is not None:
            with pytest.raises(Unauthenticated):
                await rpcs[method.path](Call(method.path, {}, 0.0), b"")
            statuses.add(
                await ask(rpcs, method, "mine", "ss_" + "0" * 16 + "_" + "a" * 43) if method in NAMESPACED else ""
            )
    assert statuses == {"UNAUTHENTICATED", ""}


async def test_a_worker_reaches_into_no_namespace_that_its_key_has_no_right_in(world: World, kept: Kept) -> None:
    key = kept.add("worker", "write:mine")
    rpcs = bind(world.engine, Keys(kept.path, world.clock.now_ms))
    command = Command(command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
    command.start_child_workflow_execution_command_attributes.namespace = "other"
    request = RespondWorkflowTaskCompletedRequest(namespace="mine", task_token=b"t", commands=[command])
    path = next(path for path in METHODS if path.endswith("/RespondWorkflowTaskCompleted"))
    with pytest.raises(PermissionDenied, match="'write' in namespace 'other'"):
        await rpcs[path](Call(path, {"authorization": f"Bearer {key}"}, 0.0), request.SerializeToString())
    other = RespondActivityTaskCompletedRequest(task_token=b"t")
    path = next(path for path in METHODS if path.endswith("/RespondActivityTaskCompleted"))
    with pytest.raises(PermissionDenied, match="all namespaces"):
        await rpcs[path](Call(path, {"authorization": f"Bearer {key}"}, 0.0), other.SerializeToString())


async def test_a_namespace_named_by_its_id_is_for_who_may_see_all(world: World, kept: Kept) -> None:
    key = kept.add("reader", "read:mine")
    kept.add("all", "read:*")
    rpcs = bind(world.engine, Keys(kept.path, world.clock.now_ms))
    other = world.store.namespaces.get("other")
    path = next(path for path in METHODS if path.endswith("/DescribeNamespace"))
    for request in (DescribeNamespaceRequest(id=other.id), DescribeNamespaceRequest(id=other.id, namespace="mine")):
        body = request.SerializeToString()
        with pytest.raises(PermissionDenied):
            await rpcs[path](Call(path, {"authorization": f"Bearer {key}"}, 0.0), body)
    body = DescribeNamespaceRequest(id=other.id).SerializeToString()
    assert await rpcs[path](Call(path, {"authorization": f"Bearer {kept.texts['all']}"}, 0.0), body)


async def test_the_sdk_is_let_in_with_its_key_and_turned_away_once_that_is_revoked(tmp_path: Path, kept: Kept) -> None:
    key = kept.add("sdk", "write:default", expires=datetime.now(UTC) + timedelta(hours=1))
    kept.add("another", "read:elsewhere")
    renew = asyncio.Event()
    settings = replace(settings_in(tmp_path), api_keys=kept.path)
    async with serving(settings, renew) as address:
        client = await Client.connect(address, api_key=key, tls=False)
        handle = await client.start_workflow("W", id="w", task_queue="q")
        assert (await handle.describe()).id == "w"
        with pytest.raises(RPCError) as raised:
            await client.service_client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace="default"))
        assert raised.value.status == RPCStatusCode.PERMISSION_DENIED

        for bad in ({"api_key": "ss_" + "0" * 16 + "_" + "a" * 43}, {}):
            with pytest.raises(RuntimeError, match="Unauthenticated"):
                await Client.connect(address, tls=False, **bad)

        kept.revoke("sdk")
        renew.set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 30
        while await _system_info(client):
            assert loop.time() < deadline, "a revoked key is still good"
            await asyncio.sleep(0.01)


async def _system_info(client: Client) -> bool:
    try:
        await client.workflow_service.get_system_info(GetSystemInfoRequest())
    except RPCError as error:
        assert error.status == RPCStatusCode.UNAUTHENTICATED
        return False
    return True
