"""Namespaces that were deleted: first nothing is called by their names any more, then what they had goes, bit by bit.

The first is on disk when the caller hears of it. The rest is told from the file alone, so that it goes on after a
crash: a namespace that was deleted keeps its old name beside its new one until nothing of the old one is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from stormsail.engine.core.errors import NotFound, Refused
from stormsail.engine.core.limits import Limits
from stormsail.engine.shell.batches import Batches
from stormsail.engine.shell.clock import Clock, wait_until
from stormsail.engine.shell.schedules import Schedules
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

_log: Final = structlog.get_logger(__name__)
IDENTITY: Final = "delete-namespace"
"""Who ends the runs that are still open."""
ID_SHOWN: Final = 5
"""Characters of a namespace's id in the name that it gets."""
_AT_ONCE: Final = 50
_RETRY_MS: Final = 1_000


class Removal:
    """The namespaces that are being removed."""

    def __init__(
        self,
        store: Store,
        *,
        schedules: Schedules,
        batches: Batches,
        delete: Callable[[str, str, str, str], Awaitable[None]],
        clock: Clock,
        limits: Limits,
    ) -> None:
        """`delete` takes a namespace, a workflow id, a run id and who asks."""
        self._store = store
        self._schedules = schedules
        self._batches = batches
        self._delete = delete
        self._clock = clock
        self._limits = limits
        self._emptying: dict[str, asyncio.Task[None]] = {}
        """By the name that is emptied."""

    def open(self) -> None:
        """Go on with what a server before this one had not ended."""
        for namespace in self._store.namespaces.all():
            if namespace.emptied:
                self._begin(namespace)

    async def remove(self, namespace: StoredNamespace) -> str:
        """Remove a namespace. Returns the name that it has until nothing is left, once that is on disk."""
        described = DescribeNamespaceResponse()
        described.CopyFrom(namespace.described)
        described.namespace_info.state = NamespaceState.NAMESPACE_STATE_DELETED
        name = f"{namespace.name}-deleted-{namespace.id[:ID_SHOWN]}"
        await self._store.namespaces.rename(StoredNamespace(namespace.name, namespace.id, described), name)
        self._begin(StoredNamespace(name, namespace.id, described))
        return name

    async def ended(self, names: Sequence[str]) -> None:
        """Wait until nothing is left of what namespaces of these names had before they were deleted."""
        emptying = [self._emptying[name] for name in names if name in self._emptying]
        if emptying:
            await asyncio.wait(emptying)

    async def stop(self) -> None:
        """Stop; the next server goes on."""
        emptying = list(self._emptying.values())
        for each in emptying:
            each.cancel()
        await asyncio.gather(*emptying, return_exceptions=True)

    def _begin(self, namespace: StoredNamespace) -> None:
        name = namespace.emptied
        task = asyncio.get_running_loop().create_task(self._empty(namespace))
        self._emptying[name] = task
        task.add_done_callback(lambda _: self._emptying.pop(name, None))

    async def _empty(self, namespace: StoredNamespace) -> None:
        """Delete all that a namespace had, then itself."""
        while True:
            try:
                await self._empty_once(namespace)
            except Refused as refused:
                _log.warning("namespace_removal_put_off", namespace=namespace.emptied, refused=refused.message)
            except StorageFailed as failed:
                _log.error("namespace_removal_stopped", namespace=namespace.emptied, failed=str(failed))
                return
            except Exception:
                _log.exception("namespace_removal_failed", namespace=namespace.emptied)
            else:
                _log.info("namespace_removed", namespace=namespace.emptied)
                return
            await wait_until(self._clock, asyncio.get_running_loop().create_future(), _RETRY_MS)

    async def _empty_once(self, namespace: StoredNamespace) -> None:
        name = namespace.emptied
        # Schedules first: they begin runs.
        while schedules := self._store.schedules.page(name, "", _AT_ONCE, b"").schedules:
            await asyncio.gather(*(_gone(self._schedules.delete(each.key)) for each in schedules))
        while batches := self._store.batches.page(name, _AT_ONCE, b"").batches:
            await asyncio.gather(*(_gone(self._batches.end(*each.name)) for each in batches if each.running))
            await self._batches.forget(name, self._clock.now_ms())
        while runs := self._store.some_of(name, _AT_ONCE):
            await asyncio.gather(*(_gone(self._delete(*key.workflow, key.run_id, IDENTITY)) for key in runs))
        attributes = self._store.search_attributes
        await attributes.remove(name, list(attributes.custom(name)))
        await self._store.task_queue_configs.forget(name)
        await self._store.namespaces.delete(namespace)


async def _gone(deleting: Awaitable[None]) -> None:
    """Wait for a deletion; what somebody else has ended or deleted meanwhile is gone as well."""
    try:
        await deleting
    except NotFound:
        return
