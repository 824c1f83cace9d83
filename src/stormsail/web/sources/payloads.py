"""Protocol messages as plain JSON for people: payloads decoded where they are JSON, described where they are not."""

import base64
import json
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure

SHOWN_BYTES_MAX: Final = 256 * 1024
"""A payload over this is described by its size: a page or an answer must stay small enough to be read."""

CAUSES_MAX: Final = 20


def payload_json(payload: Payload) -> Any:
    """Return a payload's value, or what kind of bytes it is."""
    encoding = payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding == "binary/null":
        return None
    if len(payload.data) > SHOWN_BYTES_MAX:
        return {"not_shown": f"{len(payload.data)} bytes of {encoding}"}
    if encoding in ("json/plain", "json/protobuf"):
        try:
            return json.loads(payload.data)
        except ValueError:
            return {"not_shown": f"{len(payload.data)} bytes that are not the JSON they say they are"}
    return {"encoding": encoding, "base64": base64.b64encode(payload.data).decode()}


def payloads_json(payloads: Payloads) -> Any:
    """Return what one argument or result is: bare where there is one, a list where there are more."""
    values = [payload_json(one) for one in payloads.payloads]
    return values[0] if len(values) == 1 else values or None


def message_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON with snake_case names and its payloads readable."""
    found: dict[str, Any] = _readable(MessageToDict(message, preserving_proto_field_name=True))
    return found


def failure_text(failure: Failure) -> str:
    """Return the innermost message of a failure: the cause, not its wrappers."""
    for _ in range(CAUSES_MAX):
        if not failure.HasField("cause"):
            break
        failure = failure.cause
    kind = failure.application_failure_info.type
    return f"{kind}: {failure.message}" if kind and kind not in failure.message else failure.message


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict) and "encoding" in value["metadata"]:
            return payload_json(
                Payload(
                    metadata={name: base64.b64decode(text) for name, text in value["metadata"].items()},
                    data=base64.b64decode(value.get("data", "")),
                )
            )
        return {name: _readable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value
