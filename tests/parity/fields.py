"""Fields of protocol messages from words: `retry_policy=1s/2/10s/3`, `wait_policy.lifecycle_stage=COMPLETED`."""

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue

_UNITS: Final = (("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000))
_REPEATED: Final = re.compile(r"(.)\*(\d+)")


def assign(message: Any, path: str, text: Any) -> None:
    """Set the field that a dotted path names. A number in a path is a place in a list, a word in a map its key."""
    name, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise ValueError(f"{message.DESCRIPTOR.name} has no field {name}")
    if _is_map(field):
        key, _, rest = rest.partition(".")
        _into_map(getattr(message, name), field, key, rest, text)
    elif field.is_repeated:
        _into_list(getattr(message, name), field, rest, text)
    elif rest:
        assign(getattr(message, name), rest, text)
    elif field.message_type is not None:
        found = getattr(message, name)
        found.SetInParent()
        _fill(found, text)
    else:
        setattr(message, name, _scalar(field, text))


def duration(text: str) -> Duration:
    """Read a length of time: 5s, 200ms, 2m, -1s."""
    for unit, factor in _UNITS:
        if text.endswith(unit) and re.fullmatch(r"-?\d+(\.\d+)?", text.removesuffix(unit)):
            found = Duration()
            found.FromMilliseconds(int(float(text.removesuffix(unit)) * factor))
            return found
    raise ValueError(f"{text} is no duration: write 5s, 200ms, 2m, 1h or 3d")


def payload(text: str) -> Payload:
    """Build a payload that holds a text, or with `json:` before it any value as JSON."""
    data = text.removeprefix("json:") if text.startswith("json:") else f'"{text}"'
    return Payload(metadata={"encoding": b"json/plain"}, data=data.encode())


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _into_map(found: Any, field: FieldDescriptor, key: str, rest: str, text: Any) -> None:
    value = field.message_type.fields_by_name["value"]  # type: ignore[union-attr]
    if value.message_type is None:
        found[key] = _scalar(value, text)
    elif rest:
        assign(found[key], rest, text)
    else:
        found[key].SetInParent()
        _fill(found[key], text)


def _into_list(found: Any, field: FieldDescriptor, rest: str, text: Any) -> None:
    if field.message_type is None:
        found.extend(_scalar(field, each) for each in text.split(","))
        return
    place, _, inner = rest.partition(".")
    while len(found) <= int(place):
        found.add()
    if inner:
        assign(found[int(place)], inner, text)
    else:
        _fill(found[int(place)], text)


def _fill(message: Message, text: str) -> None:
    filling = _FILLING.get(message.DESCRIPTOR.full_name)
    if filling is not None:
        filling(message, text)
    elif text != "{}":
        raise ValueError(f"{message.DESCRIPTOR.name} cannot be written as {text}: name a field of it")


def _fill_failure(failure: Failure, text: str) -> None:
    """`message`, `message/Type` or `message/Type/final`."""
    message, *more = text.split("/")
    info = failure.application_failure_info
    info.SetInParent()
    failure.message = message
    info.type = more[0] if more else "Boom"
    info.non_retryable = "final" in more[1:]


def _fill_retry_policy(policy: RetryPolicy, text: str) -> None:
    """`initial/coefficient/maximum/attempts/types`."""
    initial, coefficient, maximum, attempts, *types = text.split("/")
    policy.initial_interval.CopyFrom(duration(initial))
    policy.backoff_coefficient = float(coefficient)
    policy.maximum_interval.CopyFrom(duration(maximum))
    policy.maximum_attempts = int(attempts)
    policy.non_retryable_error_types.extend(types)


def _fill_execution(execution: WorkflowExecution, text: str) -> None:
    """`workflow id` or `workflow id@run id`."""
    execution.workflow_id, _, execution.run_id = text.partition("@")


def _fill_payloads(payloads: Payloads, text: str) -> None:
    payloads.payloads.extend(payload(_stretched(each)) for each in text.split("|"))


def _fill_timestamp(timestamp: Timestamp, text: str) -> None:
    """An ISO time, or `now`, `now+5s`, `now-1h`."""
    if text.startswith("now"):
        shift = duration(text[3:].removeprefix("+")).ToMilliseconds() if text[3:] else 0
        timestamp.FromMilliseconds(int(time.time() * 1_000) + shift)
    else:
        timestamp.FromDatetime(datetime.fromisoformat(text))


def _name_it(message: TaskQueue | WorkflowType | ActivityType, text: str) -> None:
    message.name = _stretched(text)


_FILLING: Final[dict[str, Callable[[Any, str], object]]] = {
    Duration.DESCRIPTOR.full_name: lambda found, text: found.CopyFrom(duration(text)),
    Timestamp.DESCRIPTOR.full_name: _fill_timestamp,
    Payload.DESCRIPTOR.full_name: lambda found, text: found.CopyFrom(payload(_stretched(text))),
    Payloads.DESCRIPTOR.full_name: _fill_payloads,
    Failure.DESCRIPTOR.full_name: _fill_failure,
    RetryPolicy.DESCRIPTOR.full_name: _fill_retry_policy,
    WorkflowExecution.DESCRIPTOR.full_name: _fill_execution,
    TaskQueue.DESCRIPTOR.full_name: _name_it,
    WorkflowType.DESCRIPTOR.full_name: _name_it,
    ActivityType.DESCRIPTOR.full_name: _name_it,
}


def _scalar(field: FieldDescriptor, text: Any) -> Any:
    if isinstance(text, bytes | int):
        return text
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return {"true": True, "false": False}[text]
        case FieldDescriptor.TYPE_STRING:
            return _stretched(text)
        case FieldDescriptor.TYPE_BYTES:
            return text.encode()
        case FieldDescriptor.TYPE_ENUM:
            return _enum(field, text)
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            return float(text)
    return int(text)


def _enum(field: FieldDescriptor, text: str) -> int:
    if text.isdigit():
        return int(text)
    values = field.enum_type.values_by_name  # type: ignore[union-attr]
    found = [value.number for name, value in values.items() if name == text or name.endswith(f"_{text}")]
    exact = [value.number for name, value in values.items() if name == _prefix(field) + text]
    if len(exact or found) != 1:
        raise ValueError(f"{field.name} has no value {text}: {', '.join(values)}")
    return int((exact or found)[0])


def _prefix(field: FieldDescriptor) -> str:
    name = field.enum_type.name  # type: ignore[union-attr]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper() + "_"


def _stretched(text: str) -> str:
    """`x*1001` stands for a text of that length."""
    found = _REPEATED.fullmatch(text)
    return found[1] * int(found[2]) if found else text
