"""`make bench`: runs all engines in turn, several rounds, and writes the report. `--quick` takes a minute or two."""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.bulkhead import bulkhead
from bench.bulkhead import told as bulkhead_told
from bench.engines import Engine, engines
from bench.goodput import told as overload_told
from bench.lives import answering, cold, parked, recovered, signalled, timed_out
from bench.overload import overload
from bench.report import where, write
from bench.syncs import Syncs, taken_a_s

REPORT: Final = Path(__file__).with_name("report")
_PART_S: Final = 180.0
PARTS: Final = ("throughput", "counts", "cold", "signals", "parked", "recovered", "open")
Part = Callable[[], Awaitable[dict[str, Any]]]


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, flush=True)


class _Client:
    """The client's process: its marks as they come, its figures at the end."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    async def run(self, marked: "dict[str, float]", at: Any) -> dict[str, Any]:
        """Run it; `at()` is called at every mark and its value kept under the mark's name."""
        process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1 << 24
        )
        assert process.stdout is not None and process.stderr is not None
        last: dict[str, Any] = {}
        try:
            async for line in process.stdout:
                last = json.loads(line)
                if "mark" in last:
                    marked[last["mark"]] = at()
            errors = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
            # The SDK's threads may abort a process that is ending: what counts is whether it said what it found.
            if await process.wait() != 0 and "w2" not in last:
                raise RuntimeError(f"the client failed: {errors[-1] if errors else 'no reason given'}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return last


async def throughput(engine: Engine, place: Path, seconds: float) -> dict[str, Any]:
    """W1 to W3 on one fresh engine."""
    marked: dict[str, float] = {}
    if engine.command is None:
        client = _Client([sys.executable, "-m", "bench.dbos_side", str(place / "data"), str(seconds)])
        told = await client.run(marked, lambda: 0.0)
        return told | {"server_cpu_s": 0.0}
    async with answering(engine, place / "data", place / "server.log") as (server, port, answers_s):
        client = _Client([sys.executable, "-m", "bench.workload", str(port), str(seconds)])
        told = await client.run(marked, server.cpu_s)
    return told | {"server_cpu_s": marked["w3"] - marked["w2"], "answers_s": answers_s}


async def variants(engine: Engine, place: Path, seconds: float) -> dict[str, Any]:
    """W2 without an SDK, with the SDK in other circumstances; each on a fresh engine."""
    told: dict[str, Any] = {}
    for name, module, *options in (
        ("bare", "bench.bare_workload"),
        ("plain", "bench.workload", "--plain"),
        ("hurried", "bench.workload", "--hurried"),
    ):
        marked: dict[str, float] = {}
        async with answering(engine, place / name, place / "server.log") as (server, port, _):
            client = _Client([sys.executable, "-m", module, str(port), str(seconds), *options])
            w2 = (await client.run(marked, server.cpu_s))["w2"]
        told[name] = w2 | {"server_cpu_s": marked["w3"] - marked["w2"]}
    return told


async def counts(engine: Engine, place: Path, seconds: float) -> dict[str, Any]:
    """Count calls and fsyncs in a run of their own: to count disturbs what is measured."""
    if engine.command is None:
        command = [sys.executable, "-m", "bench.dbos_side", str(place / "data"), str(seconds)]
        with Syncs(place / "strace") as syncs:
            told = await _Client(syncs.wrapped(command)).run({}, lambda: 0)
        done = len(told["w1_ms"]) + told["w2"]["done"] + len(told["w3_ms"]) + 5
        return {"syncs": None if (count := syncs.count()) is None else count / done}
    async with answering(engine, place / "data", place / "server.log") as (server, port, _):
        with Syncs(place / "strace") as syncs:
            syncs.attach(server.pid)
            client = _Client([sys.executable, "-m", "bench.workload", str(port), str(seconds), "--count-calls"])
            told = await client.run({}, lambda: 0)
    done = len(told["w1_ms"]) + told["w2"]["done"]
    # The five runs that warm up are in the count of syncs and not in that of calls.
    return {"calls": told["calls"] / done, "syncs": None if (count := syncs.count()) is None else count / (done + 5)}


class Bench:
    """One run of everything."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._place = Path(tempfile.mkdtemp(prefix="stormsail-bench-", dir=given.directory))
        self._number = 0
        chosen = given.engines.split(",") if given.engines else None
        self._engines = [each for each in engines() if chosen is None or each.key in chosen]
        self.results: dict[str, dict[str, Any]] = {}

    def _fresh(self) -> Path:
        self._number += 1
        place = self._place / str(self._number)
        place.mkdir()
        return place

    async def run(self) -> None:
        """Run the rounds interleaved, so that a noisy minute of the machine falls on all."""
        there = [each for each in self._engines if not each.missing]
        for each in self._engines:
            self.results[each.key] = {"name": each.name, "missing": each.missing, "durable": each.durable, "rounds": []}
            if each.missing:
                say(f"{each.name}: left out, {each.missing}")
        for number in range(self._given.rounds if "throughput" in self._given.only else 0):
            self._given.syncs_a_s.append(taken_a_s(self._place))
            say(f"round {number + 1}: the disk takes {self._given.syncs_a_s[-1]:,.0f} syncs a second")
            for engine in there:
                told = await timed_out(partial(throughput, engine, self._fresh(), self._given.seconds), _PART_S)
                self.results[engine.key]["rounds"].append(told)
                say(f"round {number + 1}: {engine.name}: {_short(told)}")
                if engine.command is None:
                    continue
                told = await timed_out(partial(variants, engine, self._fresh(), self._given.seconds), _PART_S)
                self.results[engine.key].setdefault("variants", []).append(told)
                say(f"round {number + 1}: {engine.name}: {json.dumps(told)}")
        write(self._given.report, self.results, self._given)  # should the rest not come to its end
        for engine in there:
            mine = self.results[engine.key]
            for part, what in self._lives(engine).items():
                told = await timed_out(what, self._given.part_seconds)
                if part.startswith("cold"):
                    mine.setdefault("cold", []).append(told)
                    told = mine["cold"]
                else:
                    mine[part] = told
                write(self._given.report, self.results, self._given)
                say(f"{engine.name}: {part}: {json.dumps(told)}")

    def _lives(self, engine: Engine) -> dict[str, Part]:
        """Return the parts that are wanted of an engine and that it can do, by name."""
        given = self._given
        parts: dict[str, Part] = {"counts": partial(counts, engine, self._fresh(), 3.0)}
        if engine.command is not None:
            for number in range(given.rounds):
                parts[f"cold {number}"] = partial(cold, engine, self._fresh())
            parts["signals"] = partial(signalled, engine, self._fresh(), given.seconds)
            parts["parked"] = partial(parked, engine, self._fresh(), given.parked, given.park_seconds)
            if engine.durable:
                parts["recovered"] = partial(recovered, engine, self._fresh(), given.in_flight, 20.0)
            if engine.key == "stormsail" and given.open:
                # The others start so few a second that it would take them hours to have as many.
                parts["open"] = partial(
                    recovered, engine, self._fresh(), given.open, given.park_seconds * 10, complete=False
                )
        return {part: what for part, what in parts.items() if part.split()[0] in given.only}

    def close(self) -> None:
        """Remove what the engines wrote."""
        shutil.rmtree(self._place, ignore_errors=True)


def _short(told: dict[str, Any]) -> str:
    if "failed" in told:
        return f"failed: {told['failed']}"
    w2 = told["w2"]
    return (
        f"W1 {statistics.median(told['w1_ms']):.1f} ms, W2 {w2['done'] / w2['seconds']:.1f}/s"
        f" (server {told['server_cpu_s'] * 1000 / w2['done']:.2f} ms,"
        f" client {w2['client_cpu_s'] * 1000 / w2['done']:.2f} ms), W3 {statistics.median(told['w3_ms']):.0f} ms"
    )


def _past_capacity(given: argparse.Namespace) -> None:
    titles = {
        "overload": "Three times as much as can be done",
        "backlog": "One queue beside a long backlog in another",
    }
    given.report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stormsail-overload-", dir=given.directory) as place:
        if given.overload:
            found = asyncio.run(overload(Path(place), given.seconds or 6.0, given.pollers, given.rounds))
            name, lines = "overload", overload_told(found)
        else:
            found = asyncio.run(bulkhead(Path(place), given.backlog, given.rounds or 10))
            name, lines = "backlog", bulkhead_told(found)
    (given.report / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    page = [
        f"# {titles[name]}\n",
        "```",
        *lines,
        "```\n",
        "## Where\n",
        *where(f'`make bench ARGS="{" ".join(sys.argv[1:])}"`'),
    ]
    (given.report / f"{name}.md").write_text("\n".join(page) + "\n")
    say("\n".join(lines))


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often W1 to W3 run on each engine [3], how many rounds --overload plays [50 s at each load]",
    )
    parser.add_argument(
        "--seconds", type=float, help="how long each of W1 to W3 runs [6], and each phase of --overload"
    )
    parser.add_argument("--only", default=",".join(PARTS), help="only these parts, with commas; writes scale.md")
    parser.add_argument("--parked", type=int, help="how many runs W4 parks at most [30000]")
    parser.add_argument("--park-seconds", type=float, help="how long W4 may start runs [twice --seconds]")
    parser.add_argument("--open", type=int, help="how many runs W5 leaves open on us alone, to start with [100000]")
    parser.add_argument("--in-flight", type=int, default=500, help="how many runs W5 kills the server with [500]")
    parser.add_argument("--engines", default="", help="only these, by key, with commas")
    parser.add_argument("--directory", default=None, help="where the engines keep their state; a real disk")
    parser.add_argument("--report", type=Path, default=REPORT, help="where bench.md, bench.svg and bench.json go")
    parser.add_argument("--overload", action="store_true", help="only this: three times what can be done is offered")
    parser.add_argument("--backlog", type=int, default=0, help="only this: one queue beside so many tasks in another")
    parser.add_argument("--pollers", type=int, default=32, help="polls at once in --overload [32]")
    given = parser.parse_args()
    # Without byte code a server compiles itself at each start, and the SDK's sandbox every module for every workflow.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if given.overload or given.backlog:
        _past_capacity(given)
        return
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.seconds = given.seconds or (3.0 if given.quick else 6.0)
    given.parked = given.parked or (3_000 if given.quick else 30_000)
    given.open = (5_000 if given.quick else 100_000) if given.open is None else given.open
    given.only = given.only.split(",")
    if unknown := set(given.only) - set(PARTS):
        parser.error(f"--only: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    given.syncs_a_s = []
    given.whole = set(given.only) == set(PARTS)
    # Who asks for a part alone wants as many as were asked for, however long that takes.
    given.park_seconds = given.park_seconds or (given.seconds * 2 if given.whole else 4 * 3_600.0)
    given.part_seconds = _PART_S if given.whole else 6 * 3_600.0
    began = time.monotonic()
    bench = Bench(given)
    try:
        asyncio.run(bench.run())
    finally:
        bench.close()
    written = write(given.report, bench.results, given)
    say(f"bench: {time.monotonic() - began:.0f} s, report in {written}")


if __name__ == "__main__":
    main()
