"""Runs the official Python SDK's own tests against a server and says which of them pass.

The tests are not ours and are not here: check out temporalio/sdk-python at the tag of a published wheel, keep `tests`
and `pyproject.toml`, and make an environment `v` beside them that has that wheel and the tests' own needs. Then:

    PYTHONPATH=tests python -m conformance.sdk_suite CHECKOUT OUT [--engine temporal] [--only PART ...]

Every file runs in a pytest of its own, and long ones in several, because the SDK's threads may end an interpreter at
exit: what counts is the JUnit report. OUT/results.json keeps each test's outcome.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.sdk_known import every_failure
from ports import free_port

TEST_S: Final = 30
SLICE: Final = 40
"""Tests that one pytest runs."""
_SETTING: Final = re.compile(r'"--dynamic-config-value",\s*f?(["\'])(.+?)\1,\n')
_SUGGEST: Final = "CONTINUE_AS_NEW_SUGGEST_HISTORY_COUNT"


@dataclass(frozen=True)
class Suite:
    """A checkout, the interpreter that runs it, and where reports go."""

    checkout: Path
    python: Path
    out: Path

    @property
    def environment(self) -> dict[str, str]:
        """Without byte code the workflow sandbox compiles every module again for every workflow, and tests hang."""
        return {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}

    def settings(self) -> list[str]:
        """Return the dynamic settings that the suite starts its dev server with."""
        text = (self.checkout / "tests/conftest.py").read_text()
        number = re.search(rf"{_SUGGEST} = (\d+)", text)
        count = number[1] if number else "50"
        found = [match[1].replace(f"{{{_SUGGEST}}}", count) for match in _SETTING.findall(text)]
        return [part for each in found for part in ("--dynamic-config-value", each)]

    async def pytest(self, *arguments: str, log: Path, seconds: float) -> None:
        """Run pytest; at the end of the time interrupt it, so that it still reports."""
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                str(self.python),
                *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:pretty", "--timeout", str(TEST_S)),
                *("--show-capture=no", *arguments),
                cwd=self.checkout,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
            for how in (signal.SIGINT, signal.SIGKILL):
                try:
                    await asyncio.wait_for(process.wait(), seconds)
                    return
                except TimeoutError:
                    process.send_signal(how)
                    seconds = TEST_S
            await process.wait()

    async def collect(self) -> list[str]:
        """Return the ids of the tests whose needs are installed."""
        log = self.out / "collected.log"
        await self.pytest("--collect-only", "tests", log=log, seconds=120)
        return [line for line in log.read_text().splitlines() if re.match(r"tests/[\w/]+\.py::", line)]

    async def run(self, name: str, ids: list[str], address: str) -> dict[str, str]:
        """Run these tests and return what became of each."""
        report = self.out / f"{name}.xml"
        report.unlink(missing_ok=True)
        seconds = min(1_200, 60 + TEST_S * len(ids))
        await self.pytest("-E", address, f"--junitxml={report}", *ids, log=self.out / f"{name}.log", seconds=seconds)
        return outcomes(report, ids)


def outcomes(report: Path, ids: list[str]) -> dict[str, str]:
    """Read a JUnit report: "passed", "skipped", or what went wrong. A test that is not in it did not end."""
    by_name = {_junit_name(each): each for each in ids}
    found = dict.fromkeys(ids, "did not end")
    if not report.exists():
        return found
    for case in ET.parse(report).getroot().iter("testcase"):
        bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        text = "passed" if bad is None else bad.get("message", "") or bad.tag
        each = by_name.get(f"{case.get('classname')}.{case.get('name')}")
        if each is not None:
            found[each] = "skipped" if bad is not None and bad.tag == "skipped" else text.splitlines()[0][:200]
    return found


def _junit_name(test_id: str) -> str:
    path, *inner = re.sub(r"\[.*", "", test_id).split("::")
    bracket = re.search(r"\[.*", test_id)
    return ".".join([path.removesuffix(".py").replace("/", "."), *inner]) + (bracket[0] if bracket else "")


def slices(ids: list[str]) -> list[tuple[str, list[str]]]:
    """Group tests by file and cut large groups, so that each part runs in a pytest of its own; the largest first."""
    by_file: dict[str, list[str]] = {}
    for each in ids:
        by_file.setdefault(each.partition("::")[0], []).append(each)
    return [
        (f"{path.removesuffix('.py').replace('/', '_')}-{start // SLICE}", group[start : start + SLICE])
        for path, group in sorted(by_file.items(), key=lambda pair: -len(pair[1]))
        for start in range(0, len(group), SLICE)
    ]


async def started(engine: str, suite: Suite) -> tuple[str, asyncio.subprocess.Process | None]:
    """Start a server with the suite's settings and return its address, or take the address that is given."""
    if ":" in engine:
        return engine, None
    port = free_port()
    binary = Path(sys.executable).with_name("temporal" if engine == "temporal" else "stormsail")
    with (suite.out / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(binary),
            *("server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port), *suite.settings()),
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 60
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process.returncode is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server does not start; see {suite.out}/server.log") from None
            await asyncio.sleep(0.2)
        else:
            writer.close()
            return f"127.0.0.1:{port}", process


async def main(arguments: argparse.Namespace) -> int:
    """Run what is asked for, print and keep what failed."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    checkout = arguments.checkout.absolute()
    suite = Suite(checkout, (arguments.python or checkout / "v/bin/python").absolute(), arguments.out.absolute())
    suite.out.mkdir(parents=True, exist_ok=True)
    ids = await suite.collect()
    ids = [each for each in ids if not arguments.only or any(part in each for part in arguments.only)]
    ids = [each for each in ids if not any(part in each for part in arguments.skip)]
    if not ids:
        raise SystemExit(f"no tests found; see {suite.out}/collected.log")
    address, server = await started(arguments.engine, suite)
    found: dict[str, str] = {}
    places = asyncio.Semaphore(arguments.jobs)

    async def one(name: str, group: list[str]) -> None:
        async with places:
            part = await suite.run(name, group, address)
        found.update(part)
        (suite.out / "results.json").write_text(json.dumps(found, indent=1, sort_keys=True))
        counts = Counter(text if text in ("passed", "skipped") else "failed" for text in part.values())
        print(f"{name}: {', '.join(f'{number} {what}' for what, number in sorted(counts.items()))}", flush=True)

    try:
        await asyncio.gather(*(one(name, group) for name, group in slices(ids)))
    finally:
        if server is not None:
            server.terminate()
            await server.wait()
    return told(found, [each.test_id for each in every_failure()[1]])


def told(found: dict[str, str], listed: Collection[str]) -> int:
    """Print what is not as `sdk_known.txt` has it, and how many passed."""
    failed = {each: text for each, text in found.items() if text not in ("passed", "skipped")}
    for each, text in sorted(failed.items()):
        if each not in listed:
            print(f"not listed: {each}\n    {text}")
    for each in sorted(each for each in listed if found.get(each) == "passed"):
        print(f"listed, and passes: {each}")
    unlisted = len(failed.keys() - set(listed))
    passed = sum(text == "passed" for text in found.values())
    how = f"{unlisted} of them not listed" if unlisted else "all listed in docs/protocol.md"
    skipped = len(found) - passed - len(failed)
    print(f"{passed} of {len(found)} tests pass, {skipped} are skipped, {len(failed)} fail ({how})")
    return 1 if unlisted else 0


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the official Python SDK's tests against a server.")
    parser.add_argument("checkout", type=Path, help="has tests/, pyproject.toml and the environment v/")
    parser.add_argument("out", type=Path, help="where reports go")
    parser.add_argument("--engine", default="ours", help="ours, temporal (the dev server) or HOST:PORT")
    parser.add_argument("--python", type=Path, help="the interpreter with the SDK's wheel; CHECKOUT/v/bin/python")
    parser.add_argument("--only", nargs="+", help="parts of the ids of the tests to run")
    parser.add_argument("--skip", nargs="+", default=[], help="parts of the ids of the tests to leave out")
    parser.add_argument("--jobs", type=int, default=1, help="how many pytests run at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(asked())))
