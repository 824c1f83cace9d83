"""The same traces of activities on Temporal's own dev server and on ours: the histories must be the same.

Real servers and real time, so the waits are short and few; what takes long is in tests/histories.
"""

import asyncio
import contextlib
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, WorkflowService

from histories.script import Script, Words, command, payload_list, start_request
from histories.world import brief
from stormsail.engine.api.server import ServerSettings, serve
from stormsail.engine.core import events

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

READY_S = 30


@dataclass
class Side:
    """One workflow on one server, asked by hand as its client and its workers would."""

    service: WorkflowService
    name: str
    told: list[str] = field(default_factory=list)
    """What was refused, and what replies said."""
    task: bytes = b""
    tokens: dict[str, bytes] = field(default_factory=dict)
    scheduled: dict[str, int] = field(default_factory=dict)
    """Event ids of activities, which the commands that cancel them need."""

    @property
    def asked(self) -> dict[str, str]:
        """The fields of every request."""
        return {"namespace": "default", "identity": "worker"}

    async def start(self) -> None:
        """Start it."""
        request = start_request(Words(f"start id={self.name} queue={self.name} request={uuid.uuid4()}"))
        await self.service.start_workflow_execution(request)

    async def poll(self) -> None:
        """Take the workflow task."""
        request = PollWorkflowTaskQueueRequest(**self.asked)
        request.task_queue.name = self.name
        async with asyncio.timeout(READY_S):
            while not (answer := await self.service.poll_workflow_task_queue(request)).task_token:
                pass
        self.task = answer.task_token
        for event in answer.history.events:
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                activity = event.activity_task_scheduled_event_attributes
                self.scheduled[activity.activity_id] = event.event_id

    async def complete(self, *lines: str) -> None:
        """Complete the workflow task with these commands, written as in scenarios. An activity's queue is its own."""
        commands = [self._command(Words(line)) for line in lines]
        request = RespondWorkflowTaskCompletedRequest(task_token=self.task, commands=commands, **self.asked)
        await self.tell(self.service.respond_workflow_task_completed(request))

    def _command(self, words: Words) -> Command:
        if words.verb == "activity":
            words.values["queue"] = f"{self.name}-{words.get('id')}"
        elif words.verb == "cancel-activity":
            words.values["event"] = str(self.scheduled[words.get("id")])
        return command(Script(), words)

    async def poll_activity(self, name: str) -> None:
        """Take an activity's attempt."""
        request = PollActivityTaskQueueRequest(**self.asked)
        request.task_queue.name = f"{self.name}-{name}"
        async with asyncio.timeout(READY_S):
            while not (answer := await self.service.poll_activity_task_queue(request)).task_token:
                pass
        self.tokens[name] = answer.task_token
        self.told.append(f"{name}: attempt {answer.attempt} of {answer.activity_id}, {brief(answer.heartbeat_details)}")

    async def fail(self, line: str) -> None:
        """Fail an attempt: `fail id=a final`."""
        words = Words(line)
        request = RespondActivityTaskFailedRequest(
            task_token=self.tokens[words.get("id")], failure=words.failure(), **self.asked
        )
        await self.tell(self.service.respond_activity_task_failed(request))

    async def signal(self) -> None:
        """Signal it."""
        await self.service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(
                workflow_execution=WorkflowExecution(workflow_id=self.name),
                signal_name="s",
                request_id=str(uuid.uuid4()),
                **self.asked,
            )
        )

    async def tell(self, call: Awaitable[Any]) -> None:
        """Make a call and keep what it answers."""
        try:
            answer = await call
        except RPCError as refusal:
            self.told.append(f"{refusal.status.name}: {refusal.message}")
        else:
            self.told.append(brief(answer))

    async def until(self, kind: str) -> None:
        """Wait until history has an event of this kind."""
        request = GetWorkflowExecutionHistoryRequest(namespace="default", wait_new_event=True)
        request.execution.workflow_id = self.name
        async with asyncio.timeout(READY_S):
            while True:
                answer = await self.service.get_workflow_execution_history(request)
                if any(events.NAME_OF_TYPE[event.event_type] == kind for event in answer.history.events):
                    return
                assert answer.next_page_token, f"{self.name} closed without {kind}"
                request.next_page_token = answer.next_page_token

    async def history(self) -> list[HistoryEvent]:
        """Read the history."""
        request = GetWorkflowExecutionHistoryRequest(namespace="default")
        request.execution.workflow_id = self.name
        answer = await self.service.get_workflow_execution_history(request)
        return list(answer.history.events)

    async def outcome(self) -> list[str]:
        """Everything that must be the same on both servers: names and ids drawn by them are left out."""
        shown = []
        for event in await self.history():
            attributes: Any = events.attributes_of(event)
            for name in ("request_id", "first_execution_run_id"):
                if name in attributes.DESCRIPTOR.fields_by_name:
                    attributes.ClearField(name)
            if events.NAME_OF_TYPE[event.event_type].startswith("WorkflowTask"):
                attributes.Clear()
            name = f"{event.event_id} {events.NAME_OF_TYPE[event.event_type]}"
            shown.append(f"{name} {brief(attributes)}".replace(self.name, "wf").rstrip())
        return shown + self.told


async def retried_then_done(side: Side) -> None:
    await side.complete("activity id=a start-to-close=60s initial=200ms")
    await side.poll_activity("a")
    await side.fail("fail id=a message=first")
    await side.poll_activity("a")
    await side.tell(
        side.service.respond_activity_task_completed(
            RespondActivityTaskCompletedRequest(task_token=side.tokens["a"], **side.asked)
        )
    )
    await side.fail("fail id=a message=late")


async def refused_retries(side: Side) -> None:
    await side.complete(
        "activity id=a start-to-close=60s",
        "activity id=b start-to-close=60s types=Fatal",
        "activity id=c start-to-close=60s attempts=1",
        "activity id=d start-to-close=60s schedule-to-close=60s initial=100s",
        "activity id=e start-to-close=60s",
    )
    for name, how in (("a", "final"), ("b", "type=Fatal"), ("c", ""), ("d", ""), ("e", "delay=0s")):
        await side.poll_activity(name)
        await side.fail(f"fail id={name} {how}")


async def schedule_to_start(side: Side) -> None:
    await side.complete("activity id=a start-to-close=60s schedule-to-start=1s", "timer id=t after=60s")
    await side.until("ActivityTaskTimedOut")


async def schedule_to_close_while_queued(side: Side) -> None:
    await side.complete("activity id=a schedule-to-close=1s start-to-close=60s")
    await side.until("ActivityTaskTimedOut")


async def schedule_to_close_while_held(side: Side) -> None:
    await side.complete("activity id=a schedule-to-close=4s start-to-close=60s")
    await side.poll_activity("a")
    await side.until("ActivityTaskTimedOut")


async def schedule_to_close_while_backing_off(side: Side) -> None:
    await side.complete("activity id=a schedule-to-close=6s start-to-close=60s initial=4s")
    await side.poll_activity("a")
    await side.fail("fail id=a message=before")
    await side.until("ActivityTaskTimedOut")


async def start_to_close_with_no_time_left(side: Side) -> None:
    await side.complete("activity id=a start-to-close=1s schedule-to-close=20s initial=500ms coefficient=100")
    await side.poll_activity("a")
    await side.poll_activity("a")
    await side.until("ActivityTaskTimedOut")


async def heartbeats(side: Side) -> None:
    await side.complete("activity id=a start-to-close=60s heartbeat=1s attempts=2 initial=100ms")
    for details in ("40%", "70%"):
        await side.poll_activity("a")
        await side.tell(
            side.service.record_activity_task_heartbeat(
                RecordActivityTaskHeartbeatRequest(
                    task_token=side.tokens["a"], details=payload_list(details), **side.asked
                )
            )
        )
    await side.until("ActivityTaskTimedOut")


async def cancelled(side: Side) -> None:
    await side.complete(*(f"activity id={name} start-to-close=60s" for name in ("held", "queued", "backing-off")))
    await side.poll_activity("held")
    await side.poll_activity("backing-off")
    await side.fail("fail id=backing-off delay=60s")
    early = RespondActivityTaskCanceledRequest(task_token=side.tokens["held"], **side.asked)
    await side.tell(side.service.respond_activity_task_canceled(early))
    await side.signal()
    await side.poll()
    await side.signal()
    await side.complete(
        *(f"cancel-activity id={name}" for name in ("held", "queued", "backing-off")), "timer id=t after=60s"
    )
    beat = RecordActivityTaskHeartbeatRequest(task_token=side.tokens["held"], **side.asked)
    await side.tell(side.service.record_activity_task_heartbeat(beat))
    await side.tell(side.service.respond_activity_task_canceled(early))


async def by_id(side: Side) -> None:
    await side.complete("activity id=a start-to-close=60s")
    named: dict[str, Any] = {**side.asked, "workflow_id": side.name, "activity_id": "a"}
    await side.tell(side.service.record_activity_task_heartbeat_by_id(RecordActivityTaskHeartbeatByIdRequest(**named)))
    await side.tell(side.service.respond_activity_task_canceled_by_id(RespondActivityTaskCanceledByIdRequest(**named)))
    done = RespondActivityTaskCompletedByIdRequest(**named)
    await side.tell(side.service.respond_activity_task_completed_by_id(done))
    await side.tell(side.service.respond_activity_task_completed_by_id(done))


async def buffered(side: Side) -> None:
    await side.complete("activity id=a start-to-close=60s", "activity id=b start-to-close=60s", "timer id=t after=60s")
    await side.poll_activity("a")
    await side.poll_activity("b")
    await side.signal()
    await side.poll()
    await side.fail("fail id=a final")
    await side.signal()
    await side.fail("fail id=b final")
    await side.complete("cancel-activity id=a", "timer id=u after=60s")


async def timers(side: Side) -> None:
    await side.complete("timer id=soon after=1s", "timer id=late after=60s")
    await side.until("TimerFired")
    await side.poll()
    await side.complete("cancel-timer id=late", "timer id=late after=60s")


Trace = Callable[[Side], Awaitable[None]]
TRACES: tuple[Trace, ...] = (
    retried_then_done,
    refused_retries,
    schedule_to_start,
    schedule_to_close_while_queued,
    schedule_to_close_while_held,
    schedule_to_close_while_backing_off,
    start_to_close_with_no_time_left,
    heartbeats,
    cancelled,
    by_id,
    buffered,
    timers,
)


async def run(service: WorkflowService, trace: Trace) -> list[str]:
    """Run a trace on one server, from behind the first workflow task."""
    side = Side(service, f"wf{uuid.uuid4().hex}")
    await side.start()
    await side.poll()
    await trace(side)
    return await side.outcome()


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def connected(port: int) -> WorkflowService:
    """Connect, waiting until the server answers."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                return (await Client.connect(f"127.0.0.1:{port}")).workflow_service
            except RuntimeError:
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def temporal() -> AsyncIterator[WorkflowService]:
    """Temporal's dev server, in memory."""
    port = free_port()
    options = ["--headless", "--ip", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    binary = Path(sys.executable).with_name("temporal")
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        str(binary), "server", "start-dev", *options, stdout=quiet, stderr=quiet
    )
    try:
        yield await connected(port)
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def ours(directory: Path) -> AsyncIterator[WorkflowService]:
    """Our server, in this process."""
    port, stop, up = free_port(), asyncio.Event(), asyncio.Event()
    settings = ServerSettings(data_dir=directory, port=port)
    serving = asyncio.create_task(serve(settings, stop=stop, started=lambda _: up.set()))
    try:
        async with asyncio.timeout(READY_S):
            await up.wait()
        yield await connected(port)
    finally:
        stop.set()
        await serving


async def test_both_servers_tell_the_same_histories(tmp_path: Path) -> None:
    async with temporal() as theirs, ours(tmp_path) as mine:
        outcomes = await asyncio.gather(*(run(service, trace) for service in (theirs, mine) for trace in TRACES))
    half = len(TRACES)
    assert page(outcomes[half:]) == page(outcomes[:half])


def page(outcomes: list[list[str]]) -> str:
    """Lay outcomes out so that a difference is easy to read."""
    return "\n\n".join("\n".join([trace.__name__, *outcome]) for trace, outcome in zip(TRACES, outcomes, strict=True))
