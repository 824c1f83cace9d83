"""Runs whose activities fail and are tried again: neither running well nor failed, and in no engine's list filter.

Engines list runs by status alone: whether a run is between two attempts is in no search attribute, and nobody outside
of the run could keep one true. So running ones are described one by one, a page at a time, and how many of how many
were looked at is told with the answer.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from stormsail.web.sources.engine import NotThere
from stormsail.web.sources.held import Source
from stormsail.web.sources.sources import Sources
from stormsail.web.views.paging import BadCursor, cursor_of, token_of
from stormsail.web.views.workflow import PendingActivityView, pending_activity
from stormsail.web.views.workflows import WorkflowRow, workflow_row

_KIND: Final = "retrying"

LOOKED_AT_MAX: Final = 100
"""How many runs are described for one answer."""
AT_ONCE_MAX: Final = 16
FRESH_MS: Final = 3_000
"""Describing a hundred runs costs the engine a hundred calls; this young an answer serves every viewer."""


@dataclass(frozen=True, slots=True)
class RetryingRow:
    """One run and the activity of it that has failed most often."""

    workflow: WorkflowRow
    activity: PendingActivityView


@dataclass(frozen=True, slots=True)
class RetryingView:
    """The retrying runs among a page of the running ones that a filter matches, newest first."""

    sources: tuple[Source, ...]
    rows: tuple[RetryingRow, ...]
    looked_at_from: int
    """How many newer ones stand on the pages before this one."""
    looked_at: int
    """How many of the running runs were looked at on this page: what is not among them may be retrying too."""
    running: int
    """How many running runs there are that the filter matches."""
    next_cursor: str
    """Where to go on looking; empty once all were looked at."""


@dataclass(frozen=True, slots=True)
class _Looked:
    rows: tuple[RetryingRow, ...]
    looked_at: int
    running: int
    next_token: bytes


async def read_retrying(sources: Sources, query: str = "", cursor: str = "") -> RetryingView:
    """Read which of a page of running runs, newest first, are between two attempts.

    Raises Refused for a filter that is none, and BadCursor.
    """
    running = f"({query}) AND ExecutionStatus = 'Running'" if query else "ExecutionStatus = 'Running'"
    before, token = _place_of(cursor)
    reading = await sources.held.read(
        ("retrying", running, token), lambda: _ask(sources, running, token), fresh_ms=FRESH_MS
    )
    found = reading.value or _Looked((), 0, 0, b"")
    following = cursor_of(_KIND, f"{before + found.looked_at}:".encode() + found.next_token) if found.next_token else ""
    return RetryingView((reading.source,), found.rows, before, found.looked_at, found.running, following)


def looked_at(view: RetryingView) -> str:
    """Say which of how many were looked at."""
    last = view.looked_at_from + view.looked_at
    if not view.looked_at_from:
        return f"Looked at {last:,} of {max(view.running, last):,} running runs that fit, the newest first."
    first = view.looked_at_from + 1
    return f"Looked at numbers {first:,} to {last:,} of {max(view.running, last):,} running runs that fit."


def _place_of(cursor: str) -> tuple[int, bytes]:
    """Return how many were looked at on the pages before, and the engine's token. Raises BadCursor."""
    if not cursor:
        return 0, b""
    before, colon, token = token_of(_KIND, cursor).partition(b":")
    if not colon or not before.isdigit() or len(before) > 12 or not token:
        raise BadCursor
    return int(before), token


async def _ask(sources: Sources, query: str, token: bytes) -> _Looked:
    answer, counts = await asyncio.gather(
        sources.engine.list_workflows(query, LOOKED_AT_MAX, token), sources.engine.count_workflows(query)
    )
    listed = answer.executions
    gate = asyncio.Semaphore(AT_ONCE_MAX)

    async def describe(workflow_id: str, run_id: str) -> DescribeWorkflowExecutionResponse | None:
        async with gate:
            try:
                return await sources.engine.describe_workflow(workflow_id, run_id)
            except NotThere:
                return None

    described = await asyncio.gather(*(describe(one.execution.workflow_id, one.execution.run_id) for one in listed))
    found = []
    for info, one in zip(listed, described, strict=True):
        tried = (
            [pending_activity(activity) for activity in one.pending_activities if activity.attempt > 1] if one else []
        )
        if tried:
            found.append(RetryingRow(workflow_row(info), max(tried, key=lambda activity: activity.attempt)))
    return _Looked(tuple(found), len(listed), sum(counts.values()), answer.next_page_token)
