"""What failed is tried again later each time, up to a bound, and not at the same moment as everything else."""

import random

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from delivery.stage import APPLICATION
from stormsail.delivery.activities import CloudActivities
from stormsail.delivery.operations.backoff import FIRST, LONGEST, pause_after
from stormsail.delivery.operations.orders import ObserveOrder
from stormsail.delivery.providers.errors import Transient
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.provider import ModelProvider, wall_clock_ms


def test_pauses_double_up_to_a_bound_and_half_of_each_is_drawn() -> None:
    chance = random.Random(7)
    for attempt in (1, 2, 5, 6, 40, 10_000):
        whole = min(FIRST * (1 << min(attempt - 1, 16)), LONGEST)
        drawn = [pause_after(attempt, chance) for _ in range(200)]
        assert whole / 2 <= min(drawn) < whole * 0.55
        assert whole * 0.95 < max(drawn) <= whole


async def test_calls_that_a_cloud_turned_away_at_one_moment_come_back_at_different_ones() -> None:
    class Throttled(ModelProvider):
        async def observe(self, application: str) -> None:  # type: ignore[override]
            raise Transient(f"{application}: slow down")

    calls = CloudActivities({"model": Throttled(ModelCloud(wall_clock_ms))}, chance=random.Random(7))
    delays = []
    for _ in range(5):
        with pytest.raises(ApplicationError, match="slow down") as refused:
            await ActivityEnvironment().run(calls.observe, ObserveOrder(account="model", application=APPLICATION))
        delays.append(refused.value.next_retry_delay)
    assert len(set(delays)) == len(delays)
    assert all(delay is not None and FIRST / 2 <= delay <= FIRST for delay in delays)
