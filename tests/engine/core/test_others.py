"""Children, signals and cancellations as the core decides them: commands, messages, what is heard, and how runs end."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.command.v1 import (
    Command,
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
)
from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import ParentClosePolicy
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from engine.core import given as g
from histories.world import World
from stormsail.engine.core import messages
from stormsail.engine.core.decide import decide_start, deliveries
from stormsail.engine.core.errors import AlreadyStarted, InvalidArgument, NamespaceNotFound, NotFound
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.messages import (
    CancelAnswered,
    ChildClosed,
    ChildNotStarted,
    ChildStarted,
    ParentClosed,
    RunMessage,
    SendCancel,
    SendSignal,
    SignalAnswered,
    StartChild,
)
from stormsail.engine.core.requests import CompleteWorkflowTask, Delivered, StartChildWorkflow

RUN_ID = "11111111-1111-4111-8111-111111111111"


def child(workflow_id: str = "child", **more: Any) -> Command:
    fields = {"workflow_type": WorkflowType(name="C")} | more
    return g.command(StartChildWorkflowExecutionCommandAttributes(workflow_id=workflow_id, **fields))


def signal(workflow_id: str = "other", **more: Any) -> Command:
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=more.pop("run_id", ""))
    fields = {"signal_name": "s"} | more
    return g.command(SignalExternalWorkflowExecutionCommandAttributes(execution=execution, **fields))


def cancel(workflow_id: str = "other", **more: Any) -> Command:
    return g.command(RequestCancelExternalWorkflowExecutionCommandAttributes(workflow_id=workflow_id, **more))


def polled(world: World | None = None) -> g.Given:
    made = g.Given(world or World())
    made.start()
    made.poll()
    return made


def hear(made: g.Given, asked: int, body: messages.Body) -> Any:
    key = made.state.key
    return made.world.ask(Delivered(RunMessage(key, asked, key, body)), key.run_id)


def kinds(turn: Any) -> list[str]:
    return [message.kind for message in turn.messages]


def begun(parent: Any, **request: Any) -> g.Given:
    """A run that a parent's message began."""
    (message,) = parent.messages
    made = g.Given()
    turn = decide_start(None, StartChildWorkflow(message), made.world.now_ms, made.world.ids, DEFAULT_LIMITS)
    made.world.commit(turn)
    assert kinds(turn) == ["ChildStarted"] and turn.messages[0].to == message.initiator
    return made


def test_each_command_becomes_its_event_and_its_message() -> None:
    made = polled()
    turn = made.complete(child(cron_schedule="@hourly"), signal(), cancel("third", reason="why"))
    assert [one.split()[1] for one in g.told(turn)[1:]] == [
        "StartChildWorkflowExecutionInitiated",
        "SignalExternalWorkflowExecutionInitiated",
        "RequestCancelExternalWorkflowExecutionInitiated",
    ]
    initiated = turn.events[1].start_child_workflow_execution_initiated_event_attributes
    assert initiated.task_queue.name == "q" and initiated.namespace == "n" and initiated.cron_schedule == "@hourly"
    assert initiated.parent_close_policy == ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE
    assert kinds(turn) == ["StartChild", "SendSignal", "SendCancel"]
    assert [message.to for message in turn.messages] == [
        RunKey("n", workflow_id, "") for workflow_id in ("child", "other", "third")
    ]
    state = turn.state
    assert (list(state.children), list(state.signals_sent), list(state.cancels_sent)) == ([5], [6], [7])


WRONG = [
    (child(""), "BadStartChildExecutionAttributes", "Required field WorkflowId is not set"),
    (child(workflow_type=WorkflowType()), "BadStartChildExecutionAttributes", "Required field WorkflowType is not set"),
    (
        child("x" * 1_001),
        "BadStartChildExecutionAttributes",
        "WorkflowId on StartChildWorkflowExecutionCommand exceeds",
    ),
    (child(namespace="m"), "BadStartChildExecutionAttributes", "cross namespace commands are not allowed"),
    (child(cron_schedule="x"), "BadStartChildExecutionAttributes", "invalid CronSchedule on StartChild"),
    (child(workflow_run_timeout=g.seconds(-1)), "BadStartChildExecutionAttributes", "Invalid WorkflowRunTimeout on"),
    (
        child(retry_policy=RetryPolicy(backoff_coefficient=0.1)),
        "BadStartChildExecutionAttributes",
        "invalid WorkflowRetryPolicy on StartChildWorkflowExecutionCommand",
    ),
    (signal(""), "BadSignalWorkflowExecutionAttributes", "WorkflowId is not set on SignalExternal"),
    (signal(signal_name=""), "BadSignalWorkflowExecutionAttributes", "SignalName is not set on SignalExternal"),
    (signal(run_id="no"), "BadSignalWorkflowExecutionAttributes", "Invalid RunId set on SignalExternal"),
    (signal("x" * 1_001), "BadSignalWorkflowExecutionAttributes", "WorkflowId on SignalExternal"),
    (signal(namespace="m"), "BadSignalWorkflowExecutionAttributes", "cross namespace commands are not allowed"),
    (cancel(""), "BadRequestCancelExternalWorkflowExecutionAttributes", "WorkflowId is not set on RequestCancel"),
    (cancel(run_id="no"), "BadRequestCancelExternalWorkflowExecutionAttributes", "Invalid RunId set on RequestCancel"),
    (
        cancel("good"),
        "BadRequestCancelExternalWorkflowExecutionAttributes",
        "Start and RequestCancel for child workflow",
    ),
]


@pytest.mark.parametrize(("command", "cause", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_a_wrong_command_fails_its_task_and_tells_nobody(command: Command, cause: str, text: str) -> None:
    turn = polled().complete(child("good"), command)
    assert turn.reply.failed.startswith(f"{cause}: ") and text in turn.reply.failed
    assert g.names(turn) == ["WorkflowTaskFailed"]
    assert turn.messages == [] and turn.state.children == {}


@pytest.mark.parametrize(
    ("make", "limit", "cause"),
    [
        (child, "pending_children_max", "PendingChildWorkflowsLimitExceeded"),
        (signal, "pending_signals_sent_max", "PendingSignalsLimitExceeded"),
        (cancel, "pending_cancels_sent_max", "PendingRequestCancelLimitExceeded"),
    ],
)
def test_no_more_than_the_limit_may_be_pending(make: Any, limit: str, cause: str) -> None:
    limits = replace(DEFAULT_LIMITS, **{limit: 3})
    assert getattr(DEFAULT_LIMITS, limit) == 2_000
    full = polled(World(limits=limits))
    assert full.complete(*[make(f"w{number}") for number in range(3)]).reply.failed == ""
    over = polled(World(limits=limits))
    failed = over.complete(*[make(f"w{number}") for number in range(4)]).reply.failed
    assert failed.startswith(f"{cause}: the number of pending ")
    assert failed.endswith(", 3, has reached the per-workflow limit of 3")


def test_input_over_the_limit_ends_the_run() -> None:
    most = DEFAULT_LIMITS.blob_size_max
    assert polled().complete(child(input=g.payloads("x" * (most - 20)))).state.open
    turn = polled().complete(signal(input=g.payloads("x" * most)))
    assert g.names(turn) == ["WorkflowTaskFailed", "WorkflowExecutionTerminated"]


def test_a_child_knows_its_parent_and_its_root_through_all_its_runs() -> None:
    parent = polled()
    made = begun(parent.complete(child(retry_policy=RetryPolicy(maximum_attempts=3))))
    grandchild = begun(made.step(child("grandchild"), force_create_new_workflow_task=True))
    root = parent.state.execution
    assert grandchild.state.start.root_workflow_execution == made.state.start.root_workflow_execution == root
    assert grandchild.state.start.parent_workflow_execution == made.state.execution
    first = made.state.start
    made.world.now_ms += 5_000
    made.step(g.failed())
    assert made.state.start.attempt == 2 and kinds(made.after(5)) == []
    made.step(g.again())
    again = made.state.start
    for name in ("parent_workflow_execution", "parent_initiated_event_id", "parent_workflow_namespace"):
        assert getattr(again, name) == getattr(first, name)
    assert again.root_workflow_execution == root


def test_a_parent_hears_of_the_last_run_only() -> None:
    parent = polled()
    made = begun(parent.complete(child()))
    made.world.now_ms += 5_000
    assert kinds(made.step(g.again())) == []
    first = made.state.start.first_execution_run_id
    closing = made.step(g.done("42"))
    (message,) = closing.messages
    assert message.to == parent.state.key and isinstance(message.body, ChildClosed)
    assert (message.body.first_run_id, message.body.run_id) == (first, made.state.key.run_id)
    assert made.state.key.run_id != first
    hear(parent, 5, ChildStarted(first))
    turn = hear(parent, 5, message.body)
    assert g.names(turn) == ["ChildWorkflowExecutionCompleted"]
    ended = turn.events[0].child_workflow_execution_completed_event_attributes
    assert ended.workflow_execution.run_id == made.state.key.run_id
    assert parent.history[ended.started_event_id - 1].HasField("child_workflow_execution_started_event_attributes")


def closed_by(kind: str) -> HistoryEvent:
    event = HistoryEvent(event_id=9)
    getattr(event, f"workflow_execution_{kind}_event_attributes").SetInParent()
    event.event_type = {"completed": 2, "failed": 3, "timed_out": 4, "canceled": 21, "terminated": 27}[kind]  # type: ignore[assignment]
    return event


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("completed", "ChildWorkflowExecutionCompleted"),
        ("failed", "ChildWorkflowExecutionFailed"),
        ("timed_out", "ChildWorkflowExecutionTimedOut"),
        ("canceled", "ChildWorkflowExecutionCanceled"),
        ("terminated", "ChildWorkflowExecutionTerminated"),
    ],
)
def test_every_end_of_a_child_has_its_event_and_is_told_once(kind: str, name: str) -> None:
    made = polled()
    made.complete(child())
    closed = ChildClosed(RUN_ID, RUN_ID, closed_by(kind))
    # Its start is told first, also where that message is still on its way.
    assert g.names(hear(made, 5, closed)) == ["ChildWorkflowExecutionStarted", name, "WorkflowTaskScheduled"]
    for body in (closed, ChildStarted(RUN_ID), ChildNotStarted(1)):
        assert hear(made, 5, body).empty


def test_answers_wait_for_the_end_of_a_workflow_task_and_keep_their_order() -> None:
    made = polled()
    made.complete(child(), signal(), force_create_new_workflow_task=True)
    made.poll()
    assert hear(made, 5, ChildStarted(RUN_ID)).events == []
    assert hear(made, 5, ChildClosed(RUN_ID, RUN_ID, closed_by("completed"))).events == []
    assert hear(made, 6, SignalAnswered(0)).events == []
    assert made.state.children == {} and made.state.signals_sent == {}
    turn = made.complete()
    assert g.names(turn)[1:] == [
        "ChildWorkflowExecutionStarted",
        "ExternalWorkflowExecutionSignaled",
        "ChildWorkflowExecutionCompleted",
        "WorkflowTaskScheduled",
    ]
    started, _, ended = turn.events[1:4]
    assert ended.child_workflow_execution_completed_event_attributes.started_event_id == started.event_id


def test_a_child_started_during_a_workflow_task_is_known_by_its_event_afterwards() -> None:
    made = polled()
    made.complete(child(), force_create_new_workflow_task=True)
    made.poll()
    hear(made, 5, ChildStarted(RUN_ID))
    made.complete()
    assert made.state.children[5].started_event_id > 5
    made.poll()
    hear(made, 5, ChildClosed(RUN_ID, RUN_ID, closed_by("failed")))
    turn = made.complete()
    ended = turn.events[1].child_workflow_execution_failed_event_attributes
    assert made.history[ended.started_event_id - 1].HasField("child_workflow_execution_started_event_attributes")


@pytest.mark.parametrize("how", ["done", "failed", "cancelled", "again", "terminate", "time out", "too long"])
def test_however_a_run_closes_its_children_are_told_once(how: str) -> None:
    limits = replace(DEFAULT_LIMITS, history_events_max=20) if how == "too long" else DEFAULT_LIMITS
    made = g.Given(World(limits=limits))
    made.start(workflow_run_timeout=g.seconds(100))
    made.poll()
    policies = ParentClosePolicy.values()[1:]
    made.complete(*[child(f"c{policy}", parent_close_policy=policy) for policy in policies])
    hear(made, 5, ChildStarted(RUN_ID))
    first = made.state.key.run_id
    match how:
        case "terminate":
            turn = made.terminate()
        case "time out":
            turn = made.after(100)
        case "too long":
            made.poll()
            commands = [g.timer(f"{number}") for number in range(20)]
            request = RespondWorkflowTaskCompletedRequest(commands=commands)
            assert made.token is not None
            turn = made.world.ask(CompleteWorkflowTask(made.token, request))
            assert isinstance(turn.refusal, InvalidArgument)
        case _:
            turn = made.step({"done": g.done, "failed": g.failed, "cancelled": g.cancelled, "again": g.again}[how]())
    told = [message for one in turn.every for message in one.messages]
    assert {(message.to.workflow_id, message.initiator.run_id) for message in told} == {("c1", first), ("c3", first)}
    assert [message.body for message in told] == [ParentClosed(1, RUN_ID), ParentClosed(3, "")]


def test_a_run_that_is_reset_keeps_its_children_and_its_parent_unaware() -> None:
    made = polled()
    made.complete(child())
    event = closed_by("terminated")
    event.workflow_execution_terminated_event_attributes.identity = messages.RESETTER
    assert messages.sent(made.state, event) == []


def test_a_parent_close_policy_reaches_only_the_child_of_that_parent() -> None:
    parent = polled()
    made = begun(parent.complete(child()))
    key = made.state.key

    def told(initiator: RunKey, policy: int, first: str = "") -> Any:
        return made.world.ask(Delivered(RunMessage(initiator, 5, key, ParentClosed(policy, first))))

    stranger = parent.state.key._replace(run_id=RUN_ID)
    with pytest.raises(NotFound, match="workflow parent does not match"):
        told(stranger, 1)
    with pytest.raises(NotFound):
        told(parent.state.key, 1, RUN_ID)
    asked = told(parent.state.key, ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL, key.run_id)
    assert g.names(asked) == ["WorkflowExecutionCancelRequested"]
    assert told(parent.state.key, ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL).empty
    ended = told(parent.state.key, ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE)
    assert g.names(ended) == ["WorkflowExecutionTerminated"] and kinds(ended) == ["ChildClosed"]


def message_of(command: Command) -> RunMessage:
    (message,) = polled().complete(command).messages
    return message


def test_a_signal_taken_twice_is_written_once_and_answered_twice() -> None:
    made = polled()
    message = message_of(signal())
    first, second = (made.world.ask(Delivered(message)) for _ in range(2))
    assert len(made.state.buffered) == 1
    assert kinds(first) == kinds(second) == ["SignalAnswered"]
    assert first.messages[0].body == SignalAnswered(0)


def test_a_signal_that_cannot_be_taken_says_why() -> None:
    only_child = message_of(signal(child_workflow_only=True))
    with pytest.raises(NotFound, match="workflow parent does not match"):
        polled().world.ask(Delivered(only_child))
    closed = polled()
    closed.complete(g.done())
    with pytest.raises(NotFound, match="already completed"):
        closed.world.ask(Delivered(message_of(signal())))
    full = polled(World(limits=replace(DEFAULT_LIMITS, signals_max=1)))
    full.signal()
    with pytest.raises(InvalidArgument, match="exceeded workflow execution limit for signal events"):
        full.world.ask(Delivered(message_of(signal())))


def test_cancelling_a_closed_run_is_no_failure() -> None:
    closed = polled()
    closed.complete(g.done())
    turn = closed.world.ask(Delivered(message_of(cancel())))
    assert turn.events == [] and [one.body for one in turn.messages] == [CancelAnswered(0)]


@pytest.mark.parametrize(
    ("command", "refusal", "answer"),
    [
        (child(), AlreadyStarted("m", "r", "run"), ChildNotStarted(1)),
        (child(), NamespaceNotFound("n"), ChildNotStarted(2)),
        (signal(), NotFound("m"), SignalAnswered(1)),
        (signal(), NamespaceNotFound("n"), SignalAnswered(2)),
        (signal(), InvalidArgument("m"), SignalAnswered(3)),
        (cancel(), NotFound("m"), CancelAnswered(1)),
        (cancel(), NamespaceNotFound("n"), CancelAnswered(2)),
    ],
)
def test_a_refusal_becomes_an_answer(command: Command, refusal: Any, answer: Any) -> None:
    message = message_of(command)
    told = deliveries.refused(message, refusal)
    assert told == message.answer(answer) and told.to == message.initiator
    assert deliveries.refused(replace(message, body=ParentClosed(1, "")), refusal) is None


@pytest.mark.parametrize(
    ("command", "body", "name"),
    [
        (child(), ChildNotStarted(1), "StartChildWorkflowExecutionFailed"),
        (signal(), SignalAnswered(0), "ExternalWorkflowExecutionSignaled"),
        (signal(), SignalAnswered(1), "SignalExternalWorkflowExecutionFailed"),
        (cancel(), CancelAnswered(0), "ExternalWorkflowExecutionCancelRequested"),
        (cancel(), CancelAnswered(1), "RequestCancelExternalWorkflowExecutionFailed"),
    ],
)
def test_an_answer_is_heard_once_and_never_by_a_closed_run(command: Command, body: Any, name: str) -> None:
    made = polled()
    made.complete(command)
    assert g.names(hear(made, 5, body)) == [name, "WorkflowTaskScheduled"]
    assert hear(made, 5, body).empty
    closed = polled()
    closed.complete(command)
    closed.terminate()
    assert hear(closed, 5, body).empty


def test_the_answer_to_a_run_that_was_reset_goes_to_the_run_that_follows_it() -> None:
    made = polled()
    made.complete(child())
    made.terminate()
    made.world.runs[made.state.key.run_id].reset_run_id = RUN_ID
    made.world.runs[made.state.key.run_id].reset_event_id = 5
    assert hear(made, 5, ChildStarted("first")).empty, "that run never asked for it"
    made.world.runs[made.state.key.run_id].reset_event_id = 6
    (message,) = hear(made, 5, ChildStarted("first")).messages
    follower = made.state.key._replace(run_id=RUN_ID)
    assert message == RunMessage(follower, 5, follower, ChildStarted("first"))


def test_what_a_closed_run_asked_for_is_not_wanted_any_more() -> None:
    made = polled()
    turn = made.complete(child(), signal(), cancel())
    assert all(deliveries.still_wanted(made.state, message) for message in turn.messages)
    closing = made.terminate()
    assert not any(deliveries.still_wanted(made.state, message) for message in turn.messages)
    assert all(deliveries.still_wanted(made.state, message) for message in closing.messages)


BODIES = st.one_of(
    st.builds(ParentClosed, st.integers(0, 3), st.text(max_size=5)),
    st.builds(ChildStarted, st.text(max_size=5)),
    st.builds(ChildNotStarted, st.integers(0, 3)),
    st.builds(
        ChildClosed, st.text(max_size=5), st.text(max_size=5), st.builds(HistoryEvent, event_id=st.integers(0, 99))
    ),
    st.builds(SignalAnswered, st.integers(0, 3)),
    st.builds(CancelAnswered, st.integers(0, 3)),
)
KEYS = st.builds(RunKey, st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))


@settings(max_examples=100, deadline=None)
@given(st.builds(RunMessage, KEYS, st.integers(0, 2**31), KEYS, BODIES))
def test_a_message_survives_its_bytes(message: RunMessage) -> None:
    assert messages.unpack(messages.pack(message)) == message


def test_messages_with_requests_in_them_survive_their_bytes() -> None:
    for command, kind in ((child(), StartChild), (signal(), SendSignal), (cancel(), SendCancel)):
        message = message_of(command)
        assert isinstance(message.body, kind)
        assert messages.unpack(messages.pack(message)) == message
    with pytest.raises(ValueError, match="version 2"):
        messages.unpack(b'{"v":2}')


def test_a_cron_run_is_followed_by_the_next_with_what_the_last_one_made() -> None:
    made = g.Given()
    made.start(cron_schedule="@every 10s")
    assert made.state.start.initiator == 3 and made.state.workflow_task is None
    made.after(10)
    made.step(g.done("one"))
    second = made.state.start
    assert (second.initiator, second.attempt, second.last_completion_result) == (3, 1, g.payloads("one"))
    assert second.first_workflow_task_backoff.seconds == 10 and not second.HasField("continued_failure")
    made.after(10)
    turn = made.step(g.failed())
    assert turn.events[-1].workflow_execution_failed_event_attributes.new_execution_run_id == made.state.key.run_id
    third = made.state.start
    assert third.last_completion_result == g.payloads("one") and third.continued_failure.message == "no"
    made.after(10)
    made.step(g.cancelled())
    assert not made.state.open


def test_a_failed_cron_run_is_retried_before_the_next_one_comes() -> None:
    made = g.Given()
    policy = RetryPolicy(initial_interval=g.seconds(2), maximum_attempts=2, backoff_coefficient=1)
    made.start(cron_schedule="@every 60s", retry_policy=policy)
    made.after(60)
    made.step(g.failed())
    assert (made.state.start.initiator, made.state.start.attempt) == (2, 2)
    made.after(2)
    made.step(g.failed())
    assert (made.state.start.initiator, made.state.start.attempt) == (3, 1)


def test_a_cron_run_that_times_out_is_followed_unless_the_whole_time_is_over() -> None:
    made = g.Given()
    made.start(cron_schedule="@every 10s", workflow_run_timeout=g.seconds(5), workflow_execution_timeout=g.seconds(32))
    made.after(10)
    made.after(5)
    assert made.state.open and made.state.start.initiator == 3
    assert made.state.start.continued_failure.timeout_failure_info.timeout_type == 1
    made.after(17)
    assert not made.state.open
