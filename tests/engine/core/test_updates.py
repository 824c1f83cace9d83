"""How many updates a run takes, and what of them may not be."""

from dataclasses import replace

import pytest
from temporalio.api.enums.v1 import SuggestContinueAsNewReason, WorkflowIdConflictPolicy
from temporalio.api.protocol.v1 import Message
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from engine.core import given as g
from engine.core.given import Given
from engine.core.updating import accepts, asked, rejects, responds
from histories.world import World
from stormsail.engine.core import updates
from stormsail.engine.core.errors import (
    FailedPrecondition,
    MultiOperationFailed,
    ResourceExhausted,
    WorkflowNotReady,
)
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.requests import StartAndUpdate, UpdateWorkflow
from stormsail.engine.core.turn import Turn

TOO_MANY_UPDATES = SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_UPDATES


def running(**limits: int) -> Given:
    """A run that has nothing to do."""
    given = Given(World(limits=replace(DEFAULT_LIMITS, **limits)))  # type: ignore[arg-type]
    given.start()
    given.step()
    return given


def ask(given: Given, update_id: str, **more: int) -> Turn:
    return given.world.ask(UpdateWorkflow(asked(update_id, **more)))


def finish(given: Given, *update_ids: str) -> None:
    for update_id in update_ids:
        ask(given, update_id)
    given.step(messages=[say(one) for one in update_ids for say in (accepts, responds)])


def test_ten_updates_are_in_flight_and_no_eleventh() -> None:
    given = running()
    for number in range(10):
        ask(given, f"u{number}")
    with pytest.raises(
        ResourceExhausted, match=r"limit on number of concurrent in-flight updates has been reached \(10\)"
    ):
        ask(given, "u10")
    assert ask(given, "u3").empty
    given.step(messages=[accepts("u0"), responds("u0"), *(accepts(f"u{number}") for number in range(1, 10))])
    ask(given, "u10")
    with pytest.raises(ResourceExhausted):
        ask(given, "u11")


def test_a_run_takes_as_many_updates_in_all_as_the_limit_says_and_rejected_ones_do_not_count() -> None:
    given = running(updates_max=3)
    finish(given, "a", "b")
    ask(given, "c")
    given.step(messages=[rejects("c")])
    ask(given, "d")
    with pytest.raises(
        FailedPrecondition, match=r"total number of distinct updates in this workflow has been reached \(3\)"
    ):
        ask(given, "e")


def test_a_run_with_nearly_too_many_updates_is_advised_to_continue_as_new() -> None:
    given = running(updates_max=10)
    finish(given, *(f"u{number}" for number in range(7)))
    ask(given, "u7")
    given.step(messages=[accepts("u7"), responds("u7")])
    ask(given, "u8")
    started = given.poll().transient_events[1].workflow_task_started_event_attributes
    assert list(started.suggest_continue_as_new_reasons) == [TOO_MANY_UPDATES]
    assert started.suggest_continue_as_new


def test_the_updates_in_flight_have_a_size_together() -> None:
    body = updates.packed(asked("a", size=100).request).ByteSize() + 2 + 2
    plain = asked("b", size=100).request.ByteSize()
    given = running(updates_in_flight_size_max=body + plain + 1)
    ask(given, "a", size=100)
    ask(given, "b", size=100)
    given = running(updates_in_flight_size_max=body + plain)
    ask(given, "a", size=100)
    with pytest.raises(ResourceExhausted, match="limit on total payload size of in-flight updates has been reached"):
        ask(given, "b", size=100)


def test_a_run_whose_workflow_task_fails_again_and_again_takes_no_updates() -> None:
    given = running()
    given.signal()
    for _ in range(2):
        given.poll()
        given.fail()
    with pytest.raises(WorkflowNotReady, match="Workflow Task in failed state"):
        ask(given, "u")


def test_an_update_does_not_come_between_a_run_and_its_end() -> None:
    given = running()
    given.signal()
    given.poll()
    given.signal()
    assert given.complete(g.done()).reply.failed == "UnhandledCommand"
    given.poll()
    with pytest.raises(ResourceExhausted, match="workflow is closing"):
        ask(given, "u")


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([accepts("v")], "update v wasn't found on the server. This is most likely a transient error which will be"),
        ([accepts("u", 0)], "invalid *update.Acceptance: accepted_request_sequencing_event_id is not set"),
        (
            [responds("u")],
            "invalid state transition attempted for Update u: received *update.Response message while in",
        ),
        ([accepts("u"), accepts("u")], None),
        ([Message(id="m", protocol_instance_id="u")], "nil body"),
    ],
)
def test_a_message_that_cannot_be_fails_the_task_and_does_nothing(messages: list[Message], text: str | None) -> None:
    given = running()
    ask(given, "u")
    given.poll()
    turn = given.complete(g.timer("good"), messages=messages)
    if text is None:
        assert turn.reply.failed == ""  # one message, sent twice
        return
    assert turn.reply.failed.startswith(f"BadUpdateWorkflowExecutionMessage: {text}")
    assert g.names(turn.events) == ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskFailed"]
    assert isinstance(turn.ended["u"], WorkflowNotReady)


def both(given: Given, update_id: str, request_id: str = "both", conflict: int = 2) -> Turn:
    start = StartWorkflowExecutionRequest(request_id=request_id, **g._WHAT)
    start.workflow_id_conflict_policy = WorkflowIdConflictPolicy.ValueType(conflict)
    return given.world.ask(StartAndUpdate(start, asked(update_id)))


def test_a_run_begins_with_its_update_and_the_first_task_carries_it() -> None:
    given = Given()
    turn = both(given, "u", conflict=1)
    assert g.names(turn.events) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]
    assert turn.reply.start.started and not given.state.workflow_task.speculative  # type: ignore[union-attr]
    assert [message.id for message in given.poll().messages] == ["u/request"]
    again = both(given, "u", conflict=1)
    assert again.empty and not again.reply.start.started  # the same request: answered with the same run


def test_a_refused_start_says_which_half_failed_and_updates_nothing() -> None:
    given = running()
    with pytest.raises(MultiOperationFailed) as failed:
        both(given, "u", conflict=1)
    assert [one.code for one in failed.value.detail.statuses] == [6, 10]  # type: ignore[union-attr]
    assert failed.value.status == "ALREADY_EXISTS" and not given.state.updates_admitted


def test_a_refused_update_does_not_start_the_workflow() -> None:
    given = Given(World(limits=replace(DEFAULT_LIMITS, updates_in_flight_size_max=1)))
    with pytest.raises(MultiOperationFailed) as failed:
        both(given, "u")
    assert [one.code for one in failed.value.detail.statuses] == [10, 8]  # type: ignore[union-attr]
    assert not given.world.runs
