"""The driver that takes a trace to a server of Temporal's API, by bare calls, as its clients and workers make them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpc import aio
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
)

from engine.api.rpc import Refusal, Rpc
from parity.language import Step
from parity.shown import event_lines, lines
from parity.side import Side
from parity.vocabulary import Words, split
from stormsail.engine.core import events

WAIT_S: Final = 45.0
_PAUSE_S: Final = 0.05


class TooLate(AssertionError):
    """What a trace waits for did not happen."""


class Server:
    """See the module."""

    def __init__(self, rpc: Rpc, side: Side) -> None:
        self._rpc = rpc
        self._side = side
        self._begun: dict[str, asyncio.Task[list[str]]] = {}

    async def take(self, step: Step) -> list[str] | None:
        """Do a step and tell what came of it."""
        words = step.words
        match words.verb:
            case "until":
                return await self._until(words)
            case "closed":
                return await self._closed(words)
            case "eventually":
                return await self._eventually(words)
            case "begin":
                inner = split(words.line.split(maxsplit=2)[2])
                self._begun[words.plain[0]] = asyncio.create_task(self._call(Step(inner, step.below)))
                await self._arrived()
                return []
            case "end":
                return await self._begun.pop(words.plain[0])
            case "keep":
                self._keep(words)
                return []
        return await self._call(step)

    async def histories(self) -> list[str]:
        """Tell the histories of all workflows that the trace named."""
        told = []
        for workflow_id in list(self._side.workflows):
            for run_id in await self._runs_of(workflow_id):
                told.append(self._side.names.mask(f"{workflow_id} {run_id}"))
                try:
                    shown = await self._history(workflow_id, run_id)
                except aio.AioRpcError as error:
                    told.append(error.code().name)
                    continue
                told += [line for event in shown for line in event_lines(event, self._side.names)]
        return told

    async def leave(self) -> None:
        """Break off what was begun and is not ended."""
        for task in self._begun.values():
            task.cancel()
        await asyncio.gather(*self._begun.values(), return_exceptions=True)

    async def _call(self, step: Step) -> list[str]:
        if step.words.verb in ("poll", "poll-activity"):
            return await self._poll(step.words)
        if step.words.verb == "complete":
            request = self._side.completion(step)
            for command in request.commands:
                if child := command.start_child_workflow_execution_command_attributes.workflow_id:
                    self._side.workflows.setdefault(child)
        else:
            request = self._side.request(step.words)
        try:
            answer = await self._rpc.call(request, timeout=WAIT_S)
        except aio.AioRpcError as error:
            return self._refused(error)
        self._remember(request, answer, step.words)
        return ["OK", *lines(answer, self._side.names)]

    def _refused(self, error: aio.AioRpcError) -> list[str]:
        refusal = Refusal(error)
        told = [refusal.code, f"text: {self._side.names.mask(refusal.text)}"]
        return [*told, *([f"detail: {refusal.detail}"] if refusal.detail else [])]

    def _remember(self, request: Any, answer: Any, words: Words) -> None:
        """Keep what later steps name: runs that were begun, and tasks that came with the answer."""
        fields = answer.DESCRIPTOR.fields_by_name
        self._side.kept["last"] = answer
        if "run_id" in fields and answer.run_id:
            target = getattr(request, "workflow_id", "") or _target(request)
            self._side.met(target, answer.run_id)
            self._side.kept["run"] = answer.run_id
            if name := words.get("as"):
                self._side.kept[name] = answer.run_id
        if "responses" in fields:
            for one in answer.responses:
                if one.start_workflow.run_id:
                    self._side.met(self._side.prefix, one.start_workflow.run_id)
                    self._side.kept["run"] = one.start_workflow.run_id
        for name in ("eager_workflow_task", "workflow_task"):
            if name in fields and answer.HasField(name):
                self._keep_task(getattr(answer, name))
        for task in getattr(answer, "activity_tasks", ()):
            self._side.kept[f"activity.{task.activity_id}"] = task.task_token

    def _keep(self, words: Words) -> None:
        """`keep name=path`: keep a part of the last answer."""
        for name, path in words.fields:
            value: Any = MessageToDict(self._side.kept["last"], preserving_proto_field_name=True)
            for part in path.split("."):
                value = value[int(part) if isinstance(value, list) else part]
            self._side.kept[name] = value

    async def _arrived(self) -> None:
        """Return once what was sent before has come to the workflow: calls behind it, the same way, are answered."""
        request = DescribeWorkflowExecutionRequest(namespace=self._side.namespace)
        request.execution.workflow_id = self._side.prefix
        for _ in range(3):
            with contextlib.suppress(aio.AioRpcError):
                await self._rpc.call(request, timeout=WAIT_S)

    async def _poll(self, words: Words) -> list[str]:
        request = self._side.request(words)
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                answer = await self._rpc.call(request, timeout=WAIT_S)
            except aio.AioRpcError as error:
                return self._refused(error)
            if answer.task_token:
                break
            if time.monotonic() > deadline:
                raise TooLate(f"{words.line}: no task came")
        if isinstance(answer, PollActivityTaskQueueResponse):
            return self._activity_told(answer, words)
        return self._keep_task(answer)

    def _activity_told(self, answer: PollActivityTaskQueueResponse, words: Words) -> list[str]:
        self._side.kept[f"activity.{words.get('as') or answer.activity_id}"] = answer.task_token
        self._side.met(answer.workflow_execution.workflow_id, answer.workflow_execution.run_id)
        return ["OK", *lines(answer, self._side.names)]

    def _keep_task(self, task: PollWorkflowTaskQueueResponse) -> list[str]:
        """Keep a workflow task that came, and tell what it says."""
        side = self._side
        side.kept["task"] = task.task_token
        side.met(task.workflow_execution.workflow_id, task.workflow_execution.run_id)
        side.seen(task.history.events)
        told = ["OK", f"attempt: {task.attempt}", f"started_event_id: {task.started_event_id}"]
        told += [f"previous_started_event_id: {task.previous_started_event_id}"]
        told += [f"history: {' '.join(str(event.event_id) for event in task.history.events)}"]
        told += side.told(task.messages)
        if task.HasField("query"):
            told += [f"query {line}" for line in lines(task.query, side.names)]
        for number, key in enumerate(task.queries):
            side.kept[f"query{number or ''}"] = key
            told += [f"query {line}" for line in lines(task.queries[key], side.names)]
        return told

    async def _until(self, words: Words) -> list[str]:
        """Wait until the history has so many events of a kind."""
        count = int(words.get("count", "1"))
        workflow_id = str(self._side.resolve(words.get("id", "~")))
        run_id = str(self._side.resolve(words.get("run", "")))
        async with _in_time(words):
            async for shown in self._growing(workflow_id, run_id):
                names = [events.NAME_OF_TYPE.get(event.event_type) for event in shown]
                if names.count(words.plain[0]) >= count:
                    return []
        raise TooLate(f"{words.line}: the run closed without it")

    async def _closed(self, words: Words) -> list[str]:
        workflow_id = str(self._side.resolve(words.get("id", "~")))
        run_id = str(self._side.resolve(words.get("run", "")))
        async with _in_time(words):
            async for _ in self._growing(workflow_id, run_id):
                pass
        return []

    async def _growing(self, workflow_id: str, run_id: str) -> AsyncIterator[list[HistoryEvent]]:
        """Read a history as it grows, until its run closes. One that is not there yet is waited for."""
        request = GetWorkflowExecutionHistoryRequest(namespace=self._side.namespace, wait_new_event=True)
        request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
        found: list[HistoryEvent] = []
        while True:
            try:
                answer = await self._rpc.call(request, timeout=WAIT_S)
            except aio.AioRpcError as error:
                if error.code().name not in ("NOT_FOUND", "DEADLINE_EXCEEDED"):
                    raise
                await asyncio.sleep(_PAUSE_S)
                continue
            found += answer.history.events
            yield found
            if not answer.next_page_token:
                return
            request.next_page_token = answer.next_page_token

    async def _eventually(self, words: Words) -> list[str]:
        """`eventually VERB ... | path=value`: ask until the answer has that; `path` alone: until it has that at all."""
        line, _, condition = words.line.removeprefix("eventually").strip().rpartition(" | ")
        path, _, wanted = condition.strip().partition("=")
        request = self._side.request(split(line))
        seen: Any = None
        async with _in_time(words, lambda: f"; last: {seen}"):
            while True:
                with contextlib.suppress(aio.AioRpcError):
                    seen = found_in(await self._rpc.call(request, timeout=WAIT_S), path)
                if (seen == wanted.replace("~", self._side.prefix)) if wanted else seen is not None:
                    return []
                if wanted == "none" and seen is None:
                    return []
                await asyncio.sleep(_PAUSE_S)

    async def _runs_of(self, workflow_id: str) -> list[str]:
        """Return the known runs of a workflow with all that follow them, and the current one's chain."""
        request = DescribeWorkflowExecutionRequest(namespace=self._side.namespace)
        request.execution.workflow_id = workflow_id
        known = list(self._side.runs.get(workflow_id, []))
        try:
            info = (await self._rpc.call(request)).workflow_execution_info
            known += [info.first_run_id, info.execution.run_id]
        except aio.AioRpcError:
            pass
        found: list[str] = []
        for run_id in known:
            following = run_id
            while following and following not in found:
                found.append(following)
                self._side.met(workflow_id, following)
                following = await self._next_run(workflow_id, following)
        return found

    async def _next_run(self, workflow_id: str, run_id: str) -> str:
        try:
            last = (await self._history(workflow_id, run_id))[-1]
        except aio.AioRpcError:
            return ""
        return str(getattr(events.attributes_of(last), "new_execution_run_id", ""))

    async def _history(self, workflow_id: str, run_id: str) -> list[HistoryEvent]:
        request = GetWorkflowExecutionHistoryRequest(namespace=self._side.namespace)
        request.execution.CopyFrom(WorkflowExecution(workflow_id=workflow_id, run_id=run_id))
        found: list[HistoryEvent] = []
        while True:
            answer = await self._rpc.call(request)
            found += answer.history.events
            if not answer.next_page_token:
                return found
            request.next_page_token = answer.next_page_token


def found_in(answer: Message, path: str) -> str | None:
    """Return a field of an answer by its dotted path, as text; None where it is not set."""
    value: Any = MessageToDict(answer, preserving_proto_field_name=True)
    for part in path.split("."):
        try:
            value = value[int(part) if isinstance(value, list) else part]
        except (KeyError, IndexError, ValueError):
            return None
    return "true" if value is True else str(value)


def _target(request: Any) -> str:
    for name in ("workflow_execution", "execution"):
        if name in request.DESCRIPTOR.fields_by_name:
            return str(getattr(request, name).workflow_id)
    return ""


@contextlib.asynccontextmanager
async def _in_time(words: Words, more: Any = lambda: "") -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WAIT_S):
            yield
    except TimeoutError:
        raise TooLate(f"{words.line}: it did not happen{more()}") from None
