"""The part of `status` that talks to the engine; imported only when it runs."""

from typing import Any

from stormsail.cli.connection import connected, run
from stormsail.cli.engine_facts import read_engine_facts
from stormsail.cli.options import Place
from stormsail.delivery.client import ApplicationNotFound, DeliveryClient
from stormsail.delivery.model.server_group import Health


def read_status(place: Place) -> dict[str, Any]:
    """Return engine, workers and what each cluster serves; without a worker nothing can be read of the clusters."""

    async def main() -> dict[str, Any]:
        async with connected(place) as client:
            facts = await read_engine_facts(client)
            return {
                "engine": place.address,
                "engine_version": facts.version,
                "namespace": place.namespace,
                "account": place.account,
                "task_queue": client.task_queue,
                "worker_polling": facts.has_worker,
                "workers": [*facts.activity_pollers],
                "applications": await _applications(client, place) if facts.has_worker else [],
            }

    return run(main)


async def _applications(client: DeliveryClient, place: Place) -> list[dict[str, Any]]:
    return [
        cluster for name in await client.applications(place.account) for cluster in await _clusters(client, place, name)
    ]


async def _clusters(client: DeliveryClient, place: Place, application: str) -> list[dict[str, Any]]:
    try:
        seen = await client.observe(place.account, application)
    except ApplicationNotFound:
        # Destroyed since it was listed.
        return []
    found = []
    for name in dict.fromkeys(group.cluster for group in seen.server_groups):
        serving = [group for group in seen.cluster(name) if group.enabled]
        found.append(
            {
                "application": application,
                "cluster": name,
                "serving": [group.name for group in serving],
                "versions": [group.launch.version for group in serving],
                "instances_up": sum(group.count(Health.UP) for group in serving),
                "instances_desired": sum(group.capacity.desired for group in serving),
                "address": seen.address,
                "as_of_ms": seen.as_of_ms,
            },
        )
    return found
