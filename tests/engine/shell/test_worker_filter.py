"""The query of ListWorkers, without a server."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerHostInfo

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.shell.worker_filter import worker_filter

RUNNING = WorkerStatus.WORKER_STATUS_RUNNING
SHUTTING_DOWN = WorkerStatus.WORKER_STATUS_SHUTTING_DOWN


def heartbeat(key: str, task_queue: str = "q", status: WorkerStatus.ValueType = RUNNING) -> WorkerHeartbeat:
    return WorkerHeartbeat(
        worker_instance_key=key,
        worker_identity=f"id-{key}",
        task_queue=task_queue,
        sdk_name="temporal-python",
        sdk_version="1.2",
        status=status,
        host_info=WorkerHostInfo(host_name=f"host-{key}"),
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("TaskQueue='q'", ["a", "c"]),
        ("TaskQueue != 'q'", ["b"]),
        ("WorkerIdentity = 'id-a' or HostName = 'host-b'", ["a", "b"]),
        ("TaskQueue = 'q' AND WorkerInstanceKey != 'a'", ["c"]),
        ("TaskQueue STARTS_WITH 'q2'", ["b"]),
        ("TaskQueue NOT STARTS_WITH 'q2'", ["a", "c"]),
        ("SdkName = 'temporal-python' and SdkVersion in ('1.2', '3')", ["a", "b", "c"]),
        ("Status = 'Running'", ["b", "c"]),
        ("WorkerStatus = 'ShuttingDown'", ["a"]),
        ("DeploymentName is null", ["a", "b", "c"]),
        ("BuildId is not null", []),
        ("BuildId = 'x'", []),
        ("StartTime is null", ["a", "b"]),
        ("StartTime > '1970-01-01T00:00:00Z'", ["c"]),
        ("StartTime = 100000000000", ["c"]),
        ("HeartbeatTime < '2100-01-01T00:00:00Z'", ["c"]),
        ("HeartbeatTime between '1970-01-01T00:00:00Z' and '1971-01-01T00:00:00Z'", ["c"]),
        ("HeartbeatTime not between '1970-01-01T00:00:00Z' and '1970-01-02T00:00:00Z'", []),
        ("not (TaskQueue = 'q')", ["b"]),
        ("not (StartTime > '2000-01-01T00:00:00Z')", ["c"]),
        ("StartTime > '2000-01-01T00:00:00Z' or TaskQueue = 'q2'", ["b"]),
        ("not (StartTime > '2000-01-01T00:00:00Z' and TaskQueue = 'q')", ["b", "c"]),
        ("", ["a", "b", "c"]),
    ],
)
def test_a_query_finds_workers_by_what_they_say(query: str, found: list[str]) -> None:
    timed = heartbeat("c")
    timed.start_time.CopyFrom(Timestamp(seconds=100))
    timed.heartbeat_time.CopyFrom(Timestamp(seconds=200))
    workers = (heartbeat("a", status=SHUTTING_DOWN), heartbeat("b", "q2"), timed)
    assert [worker.worker_instance_key for worker in workers if worker_filter(query)(worker)] == found


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        ("Foo = 'a'", "unknown or unsupported worker heartbeat search field: Foo. There are: WorkerInstanceKey,"),
        ("taskqueue = 'q'", "search field: taskqueue"),
        ("TaskQueue =", "malformed SQL query"),
        ("TaskQueue = 'q' LIMIT 1", "'LIMIT' clause"),
        ("TaskQueue = 'q' ORDER BY HostName", "'ORDER BY' clause"),
        ("TaskQueue = 'q' GROUP BY HostName", "'GROUP BY' clause"),
        ("TaskQueue LIKE 'q%'", "operator 'LIKE' not supported"),
        ("StartTime > 'x'", "unable to parse datetime 'x'"),
        ("TaskQueue = 3", "invalid value type"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: str, rule: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        worker_filter(query)
    assert rule in refused.value.message
