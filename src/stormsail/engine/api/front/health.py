"""`grpc.health.v1.Health`: whether the server serves, asked once or watched."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from stormsail.engine.api.front.calls import Call
from stormsail.engine.api.front.front import UNAVAILABLE_TEXT, Route
from stormsail.engine.core.errors import InvalidArgument, Refused, Unavailable

SERVICE_NAME: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_Status: Final = health_pb2.HealthCheckResponse


class UnknownService(Refused):
    """Health is asked for something that this server has not."""

    status = "NOT_FOUND"


class Health:
    """Every service of the server is well until the server stops; then none is."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Say from now on that nothing is served, and end the watches."""
        self._stopping.set()

    def routes(self) -> list[Route]:
        """Return its methods."""
        path = f"/{SERVICE_NAME}"
        return [
            Route(f"{path}/Check", unary=self._check),
            Route(f"{path}/List", unary=self._list),
            Route(f"{path}/Watch", stream=self._watch),
        ]

    async def _check(self, _: Call, body: bytes) -> bytes:
        service = _request(body).service
        if service not in self._services:
            raise UnknownService(f"no service {service!r} here")
        return self._told(service)

    async def _list(self, _: Call, __: bytes) -> bytes:
        answer = health_pb2.HealthListResponse()
        for service in sorted(self._services):
            answer.statuses[service].ParseFromString(self._told(service))
        told: bytes = answer.SerializeToString()
        return told

    async def _watch(self, _: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for body in requests:
            service = _request(body).service
            yield self._told(service)
            await self._stopping.wait()
            yield self._told(service)
            raise Unavailable(UNAVAILABLE_TEXT)

    def _told(self, service: str) -> bytes:
        if service not in self._services:
            status = _Status.SERVICE_UNKNOWN
        else:
            status = _Status.NOT_SERVING if self._stopping.is_set() else _Status.SERVING
        told: bytes = _Status(status=status).SerializeToString()
        return told


def _request(body: bytes) -> health_pb2.HealthCheckRequest:
    try:
        return health_pb2.HealthCheckRequest.FromString(body)
    except DecodeError:
        raise InvalidArgument("the request is no grpc.health.v1.HealthCheckRequest") from None
