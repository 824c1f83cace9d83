"""Everything that a page is looked at on: an engine, a model cloud with a worker, the web server, and what happened."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import Worker

from delivery.engines import EngineProcess
from delivery.stage import Stage, until, until_answered
from stormsail.delivery.model.operation import OperationRequest, StepStatus
from stormsail.delivery.providers.model.faults import Fault
from stormsail.web.serve import serve
from stormsail.web.settings import WebSettings
from stormsail.web.sources.engine import EngineAddress
from web.browser.plays import plays_worker
from web.conftest import PATIENCE_S

ACCOUNT: Final = "production"

ENGINE: Final = "STORMSAIL_TEST_ENGINE"
"""Names the engine: `temporal` plays all of it on Temporal's own dev server."""


@dataclass
class Weather:
    """What goes wrong in the cloud for as long as it is listed: `{("begin", "enableServerGroup"): Fault.TRANSIENT}`."""

    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)

    def next(self, verb: str, kind: str) -> Fault | None:
        return self.faults.get((verb, kind))


@dataclass
class Theatre:
    """One of each, all on loopback, all in this event loop but the engine."""

    engine: EngineProcess
    stage: Stage
    weather: Weather
    address: str
    """Of the page."""

    @property
    def client(self) -> Client:
        return self.stage.temporal

    def request(
        self, operation_type: str, of: str, reason: str = "", by: str = "ada", **payload: Any
    ) -> OperationRequest:
        return OperationRequest(
            operation_type=operation_type,
            payload=payload,
            application=of,
            account=ACCOUNT,
            reason=reason,
            requested_by=by,
        )

    async def deploy(
        self,
        application: str,
        version: str,
        *,
        reason: str = "",
        wait: bool = True,
        by: str = "ada",
        count: int = 2,
        **payload: Any,
    ) -> str:
        """Deploy a version by red/black and return the operation's id."""
        settings = payload.pop("settings", {})
        wanted: dict[str, Any] = {
            "capacity": {"min": count, "desired": count, "max": count},
            "strategy": "redblack",
            "launch": {"version": version, "image": f"registry/{application}:{version}", "settings": settings},
        }
        request = self.request(
            "createServerGroup", application, reason, by, **{**wanted, "application": application, **payload}
        )
        operation_id = (await self.stage.client.start(request)).operation_id
        if wait:
            await self.stage.client.result(operation_id)
        return operation_id

    async def paused(self, operation_id: str) -> None:
        """Wait until a step of the operation waits for a person."""

        async def look() -> bool:
            progress = (await self.stage.client.get(operation_id)).progress
            return bool(progress and progress.steps and progress.steps[-1].status is StepStatus.PAUSED)

        await until_answered(look, lambda waits: waits, f"a pause of {operation_id}")

    async def ended(self, operation_id: str) -> str:
        """Wait for an operation's end and return its status."""
        with contextlib.suppress(Exception):
            await self.stage.client.result(operation_id)
        return (await self.stage.client.get(operation_id)).summary.status.value


@contextlib.asynccontextmanager
async def theatre(directory: Path) -> AsyncIterator[Theatre]:
    """Open everything, and close it in the opposite order."""
    engine = EngineProcess(os.environ.get(ENGINE, "stormsail"), directory)
    engine.start()
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory / "data", ignore_errors=True)
        stack.callback(engine.stop)
        await engine.answers()
        stage = await Stage.open(engine.address, ACCOUNT)
        stack.push_async_callback(stage.close)
        weather = Weather()
        stage.faults = weather
        await stage.start_worker()
        plays: Worker = plays_worker(stage.temporal)
        await stack.enter_async_context(plays)
        addresses: list[str] = []
        at = EngineAddress(engine.address, task_queue=ACCOUNT)
        settings = WebSettings(directory, at, port=0, accounts=(ACCOUNT,), requests_max=100_000, deadline_s=PATIENCE_S)
        serving = asyncio.create_task(serve(settings, stop=stop, started=addresses.append))

        async def end() -> None:
            stop.set()
            await serving

        stack.push_async_callback(end)
        await until(lambda: addresses or serving.done(), "the page to be served")
        if serving.done():
            await serving
        yield Theatre(engine, stage, weather, addresses[0])
