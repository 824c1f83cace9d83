"""Whatever legal requests come, and in whatever order: the invariants of one run and of its chain."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from temporalio.api.common.v1 import Payload, RetryPolicy
from temporalio.api.history.v1 import History, WorkflowExecutionSignaledEventAttributes

from engine.core import given as g
from engine.core.updating import accepts, asked, rejects, responds
from stormsail.engine.core import deadlines, events, progress, replay, work
from stormsail.engine.core.errors import Refused
from stormsail.engine.core.machines import run as run_machine
from stormsail.engine.core.requests import (
    ActivityRef,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    ResetSticky,
    StartActivity,
    StickyGone,
    UpdateWorkflow,
)
from stormsail.engine.core.turn import Turn

UPDATES = ("u1", "u2", "u3")
CLOSING = frozenset(run_machine.CLOSING)
WORDS = st.lists(
    st.tuples(
        st.sampled_from(["timer", "cancel timer", "activity", "eager", "cancel activity", "marker", "upsert", "memo"]),
        st.integers(1, 2),
    ),
    max_size=4,
)
CLOSE = st.one_of(
    st.none(),
    st.none(),
    st.none(),
    st.sampled_from([g.done(), g.failed(), g.failed(non_retryable=True), g.cancelled(), g.again()]),
)


class OneWorkflow(RuleBasedStateMachine):
    """Requests against one workflow id. The world replays after every turn and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.given = g.Given()
        self.activity_tokens: list[Any] = []
        self.histories: dict[str, bytes] = {}

    @initialize(retry=st.booleans(), timeout=st.sampled_from([0, 20]), delay=st.sampled_from([0, 0, 2]))
    def begin(self, retry: bool, timeout: int, delay: int) -> None:
        policy = RetryPolicy(initial_interval=g.seconds(1), backoff_coefficient=2, maximum_attempts=3)
        self.given.start(
            retry_policy=policy if retry else None,
            workflow_run_timeout=g.seconds(timeout) if timeout else None,
            workflow_start_delay=g.seconds(delay) if delay else None,
        )

    def ask(self, word: Any, *args: Any, **more: Any) -> Any:
        """Ask for something that may be refused; refused, it changes nothing."""
        before = self.given.state.copy()
        try:
            return word(*args, **more)
        except Refused:
            assert self.given.state == before
            return None

    @rule(request_id=st.sampled_from(["", "r1", "r2"]))
    def signal(self, request_id: str) -> None:
        self.ask(self.given.signal, request_id=request_id)

    @rule()
    def cancel(self) -> None:
        self.ask(self.given.cancel)

    @precondition(lambda self: not self.given.state.open)
    @rule(request_id=st.sampled_from(["start", "start2", "start3"]), eager=st.booleans())
    def start_again(self, request_id: str, eager: bool) -> None:
        self.ask(self.given.start, request_id, request_eager_execution=eager)

    @rule(request_id=st.sampled_from(["s1", "s2"]), policy=st.sampled_from([0, 2, 3]))
    def signal_with_start(self, request_id: str, policy: int) -> None:
        self.ask(self.given.signal_with_start, request_id, workflow_id_conflict_policy=policy)

    @rule()
    def poll(self) -> None:
        if self.given.state.workflow_task is not None:
            self.ask(self.given.poll, "")

    @rule(
        poll=st.booleans(),
        words=WORDS,
        close=CLOSE,
        careful=st.sampled_from([True, True, True, False]),
        sticky=st.booleans(),
        force=st.booleans(),
        returned=st.booleans(),
        says=st.lists(st.sampled_from(["accept", "respond", "both", "reject", "nothing"]), min_size=3, max_size=3),
    )
    def complete(
        self, poll: bool, words: Any, close: Any, careful: bool, sticky: bool, force: bool, returned: bool, says: Any
    ) -> None:
        if poll:
            self.poll()
        if self.given.token is None:
            return
        commands = [self.command(word, number) for word, number in words]
        if careful:
            commands = self.legal(commands)
        more: dict[str, Any] = {"force_create_new_workflow_task": force, "return_new_workflow_task": returned}
        if sticky:
            more["sticky_attributes"] = g.sticky()
        more["messages"] = [message for one in zip(UPDATES, says, strict=True) for message in self.said(*one, careful)]
        turn = self.ask(self.given.complete, *commands, *([close] if close else []), **more)
        if turn is not None:
            self.activity_tokens += [one.token for one in turn.reply.activities]

    def said(self, update_id: str, what: str, careful: bool) -> list[Any]:
        """What the worker says of an update: a correct one only of those that it was given, or has accepted."""
        state = self.given.state
        admitted = state.updates_admitted.get(update_id)
        if careful and update_id in state.updates_accepted:
            return [responds(update_id)] if what in ("respond", "both") else []
        if careful and (admitted is None or not admitted.sent):
            return []
        match what:
            case "accept":
                return [accepts(update_id)]
            case "both":
                return [accepts(update_id), responds(update_id)]
            case "reject":
                return [rejects(update_id)]
            case "respond":
                return [] if careful else [responds(update_id)]
            case _:
                return []

    @rule(update_id=st.sampled_from(UPDATES))
    def update(self, update_id: str) -> None:
        self.ask(self.given.world.ask, UpdateWorkflow(asked(update_id)))

    @rule(chance=st.integers(0, 3))
    def restart(self, chance: int) -> None:
        if chance == 0:
            self.given.world.runs = {key: state.durable for key, state in self.given.world.runs.items()}

    def command(self, word: str, number: int) -> Any:
        pending = [*self.given.state.activities, 77, 78]
        match word:
            case "timer":
                return g.timer(f"t{number}", 3)
            case "cancel timer":
                return g.cancel_timer(f"t{number}")
            case "activity":
                policy = RetryPolicy(maximum_attempts=number)
                return g.activity(f"a{number}", start_to_close_timeout=g.seconds(4), retry_policy=policy)
            case "eager":
                return g.activity(f"a{number}", request_eager_execution=True)
            case "cancel activity":
                return g.cancel_activity(pending[number - 1])
            case "marker":
                return g.marker()
            case "upsert":
                return g.upsert(K=g.value("1"))
            case _:
                return g.remember(k=Payload(data=b"null" if number == 1 else b"1"))

    def legal(self, commands: list[Any]) -> list[Any]:
        """Leave out what a correct worker would not ask: a timer twice, the end of what is not there."""
        state = self.given.state
        timers = set(state.timers)
        activities = set(state.activity_by_id)
        ending = {key for key, one in state.activities.items() if not one.cancel_requested_event_id}
        kept = []
        for command in commands:
            started = command.start_timer_command_attributes.timer_id
            stopped = command.cancel_timer_command_attributes.timer_id
            scheduled = command.schedule_activity_task_command_attributes.activity_id
            cancelled = command.request_cancel_activity_task_command_attributes.scheduled_event_id
            if started in timers or scheduled in activities:
                continue
            if (stopped and stopped not in timers) or (cancelled and cancelled not in ending):
                continue
            timers |= {started} - {""}
            timers -= {stopped}
            activities |= {scheduled} - {""}
            ending -= {cancelled}
            kept.append(command)
        return kept

    @precondition(lambda self: self.given.token is not None)
    @rule()
    def fail(self) -> None:
        self.ask(self.given.fail)

    @rule(index=st.integers(0, 3))
    def poll_activity(self, index: int) -> None:
        waiting = [one for one in self.given.state.activities.values() if one.ready]
        if waiting:
            one = waiting[index % len(waiting)]
            turn = self.given.world.ask(StartActivity(one.scheduled_event_id, one.attempt, "worker", self.fresh()))
            self.activity_tokens.append(turn.reply.token)

    @rule(
        poll=st.booleans(),
        newest=st.integers(1, 3),
        how=st.sampled_from(["complete", "fail", "fail", "final", "heartbeat", "cancel"]),
    )
    def answer_activity(self, poll: bool, newest: int, how: str) -> None:
        if poll:
            self.poll_activity(0)
        if len(self.activity_tokens) < newest:
            return
        token = self.activity_tokens[-newest]
        ref = ActivityRef(token=token)
        match how:
            case "complete":
                request: Any = CompleteActivity(ref, None, "worker")
            case "fail" | "final":
                request = FailActivity(ref, g.failure(non_retryable=how == "final"), "worker")
            case "cancel":
                request = CancelActivity(ref, None, "worker")
            case _:
                request = HeartbeatActivity(ref, g.payloads("half"), "worker")
        self.ask(self.given.world.ask, request, token.key.run_id)

    @rule(length=st.sampled_from([0.5, 1, 3, 11]))
    def wait(self, length: float) -> None:
        self.given.after(length)

    @rule(gone=st.booleans())
    def lose_sticky(self, gone: bool) -> None:
        self.ask(self.given.world.ask, StickyGone("sticky") if gone else ResetSticky())

    @rule(chance=st.integers(0, 7))
    def terminate(self, chance: int) -> None:
        if chance == 0:
            self.ask(self.given.terminate)

    def fresh(self) -> str:
        return self.given.world.ids.uuid()

    @invariant()
    def runs_are_as_they_must_be(self) -> None:
        runs = self.given.world.runs
        assert sum(state.open for state in runs.values()) <= 1
        for run_id, state in runs.items():
            frames = self.given.world.frames[run_id]
            assert frames.startswith(self.histories.get(run_id, b"")), "a history was changed"
            self.histories[run_id] = frames
            told = History.FromString(frames).events
            names = [events.NAME_OF_TYPE[event.event_type] for event in told]
            assert [event.event_id for event in told] == list(range(1, len(told) + 1))
            assert names[0] == "WorkflowExecutionStarted"
            assert not CLOSING & set(names[:-1])
            assert (names[-1] in CLOSING) == (not state.open)
            assert replay.replay(state.key, [frames], progress.pack(state)) == state.durable
            if not state.open:
                assert not work.tasks(state) and deadlines.deadline_ms(state) is None and not state.buffered
                assert not state.updates_admitted
            task = state.workflow_task
            if task is not None and task.speculative:
                assert task.scheduled_event_id == state.next_event_id and not state.buffered
            if state.buffered:
                assert state.workflow_task is not None and state.workflow_task.started_at_ms
            follower = state.new_run_id
            if follower:
                assert runs[follower].start.continued_execution_run_id == run_id

    @invariant()
    def unseen_events_lead_to_a_workflow_task(self) -> None:
        state = self.given.world.runs[self.given.world.newest]
        if not state.open or state.workflow_task is not None or not state.first_task_ready:
            return
        told = self.given.history
        last = state.last_completed_task_event_id
        causes = {"WorkflowExecutionSignaled", "TimerFired", "WorkflowExecutionCancelRequested"}
        after = {events.NAME_OF_TYPE[event.event_type] for event in told if event.event_id > last}
        assert not after & causes, after


OneWorkflow.TestCase.settings = settings(
    max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
test_a_workflow_keeps_its_invariants = OneWorkflow.TestCase


def test_a_turn_that_is_dropped_leaves_no_trace() -> None:
    given = g.Given()
    given.start()
    before = given.state.copy()
    turn = Turn.on(given.state, given.world.now_ms)
    turn.emit(WorkflowExecutionSignaledEventAttributes(signal_name="s"))
    assert turn.state != before
    assert given.state == before
