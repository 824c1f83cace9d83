"""The official SDK's worker as the tests here run it: all their workflows and activities, in this process."""

from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from conformance import workflows as w

_SOON: Final = timedelta(milliseconds=500)
"""How often a heartbeat is sent at least. Left to itself the SDK waits for most of the heartbeat timeout."""


def worker(client: Client, queue: str = "q", **options: Any) -> Worker:
    """Return a worker for a task queue. Without a sandbox, which would compile every module again for each workflow.

    Without a watch on its workflows either: that fails the task of one whose thread had no processor for two seconds,
    which then stands in a history of ours and in none of Temporal's.
    """
    defaults: dict[str, Any] = {
        "debug_mode": True,
        "workflows": w.WORKFLOWS,
        "activities": w.ACTIVITIES,
        "workflow_runner": UnsandboxedWorkflowRunner(),
        "max_heartbeat_throttle_interval": _SOON,
    }
    return Worker(client, task_queue=queue, **{**defaults, **options})
