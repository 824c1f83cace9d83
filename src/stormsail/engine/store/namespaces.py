"""Namespaces: a handful of rows, all of them held in memory, for every call asks for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from stormsail.engine.core.errors import NamespaceAlreadyExists, NamespaceNotFound, ResourceExhausted, Unavailable
from stormsail.engine.store.checksum import sealed
from stormsail.engine.store.database import Database, Member, Statement
from stormsail.engine.store.errors import WriteRejected
from stormsail.engine.store.reader import Row

SELECT: Final = "SELECT name, id, described, crc FROM namespace"
INSERT: Final = Statement(rank=50, head="INSERT INTO namespace (name, id, described, crc) VALUES ", row="(?, ?, ?, ?)")
UPDATE: Final = Statement(
    rank=51,
    head="UPDATE namespace SET id = v.column2, described = v.column3, crc = v.column4 FROM (VALUES ",
    row="(?, ?, ?, ?)",
    tail=") AS v WHERE name = v.column1",
    exact=True,
)
RENAME: Final = Statement(
    rank=53,
    head="UPDATE namespace SET name = v.column2, described = v.column3, crc = v.column4 FROM (VALUES ",
    row="(?, ?, ?, ?)",
    tail=") AS v WHERE name = v.column1",
    exact=True,
)
DELETE: Final = Statement(rank=54, head="DELETE FROM namespace WHERE name IN (", row="?", tail=")", exact=True)


@dataclass(frozen=True, slots=True)
class StoredNamespace:
    """A namespace. `described` is what DescribeNamespace answers, without what depends on the server's version."""

    name: str
    id: str
    described: DescribeNamespaceResponse

    @property
    def emptied(self) -> str:
        """The name of which everything is being deleted, "" for a namespace that was not deleted. It is to be had again
        once nothing is left."""
        before = self.described.namespace_info.name
        return before if before != self.name else ""


@dataclass(frozen=True, slots=True)
class NamespacePage:
    """Part of the list, by name. `next_token` is empty at its end."""

    namespaces: list[StoredNamespace]
    next_token: bytes


class Namespaces:
    """The namespaces of one database."""

    def __init__(self, database: Database, *, namespaces_max: int) -> None:
        self._database = database
        self._max = namespaces_max
        self._by_name: dict[str, StoredNamespace] = {}
        reader = database.reader
        for row in reader.read(SELECT):
            name, id_, described = reader.checked(row)
            self._by_name[name] = StoredNamespace(name, id_, reader.message(DescribeNamespaceResponse, described))
        self._by_id = {namespace.id: namespace for namespace in self._by_name.values()}

    def get(self, name: str) -> StoredNamespace | None:
        """Return a namespace by its name."""
        return self._by_name.get(name)

    def get_by_id(self, id_: str) -> StoredNamespace | None:
        """Return a namespace by its id."""
        return self._by_id.get(id_)

    def all(self) -> Sequence[StoredNamespace]:
        """Return all namespaces, by name."""
        return sorted(self._by_name.values(), key=lambda namespace: namespace.name)

    def being_emptied(self, name: str) -> bool:
        """Whether what a namespace of that name had is still being deleted."""
        return any(one.emptied == name for one in self._by_name.values())

    def page(self, page_size: int, token: bytes) -> NamespacePage:
        """Return namespaces by name, those after the one that the token names."""
        after = token.decode(errors="replace")
        rest = [namespace for namespace in self.all() if namespace.name > after]
        shown = rest[: max(page_size, 1)]
        more = len(rest) > len(shown)
        return NamespacePage(shown, shown[-1].name.encode() if more else b"")

    async def register(self, namespace: StoredNamespace) -> None:
        """Add a namespace. Returns once it is on disk; raises NamespaceAlreadyExists."""
        if namespace.name in self._by_name:
            raise NamespaceAlreadyExists(namespace.name)
        if self.being_emptied(namespace.name):
            raise Unavailable(
                f"Namespace {namespace.name} was deleted, and what it had is not gone yet. Register it again shortly."
            )
        if len(self._by_name) >= self._max:
            raise ResourceExhausted(f"There are {self._max} namespaces, which is the limit.")
        try:
            await self._database.commit(Member([(INSERT, _row(namespace))], frozenset([("namespace", namespace.name)])))
        except WriteRejected:
            raise NamespaceAlreadyExists(namespace.name) from None
        self._remember(namespace)

    async def update(self, namespace: StoredNamespace) -> None:
        """Replace a namespace of the same name. Returns once it is on disk; raises NamespaceNotFound."""
        if namespace.name not in self._by_name:
            raise NamespaceNotFound(namespace.name)
        await self._database.commit(Member([(UPDATE, _row(namespace))], frozenset([("namespace", namespace.name)])))
        self._remember(namespace)

    async def rename(self, namespace: StoredNamespace, name: str) -> None:
        """Give a namespace another name, so that its own names nothing any more. Returns once that is on disk."""
        renamed = StoredNamespace(name, namespace.id, namespace.described)
        _, _, described, crc = _row(renamed)
        row = (namespace.name, name, described, crc)
        await self._database.commit(Member([(RENAME, row)], frozenset([("namespace", namespace.name)])))
        self._forget(namespace.name)
        self._remember(renamed)

    async def delete(self, namespace: StoredNamespace) -> None:
        """Take a namespace out of the list. Returns once that is on disk."""
        await self._database.commit(Member([(DELETE, (namespace.name,))], frozenset([("namespace", namespace.name)])))
        self._forget(namespace.name)

    def _forget(self, name: str) -> None:
        gone = self._by_name.pop(name)
        del self._by_id[gone.id]

    def _remember(self, namespace: StoredNamespace) -> None:
        self._by_name[namespace.name] = namespace
        self._by_id[namespace.id] = namespace


def _row(namespace: StoredNamespace) -> Row:
    return sealed(namespace.name, namespace.id, namespace.described.SerializeToString(deterministic=True))
