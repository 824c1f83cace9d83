"""Where a worker is busy, what is more urgent goes first: on the engine's task queue, whoever came earlier."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from conformance.reference import asked_again
from delivery.engines import NAMES, EngineProcess
from delivery.stage import Stage, until, until_answered
from stormsail.delivery.client_types import OperationDetail
from stormsail.delivery.model.operation import OperationRequest
from stormsail.delivery.model.priority import Priority
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.provider import ModelProvider

pytestmark = [pytest.mark.timeout(180), pytest.mark.e2e, pytest.mark.slow]

ONE_PARTITION = ("matching.numTaskqueueReadPartitions=1", "matching.numTaskqueueWritePartitions=1")
"""Temporal keeps an order within a partition of a task queue, and has four of each; ours has one."""

COME = (Priority.MANUAL, Priority.BACKFILL, Priority.ROLLBACK, Priority.TRIGGER, Priority.MANUAL)
"""Neither the order nor its reverse is the one of urgency."""


class Blocked(ModelProvider):
    """Answers nobody until it is let go, and notes who asked, in order."""

    def __init__(self, cloud: ModelCloud, account: str) -> None:
        super().__init__(cloud, account)
        self.asked: list[str] = []
        self.let_go = asyncio.Event()

    async def observe(self, application: str) -> Observation:
        if application not in self.asked:
            self.asked.append(application)
        await self.let_go.wait()
        return await super().observe(application)


def deployment(stage: Stage, application: str, priority: Priority) -> OperationRequest:
    """Ask for a deployment of a class; a rollback is one by what it is, a person's needs no word."""
    asked = None if priority in (Priority.ROLLBACK, Priority.MANUAL) else priority
    capacity = {"min": 1, "desired": 1, "max": 1}
    payload = {"capacity": capacity, "strategy": "none", "launch": {"version": "v1", "command": ["serve"]}}
    return OperationRequest(
        operation_type="rollbackServerGroup" if priority is Priority.ROLLBACK else "createServerGroup",
        payload={} if priority is Priority.ROLLBACK else payload,
        application=application,
        account=stage.account,
        priority=asked,
    )


def waits_for_a_worker(detail: OperationDetail) -> bool:
    return len(detail.pending) > 0


@pytest.fixture(params=NAMES)
async def ordered_stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Stage, str]]:
    """A model cloud on an engine whose task queues are whole, with no worker yet; and the engine's name."""
    engine = EngineProcess(request.param, tmp_path, settings=ONE_PARTITION)
    engine.start()
    try:
        await engine.answers()
        stage = await Stage.open(engine.address, account=f"model-{uuid.uuid4().hex[:8]}")
        try:
            yield stage, engine.name
        finally:
            await stage.close()
    finally:
        engine.stop()


async def taken(stage: Stage, plays: Iterator[int]) -> list[str]:
    """Keep a worker busy while calls of all classes come; return the classes in the order in which it takes them."""
    play = next(plays)
    blocked = Blocked(stage.cloud, stage.account)
    stage.provider_type = lambda _cloud, _account: blocked
    await stage.restart_worker()
    plug = await stage.client.start(deployment(stage, f"plug{play}", Priority.MANUAL))
    await until(lambda: blocked.asked == [f"plug{play}"], "the call that keeps the worker busy")
    started = {}
    for number, priority in enumerate(COME):
        application = f"{priority}{play}{number}"
        started[application] = (await stage.client.start(deployment(stage, application, priority))).operation_id
        # Its first call is in the queue before the next operation comes.
        await until_answered(
            lambda name=started[application]: stage.client.get(name),  # type: ignore[misc]
            waits_for_a_worker,
            f"the call of {application}",
        )
    blocked.let_go.set()
    for name in (plug.operation_id, *started.values()):
        await stage.client.result(name)
    created = {effect.name for effect in stage.cloud.effects if effect.kind == "create"}
    assert created >= {f"{one}-v000" for one in (f"plug{play}", *started) if not one.startswith("rollback")}
    return [application.rstrip("0123456789") for application in blocked.asked]


async def test_a_busy_worker_takes_the_most_urgent_calls_first_whoever_came_earlier(
    ordered_stage: tuple[Stage, str],
) -> None:
    stage, engine = ordered_stage
    stage.activities_max = 1
    plays = itertools.count()
    urgent_first = ["plug", *sorted(COME, key=lambda one: one.key)]
    classes = await taken(stage, plays)
    if engine == "temporal":  # Its queue takes a call in beside what asked for it, and hands out what it has by then.
        *_, classes = await asked_again(lambda: taken(stage, plays), classes, lambda each: each == urgent_first)
    assert classes == urgent_first
    created = [effect.name for effect in stage.cloud.effects if effect.kind == "create"]
    assert len(created) == len(set(created))
