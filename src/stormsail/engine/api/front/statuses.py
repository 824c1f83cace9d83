"""How an answer begins, and how a call ended, as gRPC writes it into headers and trailers."""

import base64
import uuid
from dataclasses import dataclass
from typing import Final

import structlog
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from stormsail.engine.api.front.framing import ACCEPTED_ENCODINGS, header_text
from stormsail.engine.core.errors import InvalidTransition, Refused

log = structlog.get_logger(__name__)

Header = tuple[bytes, bytes]
_DETAILS_SIZE_MAX: Final = 256 * 1024
"""Of an error's detail. A larger one is left out: it would not pass as a header, and the status would go with it."""
HEAD: Final[tuple[Header, ...]] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
HEAD_WITH_ENCODINGS: Final[tuple[Header, ...]] = (*HEAD, (b"grpc-accept-encoding", ACCEPTED_ENCODINGS))
"""For what may end with a refusal: who used an encoding that is not known here is to be told the known ones."""
GZIP_HEAD: Final[tuple[Header, ...]] = (*HEAD, (b"grpc-encoding", b"gzip"))
OK_TRAILERS: Final[tuple[Header, ...]] = ((b"grpc-status", b"0"),)


@dataclass(frozen=True, slots=True)
class Ending:
    """A status that is not OK."""

    code: int
    text: str
    details: bytes = b""

    def trailers(self) -> list[Header]:
        """Return the headers that tell it."""
        told = [(b"grpc-status", str(self.code).encode()), (b"grpc-message", header_text(self.text))]
        if self.details:
            told.append((b"grpc-status-details-bin", base64.b64encode(self.details).rstrip(b"=")))
        return told


def ending_of(method: str, error: Exception) -> Ending:
    """Turn what a handler raised into a status. What is no refusal is logged under an id; the caller learns the id."""
    if isinstance(error, Refused):
        code = Code.Value(error.status)
        return Ending(code, error.message, _details(code, error.message, error.detail))
    ident = uuid.uuid4().hex[:8]
    broken = isinstance(error, InvalidTransition | AssertionError)
    log.error("internal error", method=method, id=ident, broken_invariant=broken, exc_info=error)
    text = f"internal error {ident} in {method.rpartition('/')[2]}; the server's log has it under this id"
    return Ending(Code.INTERNAL, text)


def _details(code: int, text: str, detail: Message | None) -> bytes:
    """Pack Temporal's error detail as google.rpc.Status, where the SDKs look for it; nothing when there is none."""
    if detail is None:
        return b""
    status = Status(code=code, message=text)
    status.details.add().Pack(detail)
    packed: bytes = status.SerializeToString()
    return packed if len(packed) <= _DETAILS_SIZE_MAX else b""
