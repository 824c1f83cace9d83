"""What `status` and `doctor` ask an engine about itself and about who polls it."""

import time
from dataclasses import dataclass
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.workflowservice.v1 import GetClusterInfoRequest, GetSystemInfoRequest
from temporalio.service import RPCError

from stormsail.delivery.client import DeliveryClient, EngineRefused
from stormsail.delivery.reading import pollers

POLLED_SECONDS_AGO_MAX: Final = 75.0


@dataclass(frozen=True)
class EngineFacts:
    """An engine's version and its workers on our task queue, by identity."""

    version: str
    name: str
    workflow_pollers: tuple[str, ...]
    activity_pollers: tuple[str, ...]

    @property
    def has_worker(self) -> bool:
        """Whether somebody polls both for workflows and for activities."""
        return bool(self.workflow_pollers and self.activity_pollers)


async def read_engine_facts(client: DeliveryClient) -> EngineFacts:
    """Ask the engine; a refused question is EngineRefused, as from the delivery client."""
    service = client.client.workflow_service
    try:
        system = await service.get_system_info(GetSystemInfoRequest())
        cluster = await service.get_cluster_info(GetClusterInfoRequest())
        workflow = await _pollers(client, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
        activity = await _pollers(client, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    except RPCError as error:
        raise EngineRefused(error.status.name, error.message) from error
    return EngineFacts(system.server_version, cluster.cluster_name, workflow, activity)


async def _pollers(client: DeliveryClient, kind: TaskQueueType.ValueType) -> tuple[str, ...]:
    found = await pollers(client.client, client.task_queue, kind)
    # Servers go on listing a worker that was killed for minutes; a living one polls again at least once a minute.
    oldest = time.time() - POLLED_SECONDS_AGO_MAX
    return tuple(sorted({poller.identity for poller in found if poller.last_access_time.seconds >= oldest}))
