"""The gRPC front: bytes in, bytes out. The only file that knows which gRPC library carries them.

It knows nothing of messages: a method is a name and a coroutine from request bytes to a reply. Everything that a caller
can see of the library (sizes, deadlines, statuses, compression, pings) is decided here.
"""

import errno
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from stormsail.engine.core.errors import InvalidTransition, Refused, ResourceExhausted, Unimplemented

log = structlog.get_logger(__name__)

_DETAILS_KEY: Final = "grpc-status-details-bin"
_OUR_PACKAGE: Final = "/temporal.api."
_HARD_SIZE_FACTOR: Final = 16
"""gRPC itself cuts a request off, with a text of its own, only at this multiple of the limit: below it we answer,
saying the limit in the words that the SDKs look for. It bounds what one call can make us hold."""

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share its calls
    ("grpc.max_send_message_length", -1),
    # The SDKs' core pings every 30 s whether calls are in flight or not; without these gRPC closes such a connection.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A client whose machine is gone keeps its polls open; our own pings find out.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.max_concurrent_streams", 100_000),
)


class PortTaken(Exception):
    """The address cannot be listened on; the message says why and is fit to print."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the caller made it."""

    method: str
    """`/service/Method`."""
    metadata: Mapping[str, str]
    deadline_s: float | None
    """Seconds that the caller will wait from now; None when it set no deadline."""
    peer: str = ""

    @property
    def name(self) -> str:
        """The method's name without its service."""
        return self.method.rpartition("/")[2]


Rpc = Callable[[Call, bytes], Awaitable[bytes | Message]]
"""A method: the caller's bytes to the reply. Raises `Refused` to turn the caller down."""


class Transport:
    """A gRPC server of the given methods, with health and reflection beside them."""

    def __init__(self, methods: Mapping[str, Rpc], services: Sequence[str], *, message_size_max: int) -> None:
        """Take the methods by `/service/Method` and the full names of the services that they make up."""
        self._services = tuple(services)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        options = (*_OPTIONS, ("grpc.max_receive_message_length", message_size_max * _HARD_SIZE_FACTOR))
        self._server = aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Methods(methods, message_size_max),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, ip: str, port: int) -> int:
        """Listen, and return the port (port 0 takes a free one). Raises PortTaken."""
        address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        _refuse_taken(ip, port)
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortTaken(f"cannot listen on {address}: another process took it just now") from error
        await self._server.start()
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let the running ones end, and cut off those that have not after `grace_s`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


class _Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Finds a call's handler. Requests and replies pass as bytes."""

    def __init__(self, methods: Mapping[str, Rpc], message_size_max: int) -> None:
        self._message_size_max = message_size_max
        self._handlers = {method: self._handler(method, rpc) for method, rpc in methods.items()}

    def _handler(self, method: str, rpc: Rpc) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(_Method(method, rpc, self._message_size_max).serve)

    def service(self, handler_call_details: Any) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        method: str = handler_call_details.method
        known = self._handlers.get(method)
        if known is None and method.startswith(_OUR_PACKAGE):
            return self._handler(method, _unknown)  # the library's own answer would not name it
        return known


async def _unknown(call: Call, _: bytes) -> bytes:
    raise Unimplemented(f"{call.method} is not served by Stormsail's engine; docs/protocol.md lists what is.")


class _Method:
    """One method as the library calls it: runs the coroutine and turns what it raises into a status."""

    def __init__(self, method: str, rpc: Rpc, message_size_max: int) -> None:
        self._method = method
        self._rpc = rpc
        self._message_size_max = message_size_max

    async def serve(self, request: bytes, context: Any) -> bytes:
        code, details = grpc.StatusCode.INTERNAL, b""
        try:
            return await self._answer(request, context)
        except Refused as refused:
            code, text = grpc.StatusCode[refused.status], refused.message
            details = _status_details(code, text, refused.detail)
        except Exception as error:
            ident = uuid.uuid4().hex[:8]
            broken = isinstance(error, InvalidTransition | AssertionError)
            log.exception("internal error", method=self._method, id=ident, broken_invariant=broken)
            text = f"internal error {ident} in {self._method.rpartition('/')[2]}; the server's log has it under this id"
        trailing = ((_DETAILS_KEY, details),) if details else ()
        await context.abort(code, text, trailing)
        raise AssertionError("abort raises")

    async def _answer(self, request: bytes, context: Any) -> bytes:
        size = len(request)
        if size > self._message_size_max:
            # The SDKs' core knows this text and fails the workflow task for good instead of retrying it for ever.
            raise ResourceExhausted(
                f"grpc: received message larger than max ({size} vs. {self._message_size_max}):"
                " send less in one request"
            )
        call = Call(self._method, _metadata(context), context.time_remaining(), context.peer())
        reply = await self._rpc(call, request)
        return reply if isinstance(reply, bytes) else reply.SerializeToString()


def _metadata(context: Any) -> Mapping[str, str]:
    pairs = context.invocation_metadata() or ()
    return MappingProxyType({key: value for key, value in pairs if isinstance(value, str)})


def _status_details(code: grpc.StatusCode, text: str, detail: Message | None) -> bytes:
    """Pack Temporal's error detail as google.rpc.Status, where the SDKs look for it; nothing when there is none."""
    if detail is None:
        return b""
    status = Status(code=code.value[0], message=text)
    status.details.add().Pack(detail)
    packed: bytes = status.SerializeToString()
    return packed


def _refuse_taken(ip: str, port: int) -> None:
    """Raise PortTaken when the address cannot be bound: the library's own error does not say why."""
    address = f"{ip}:{port}"
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            why = {
                errno.EADDRINUSE: "another process listens there",
                errno.EADDRNOTAVAIL: "this machine does not have that address",
                errno.EACCES: "the system does not let this user listen on ports under 1024",
            }.get(error.errno or 0, error.strerror or str(error))
            raise PortTaken(f"cannot listen on {address}: {why}") from error
