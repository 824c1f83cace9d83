"""The demo from start to verdict."""

import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import click

from stormsail.cli.connection import clear_failures, connect, quiet_sdk
from stormsail.cli.demo.census import Census, end_all, processes_per_group
from stormsail.cli.demo.ledger import Ledger, replay_all, wait_for_end
from stormsail.cli.demo.stage import Killer, Stage, TrafficProcess
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.notes import read_note
from stormsail.cli.options import ACCOUNT
from stormsail.cli.output import note
from stormsail.cli.process import stormsail_command
from stormsail.cli.whoever import requested_by
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationRequest
from stormsail.delivery.model.server_group import Observation

APPLICATION: Final = "hello"
INSTANCES: Final = 2
KILLS_PER_DEPLOYMENT: Final = 8
DELAY_SECONDS: Final = 4.0
"""How long each deployment keeps the old version beside the new one, so that there is something to kill into."""
PAGE_SECONDS_MAX: Final = 60.0
CALM_SECONDS: Final = 1.0
"""Traffic before the first kill and after the last deployment."""


@dataclass
class Verdict:
    """What the demo found; `faults` is empty when every promise was kept."""

    faults: list[str] = field(default_factory=list)
    deployments: int = 0
    traffic: dict[str, Any] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    serving: str = ""
    processes: dict[str, int] = field(default_factory=dict)
    replayed: int = 0
    replayed_ok: bool = False
    acknowledged: int = 0
    signals: int = 0
    sent_again: int = 0
    scans: int = 0
    most_processes: int = 0
    """The most processes that any one server group was ever seen to have."""
    lost: int = 0
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return the last line's object."""
        return {
            "requests": self.traffic.get("requests", 0),
            "failed": self.traffic.get("failed", 0),
            "kills": sum(self.kills.values()),
            "serving": self.serving,
            "processes_per_group": self.processes,
            "events_replayed_ok": self.replayed_ok,
            "seconds": round(self.seconds, 1),
        }


def run_demo(seed: int | None, kills: int, rate: int, keep: bool, engine: str) -> int:
    """Run the demo and return the exit code."""
    if sys.platform != "linux":
        raise CommandFailed(
            f"the demo supervises real processes and needs Linux; this is {sys.platform}",
            next_step="run it in a Linux container or machine",
        )
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    data_dir = Path(tempfile.mkdtemp(prefix="stormsail-demo-"))
    demo = _Demo(data_dir, seed, kills, rate, keep, engine)
    ended = False
    try:
        verdict = asyncio.run(demo.run())
        ended = True
    finally:
        if not (keep and ended):
            if left := asyncio.run(end_all(data_dir)):
                note(_told_left(left, data_dir))
            else:
                shutil.rmtree(data_dir, ignore_errors=True)
    _report(verdict, seed)
    return int(ExitCode.ERROR if verdict.faults else ExitCode.OK)


class _Demo:
    """One run."""

    def __init__(self, data_dir: Path, seed: int, kills: int, rate: int, keep: bool, engine: str) -> None:
        self.data_dir = data_dir
        self.rate = rate
        self.keep = keep
        self.began = time.monotonic()
        self.stage = Stage(data_dir, engine)
        self.killer = Killer(self.stage, seed, kills, self.say)
        self.traffic = TrafficProcess()
        self.census = Census(data_dir)
        self.verdict = Verdict()
        self.limit_seconds = 120.0 + 10.0 * kills
        self.seed = seed

    def say(self, text: str) -> None:
        """Tell what happens, with the seconds since the start."""
        counts = self.traffic.latest
        beside = f"  [{counts['requests']} requests, {counts['failed']} failed]" if counts else ""
        click.echo(f"{time.monotonic() - self.began:6.1f} s  {text}{beside}", err=True)

    async def run(self) -> Verdict:
        """Run it all; return what was found."""
        self.say(f"seed {self.seed}, state in {self.data_dir}")
        try:
            async with asyncio.timeout(self.limit_seconds):
                await self.stage.start()
                self.say(f"engine at {self.stage.address}, worker polls")
                try:
                    with clear_failures():
                        await self._play()
                except CommandFailed as failure:
                    self.verdict.faults.append(failure.message)
        except TimeoutError:
            self.verdict.faults.append(f"it did not end within {self.limit_seconds:.0f} s")
        finally:
            self.verdict.kills = self.killer.done
            self.verdict.traffic = await self.traffic.stop()
            await self.stage.stop()
        self.verdict.seconds = time.monotonic() - self.began
        if self.keep:
            self._leave_running()
            await self._say_where()
        return self.verdict

    async def _play(self) -> None:
        quiet_sdk()
        client = await connect(self.stage.place)
        ledger = Ledger(client, self.data_dir.name)
        async with _background(self.census.run()):
            await ledger.prepare(sys.executable)
            await self._deploy(ledger, "v1", 0.0, 0)
            seen = await client.observe(ACCOUNT, APPLICATION)
            host, port = _endpoint(seen)
            await self.traffic.start(host, port, self.rate)
            self.say(f"traffic: {self.rate} requests a second to {host}:{port}, without retries")
            await asyncio.sleep(CALM_SECONDS)
            async with _background(ledger.keep_asking(), ledger.keep_signalling(), until=ledger):
                version = "v1"
                while self.killer.left or version != "v2":
                    version = "v1" if version == "v2" else "v2"
                    await self._deploy(ledger, version, DELAY_SECONDS, KILLS_PER_DEPLOYMENT)
            await asyncio.sleep(CALM_SECONDS)
            self.verdict.traffic = await self.traffic.stop()
            await self._judge(client, ledger)

    async def _deploy(self, ledger: Ledger, version: str, delay: float, kills: int) -> None:
        """Deploy a version, killing meanwhile, and wait for its end."""
        self.say(f"deploy {version} by red/black")
        operation_id = await ledger.start(_deployment(self.data_dir, version, delay))
        ledger.current = operation_id
        self.verdict.deployments += 1
        killing = asyncio.create_task(self.killer.kill(kills))
        try:
            wrong = await wait_for_end(ledger.client, operation_id)
            ledger.current = ""
            if wrong:
                raise CommandFailed(f"the deployment of {version} failed: {wrong}")
            await killing
        finally:
            killing.cancel()
        self.say(f"{version} is deployed")

    async def _judge(self, client: DeliveryClient, ledger: Ledger) -> None:
        """Compare what is there with what was promised."""
        verdict = self.verdict
        self.say("checking processes, acknowledged calls and histories")
        seen = await client.observe(ACCOUNT, APPLICATION)
        verdict.processes = dict(sorted(processes_per_group(self.data_dir).items()))
        verdict.scans = self.census.scans
        verdict.most_processes = max(self.census.most.values(), default=0)
        verdict.faults += _wrong_processes(seen, verdict, self.census)
        serving = [group for group in seen.server_groups if group.enabled]
        verdict.serving = ",".join(group.launch.version for group in serving)
        if verdict.serving != "v2" or verdict.traffic["last_version"] != "v2":
            verdict.faults.append(f"{verdict.serving or 'nothing'} serves, v2 should")
        if verdict.traffic["failed"]:
            verdict.faults.append(f"{verdict.traffic['failed']} requests failed: {verdict.traffic['reasons']}")
        verdict.acknowledged = len(ledger.operations)
        verdict.signals = sum(map(len, ledger.signals.values()))
        verdict.sent_again = ledger.sent_again
        lost = await ledger.audit()
        verdict.lost = len(lost)
        verdict.faults += lost
        verdict.replayed, broken = await replay_all(client)
        verdict.replayed_ok = not broken and verdict.replayed >= verdict.acknowledged
        verdict.faults += [f"history does not replay: {text}" for text in broken]
        if verdict.replayed < verdict.acknowledged:
            verdict.faults.append(f"only {verdict.replayed} histories for {verdict.acknowledged} operations")

    def _leave_running(self) -> None:
        """Hand the data directory to a detached `stormsail up`."""
        where = ["--engine", self.stage.address] if self.stage.engine is None else ["--port", str(self.stage.port)]
        log = (self.data_dir / "logs" / "up.log").open("ab")
        subprocess.Popen(
            stormsail_command("up", f"--data-dir={self.data_dir}", "--web-port=0", *where),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    async def _say_where(self) -> None:
        """Say how to look at what was left running, and how to stop it."""
        page = await _page_of(self.data_dir)
        note("")
        note("Left running, because of --keep. Look at it with:")
        note(f"  {page or 'the page, once it has started: logs/web.log says where'}")
        note(f"  stormsail status --engine {self.stage.address}")
        note(f"  stormsail operation list --engine {self.stage.address}")
        note(f"  stormsail server-group list --engine {self.stage.address}")
        note("Stop it and remove its state with:")
        note(f"  stormsail demo --stop {self.data_dir}")


async def _page_of(data_dir: Path) -> str:
    """Return where the page of a just started `up` answers, or nothing where it does not within a while."""
    give_up_at = time.monotonic() + PAGE_SECONDS_MAX
    while time.monotonic() < give_up_at:
        if address := read_note(data_dir / "web.json").get("address"):
            return str(address)
        await asyncio.sleep(0.1)
    return ""


def stop_kept(directory: str) -> int:
    """Stop a demo that was left running and remove its directory."""
    data_dir = Path(directory).absolute()
    if not data_dir.name.startswith("stormsail-demo-"):
        raise CommandFailed(
            f"{data_dir} is not a directory that a demo made (stormsail-demo-...)",
            next_step="give the directory that `stormsail demo --keep` printed",
            code=ExitCode.USAGE,
        )
    if left := asyncio.run(end_all(data_dir)):
        raise CommandFailed(
            _told_left(left, data_dir), next_step=f"once they are gone, `stormsail demo --stop {data_dir}`"
        )
    shutil.rmtree(data_dir)
    note(f"stopped, and removed {data_dir}")
    return int(ExitCode.OK)


def _told_left(left: list[int], data_dir: Path) -> str:
    return f"these processes do not end, not even by SIGKILL, and {data_dir} is kept: {', '.join(map(str, left))}"


@asynccontextmanager
async def _background(*coroutines: Any, until: Ledger | None = None) -> AsyncIterator[None]:
    """Run coroutines beside a block. With a ledger they are asked to stop and waited for, else cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield
        if until is not None:
            until.stopping = True
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def example_service() -> Path:
    """Return the example service: beside this package when installed from a wheel, else in the checkout."""
    inside = Path(str(files("stormsail.cli.demo"))) / "hello.py"
    return inside if inside.exists() else Path(__file__).parents[4] / "examples" / "hello.py"


def _deployment(data_dir: Path, version: str, delay: float) -> OperationRequest:
    service = [sys.executable, "-I", str(example_service()), "--host", "{host}", "--port", "{port}"]
    return OperationRequest(
        operation_type="createServerGroup",
        application=APPLICATION,
        account=ACCOUNT,
        reason=f"demo: {version}",
        requested_by=requested_by(),
        payload={
            "application": APPLICATION,
            "capacity": {"min": INSTANCES, "desired": INSTANCES, "max": INSTANCES},
            "launch": {
                "version": version,
                "command": [*service, "--version", version],
                "health_path": "/health",
                "settings": {"directory": str(data_dir)},
            },
            "strategy": "redblack",
            "delayBeforeCleanup": delay,
        },
    )


def _endpoint(seen: Observation) -> tuple[str, int]:
    """Return host and port of the load balancer."""
    host, _, port = seen.address.removeprefix("http://").rstrip("/").rpartition(":")
    if not port.isdigit():
        raise CommandFailed(f"the provider names no address for {seen.application}: {seen.address!r}")
    return host, int(port)


def _wrong_processes(seen: Observation, verdict: Verdict, census: Census) -> list[str]:
    wrong = []
    for group in seen.server_groups:
        count = verdict.processes.get(group.name, 0)
        if count != group.capacity.desired:
            wrong.append(f"{group.name} has {count} processes, {group.capacity.desired} were asked for")
    for name, most in census.most.items():
        if most > INSTANCES:
            wrong.append(f"{name} had {most} processes at once, {INSTANCES} were asked for")
    unknown = sorted(set(verdict.processes) - {group.name for group in seen.server_groups})
    wrong += [f"processes of {name} run, and no such server group is known" for name in unknown]
    if len(seen.server_groups) != verdict.deployments:
        wrong.append(f"{len(seen.server_groups)} server groups were made by {verdict.deployments} deployments")
    return wrong


def _report(verdict: Verdict, seed: int) -> None:
    """Print the short report, and as the last line one JSON object."""
    traffic = verdict.traffic
    killed = ", ".join(f"{name} {count}" for name, count in sorted(verdict.kills.items())) or "nothing"
    latency = f"; p50 {traffic.get('p50_ms')} ms, p99 {traffic.get('p99_ms')} ms, longest {traffic.get('max_ms')} ms"
    click.echo("")
    click.echo(f"requests       {traffic.get('requests', 0)}, {traffic.get('failed', 0)} failed{latency}")
    click.echo(f"answered by    {json.dumps(traffic.get('versions', {}))}")
    click.echo(f"kill -9        {killed}; during {verdict.deployments - 1} deployments")
    click.echo(f"processes      {json.dumps(verdict.processes)}")
    click.echo(
        f"counted        {verdict.scans} times; at most {verdict.most_processes} in one group, {INSTANCES} asked for"
    )
    click.echo(
        f"acknowledged   {verdict.acknowledged} operations and {verdict.signals} signals"
        f" ({verdict.sent_again} sent again); {verdict.lost} lost or doubled",
    )
    click.echo(f"histories      {verdict.replayed} replayed")
    for fault in verdict.faults:
        click.echo(f"FAULT          {fault}")
    outcome = f"{len(verdict.faults)} promises broken" if verdict.faults else "every promise kept"
    click.echo(f"verdict        {outcome} (seed {seed})")
    click.echo(json.dumps(verdict.record()))
