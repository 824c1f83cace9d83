"""The same traces of updates on Temporal's own dev server and on ours: answers and histories must be the same.

Real servers and real time, with a worker played by hand, so that it can do what no SDK does.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import CommandType, TaskQueueKind, TaskQueueType
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure
from temporalio.api.failure.v1 import Failure
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Acceptance, Outcome, Rejection, Request, Response
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ExecuteMultiOperationRequest,
    GetWorkflowExecutionHistoryRequest,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, WorkflowService

from conformance.histories import comparable_message
from conformance.servers import DevServer, EngineProcess

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

READY_S = 30
ACCEPTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
COMPLETE = CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
CONTINUE = CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION


def payloads(text: str) -> Payloads:
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=f'"{text}"'.encode())])


def says(update: ProtocolMessage, body: Message, kind: str) -> ProtocolMessage:
    """A worker's message about an update that it was given."""
    packed = Packed()
    packed.Pack(body)
    name = f"{update.protocol_instance_id}/{kind}"
    return ProtocolMessage(id=name, protocol_instance_id=update.protocol_instance_id, body=packed)


def acceptance(update: ProtocolMessage) -> ProtocolMessage:
    request = Request()
    update.body.Unpack(request)
    body = Acceptance(
        accepted_request_message_id=update.id,
        accepted_request_sequencing_event_id=update.event_id,
        accepted_request=request,
    )
    return says(update, body, "accept")


def rejection(update: ProtocolMessage) -> ProtocolMessage:
    return says(update, Rejection(rejected_request_message_id=update.id, failure=Failure(message="no")), "reject")


def result(update: ProtocolMessage, text: str = "done") -> ProtocolMessage:
    body = Response(outcome=Outcome(success=payloads(text)))
    body.meta.update_id = update.protocol_instance_id
    return says(update, body, "complete")


def named(message: ProtocolMessage) -> Command:
    """The command that puts a message's event in its place."""
    command = Command(command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE)
    command.protocol_message_command_attributes.message_id = message.id
    return command


def closing(kind: CommandType.ValueType = COMPLETE) -> Command:
    command = Command(command_type=kind)
    if kind == COMPLETE:
        command.complete_workflow_execution_command_attributes.SetInParent()
    else:
        command.continue_as_new_workflow_execution_command_attributes.SetInParent()
    return command


@dataclass
class Side:
    """One workflow on one server, asked by hand as its clients and its worker would."""

    service: WorkflowService
    name: str
    told: list[Any] = field(default_factory=list)
    """What was answered or refused, in order."""
    task: PollWorkflowTaskQueueResponse = field(default_factory=PollWorkflowTaskQueueResponse)
    run_id: str = ""

    def start_request(self, **fields: Any) -> StartWorkflowExecutionRequest:
        request = StartWorkflowExecutionRequest(
            namespace="default", workflow_id=self.name, request_id=str(uuid.uuid4()), identity="client", **fields
        )
        request.workflow_type.name = "kind"
        request.task_queue.name = self.name
        return request

    async def start(self) -> None:
        """Start it, and complete its first workflow task."""
        self.run_id = (await self.service.start_workflow_execution(self.start_request())).run_id
        await self.poll()
        await self.complete()

    async def poll(self, *, sticky: bool = False) -> list[ProtocolMessage]:
        """Take the workflow task; return the updates that came with it."""
        request = PollWorkflowTaskQueueRequest(namespace="default", identity="worker")
        request.task_queue.name = self.name + ("-sticky" if sticky else "")
        if sticky:
            request.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
            request.task_queue.normal_name = self.name
        async with asyncio.timeout(READY_S):
            while not (answer := await self.service.poll_workflow_task_queue(request)).task_token:
                pass
        self.take(answer)
        return list(answer.messages)

    async def polled(self, *, sticky: bool) -> None:
        """Return once the server knows of a poller: to a sticky queue that nobody polls it gives nothing."""
        request = DescribeTaskQueueRequest(namespace="default", task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
        request.task_queue.name = self.name + ("-sticky" if sticky else "")
        if sticky:
            request.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
        async with asyncio.timeout(READY_S):
            while not (await self.service.describe_task_queue(request)).pollers:  # noqa: ASYNC110 - the server knows
                await asyncio.sleep(0.02)

    def take(self, task: PollWorkflowTaskQueueResponse) -> None:
        self.task = task
        shown = [event.event_id for event in task.history.events]
        given = [(one.id, one.protocol_instance_id, one.event_id, one.body.type_url) for one in task.messages]
        self.told.append(["task", task.attempt, task.previous_started_event_id, task.started_event_id, shown, given])

    async def complete(self, *messages: ProtocolMessage, **fields: Any) -> None:
        """Complete the workflow task."""
        sticky = fields.pop("sticky", False)
        request = RespondWorkflowTaskCompletedRequest(
            namespace="default", task_token=self.task.task_token, identity="worker", messages=messages, **fields
        )
        request.capabilities.discard_speculative_workflow_task_with_events = True
        if sticky:
            request.sticky_attributes.worker_task_queue.name = f"{self.name}-sticky"
            request.sticky_attributes.schedule_to_start_timeout.FromSeconds(10)
        answer = await self.tell(self.service.respond_workflow_task_completed(request))
        if isinstance(answer, RespondWorkflowTaskCompletedResponse) and answer.HasField("workflow_task"):
            self.take(answer.workflow_task)

    def update(self, update_id: str, stage: Stage.ValueType = COMPLETED, **fields: Any) -> "asyncio.Task[Any]":
        """Ask for an update; the answer is told when it is awaited."""
        return asyncio.create_task(
            self._answer(self.service.update_workflow_execution(self.asked(update_id, stage, **fields)))
        )

    def asked(
        self, update_id: str, stage: Stage.ValueType = COMPLETED, **fields: Any
    ) -> UpdateWorkflowExecutionRequest:
        request = UpdateWorkflowExecutionRequest(namespace="default", **fields)
        request.workflow_execution.workflow_id = self.name
        request.wait_policy.lifecycle_stage = stage
        request.request.meta.update_id = update_id
        request.request.meta.identity = "client"
        request.request.input.name = "change"
        request.request.input.args.CopyFrom(payloads("in"))
        return request

    def both(self, update_id: str, stage: Stage.ValueType = COMPLETED, **fields: Any) -> "asyncio.Task[Any]":
        """Ask for an update-with-start."""
        request = ExecuteMultiOperationRequest(namespace="default")
        request.operations.add(start_workflow=self.start_request(**fields))
        request.operations.add(update_workflow=self.asked(update_id, stage))
        return asyncio.create_task(self._answer(self.service.execute_multi_operation(request)))

    async def wait_for(self, update_id: str, stage: int = COMPLETED) -> None:
        """Poll an update."""
        request = PollWorkflowExecutionUpdateRequest(namespace="default")
        request.update_ref.workflow_execution.workflow_id = self.name
        request.update_ref.update_id = update_id
        request.wait_policy.lifecycle_stage = stage  # type: ignore[assignment]
        await self.tell(self.service.poll_workflow_execution_update(request))

    async def hear(self, *answers: "asyncio.Task[Any]") -> None:
        """Tell what was answered, in the order asked."""
        async with asyncio.timeout(READY_S):
            for answer in answers:
                self.told.append(await answer)

    async def admitted(self, *update_ids: str) -> None:
        """Return once the server knows of these updates."""
        request = PollWorkflowExecutionUpdateRequest(namespace="default")
        request.update_ref.workflow_execution.workflow_id = self.name
        async with asyncio.timeout(READY_S):
            for update_id in update_ids:
                request.update_ref.update_id = update_id
                while True:
                    try:
                        await self.service.poll_workflow_execution_update(request)
                        break
                    except RPCError:
                        await asyncio.sleep(0.02)

    async def signal(self) -> None:
        request = SignalWorkflowExecutionRequest(namespace="default", signal_name="s", identity="client")
        request.workflow_execution.workflow_id = self.name
        await self.service.signal_workflow_execution(request)

    async def terminate(self) -> None:
        request = TerminateWorkflowExecutionRequest(namespace="default", reason="enough", identity="client")
        request.workflow_execution.workflow_id = self.name
        await self.service.terminate_workflow_execution(request)

    async def tell(self, call: Awaitable[Any]) -> Any:
        """Make a call and keep what it answers."""
        answer = await self._answer(call)
        if not isinstance(answer, RespondWorkflowTaskCompletedResponse):
            self.told.append(answer)
        else:
            self.told.append(f"reset to {answer.reset_history_event_id}")
        return answer

    async def _answer(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except RPCError as refused:
            return [refused.status.name, refused.message, details(refused)]

    async def outcome(self) -> list[Any]:
        """Everything that must be the same on both servers."""
        request = GetWorkflowExecutionHistoryRequest(namespace="default")
        request.execution.workflow_id, request.execution.run_id = self.name, self.run_id
        answer = await self.service.get_workflow_execution_history(request)
        shown = [comparable_message(event) for event in answer.history.events]
        told = [comparable_message(one) if isinstance(one, Message) else one for one in self.told]
        return [*shown, *(_named(one, self.name, self.run_id) for one in told)]


def details(refused: RPCError) -> Any:
    """What a refusal says beside its text."""
    status = Status.FromString(refused.raw_grpc_status) if refused.raw_grpc_status else Status()
    shown: list[Any] = []
    for one in status.details:
        shown.append(one.TypeName())
        failure = MultiOperationExecutionFailure()
        if one.Unpack(failure):
            shown += [
                [each.code, each.message, [detail.TypeName() for detail in each.details]] for each in failure.statuses
            ]
    return shown


def _named(value: Any, name: str, run_id: str) -> Any:
    if isinstance(value, dict):
        return {key: _named(each, name, run_id) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_named(each, name, run_id) for each in value]
    if isinstance(value, str):
        return value.replace(name, "wf").replace(run_id, "<run>") if run_id else value.replace(name, "wf")
    return value


async def accepted_and_completed_at_once(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    (update,) = await side.poll()
    accept, done = acceptance(update), result(update)
    await side.complete(accept, done, commands=[named(accept), named(done)])
    await side.hear(answer, side.update("u"), side.update("u", ACCEPTED))
    await side.wait_for("u")


async def accepted_then_completed(side: Side) -> None:
    await side.start()
    answer = side.update("u", ACCEPTED)
    (update,) = await side.poll()
    await side.complete(acceptance(update))  # without a command
    await side.hear(answer)
    await side.wait_for("u", 0)
    await side.signal()
    await side.poll()
    late = side.update("u")
    await side.complete(result(update))
    await side.hear(late)
    await side.wait_for("u")


async def rejected(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    (update,) = await side.poll()
    await side.complete(rejection(update))
    await side.hear(answer)
    await side.wait_for("u")


async def rejected_by_the_sticky_worker(side: Side) -> None:
    side.run_id = (await side.service.start_workflow_execution(side.start_request())).run_id
    await side.poll()
    await side.complete(sticky=True)
    for name in ("one", "two"):
        polling = asyncio.create_task(side.poll(sticky=True))
        await side.polled(sticky=True)
        answer = side.update(name)
        (update,) = await polling
        await side.complete(rejection(update), sticky=True, return_new_workflow_task=True)
        await side.hear(answer)
    polling = asyncio.create_task(side.poll(sticky=True))
    await side.signal()
    await polling
    await side.complete(commands=[closing()])


async def ignored(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    await side.poll()
    await side.complete()
    await side.hear(answer)


async def signalled_before_the_worker_comes(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    await side.admitted("u")
    await side.signal()
    (update,) = await side.poll()
    await side.complete(rejection(update))
    await side.hear(answer)


async def signalled_while_the_worker_decides(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    (update,) = await side.poll()
    await side.signal()
    await side.complete(rejection(update))
    await side.hear(answer)
    await side.poll()
    await side.complete()


async def come_while_the_worker_decides(side: Side) -> None:
    await side.start()
    first = side.update("one")
    (update,) = await side.poll()
    second = side.update("two")
    await side.admitted("two")
    await side.complete(rejection(update), return_new_workflow_task=True)
    await side.complete(acceptance(side.task.messages[0]), result(side.task.messages[0]))
    await side.hear(first, second)


async def come_and_the_next_task_is_polled(side: Side) -> None:
    await side.start()
    first = side.update("one")
    (update,) = await side.poll()
    second = side.update("two")
    await side.admitted("two")
    await side.complete(acceptance(update), result(update))
    (update,) = await side.poll()
    await side.complete(rejection(update))
    await side.hear(first, second)


async def closed_with_an_accepted_update(side: Side) -> None:
    await side.start()
    answer, early = side.update("u"), side.update("u", ACCEPTED)
    (update,) = await side.poll()
    accept = acceptance(update)
    await side.complete(accept, commands=[named(accept), closing()])
    await side.hear(answer, early, side.update("u"), side.update("other"))
    await side.wait_for("u")
    await side.wait_for("other")


async def closed_in_the_face_of_an_update(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    await side.poll()
    await side.complete(commands=[closing()])
    await side.hear(answer)


async def continued_as_new(side: Side) -> None:
    await side.start()
    first = side.update("one", ACCEPTED)
    (update,) = await side.poll()
    second = side.update("two")
    await side.admitted("two")
    accept = acceptance(update)
    await side.complete(accept, commands=[named(accept), closing(CONTINUE)])
    await side.hear(first, second)
    await side.wait_for("one")
    again = side.update("two")
    await side.admitted("two")
    (update,) = await side.poll()
    await side.complete(acceptance(update), result(update))
    side.told.append((await again).outcome)  # of a run whose id differs


async def terminated(side: Side) -> None:
    await side.start()
    first = side.update("one", ACCEPTED)
    (update,) = await side.poll()
    await side.complete(acceptance(update))
    await side.hear(first)
    first, second = side.update("one"), side.update("two")
    await side.admitted("two")
    await side.terminate()
    await side.hear(first, second)


async def terminated_while_the_worker_decides(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    await side.poll()
    await side.terminate()
    await side.hear(answer)


async def failed_by_the_worker(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    await side.poll()
    request = RespondWorkflowTaskFailedRequest(
        namespace="default", task_token=side.task.task_token, identity="worker", failure=Failure(message="oh")
    )
    await side.tell(side.service.respond_workflow_task_failed(request))
    (update,) = await side.poll()
    await side.complete(acceptance(update), result(update))
    await side.hear(answer)


async def failed_by_the_server(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    (update,) = await side.poll()
    await side.complete(acceptance(update), acceptance(update), commands=[named(result(update, "absent"))])
    await side.hear(answer)
    await side.poll()
    await side.complete()


async def answered_wrongly(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    (update,) = await side.poll()
    await side.complete(result(update))
    await side.hear(answer)


async def heartbeats(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    (update,) = await side.poll()
    await side.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
    await side.complete(acceptance(update), result(update))
    await side.hear(answer)


async def with_no_worker(side: Side) -> None:
    await side.start()
    answer = side.update("u")
    await side.admitted("u")
    await asyncio.sleep(6)  # the speculative task waits for a worker for five seconds
    (update,) = await side.poll()
    await side.complete(acceptance(update), result(update))
    await side.hear(answer)


async def too_many_in_flight(side: Side) -> None:
    await side.start()
    ids = [f"u{number}" for number in range(10)]
    answers = [side.update(name, ACCEPTED) for name in ids]
    await side.admitted(*ids)
    await side.hear(side.update("u10"))
    # Temporal forgets the admitted updates with the refusal and admits them again: there is no comparing what follows.
    await side.terminate()
    await asyncio.gather(*answers)
    side.run_id = (await side.service.start_workflow_execution(side.start_request())).run_id


async def of_another_chain(side: Side) -> None:
    await side.start()
    await side.hear(side.update("u", first_execution_run_id=str(uuid.UUID(int=7))))
    answer = side.update("u", first_execution_run_id=side.run_id)
    (update,) = await side.poll()
    await side.complete(acceptance(update), result(update))
    await side.hear(answer)


async def wrongly_asked(side: Side) -> None:
    await side.start()
    admitted = side.update("u", Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED)
    await side.hear(admitted)
    service = side.service
    for clear in ("request.meta", "request.input", "request.input.name", "workflow_execution"):
        request: Any = side.asked("u")
        *path, last = clear.split(".")
        owner = request
        for part in path:
            owner = getattr(owner, part)
        owner.ClearField(last)
        await side.tell(service.update_workflow_execution(request))
    await side.tell(service.update_workflow_execution(side.asked("u" * 1_001)))
    await side.tell(service.poll_workflow_execution_update(PollWorkflowExecutionUpdateRequest(namespace="default")))
    await side.wait_for("absent")


async def started_and_updated(side: Side) -> None:
    answer = side.both("u", workflow_id_conflict_policy=2)
    (update,) = await side.poll()
    side.run_id = side.task.workflow_execution.run_id
    await side.complete(acceptance(update), result(update))
    await side.hear(answer)
    await side.hear(side.both("u", workflow_id_conflict_policy=1))
    await side.hear(side.both("other", workflow_id_conflict_policy=1))
    second = side.both("second", workflow_id_conflict_policy=2)
    (update,) = await side.poll()
    await side.complete(rejection(update))
    await side.hear(second)


async def started_anew_and_updated(side: Side) -> None:
    await side.start()
    answer = side.both("u", workflow_id_conflict_policy=3)
    async with asyncio.timeout(READY_S):
        while side.task.workflow_execution.run_id == side.run_id:
            messages = await side.poll()
    await side.complete(acceptance(messages[0]), result(messages[0]))
    side.told = []
    await side.hear(answer)
    side.told = [without_second_run(one) for one in side.told]


def without_second_run(answer: Any) -> Any:
    return [one.WhichOneof("response") for one in answer.responses]


async def start_refused(side: Side) -> None:
    await side.start()
    await side.hear(side.both("u", workflow_id_conflict_policy=1))
    await side.terminate()
    await side.hear(side.both("u", workflow_id_conflict_policy=2, workflow_id_reuse_policy=3))
    request = ExecuteMultiOperationRequest(namespace="default")
    request.operations.add(start_workflow=side.start_request(cron_schedule="* * * * *"))
    request.operations.add(update_workflow=side.asked("u"))
    await side.tell(side.service.execute_multi_operation(request))
    request.operations[0].start_workflow.ClearField("cron_schedule")
    request.operations[1].update_workflow.workflow_execution.workflow_id = "another"
    await side.tell(side.service.execute_multi_operation(request))
    del request.operations[1]
    await side.tell(side.service.execute_multi_operation(request))


TRACES: list[Callable[[Side], Awaitable[None]]] = [
    accepted_and_completed_at_once,
    accepted_then_completed,
    rejected,
    rejected_by_the_sticky_worker,
    ignored,
    signalled_before_the_worker_comes,
    signalled_while_the_worker_decides,
    come_while_the_worker_decides,
    come_and_the_next_task_is_polled,
    closed_with_an_accepted_update,
    closed_in_the_face_of_an_update,
    continued_as_new,
    terminated,
    terminated_while_the_worker_decides,
    failed_by_the_worker,
    failed_by_the_server,
    answered_wrongly,
    heartbeats,
    with_no_worker,
    too_many_in_flight,
    of_another_chain,
    wrongly_asked,
    started_and_updated,
    started_anew_and_updated,
    start_refused,
]


@dataclass(frozen=True)
class Pair:
    ours: Client
    temporals: Client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both servers."""
    engine, dev = EngineProcess(Path(tmp_path_factory.mktemp("engine")) / "data"), DevServer()
    await asyncio.gather(engine.start(), dev.start())
    try:
        yield Pair(await engine.connect(), await dev.connect())
    finally:
        await asyncio.gather(engine.stop(), dev.stop())


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.__name__)
async def test_updates_end_as_they_do_on_temporals_own_server(
    pair: Pair, trace: Callable[[Side], Awaitable[None]]
) -> None:
    name = f"{trace.__name__}-{uuid.uuid4().hex[:6]}"
    ours, temporals = (Side(client.workflow_service, name) for client in (pair.ours, pair.temporals))
    await asyncio.gather(trace(ours), trace(temporals))
    mine, theirs = await ours.outcome(), await temporals.outcome()
    for place, (one, other) in enumerate(zip(mine, theirs, strict=False)):
        assert one == other, f"at {place}"
    assert len(mine) == len(theirs)
