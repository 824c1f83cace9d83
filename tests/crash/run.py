"""kill -9 of a real server and real workers under load, and a reckoning of everything that was acknowledged."""

import asyncio
import itertools
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from conformance.servers import EngineProcess
from crash.ledger_workflow import QUEUE, Ledger
from stormsail.engine.store.check import check

CALL_S = 8.0
END_S = 120.0
"""In which all workflows end once nothing is killed any more."""
WORKERS = 2
SENDERS = 6
BETWEEN_S = (0.1, 1.0)
"""Between two kills."""
ENTRIES_MAX = 30
"""Entries a workflow is told before the sender begins another."""
_ENDS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
}


@dataclass
class Account:
    """What one workflow was told and what of it was acknowledged, in the order of sending."""

    handle: WorkflowHandle[Any, Any]
    sent: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)
    """What updates returned: how many entries there were."""


@dataclass
class Reckoning:
    """What came of a run. Everything in `wrong` breaks a promise."""

    kills: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    workflows: int = 0
    entries: int = 0
    events: int = 0
    wrong: list[str] = field(default_factory=list)


class Workers:
    """Worker processes; one that is killed is followed by another."""

    def __init__(self, address: str, log: Path) -> None:
        self._address = address
        self._log = log
        self._processes: list[asyncio.subprocess.Process] = []

    async def start_one(self) -> None:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "crash.worker", self._address),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )
        self._processes.append(process)

    async def kill_one(self, chance: random.Random) -> None:
        process = self._processes.pop(chance.randrange(len(self._processes)))
        assert process.returncode is None, f"a worker ended by itself; see {self._log}"
        process.kill()
        await process.wait()

    async def stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def reckon(directory: Path, kills: int, seed: int, told: Callable[[str], None]) -> Reckoning:
    """Kill so often, then let everything end, and compare what is there with what was acknowledged."""
    chance = random.Random(seed)
    engine = EngineProcess(directory / "data")
    await engine.start()
    workers = Workers(engine.address, directory / "workers.log")
    reckoning = Reckoning()
    accounts: list[Account] = []
    stop = asyncio.Event()
    try:
        for _ in range(WORKERS):
            await workers.start_one()
        client = await engine.connect()
        numbers = itertools.count(1)
        senders = [
            asyncio.create_task(_send(client, random.Random(f"{seed}/{n}"), numbers, accounts, reckoning, stop))
            for n in range(SENDERS)
        ]
        await _kill(engine, workers, kills, chance, reckoning, told)
        async with asyncio.timeout(END_S):  # on a busy machine little may have come through between the kills
            while reckoning.entries <= kills:  # noqa: ASYNC110 - senders count
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*senders)
        by = time.monotonic() + END_S
        for account in accounts:
            await _examine(account, by, reckoning)
        await _replay(accounts, reckoning)
        if await engine.stop() != 0:
            reckoning.wrong.append("the engine did not stop cleanly")
    finally:
        stop.set()  # a sender takes its cancellation for an unknown outcome, and goes on otherwise
        await workers.stop()
        if engine.running:
            await engine.kill()
    found = await asyncio.to_thread(check, directory / "data" / "engine.db")
    reckoning.wrong += [f"fsck: {problem.where}: {problem.what}" for problem in found.problems]
    if "internal error" in engine.log():
        reckoning.wrong.append(f"the engine logged an internal error: {engine.log()[-2000:]}")
    return reckoning


async def _kill(
    engine: EngineProcess,
    workers: Workers,
    kills: int,
    chance: random.Random,
    reckoning: Reckoning,
    told: Callable[[str], None],
) -> None:
    """Kill engine and workers at chance moments: also while the engine starts."""
    began = time.monotonic()
    for number in range(1, kills + 1):
        await asyncio.sleep(chance.uniform(*BETWEEN_S))
        if chance.random() < 0.8:
            await engine.kill()
            if chance.random() < 0.2:
                starting = asyncio.create_task(engine.start())
                await asyncio.sleep(chance.uniform(0.05, 0.4))
                # On a busy machine there may be no process yet that could be killed.
                while not (engine.running or starting.done()):  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.01)
                if not starting.done():
                    starting.cancel()
                    await asyncio.gather(starting, return_exceptions=True)
                await engine.kill()
                reckoning.kills["engine starting"] += 1
            await engine.start()
            reckoning.kills["engine"] += 1
        else:
            await workers.kill_one(chance)
            await workers.start_one()
            reckoning.kills["worker"] += 1
        if number % 10 == 0 or number == kills:
            told(
                f"{number} of {kills} kills, {reckoning.entries} entries acknowledged, {time.monotonic() - began:.0f} s"
            )


async def _send(
    client: Client,
    chance: random.Random,
    numbers: "itertools.count[int]",
    accounts: list[Account],
    reckoning: Reckoning,
    stop: asyncio.Event,
) -> None:
    """Start workflows and tell them entries, one call after the other; what fails is unknown, and never sent again."""
    while not stop.is_set():
        name = f"ledger-{next(numbers)}"
        try:
            handle = await client.start_workflow(
                Ledger.run, id=name, task_queue=QUEUE, rpc_timeout=timedelta(seconds=CALL_S)
            )
        except RPCError:
            reckoning.calls["start unknown"] += 1
            continue
        reckoning.calls["start"] += 1
        account = Account(handle)
        accounts.append(account)
        while not stop.is_set() and len(account.sent) < ENTRIES_MAX:
            await _tell(account, chance, f"{name}/{len(account.sent)}", reckoning)
            await asyncio.sleep(chance.uniform(0, 0.05))


async def _tell(account: Account, chance: random.Random, entry: str, reckoning: Reckoning) -> None:
    account.sent.append(entry)
    how = "update" if chance.random() < 0.3 else "signal"
    within = timedelta(seconds=CALL_S)
    try:
        if how == "update":
            account.answered[entry] = await account.handle.execute_update(
                Ledger.add, entry, id=entry, rpc_timeout=within
            )
        else:
            await account.handle.signal(Ledger.tell, entry, rpc_timeout=within)
    except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
        reckoning.calls[f"{how} unknown"] += 1
        return
    except WorkflowUpdateFailedError as error:
        reckoning.wrong.append(f"{entry}: the update failed: {error.cause}")
        return
    reckoning.calls[how] += 1
    reckoning.entries += 1
    account.acknowledged.append(entry)


async def _examine(account: Account, by: float, reckoning: Reckoning) -> None:
    """Let a workflow end and compare what it knows, and its history, with what was acknowledged."""
    name = account.handle.id
    try:
        async with asyncio.timeout(max(by - time.monotonic(), 1.0)):
            await account.handle.signal(Ledger.end)
            entries: list[str] = await account.handle.result()
    except (TimeoutError, RPCError) as error:
        reckoning.wrong.append(f"{name} does not end: {type(error).__name__} {error}")
        return
    reckoning.workflows += 1
    lost = [entry for entry in account.acknowledged if entry not in entries]
    doubled = [entry for entry, times in Counter(entries).items() if times > 1]
    foreign = [entry for entry in entries if entry not in account.sent]
    for what, found in (("lost", lost), ("doubled", doubled), ("never sent", foreign)):
        if found:
            reckoning.wrong.append(f"{name}: {what}: {', '.join(found)}")
    in_order = [entry for entry in entries if entry in set(account.acknowledged)]
    if in_order != account.acknowledged:
        reckoning.wrong.append(f"{name}: not in the order of sending: {in_order}")
    for entry, there_were in account.answered.items():
        if entry in entries and not entries.index(entry) < there_were <= len(entries):
            reckoning.wrong.append(f"{name}: update {entry} returned {there_were} of {len(entries)}")


async def _replay(accounts: list[Account], reckoning: Reckoning) -> None:
    """Check that events are 1..n, that each activity has one outcome, and that the SDK replays each history."""
    replayer = Replayer(workflows=[Ledger], workflow_runner=UnsandboxedWorkflowRunner())
    for account in accounts:
        history = await account.handle.fetch_history()
        ids = [event.event_id for event in history.events]
        if ids != list(range(1, len(ids) + 1)):
            reckoning.wrong.append(f"{account.handle.id}: its events are {ids}")
        outcomes = Counter(_scheduled(event) for event in history.events if event.event_type in _ENDS)
        if any(times > 1 for times in outcomes.values()):
            reckoning.wrong.append(f"{account.handle.id}: an activity has two outcomes: {outcomes}")
        reckoning.events += len(ids)
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            reckoning.wrong.append(f"{account.handle.id} does not replay: {result.replay_failure}")


def _scheduled(event: Any) -> int:
    attributes = getattr(event, event.WhichOneof("attributes"))
    return int(attributes.scheduled_event_id)
