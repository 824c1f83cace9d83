"""The one watcher of a process: a few questions a second, however many viewers and runs there are, turned into news.

It asks nothing while nobody listens. What it asks: one page of operations, one page and one count of other workflows;
less often schedules, workers and the clouds; and each run that somebody looks at, at most 32 of them.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsResponse

from stormsail.delivery.model.operation import RUNNER
from stormsail.delivery.records.audit import AuditTrail
from stormsail.delivery.records.database import RecordsUnavailable
from stormsail.web.etags import etag_of
from stormsail.web.news import News
from stormsail.web.sources.engine import NotThere, Refused
from stormsail.web.sources.followed import FollowedRun
from stormsail.web.sources.held import SourceFailed
from stormsail.web.sources.sources import Sources
from stormsail.web.views.applications import read_applications

log: Final = logging.getLogger(__name__)

TICK_S: Final = 1.0
RUN_TICK_S: Final = 0.5
SLOW_TICK_S: Final = 5.0
CLOUD_TICK_S: Final = 15.0
"""Reading a cloud costs it calls, and the engine a short workflow each."""

CLOUD_INTEREST_MS: Final = 600_000
"""For how long after the last viewer's reading the clouds are looked at for news."""

OPERATIONS_READ: Final = 200
WORKFLOWS_READ: Final = 50
OWN_READINGS: Final = "WorkflowType != 'ObserveApplication' AND WorkflowType != 'ListApplications'"


class Watcher:
    """Looks for news until it is cancelled."""

    def __init__(self, sources: Sources, trail: AuditTrail, news: News) -> None:
        self._sources = sources
        self._trail = trail
        self._news = news
        self._seen: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._found: list[tuple[tuple[str, ...], str, str]] = []

    async def run(self) -> None:
        """Look, while anybody listens."""
        while True:
            if not self._news.listening.is_set():
                await self._news.listening.wait()
            try:
                await self.look()
            except Exception:
                # The outermost loop: one odd answer must not end the news for everybody.
                log.exception("looking for news failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.hurry.wait(), RUN_TICK_S)
            if self._news.hurry.is_set():
                self._news.hurry.clear()
                self._due.clear()

    async def look(self) -> None:
        """Look once at all that is due."""
        for name, every_s, look in (
            ("operations", TICK_S, self._operations),
            ("workflows", TICK_S, self._workflows),
            ("audit", TICK_S, self._audit),
            ("schedules", SLOW_TICK_S, self._schedules),
            ("workers", SLOW_TICK_S, self._workers),
            ("applications", CLOUD_TICK_S, self._applications),
        ):
            if time.monotonic() >= self._due.get(name, 0.0):
                self._due[name] = time.monotonic() + every_s
                await self._answered(look)
        await asyncio.gather(*(self._run(run) for run in self._sources.followed.runs()))
        self._publish()

    async def _answered(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look, and tell when the engine comes or goes."""
        try:
            await look()
        except (SourceFailed, Refused) as failed:
            self._tell("engine", f"away: {type(failed).__name__}", "engine")
        except RecordsUnavailable:
            self._tell("audit", "away", "audit")
        else:
            if look in (self._operations, self._workflows):
                self._tell("engine", "there", "engine")

    async def _operations(self) -> None:
        page = await self._sources.engine.list_workflows(f"WorkflowType = '{RUNNER}'", OPERATIONS_READ, b"")
        self._tell("operations", _digest(page), "operations", "applications")

    async def _workflows(self) -> None:
        page = await self._sources.engine.list_workflows(OWN_READINGS, WORKFLOWS_READ, b"")
        counts = await self._sources.engine.count_workflows(OWN_READINGS)
        self._tell("workflows", f"{_digest(page)} {sorted(counts.items())}", "workflows")

    async def _audit(self) -> None:
        self._tell("audit", str(await self._trail.newest_id()), "audit")

    async def _schedules(self) -> None:
        entries, _ = await self._sources.engine.list_schedules(WORKFLOWS_READ, b"")
        told = hashlib.sha256(b"".join(entry.SerializeToString(deterministic=True) for entry in entries)).hexdigest()
        self._tell("schedules", told, "schedules")

    async def _workers(self) -> None:
        queue = self._sources.engine.at.task_queue
        sides = [await self._sources.engine.describe_task_queue(queue, activities=kind) for kind in (False, True)]
        told = [sorted({poller.identity for poller in side.pollers}) for side in sides]
        waits = [side.stats.approximate_backlog_count > 0 for side in sides]
        self._tell("workers", f"{told} {waits}", "workers")

    async def _applications(self) -> None:
        looked_at = self._sources.clouds_read_at_ms.value
        if self._sources.now_ms() - looked_at > CLOUD_INTEREST_MS:
            return
        view = await read_applications(self._sources, for_viewer=False)
        self._tell("applications", etag_of(view), "applications")

    async def _run(self, run: FollowedRun) -> None:
        """Look whether a run has moved on. A retry that fails again writes no history, so what is pending counts."""
        try:
            described = await self._sources.engine.describe_workflow(run.workflow_id, run.run_id)
        except (SourceFailed, Refused):
            return
        except NotThere:
            self._sources.followed.leave(run.run_id)
            return
        info = described.workflow_execution_info
        for activity in described.pending_activities:
            activity.ClearField("last_heartbeat_time")
        pending = b"".join(one.SerializeToString(deterministic=True) for one in described.pending_activities)
        told = f"{info.history_length} {info.status} {hashlib.sha256(pending).hexdigest()}"
        topics = (f"operation:{run.run_id}", f"workflow:{run.workflow_id}")
        self._tell(run.run_id, told, *topics, application=run.application, account=run.account)
        if info.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING:
            self._sources.followed.leave(run.run_id)
            self._seen.pop(run.run_id, None)

    def _tell(self, key: str, told: str, *topics: str, application: str = "", account: str = "") -> None:
        """Note topics where something else is told than before.

        The first look is news too: whoever listens has read something before it, and may have missed a change between.
        """
        before = self._seen.get(key)
        self._seen[key] = told
        if before == told:
            return
        self._found.append((topics, application, account))

    def _publish(self) -> None:
        """Tell what one look found, all at once: a viewer then asks once."""
        found, self._found = self._found, []
        if not found:
            return
        # Who comes to look now must not be shown what was read before the news.
        self._sources.outdate(clouds=any("applications" in topics for topics, _, _ in found))
        for topics, application, account in found:
            self._news.bump(*topics, application=application, account=account)


def _digest(page: ListWorkflowExecutionsResponse) -> str:
    digest = hashlib.sha256()
    for info in page.executions:
        digest.update(info.SerializeToString(deterministic=True))
    return digest.hexdigest()
