"""The part of `namespace` and `search-attribute` that talks to the engine."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from temporalio.api.enums.v1 import IndexedValueType, NamespaceState
from temporalio.api.namespace.v1 import NamespaceConfig, UpdateNamespaceInfo
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    DeleteNamespaceRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    ListNamespacesRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)

from stormsail.cli.connection import run
from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import Column, show_list, show_one, span, style
from stormsail.cli.temporal.rpc import duration, engine, listed

NAMESPACES_MAX: Final = 10_000

_COLUMNS: Final = (
    Column("namespace", lambda r: r["namespace"]),
    Column("state", lambda r: r["state"]),
    Column("retention", lambda r: span(r["retention_ms"])),
    Column("id", lambda r: r["id"], wide=True),
    Column("owner", lambda r: r["owner_email"] or "-", wide=True),
    Column("description", lambda r: r["description"] or "-"),
)
_ATTRIBUTE_COLUMNS: Final = (
    Column("name", lambda r: r["name"]),
    Column("type", lambda r: r["type"]),
    Column("of", lambda r: r["of"]),
)


def run_list(place: Place, output: str) -> int:
    """Print namespaces."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            return await listed(
                e.workflow.list_namespaces,
                ListNamespacesRequest(),
                NAMESPACES_MAX,
                lambda page: map(_namespace_record, page.namespaces),
            )

    show_list(run(main), _COLUMNS, "namespace", output, empty="no namespaces")
    return int(ExitCode.OK)


def _namespace_record(reply: DescribeNamespaceResponse) -> dict[str, Any]:
    info = reply.namespace_info
    return {
        "namespace": info.name,
        "id": info.id,
        "state": NamespaceState.Name(info.state).removeprefix("NAMESPACE_STATE_").capitalize(),
        "retention_ms": reply.config.workflow_execution_retention_ttl.ToMilliseconds(),
        "owner_email": info.owner_email,
        "description": info.description,
        "data": dict(info.data),
    }


def run_describe(name: str, place: Place, output: str) -> int:
    """Print one namespace."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            reply = await e.workflow.describe_namespace(DescribeNamespaceRequest(namespace=name), retry=True)
            return _namespace_record(reply)

    told = run(main)
    rows = {column.title: column.cell(told) for column in _COLUMNS}
    rows |= {f"data {key}": value for key, value in told["data"].items()}
    width = max(map(len, rows))
    text = "\n".join(f"{style(key.ljust(width), bold=True)}  {value}" for key, value in rows.items())
    show_one(told, text, "namespace", output)
    return int(ExitCode.OK)


def run_create(
    name: str,
    retention_s: float,
    description: str,
    email: str,
    data: Mapping[str, str],
    place: Place,
    output: str,
) -> int:
    """Create a namespace."""

    async def main() -> None:
        async with engine(place) as e:
            await e.workflow.register_namespace(
                RegisterNamespaceRequest(
                    namespace=name,
                    description=description,
                    owner_email=email,
                    data=data,
                    workflow_execution_retention_period=duration(retention_s),
                ),
                retry=True,
            )

    run(main)
    return _done(name, "created", output)


def run_update(
    name: str,
    retention_s: float | None,
    description: str,
    email: str,
    data: Mapping[str, str],
    place: Place,
    output: str,
) -> int:
    """Change a namespace; empty values leave what there is."""

    async def main() -> None:
        async with engine(place) as e:
            request = UpdateNamespaceRequest(
                namespace=name,
                update_info=UpdateNamespaceInfo(description=description, owner_email=email, data=data),
            )
            if retention_s is not None:
                kept = duration(retention_s)
                request.config.CopyFrom(NamespaceConfig(workflow_execution_retention_ttl=kept))
            await e.workflow.update_namespace(request, retry=True)

    run(main)
    return _done(name, "updated", output)


def run_delete(name: str, yes: bool, place: Place, output: str) -> int:
    """Delete a namespace after asking."""
    if not yes and not click.confirm(f"Delete namespace {name} with all its workflows?", err=True):
        raise click.Abort

    async def main() -> None:
        async with engine(place) as e:
            await e.operator.delete_namespace(DeleteNamespaceRequest(namespace=name), retry=True)

    run(main)
    return _done(name, "deleted", output)


def _done(name: str, done: str, output: str) -> int:
    show_one({"namespace": name, "done": done}, f"namespace {name}: {done}", "namespace", output)
    return int(ExitCode.OK)


def run_attributes(place: Place, output: str) -> int:
    """Print search attributes, the namespace's own first."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            reply = await e.operator.list_search_attributes(
                ListSearchAttributesRequest(namespace=e.namespace), retry=True
            )
            known = (("namespace", reply.custom_attributes), ("server", reply.system_attributes))
            return [
                {"name": name, "type": _type_name(kind), "of": of}
                for of, attributes in known
                for name, kind in sorted(attributes.items())
            ]

    show_list(run(main), _ATTRIBUTE_COLUMNS, "name", output, empty="no search attributes")
    return int(ExitCode.OK)


def _type_name(kind: IndexedValueType.ValueType) -> str:
    words = IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").split("_")
    return "".join(word.capitalize() for word in words)


def run_create_attributes(wanted: Mapping[str, str], place: Place, output: str) -> int:
    """Register search attributes."""
    kinds = {name: _kind(kind) for name, kind in wanted.items()}

    async def main() -> None:
        async with engine(place) as e:
            await e.operator.add_search_attributes(
                AddSearchAttributesRequest(namespace=e.namespace, search_attributes=kinds), retry=True
            )

    run(main)
    return _attributes_done(list(wanted), "created", output)


def _kind(name: str) -> IndexedValueType.ValueType:
    snake = "KEYWORD_LIST" if name.lower() == "keywordlist" else name.upper()
    return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{snake}")


def run_remove_attributes(names: Sequence[str], yes: bool, place: Place, output: str) -> int:
    """Remove search attributes after asking."""
    if not yes and not click.confirm(f"Remove {', '.join(names)}?", err=True):
        raise click.Abort

    async def main() -> None:
        async with engine(place) as e:
            await e.operator.remove_search_attributes(
                RemoveSearchAttributesRequest(namespace=e.namespace, search_attributes=names), retry=True
            )

    run(main)
    return _attributes_done(names, "removed", output)


def _attributes_done(names: Sequence[str], done: str, output: str) -> int:
    shown = {"names": list(names), "done": done}
    show_one(shown, f"search attributes {', '.join(names)}: {done}", "names", output)
    return int(ExitCode.OK)
