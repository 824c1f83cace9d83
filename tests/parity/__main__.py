"""`make parity`: the same happenings for the pure core, our server and Temporal's, and how many traces agree.

make parity ARGS="-v"             a line for each trace
make parity ARGS="-k schedule"    the traces whose name has this
make parity ARGS="--show -k timers"    and in full what Temporal's server told
make parity ARGS="--page"         write what is known of differences into docs/protocol.md
make parity ARGS="--list"         the traces and who takes them
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from conformance.servers import both_servers
from parity.compare import Outcome, compare
from parity.known import Known, every_known
from parity.language import Trace, every_trace
from parity.page import with_appendix

PAGE: Final = Path(__file__).parents[2] / "docs/protocol.md"
SETTINGS: Final = ("frontend.WorkflowPauseEnabled=true", "frontend.enableCancelWorkerPollsOnShutdown=true")
"""What Temporal's server can do and does not do unless told."""


async def run(traces: Sequence[Trace], known: Sequence[Known]) -> list[Outcome]:
    """Start both servers, take the traces to them, and stop them."""
    with tempfile.TemporaryDirectory() as directory:
        async with both_servers(Path(directory), *SETTINGS) as (engine, dev):
            return await compare(traces, engine.address, dev.address, known)


def report(outcomes: Sequence[Outcome], known: Sequence[Known], *, verbose: bool) -> tuple[str, bool]:
    """Return what the run says, and whether it is as it should be."""
    parts = []
    for each in outcomes:
        if each.unexplained:
            parts += [f"{each.trace.name}", *(f"    {line}" for line in each.unexplained)]
        elif each.first:
            parts += [f"{each.trace.name}: as listed when Temporal's took it again; the first time", *each.first[:3]]
        elif verbose:
            parts.append(f"{'agrees' if each.agrees else 'known '} {each.seconds:5.1f} s  {each.trace.name}")
    differing = [each for each in outcomes if not each.agrees]
    unlisted = [each for each in outcomes if each.unexplained]
    gone = _no_longer(outcomes, known)
    parts += [f"known.txt: {each.trace} agrees by now: take it out ({each.reason})" for each in gone]
    agree = len(outcomes) - len(differing)
    count = f"{len(differing)} difference{'s' if len(differing) != 1 else ''}"
    how = f"{len(unlisted)} of them not listed" if unlisted else "all listed in docs/protocol.md"
    parts.append(f"{agree} of {len(outcomes)} traces agree" + (f" ({count}, {how})" if differing else ""))
    return "\n".join(parts), not unlisted and not gone


def _no_longer(outcomes: Sequence[Outcome], known: Sequence[Known]) -> list[Known]:
    """Return what is listed and no longer so, of the traces that ran."""
    lines = {each.trace.name: each.differences for each in outcomes}
    return [
        each
        for each in known
        if each.trace in lines and not each.sometimes and not any(each.explains(line) for line in lines[each.trace])
    ]


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="make parity", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each trace")
    parser.add_argument("-k", dest="part", default="", help="only traces whose name has this")
    parser.add_argument("--show", action="store_true", help="what Temporal's server told, in full")
    parser.add_argument("--page", action="store_true", help="write the differences into docs/protocol.md")
    parser.add_argument("--list", action="store_true", help="list the traces and who takes them")
    asked = parser.parse_args()
    traces = [trace for trace in every_trace() if asked.part in trace.name]
    if asked.list:
        for trace in traces:
            print(
                f"{trace.name}: {'both servers; not the core: ' + trace.without_core if trace.without_core else 'all'}"
            )
        return 0
    if asked.page:
        PAGE.write_text(with_appendix(PAGE.read_text()))
        return 0
    if not traces:
        parser.error(f"no trace has {asked.part!r} in its name")
    known = every_known()
    outcomes = asyncio.run(run(traces, known))
    if asked.show:
        for each in outcomes:
            print("\n    ".join([each.trace.name, *each.account]))
    text, good = report(outcomes, known, verbose=asked.verbose)
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
