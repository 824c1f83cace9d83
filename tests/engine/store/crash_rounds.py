"""Kill a committing process again and again, and look after each kill what is there. Run as a script, for it forks.

Prints one JSON object: kills, runs acknowledged, and what was wrong (nothing, one hopes).
"""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import apsw

from engine.store.given import AT_MS, key, signaled, started
from stormsail.engine.store.store import Store

WRITERS = 8


async def write_for_ever(directory: Path, round_: int, tell: int) -> None:
    """Commit in several tasks at once; tell each acknowledged (workflow, events) in one line."""
    store = Store.open(directory, now_ms=lambda: AT_MS)

    async def writer(number: int) -> None:
        turn, n = None, 0
        while True:
            if turn is None or turn.state.next_event_id > 40:
                n += 1
                turn = started(key(f"{round_}-{number}-{n}"), memo={"m": b"x" * (n % 7 * 400)})
            else:
                turn = signaled(turn.state, b"y" * 300, times=1 + turn.state.next_event_id % 3)
            await store.commit([turn])
            os.write(tell, f"{turn.state.key.workflow_id} {turn.state.last_event_id}\n".encode())

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))


def look(directory: Path, acknowledged: dict[str, int]) -> list[str]:
    """Say what is missing or damaged."""
    store = Store.open(directory, now_ms=lambda: AT_MS)
    wrong = []
    for workflow, events in acknowledged.items():
        state = store.load(key(workflow))
        if state is None or state.last_event_id < events:
            wrong.append(f"{workflow}: {events} events acknowledged, {state and state.last_event_id} there")
    store.close()
    connection = apsw.Connection(str(directory / "engine.db"))
    checked = connection.pragma("integrity_check")
    return wrong + ([] if checked == "ok" else [f"integrity: {checked}"])


def kill_one(directory: Path, round_: int, after_lines: int) -> dict[str, int]:
    """Run a writer until it has acknowledged that much, kill it, and return all that it acknowledged."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        asyncio.run(write_for_ever(directory, round_, write))
        os._exit(1)
    os.close(write)
    acknowledged: dict[str, int] = {}
    with os.fdopen(read) as lines:
        for n, line in enumerate(lines):
            workflow, events = line.split()
            acknowledged[workflow] = int(events)
            if n == after_lines:
                os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return acknowledged


def main(directory: Path, kills: int, seed: int) -> None:
    """Kill so often; forks only while this process has no thread."""
    chance = random.Random(seed)
    total, wrong = 0, []
    for round_ in range(kills):
        acknowledged = kill_one(directory, round_, chance.randrange(1, 300))
        total += len(acknowledged)
        read, write = os.pipe()
        if not os.fork():
            os.write(write, json.dumps(look(directory, acknowledged)).encode()[:60_000])
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            wrong += json.loads(told.read() or '["the look at it failed"]')
        os.wait()
    print(json.dumps({"kills": kills, "acknowledged": total, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
