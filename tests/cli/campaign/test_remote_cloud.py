"""The model cloud over a socket answers as it does in process, and tells its failures in the same classes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delivery.stage import until_answered
from stormsail.cli.campaign.remote_cloud import RemoteCloud, serve_clouds
from stormsail.delivery.model.server_group import Capacity, LaunchSpec
from stormsail.delivery.providers.errors import Conflict, Transient, UnknownOutcome
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.faults import Fault, ScriptedFaults
from stormsail.delivery.providers.model.provider import ModelProvider
from stormsail.delivery.providers.provider import CreateServerGroup

CREATE = CreateServerGroup(name="web-v000", capacity=Capacity.fixed(2), launch=LaunchSpec(command=("serve",)))


@pytest.fixture
async def clouds(tmp_path: Path) -> AsyncIterator[tuple[Path, ModelProvider]]:
    faults = ScriptedFaults({"observe": [Fault.UNKNOWN_BEFORE]})
    provider = ModelProvider(ModelCloud(lambda: 1_000), "a", faults=faults, clock_ms=lambda: 1_000)
    socket = tmp_path / "clouds.sock"
    server = await serve_clouds(socket, {"a": provider})
    yield socket, provider
    server.close()
    await server.wait_closed()


async def test_it_answers_as_the_cloud_itself_does(clouds: tuple[Path, ModelProvider]) -> None:
    socket, provider = clouds
    remote = RemoteCloud(socket, "a")
    assert not (await remote.begin("t", CREATE)).done
    assert (await remote.resume("t", CREATE)).done
    with pytest.raises(UnknownOutcome):
        await remote.observe("web")
    assert await remote.observe("web") == await provider.observe("web")
    assert await remote.applications() == ("web",)
    assert await remote.network("web") == await provider.network("web")
    with pytest.raises(Conflict, match="is there already"):
        await remote.begin("other", CREATE)
    assert (await remote.cancel("t", CREATE)).done


async def test_a_caller_that_goes_away_does_not_undo_what_it_asked_for(clouds: tuple[Path, ModelProvider]) -> None:
    socket, provider = clouds
    _, writer = await asyncio.open_unix_connection(socket)
    asked = f'{{"account": "a", "verb": "begin", "token": "t", "change": {CREATE.model_dump_json()}}}\n'
    writer.write(asked.encode())
    await writer.drain()
    writer.close()
    remote = RemoteCloud(socket, "a")
    await until_answered(remote.applications, bool, "the change whose caller went away")
    assert (await provider.begin("t", CREATE)).done is False


async def test_a_cloud_that_is_away_is_a_transient_failure(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="not there"):
        await RemoteCloud(tmp_path / "nothing.sock", "a").observe("web")
