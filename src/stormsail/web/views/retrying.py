"""Runs whose activities fail and are tried again: neither running well nor failed, and in no engine's list filter.

Engines list runs by status alone, so the newest running ones are described one by one, to a bound that is told.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from stormsail.web.sources.engine import NotThere
from stormsail.web.sources.held import Source
from stormsail.web.sources.sources import Sources
from stormsail.web.views.workflow import PendingActivityView, pending_activity
from stormsail.web.views.workflows import WorkflowRow, workflow_row

LOOKED_AT_MAX: Final = 100
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
    """The retrying runs among the newest running ones that a filter matches."""

    sources: tuple[Source, ...]
    rows: tuple[RetryingRow, ...]
    looked_at: int


async def read_retrying(sources: Sources, query: str = "") -> RetryingView:
    """Read which of the newest running runs are between two attempts. Raises Refused for a filter that is none."""
    running = f"({query}) AND ExecutionStatus = 'Running'" if query else "ExecutionStatus = 'Running'"
    reading = await sources.held.read(("retrying", running), lambda: _ask(sources, running), fresh_ms=FRESH_MS)
    rows, looked_at = reading.value or ((), 0)
    return RetryingView((reading.source,), rows, looked_at)


async def _ask(sources: Sources, query: str) -> tuple[tuple[RetryingRow, ...], int]:
    listed = (await sources.engine.list_workflows(query, LOOKED_AT_MAX, b"")).executions
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
    return tuple(found), len(listed)
