"""The durable arm with nothing simulated but the cloud: real engine and worker processes, the whole SDK, kill -9.

It plays the worlds that the simulated arm plays, on a wall clock, several at a time. The same operation must come to
the same end by the same effects in both: that is what makes the simulated arm's figures say something of the real one.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stormsail.cli.campaign.durable import DurableArm
from stormsail.cli.campaign.figures import Tally, figures_of
from stormsail.cli.campaign.kinds import KINDS, Operation
from stormsail.cli.campaign.plan import OPERATIONS_A_WORLD, Kill, Plan, Victim, plan_world
from stormsail.cli.campaign.remote_cloud import serve_clouds
from stormsail.cli.campaign.running import Nominal, nominal_times
from stormsail.cli.campaign.world import Broken, Outcome, Said, Stage, Verdict, outcome_of, play, play_out, set_up
from stormsail.cli.connection import quiet_sdk
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.output import note, show_one
from stormsail.cli.process import Child, stormsail_command, until_ready
from stormsail.delivery.client import (
    DeliveryClient,
    EngineRefused,
    EngineUnreachable,
    OperationCanceled,
    OperationConflict,
    OperationFailed,
)
from stormsail.delivery.model.operation import OperationRequest, OperationResult

WORLDS_AT_ONCE: Final = 5
RETRY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Difference:
    """An operation that went another way than in the simulated arm."""

    operation: int
    real: str
    simulated: str


class Processes:
    """One engine and one worker for all worlds; each is started again when it dies."""

    def __init__(self, directory: Path, accounts: Sequence[str]) -> None:
        self.directory = directory
        self.socket = directory / "clouds.sock"
        self.address = ""
        self.kills = 0
        self._accounts = accounts
        self._port = 0
        logs = directory / "logs"
        self._engine = Child("engine", self._engine_command, logs / "engine.log", note, 0.0)
        self._worker = Child("worker", self._worker_command, logs / "worker.log", note, 0.0)
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start both and wait until they answer."""
        self._running.append(asyncio.create_task(self._engine.run()))
        self.address = await until_ready(self._engine, self.directory / "engine.json")
        self._port = int(self.address.rpartition(":")[2])
        self._running.append(asyncio.create_task(self._worker.run()))
        await until_ready(self._worker, self.directory / "worker.json")

    async def kill(self, kill: Kill) -> None:
        """SIGKILL; the process is started again at once."""
        child = self._worker if kill.victim is Victim.WORKER else self._engine
        await child.running.wait()
        if child.process is not None and child.process.returncode is None:
            child.process.kill()
            self.kills += 1

    async def stop(self) -> None:
        """Stop both."""
        for child in (self._worker, self._engine):
            await child.stop()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _engine_command(self) -> list[str]:
        place = (f"--data-dir={self.directory}", f"--port={self._port}", f"--follow-parent={os.getpid()}")
        return stormsail_command("server", "start", *place)

    def _worker_command(self) -> list[str]:
        module = [sys.executable, "-m", "stormsail.cli.campaign.real_worker"]
        return [*module, str(self.directory), self.address, str(self.socket), str(os.getpid()), *self._accounts]


class RealArm:
    """One world's view of the processes."""

    def __init__(self, processes: Processes, client: DeliveryClient, account: str) -> None:
        self._processes = processes
        self._client = client
        self._account = account

    async def open(self) -> None:
        """They run already."""

    async def operate(self, operation: Operation) -> Said:
        """Run an operation as a client does, through whatever outage."""
        request = OperationRequest(
            operation_type=operation.kind.operation_type,
            payload=operation.payload,
            application=operation.application,
            account=self._account,
            idempotency_key=f"operation-{operation.number}",
        )
        while True:
            try:
                handle = await self._client.start(request)
                result = await self._ended(operation, handle.operation_id)
            except (EngineUnreachable, EngineRefused):
                await asyncio.sleep(RETRY_S)
            except (OperationFailed, OperationCanceled, OperationConflict) as failed:
                as_asked = operation.kind.cancelled and isinstance(failed, OperationCanceled)
                return Said(ok=as_asked, detail=str(failed))
            else:
                return Said(ok=result.ok, detail="; ".join(f"{one.kind}: {one.message}" for one in result.errors))

    async def _ended(self, operation: Operation, operation_id: str) -> OperationResult:
        """Wait for the end; an operation that is to be cancelled is so at its time."""
        ending = asyncio.ensure_future(self._client.result(operation_id))
        try:
            if operation.cancel_after_s is not None:
                await asyncio.wait({ending}, timeout=operation.cancel_after_s)
                if not ending.done():
                    await self._client.cancel(operation_id, "the campaign")
            return await ending
        finally:
            ending.cancel()

    async def kill(self, kill: Kill) -> None:
        """Kill a process."""
        await self._processes.kill(kill)

    def close(self) -> None:
        """Nothing is held."""


def play_for_real(operations: int, fault_rate: float, seed: int, output: str) -> int:
    """Play operations with real processes and hold them against the simulated arm; return the exit code."""
    nominal_s = nominal_times()
    worlds = -(-operations // OPERATIONS_A_WORLD)
    counts = [min(OPERATIONS_A_WORLD, operations - world * OPERATIONS_A_WORLD) for world in range(worlds)]
    directory = Path(tempfile.mkdtemp(prefix="stormsail-campaign-"))
    began_s = time.monotonic()
    try:
        quiet_sdk()
        outcomes, kills = asyncio.run(_play(directory, seed, fault_rate, counts, nominal_s))
    except Broken as broken:
        raise CommandFailed(str(broken), next_step=f"read the logs in {directory / 'logs'}") from broken
    tally = Tally()
    differences: list[Difference] = []
    for world, (outcome, count) in enumerate(zip(outcomes, counts, strict=True)):
        tally.count(outcome, nominal_s)
        simulated = play(plan_world(seed, world, fault_rate, count), nominal_s, DurableArm)
        differences += _differences(outcome.verdicts, simulated.verdicts)
    shutil.rmtree(directory, ignore_errors=True)
    record = _record(tally, kills, differences, time.monotonic() - began_s)
    show_one(record, str(record["verdict"]), "verdict", output)
    return int(ExitCode.OK if record["passed"] else ExitCode.ERROR)


async def _play(
    directory: Path, seed: int, fault_rate: float, counts: Sequence[int], nominal_s: Nominal
) -> tuple[list[Outcome], int]:
    """Play all worlds, some at a time."""
    troubles: list[str] = []
    outcomes: list[Outcome] = []
    accounts = [f"model-{world}" for world in range(len(counts))]
    processes = Processes(directory, accounts)
    clouds: dict[str, Any] = {}
    server = await serve_clouds(processes.socket, clouds)
    try:
        await processes.start()
        client = await DeliveryClient.connect(processes.address)
        for first in range(0, len(counts), WORLDS_AT_ONCE):
            worlds = range(first, min(first + WORLDS_AT_ONCE, len(counts)))
            stages = [
                _staged(plan_world(seed, world, fault_rate, counts[world]), nominal_s, troubles) for world in worlds
            ]
            clouds |= {accounts[world]: stage.provider for world, stage in zip(worlds, stages, strict=True)}
            arms = [RealArm(processes, client, accounts[world]) for world in worlds]
            await asyncio.gather(*(play_out(stage, arm, nominal_s) for stage, arm in zip(stages, arms, strict=True)))
            outcomes += [outcome_of(stage) for stage in stages]
            wrong = sum(bool(verdict.wrong) for outcome in outcomes for verdict in outcome.verdicts)
            note(f"{sum(counts[: worlds.stop])} of {sum(counts)}, {processes.kills} kills: {wrong} wrong")
        await client.close()
    finally:
        await processes.stop()
        server.close()
    if troubles:
        raise Broken(troubles[0])
    return outcomes, processes.kills


def _staged(plan: Plan, nominal_s: Nominal, troubles: list[str]) -> Stage:
    return set_up(plan, asyncio.get_running_loop(), nominal_s, troubles.append)


def _differences(real: Sequence[Verdict], simulated: Sequence[Verdict]) -> list[Difference]:
    """Hold ends and effects of the same operations against each other."""
    return [
        Difference(one.number, _told(one), _told(other))
        for one, other in zip(real, simulated, strict=True)
        if _told(one) != _told(other)
    ]


def _told(verdict: Verdict) -> str:
    effects = () if verdict.kind in _CANCELLED else verdict.effects
    return f"{verdict.wrong or 'as intended'}: {', '.join(effects)}"


_CANCELLED: Final = frozenset(kind.name for kind in KINDS if kind.cancelled)
"""How far these come before they are cancelled is a matter of moments."""


def _record(tally: Tally, kills: int, differences: list[Difference], seconds: float) -> dict[str, Any]:
    figures = figures_of(tally)
    passed = not tally.wrong and not differences
    verdict = (
        f"{'PASSED' if passed else 'FAILED'}: real processes, {kills} of them killed: {tally.wrong} wrong of "
        f"{tally.operations}; {len(differences)} went another way than in the simulated arm"
    )
    for one in differences[:5]:
        note(f"operation {one.operation}: real: {one.real}; simulated: {one.simulated}")
    return {
        "operations": tally.operations,
        "kills": kills,
        "real": figures,
        "differences": [
            {"operation": one.operation, "real": one.real, "simulated": one.simulated} for one in differences
        ],
        "passed": passed,
        "verdict": verdict,
        "seconds": round(seconds, 1),
    }
