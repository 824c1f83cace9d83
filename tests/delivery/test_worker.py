"""Workers come and go while operations run."""

import asyncio
import uuid

import pytest

from delivery.engines import EngineProcess
from delivery.stage import Stage, replays, until
from stormsail.delivery.providers.catalog import UnknownProvider, open_account, provider_names

CAPACITY = {"min": 2, "desired": 2, "max": 2}


async def test_an_operation_goes_on_while_workers_are_replaced_and_does_everything_once(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    launch = {"version": "v2", "command": ["serve"], "settings": {"healthy_after_ms": 1500}}
    request = stage.request("createServerGroup", strategy="redblack", capacity=CAPACITY, launch=launch)
    handle = await stage.client.start(request)
    ending = asyncio.create_task(stage.client.result(handle.operation_id))
    lives = 0
    while not ending.done():
        await stage.restart_worker()
        # Each lives longer than the one before, so that on any machine one gets something done.
        await asyncio.wait({ending}, timeout=0.7 * 1.1**lives)
        lives += 1
    result = await ending

    assert result.ok, result.errors
    assert stage.effects()[2:] == ["create web-v001 2/2/2", "enable web-v001 100%", "disable web-v000 100%"]
    await replays(await stage.history(request, handle.operation_id))


async def test_a_worker_that_remembers_no_run_replays_each_step_to_the_same_end(stage: Stage) -> None:
    stage.runs_cached_max = 0
    await stage.restart_worker()
    for version in ("v1", "v2"):
        result = await stage.deploy(version, scaleDown=True)
        assert result.ok, result.errors
    assert stage.serving() == ["web-v001"]


async def test_client_and_worker_outlive_an_engine_that_is_killed(own_engine: EngineProcess) -> None:
    stage = await Stage.open(own_engine.address, f"model-{uuid.uuid4().hex[:8]}")
    await stage.start_worker()
    try:
        assert (await stage.deploy("v1")).ok
        launch = {"version": "v2", "command": ["serve"], "settings": {"healthy_after_ms": 3000}}
        request = stage.request("createServerGroup", strategy="redblack", capacity=CAPACITY, launch=launch)
        handle = await stage.client.start(request)

        async def watch() -> list[int]:
            return [len(progress.steps) async for progress in stage.client.watch(handle.operation_id)]

        ending = asyncio.create_task(stage.client.result(handle.operation_id))
        watching = asyncio.create_task(watch())
        await until(lambda: "web-v001" in stage.groups(), "the new group")
        own_engine.kill()
        own_engine.start()
        await own_engine.answers()
        assert (await ending).ok
        seen = await watching
        assert seen == sorted(seen)
        assert seen[-1] == len((await ending).steps)
        assert stage.effects()[2:] == ["create web-v001 2/2/2", "enable web-v001 100%", "disable web-v000 100%"]
    finally:
        await stage.close()


async def test_an_unknown_provider_is_named_with_those_that_are_installed() -> None:
    assert "local" in provider_names()
    with pytest.raises(UnknownProvider, match=r"no provider 'locale'\. Did you mean local\? Installed are: .*local"):
        await open_account("locale", "a", {})
