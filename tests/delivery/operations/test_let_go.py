"""A call or a run that is let go of in the middle, as when its worker stops, ends without a complaint."""

import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from delivery.direct_cloud import ACCOUNT, Clock, DirectCloud
from delivery.stage import APPLICATION
from stormsail.delivery.activities import CloudActivities
from stormsail.delivery.model.canary import Measurement
from stormsail.delivery.model.operation import StepStatus
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.orders import ObserveOrder
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.provider import NO_FAULTS, ModelProvider


async def test_a_step_is_left_after_everything_inside_was_closed() -> None:
    clock = Clock()
    cloud = DirectCloud(ModelCloud(clock), clock, NO_FAULTS, {}, lambda _: Measurement())
    conduct = Conduct(cloud, ACCOUNT, APPLICATION, identity="run")
    step = conduct.step("canaryApproval")
    await step.__aenter__()
    await asyncio.get_running_loop().shutdown_asyncgens()
    await step.__aexit__(GeneratorExit, GeneratorExit(), None)
    assert [one.status for one in conduct.steps] == [StepStatus.RUNNING]


async def test_a_call_is_left_after_everything_inside_was_closed() -> None:
    class Slow(ModelProvider):
        async def observe(self, application: str) -> Observation:
            await asyncio.get_running_loop().shutdown_asyncgens()
            raise GeneratorExit

    calls = CloudActivities({"model": Slow(ModelCloud(Clock()))})
    with pytest.raises(GeneratorExit):
        await ActivityEnvironment().run(calls.observe, ObserveOrder(account="model", application=APPLICATION))
