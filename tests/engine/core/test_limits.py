"""Limits of a run that take long to reach over gRPC, at their true values: one within, one more."""

from dataclasses import replace

import pytest
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest

from engine.core import given as g
from engine.core.updating import accepts, asked, responds
from stormsail.engine.core.decide import decide
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.requests import SignalWorkflow, UpdateWorkflow
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

MIB = 1024 * 1024


def begun() -> g.Given:
    """A run that waits for its first workflow task."""
    given = g.Given()
    given.start()
    return given


def signalled(state: RunState, given: g.Given, size: int = 0) -> Turn:
    """Signal, and commit nothing: what is written is not looked at here."""
    payloads = Payloads(payloads=[Payload(data=b"x" * size)])
    request = SignalWorkflowExecutionRequest(
        workflow_execution=WorkflowExecution(workflow_id="w"), signal_name="s", input=payloads
    )
    return decide(state, SignalWorkflow(request), given.world.now_ms, given.world.ids, DEFAULT_LIMITS)


@pytest.mark.slow
def test_a_run_takes_ten_thousand_signals() -> None:
    given = begun()
    state = given.state
    for _ in range(DEFAULT_LIMITS.signals_max):
        state = signalled(state, given).state
    assert state.signals == 10_000
    with pytest.raises(InvalidArgument, match="exceeded workflow execution limit for signal events"):
        signalled(state, given)


def test_a_history_has_at_most_fifty_mebibytes() -> None:
    given = begun()
    state = given.state
    while state.history_size_bytes < 48 * MIB:
        state = signalled(state, given, 2 * MIB - 1_000).state
    fits, too_much = 0, 2 * MIB - 1_000
    while too_much - fits > 1:
        half = (fits + too_much) // 2
        fits, too_much = (half, too_much) if signalled(state, given, half).state.open else (fits, half)
    full, over = signalled(state, given, fits), signalled(state, given, too_much)
    assert full.state.history_size_bytes == 50 * MIB
    assert isinstance(over.refusal, InvalidArgument)
    assert "history size exceeds limit" in over.refusal.message
    assert not over.state.open


def test_a_history_has_at_most_51_200_events() -> None:
    given = begun()
    state = given.state
    state.next_event_id = 51_200  # as if so many had been applied; nothing looks at them
    full = signalled(state, given)
    assert full.state.open
    assert full.state.last_event_id == DEFAULT_LIMITS.history_events_max == 51_200
    turn = signalled(full.state, given)
    assert isinstance(turn.refusal, InvalidArgument)
    assert "history count exceeds limit" in turn.refusal.message
    assert not turn.state.open


def test_a_run_takes_so_many_updates_in_all() -> None:
    assert (DEFAULT_LIMITS.updates_max, DEFAULT_LIMITS.updates_in_flight_size_max) == (2_000, 20 * MIB)
    given = begun()
    given.world.limits = replace(DEFAULT_LIMITS, updates_max=3)
    given.step(g.timer())
    for number in range(3):
        name = str(number)
        given.world.ask(UpdateWorkflow(asked(name)))
        given.poll()
        given.complete(messages=[accepts(name), responds(name)])
    with pytest.raises(FailedPrecondition, match="The limit on the total number of distinct updates"):
        given.world.ask(UpdateWorkflow(asked("one more")))
