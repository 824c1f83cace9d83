"""The query of ListWorkers and CountWorkers, as a test of heartbeats. Its language is that of lists of workflows."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.store.list_filter import (
    AllOf,
    Among,
    AnyOf,
    Between,
    Compare,
    Missing,
    Node,
    Not,
    StartsWith,
    parse,
)
from stormsail.engine.store.list_values import Column, Kind

Test = Callable[[WorkerHeartbeat], bool]
_Value = str | int | None
_Read = Callable[[WorkerHeartbeat], _Value]


def _time(at: Timestamp, *, given: bool) -> int | None:
    return at.seconds * 10**9 + at.nanos if given else None


def _status(heartbeat: WorkerHeartbeat) -> str:
    name = WorkerStatus.Name(heartbeat.status) if heartbeat.status in WorkerStatus.values() else ""
    return name.removeprefix("WORKER_STATUS_").title().replace("_", "")


_TEXTS: Final[Mapping[str, _Read]] = {
    "WorkerInstanceKey": lambda heartbeat: heartbeat.worker_instance_key or None,
    "WorkerIdentity": lambda heartbeat: heartbeat.worker_identity or None,
    "HostName": lambda heartbeat: heartbeat.host_info.host_name or None,
    "TaskQueue": lambda heartbeat: heartbeat.task_queue or None,
    "DeploymentName": lambda heartbeat: heartbeat.deployment_version.deployment_name or None,
    "BuildId": lambda heartbeat: heartbeat.deployment_version.build_id or None,
    "SdkName": lambda heartbeat: heartbeat.sdk_name or None,
    "SdkVersion": lambda heartbeat: heartbeat.sdk_version or None,
    "WorkerStatus": _status,
    "Status": _status,
}
_TIMES: Final[Mapping[str, _Read]] = {
    "StartTime": lambda heartbeat: _time(heartbeat.start_time, given=heartbeat.HasField("start_time")),
    "HeartbeatTime": lambda heartbeat: _time(heartbeat.heartbeat_time, given=heartbeat.HasField("heartbeat_time")),
}
FIELDS: Final[Mapping[str, _Read]] = {**_TEXTS, **_TIMES}
"""What a query may name, and where a heartbeat says it. An empty text counts as none."""
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def worker_filter(query: str) -> Test:
    """Return a query as a test; an empty one lets every worker through. Raises InvalidArgument naming the rule."""
    parsed = parse(query, _column)
    if parsed.order:
        raise InvalidArgument("invalid query: operation is not supported: 'ORDER BY' clause")
    if parsed.where is None:
        return lambda _: True
    where = parsed.where
    return lambda heartbeat: _holds(where, heartbeat) is True


def _column(name: str) -> Column:
    if name not in FIELDS:
        raise InvalidArgument(
            f"invalid query: unknown or unsupported worker heartbeat search field: {name}. There are:"
            f" {', '.join(FIELDS)}."
        )
    return Column(name, Kind.DATETIME if name in _TIMES else Kind.KEYWORD, "")


def _holds(node: Node, heartbeat: WorkerHeartbeat) -> bool | None:
    """Whether a condition holds. A missing text is as an empty one; of a missing time nothing is known (None), and its
    opposite is not known either, as in SQL."""
    match node:
        case Not(part):
            held = _holds(part, heartbeat)
            return None if held is None else not held
        case AllOf(parts) | AnyOf(parts):
            every = [_holds(part, heartbeat) for part in parts]
            decides = isinstance(node, AnyOf)
            if decides in every:
                return decides
            return None if None in every else not decides
        case Missing(column):
            return FIELDS[column.name](heartbeat) is None
    value = FIELDS[node.column.name](heartbeat)
    if value is None and node.column.name in _TIMES:
        return None
    return _fits(node, "" if value is None else value)


def _fits(node: Compare | Among | Between | StartsWith, value: str | int) -> bool:
    match node:
        case Compare(_, sign, wanted):
            return _OPERATORS[sign](value, wanted)
        case Among(_, values):
            return value in values
        case Between(_, low, high):
            return bool(low <= value <= high)  # type: ignore[operator]  # both are what the column's values are
        case StartsWith(_, prefix):
            return str(value).startswith(prefix)
