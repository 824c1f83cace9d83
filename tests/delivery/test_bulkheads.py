"""One account leaves room for others on a worker, and the urgent comes through where the less urgent waits."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from delivery.direct_cloud import Clock
from delivery.stage import Stage
from stormsail.cli.options import PRIORITIES
from stormsail.delivery.bulkheads import ROOM, Bulkheads, NoRoom
from stormsail.delivery.model.operation import OperationRequest
from stormsail.delivery.model.priority import Priority, priority_of
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.provider import ModelProvider
from stormsail.delivery.providers.urgency import urgency, urgent
from stormsail.delivery.worker import ACTIVITIES_MAX


def test_one_account_leaves_room_for_others_and_the_urgent_come_through() -> None:
    bulkheads = Bulkheads({Priority.ROLLBACK: 3, Priority.MANUAL: 2, Priority.TRIGGER: 1, Priority.BACKFILL: 1})
    with ExitStack() as under_way:
        under_way.enter_context(bulkheads.admitted("prod", Priority.BACKFILL))
        with pytest.raises(NoRoom, match="a trigger call waits for room"), bulkheads.admitted("prod", Priority.TRIGGER):
            pass
        under_way.enter_context(bulkheads.admitted("prod", Priority.MANUAL))
        with pytest.raises(NoRoom), bulkheads.admitted("prod", Priority.MANUAL):
            pass
        under_way.enter_context(bulkheads.admitted("prod", Priority.ROLLBACK))
        under_way.enter_context(bulkheads.admitted("test", Priority.BACKFILL))
    with bulkheads.admitted("prod", Priority.BACKFILL):
        pass


def test_no_account_takes_half_of_a_worker() -> None:
    assert max(ROOM.values()) < ACTIVITIES_MAX / 2
    assert [ROOM[one] for one in Priority] == sorted(ROOM.values(), reverse=True)


@pytest.mark.parametrize(
    ("operation_type", "asked", "expected"),
    [
        ("createServerGroup", None, Priority.MANUAL),
        ("rollbackServerGroup", None, Priority.ROLLBACK),
        ("createServerGroup", Priority.BACKFILL, Priority.BACKFILL),
    ],
)
def test_a_rollback_is_urgent_unless_somebody_says_otherwise(
    operation_type: str, asked: Priority | None, expected: Priority
) -> None:
    assert priority_of(operation_type, asked) is expected
    assert [one.key for one in Priority] == [1, 2, 3, 4]
    assert tuple(Priority) == PRIORITIES


class Noting(ModelProvider):
    """Notes how urgent its calls are."""

    def __init__(self, cloud: ModelCloud, account: str) -> None:
        super().__init__(cloud, account)
        self.noted: list[Priority] = []

    async def observe(self, application: str) -> Observation:
        self.noted.append(urgency())
        return await super().observe(application)


async def test_the_urgency_of_a_call_is_its_own() -> None:
    provider = Noting(ModelCloud(Clock()), "a")

    async def call(priority: Priority) -> None:
        with urgent(priority):
            await asyncio.sleep(0)
            await provider.observe("web")

    await asyncio.gather(*(call(one) for one in Priority))
    await provider.observe("web")
    assert provider.noted == [*Priority, Priority.MANUAL]


async def test_an_operation_is_as_urgent_as_was_asked_until_it_puts_things_back(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    more: dict[str, Any] = {"launch": {"command": ["serve"], "settings": {"never_healthy": True}}, "healthTimeout": 0.3}
    request = stage.request(
        "createServerGroup", capacity={"min": 1, "desired": 1, "max": 1}, strategy="redblack", **more
    )
    request = OperationRequest.model_validate({**request.model_dump(), "priority": "backfill"})
    handle = await stage.client.start(request)
    result = await stage.client.result(handle.operation_id)
    assert not result.ok
    events = (await stage.history(request, handle.operation_id)).events
    assert events[0].workflow_execution_started_event_attributes.priority.priority_key == Priority.BACKFILL.key
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    calls = [one.activity_task_scheduled_event_attributes for one in events if one.event_type == scheduled]
    keys = [one.priority.priority_key for one in calls]
    failed = next(number for number, one in enumerate(calls) if "waitForUpInstances" in one.activity_id)
    assert set(keys[: failed + 1]) == {Priority.BACKFILL.key}
    assert set(keys[failed + 1 :]) == {Priority.ROLLBACK.key}
