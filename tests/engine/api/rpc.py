"""Calls by method name, as any gRPC client makes them."""

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status
from grpc import aio

from stormsail.engine.api.methods import METHODS, SERVICES

_PATHS = {method.name: path for path, method in METHODS.items()}
_OUTPUTS = {
    f"/{service.full_name}/{method.name}": GetMessageClass(method.output_type)
    for service in SERVICES
    for method in service.methods
}


class Refusal:
    """How a call was turned down."""

    def __init__(self, error: aio.AioRpcError) -> None:
        self.code = error.code().name
        self.text = error.details() or ""
        packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        self.details = list(Status.FromString(packed).details) if isinstance(packed, bytes) else []

    @property
    def detail(self) -> str:
        """The detail's type, the last part of its name; empty when there is none."""
        return self.details[0].type_url.rpartition(".")[2] if self.details else ""


class Rpc:
    """A client."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel

    async def call(self, request: Message, *, timeout: float = 60) -> Any:
        """Make the call that the request's type belongs to."""
        path = _PATHS[type(request).__name__.removesuffix("Request")]
        call = self.channel.unary_unary(path)
        answer = await call(request.SerializeToString(), timeout=timeout)
        return _OUTPUTS[path].FromString(answer)

    async def refused(self, request: Message) -> Refusal:
        """Make a call that must be turned down."""
        with pytest.raises(aio.AioRpcError) as raised:
            await self.call(request)
        return Refusal(raised.value)


async def status(rpc: Rpc, request: Message) -> tuple[str, str]:
    """Make a call; return its status and what it says."""
    try:
        await rpc.call(request)
    except aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""
