"""Workflows that read an account's cloud for somebody outside: short, without steps, never retried for long."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stormsail.delivery.activities import CloudActivities
    from stormsail.delivery.model.operation import ApplicationList, ObserveRequest
    from stormsail.delivery.model.server_group import Observation
    from stormsail.delivery.operations.backoff import RETRY
    from stormsail.delivery.operations.orders import ObserveOrder
    from stormsail.delivery.operations.temporal_cloud import HEARTBEAT_TIMEOUT

READING_MAX = timedelta(seconds=15)
"""Somebody waits for the answer, so a cloud that does not answer is said to be so soon."""


@workflow.defn
class ObserveApplication:
    """Read one application from the cloud."""

    @workflow.run
    async def run(self, request: ObserveRequest) -> Observation:
        """Read it."""
        return await workflow.execute_activity_method(
            CloudActivities.observe,
            ObserveOrder(account=request.account, application=request.application),
            schedule_to_close_timeout=READING_MAX,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RETRY,
        )


@workflow.defn
class ListApplications:
    """Read the account's application names from the cloud."""

    @workflow.run
    async def run(self, request: ObserveRequest) -> ApplicationList:
        """Read them."""
        return await workflow.execute_activity_method(
            CloudActivities.list_applications,
            ObserveOrder(account=request.account),
            schedule_to_close_timeout=READING_MAX,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RETRY,
        )
