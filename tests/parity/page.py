"""What docs/protocol.md says of the comparison with Temporal's server and of the official SDK's own tests."""

from collections.abc import Sequence

from conformance.sdk_known import every_failure, families
from parity.known import Known, every_known
from parity.language import Trace, every_trace
from parity.shown import DROPPED
from stormsail.engine.api.protocol_page import MARK

_PARITY = """
## Compared with Temporal's server

`make parity` takes {count} short traces of calls to the pure core ({core} of them), to our server and to Temporal's dev
server, and compares every answer and every history. Each difference is one of these; the run fails for any other.

| trace | what differs, and why |
|---|---|
"""
_EVERYWHERE = """
In all traces: ids, times, tokens and prefixes are masked, and these fields are left out, which tell of a server's own
tables or of how long it took: {dropped}. Nor is this compared:

"""
_SUITE = """
## The official SDK's suite

The Python SDK's own tests, tag {tag}, run unchanged against `stormsail server start-dev`: {passed} of {total} pass and
{skipped} are skipped by the suite itself. It ran with the wheel of its tag, the newest tag that we had; our own tests
use the wheel that `uv.lock` names. A test that fails on a busy machine alone counts as passing where it passed once:
`test_workflow_cancel_activity` (a second for each workflow task), `test_unfinished_handler_on_workflow_termination` (on
Temporal's dev server too), `test_warns_when_workers_too_low` and `test_workflow_metrics_other_types`.
[CONTRIBUTING.md](../CONTRIBUTING.md) says how to run it. {failed} fail:

| why | tests |
|---|---|
"""


def with_appendix(text: str) -> str:
    """Return the file's text with what stands behind the mark made anew."""
    return text.partition(MARK)[0] + MARK + appendix()


def appendix() -> str:
    """Return the part of docs/protocol.md that tests against other servers' behaviour write."""
    return _parity(every_trace(), every_known()) + _suite()


def _parity(traces: Sequence[Trace], known: Sequence[Known]) -> str:
    head = _PARITY.format(count=len(traces), core=sum(not each.without_core for each in traces))
    rows = [f"| {each.trace} | {each.reason} |\n" for each in known if not each.everywhere]
    dropped = ", ".join(f"`{name}`" for name in sorted(DROPPED))
    everywhere = [f"* {each.reason}\n" for each in known if each.everywhere]
    return head + "".join(rows) + _EVERYWHERE.format(dropped=dropped) + "".join(everywhere)


def _suite() -> str:
    counts, failures = every_failure()
    parts = [_SUITE.format(**counts, failed=len(failures))]
    for name, reason in families().items():
        tests = [each for each in failures if each.family == name]
        parts.append(f"| **{name}**: {reason} | {len(tests)} |\n")
    for name in families():
        parts.append(f"\n### {name[0].upper()}{name[1:]}\n\n")
        by_file: dict[str, list[str]] = {}
        for each in failures:
            if each.family == name:
                by_file.setdefault(each.file, []).append(each.shown)
        parts += [f"* `{file}`: {'; '.join(tests)}\n" for file, tests in sorted(by_file.items())]
    return "".join(parts)
