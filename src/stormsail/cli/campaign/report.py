"""The report of a campaign, for people who were not there: Markdown, and a chart beside it."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from stormsail.cli.campaign import plan, published
from stormsail.cli.campaign.chart import chart_of
from stormsail.cli.campaign.kinds import KINDS

Json = dict[str, Any]

TITLES: Final = {"durable": "Durable", "legacy": "Legacy"}
NOT_SHOWN: Final = (
    "Faults that are not modelled: two workers cut off from each other, a cloud that answers wrongly, an outage that "
    "outlasts ten times an operation's time, operators' mistakes.",
    "Other clouds: the model cloud is one account in memory. AWS and local processes have tests of their own.",
    "The part of the SDK that is written in Rust, gRPC, real disks and kernels: `stormsail campaign --real` plays some "
    "hundred operations with all of them, on the same seeds.",
    "How often deployments fail anywhere in the field. How much trouble there is was chosen so that the legacy arm "
    "comes to Netflix's published 4 %; the durable arm then met just as much.",
    "Netflix's own code: the legacy arm has its published shape and numbers, not its sources.",
)


def write_report(directory: Path, record: Json, nominal_s: Mapping[str, float]) -> tuple[Path, Path]:
    """Write campaign.md and campaign.svg; return both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    page, chart = directory / "campaign.md", directory / "campaign.svg"
    page.write_text(report_of(record, nominal_s), encoding="utf-8")
    chart.write_text(chart_of(record), encoding="utf-8")
    return page, chart


def report_of(record: Json, nominal_s: Mapping[str, float]) -> str:
    """Return the page."""
    parts = [_head(record)]
    for arm, figures in record["arms"].items():
        parts.append(_arm(TITLES[arm], figures))
    parts.append(_how(record, nominal_s))
    parts.append("## What it does not show\n\n" + "\n".join(f"* {line}" for line in NOT_SHOWN) + "\n")
    return "\n".join(parts)


def _head(record: Json) -> str:
    facts = {
        "command": f"`{' '.join(map(shlex.quote, ['stormsail', *sys.argv[1:]]))}`",
        "operations, seed, fault rate": f"{record['operations']} an arm, {record['seed']}, {record['fault_rate']:g}",
        "took": f"{record['seconds']:.0f} s",
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": machine(),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("stormsail", "temporalio", "apsw", "pydantic")),
    }
    return (
        "# Operations on a faulty cloud, the durable way and the polling way\n\n"
        f"**{record['verdict']}**\n\n"
        "![Rates of wrong ends of both arms with their 95 % bounds, by class of fault](campaign.svg)\n\n"
        "Wrong is what did not come to the intended end state, was done twice, or was not finished in ten times its "
        "nominal time. It is read from the cloud itself, when an operation was said to be over and once more when all "
        "was at rest. *Given up* counts as not finished: the cloud came to be as intended, but nobody was told so, the "
        "operation was said to have failed. Number of operations, seed and this rule were fixed before the run; it "
        "stops when all are played.\n\n" + _table(["", ""], [[name, value] for name, value in facts.items()])
    )


def _arm(title: str, figures: Json) -> str:
    ways = "; ".join(f"{way}: {count}" for way, count in figures["ways"].items())
    columns = ["", "count", "wrong", "rate", "at least", "at most"]
    rows = [[f"**{figures['name']}**", *_cells(figures)]]
    rows += [
        [f"that met: {row['name']}" if row["name"] != "none" else "that met no fault", *_cells(row)]
        for row in figures["met"]
    ]
    kinds = [[row["name"], *_cells(row)] for row in figures["kinds"]]
    kills = [[row["name"], *_cells(row)] for row in (*figures["kills"], figures["worlds"])]
    return (
        f"## {title}\n\n{ways}. {figures['simulated_hours']:g} h of simulated time; the longest good end took "
        f"{figures['longest_in_nominal_times']:g} times its nominal time.\n\n"
        "An operation that met several classes of fault counts in each.\n\n"
        f"{_table(columns, rows)}\n"
        "By kill: operations that one kill hits fail together, so the kill is the independent unit. Wrong is a kill "
        "that hit an operation which ended wrong. A world is a set of operations with a cloud and processes of its "
        f"own; worlds share nothing.\n\n{_table(columns, kills)}\n"
        f"By kind:\n\n{_table(columns, kinds)}"
    )


def _how(record: Json, nominal_s: Mapping[str, float]) -> str:
    numbers = [[one.name, f"{one.value:g} {one.unit}".strip(), one.source] for one in published.ALL]
    rate = record["fault_rate"]
    weather = [
        [
            "a call goes wrong",
            f"{rate:g}",
            "throttle 40 %, 5xx before effect 25 %, cut after effect 20 %, timeout 15 %",
        ],
        ["bursts an hour", f"{rate * plan.BURSTS_AN_HOUR:g}", "3 to 15 s in which 90 % of calls are turned away"],
        ["an instance is slow", f"{rate * plan.SLOW_BOOTS:g}", "12 to 36 s until it is healthy, instead of 2 to 6 s"],
        [
            "kills a world",
            f"{rate * plan.KILLS_A_WORLD:g}",
            f"a world is {plan.OPERATIONS_A_WORLD} operations in about two minutes",
        ],
        [
            "our own messages lost",
            f"{rate * plan.NETWORK_SHARE:g}",
            "and as many doubled, and reset; not a class above",
        ],
    ]
    nominal = ", ".join(f"{kind.name} {nominal_s[kind.name]:.0f} s" for kind in KINDS)
    return (
        "## How\n\n"
        "Both arms play the same worlds: the same operations at the same moments, the same bursts, slow instances and "
        "kills, on the same model cloud. Single faults are drawn call by call with the same chances.\n\n"
        f"{_table(['weather', 'value', ''], weather)}\n"
        f"Nominal times are those of the slower arm where nothing goes wrong, 20 s at least: {nominal}.\n\n"
        "**The durable arm** is our engine (api, shell, core, store) on a simulated machine whose power fails, the "
        "real workflow, operations and activities, and the Python side of Temporal's SDK; workers and engine are "
        "killed, the engine at calls to its disk.\n\n"
        "**The legacy arm** has the shape that Netflix left. It has no number but these:\n\n"
        f"{_table(['', 'value', 'source'], numbers)}\n"
        + "\n".join(f"* {line}" for line in published.SHAPE)
        + "\n\nWhere sources differ it was given the better:\n\n"
        + "\n".join(f"* {line}" for line in published.GENEROUS)
        + "\n"
    )


def _cells(row: Json) -> list[str]:
    return [
        str(row["count"]),
        str(row["wrong"]),
        *(f"{row[name]:.2e}" if row[name] else "0" for name in ("rate", "at_least", "at_most")),
    ]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def commit() -> str:
    """Return the commit that this code is of, and whether it was changed since."""
    here = Path(__file__).parent
    try:
        named = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "not known: this is no git checkout"
    return named.stdout.strip()


def machine() -> str:
    """Describe the machine in one line."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GB, {system}"
