"""`stormsail up`: the engine, a worker and the page as child processes, kept up until Ctrl-C."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Final

import click

from stormsail.cli.notes import left_note
from stormsail.cli.options import DEFAULT_ENGINE, Place, place_options, task_queue_option
from stormsail.cli.output import note, stamped
from stormsail.cli.process import Child, stormsail_command, until_ready
from stormsail.cli.server import make_data_dir, stop_on_signals

WEB_PORT: Final = 7234


@click.command()
@place_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7233,
    show_default=True,
    help="Port of the engine; 0 takes a free one.",
)
@click.option(
    "--web-port",
    type=click.IntRange(0, 65535),
    help="Port of the page and the REST API; 0 takes a free one. [default: 7234, or 0 with --port 0]",
)
@task_queue_option
def up(place: Place, port: int, web_port: int | None, task_queue: str) -> None:
    """Start engine, worker, load balancer and page here, and keep them up until Ctrl-C.

    A child is started again when it dies; nothing acknowledged is lost. Ctrl-C stops all of them.
    The services that you deployed keep running, and the next `up` finds them again.

    \b
    Examples:
      stormsail up
      stormsail up --data-dir ./state --port 0
      stormsail up --engine temporal.example:7233     (only the worker; the engine is an existing Temporal server)
    """
    make_data_dir(place.data_dir)
    if web_port is None:
        web_port = WEB_PORT if port else 0
    asyncio.run(_House(place, port, web_port, task_queue).run())


class _House:
    """The engine (unless another one is used), the worker and the page of one `up`."""

    def __init__(self, place: Place, port: int, web_port: int, task_queue: str) -> None:
        self.place = place
        self.port = port
        self.web_port = web_port
        self.task_queue = task_queue
        self.address = place.engine
        logs = place.data_dir / "logs"
        self.engine = Child("engine", self._engine_command, logs / "engine.log", stamped)
        self.worker = Child("worker", self._worker_command, logs / "worker.log", stamped)
        self.web = Child("page", self._web_command, logs / "web.log", stamped)

    async def run(self) -> None:
        """Start all in order, wait for a signal, stop them in the opposite order."""
        stop = asyncio.Event()
        stop_on_signals(stop)
        stopping = asyncio.create_task(stop.wait())
        tasks: list[asyncio.Task[None]] = []
        notes = contextlib.ExitStack()
        try:
            if not self.address:
                tasks.append(asyncio.create_task(self.engine.run()))
                self.address = await self._ready(self.engine, "engine.json", stopping)
                self.port = int(self.address.rpartition(":")[2])
                notes.enter_context(left_note(self.place.data_dir / "up.json", self.address))
                note(f"engine: {self.address}")
            tasks.append(asyncio.create_task(self.worker.run()))
            await self._ready(self.worker, "worker.json", stopping)
            note(f"worker: polls task queue {self.task_queue!r} on {self.address}")
            tasks.append(asyncio.create_task(self.web.run()))
            page = await self._ready(self.web, "web.json", stopping)
            self.web_port = int(page.rpartition(":")[2])
            note(f"page:   {page}")
            note(f"API:    {page}/api/v1")
            self._say_what_next()
            await stopping
        except _Stopped:
            pass
        finally:
            stopping.cancel()
            notes.close()
            if self.engine.proved or self.worker.proved:
                note("stopping (what you deployed keeps running)")
            await self.web.stop()
            await self.worker.stop()
            await self.engine.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        note("stopped")

    def _engine_command(self) -> Sequence[str]:
        return stormsail_command(
            "server",
            "start",
            f"--data-dir={self.place.data_dir}",
            f"--port={self.port}",
            f"--namespace={self.place.namespace}",
            f"--follow-parent={os.getpid()}",
        )

    def _worker_command(self) -> Sequence[str]:
        return stormsail_command(
            "worker",
            "start",
            f"--engine={self.address}",
            f"--namespace={self.place.namespace}",
            f"--data-dir={self.place.data_dir}",
            f"--task-queue={self.task_queue}",
            f"--follow-parent={os.getpid()}",
        )

    def _web_command(self) -> Sequence[str]:
        return stormsail_command(
            "web",
            "start",
            f"--engine={self.address}",
            f"--namespace={self.place.namespace}",
            f"--data-dir={self.place.data_dir}",
            f"--task-queue={self.task_queue}",
            f"--port={self.web_port}",
            f"--follow-parent={os.getpid()}",
        )

    async def _ready(self, child: Child, name: str, stopping: "asyncio.Task[object]") -> str:
        """Wait until the child is ready and return the address in its note, unless we are told to stop meanwhile."""
        readying = asyncio.create_task(until_ready(child, self.place.data_dir / name))
        await asyncio.wait({readying, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if readying.done():
            return readying.result()
        readying.cancel()
        raise _Stopped

    def _say_what_next(self) -> None:
        note(f"state:  {self.place.data_dir} (logs in logs/)")
        where = "" if self.address == DEFAULT_ENGINE else f" --engine {self.address}"
        note("")
        note("Now deploy something from a second terminal:")
        note(f'  stormsail deploy hello{where} --command "python3 -m http.server {{port}}" --health-path /')
        note(f"  stormsail status{where}")
        note("Ctrl-C stops engine, worker and page; what you deployed keeps running.")


class _Stopped(Exception):
    """A signal came while we waited for a child."""
