"""What both servers have before the first trace: the namespaces that traces ask for, and search attributes."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from grpc import aio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest, RegisterNamespaceRequest

from engine.api.rpc import Rpc

READY_S: Final = 30.0
ATTRIBUTES: Final = {
    "ParityKeyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "ParityText": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    "ParityInt": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "ParityDouble": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "ParityBool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "ParityDatetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "ParityWords": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


async def prepare(namespaces: Sequence[str], *servers: Rpc) -> None:
    """Make all ready on all servers, and return once they know of it."""
    await asyncio.gather(*(_prepare(rpc, namespace) for rpc in servers for namespace in ("default", *namespaces)))


async def _prepare(rpc: Rpc, namespace: str) -> None:
    if namespace != "default":
        register = RegisterNamespaceRequest(namespace=namespace)
        register.workflow_execution_retention_period.FromSeconds(3 * 86_400)
        await rpc.call(register)
    adding = AddSearchAttributesRequest(namespace=namespace, search_attributes=ATTRIBUTES)
    listing = ListSearchAttributesRequest(namespace=namespace)
    using = ListWorkflowExecutionsRequest(namespace=namespace, query="ParityKeyword = 'x' and ParityInt = 1")
    deadline = time.monotonic() + READY_S
    while True:
        try:
            await rpc.call(adding)
            known = (await rpc.call(listing)).custom_attributes
            await rpc.call(using)
            if ATTRIBUTES.keys() <= known.keys():
                return
        except aio.AioRpcError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)
