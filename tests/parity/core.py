"""The driver that takes a trace to the pure core: no server, no store, and a clock that jumps to what is due next.

What a trace asks to see (a description, a list) the core has no answer for and is passed over; the histories tell.
"""

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.history.v1 import HistoryEvent

from histories.world import World
from parity.language import Step
from parity.shown import event_lines
from parity.side import Side
from parity.vocabulary import VERBS, Words, split
from stormsail.engine.core import deadlines, events, replay, requests
from stormsail.engine.core.decide import deliveries
from stormsail.engine.core.decide.reset import decide_reset
from stormsail.engine.core.errors import NotFound, Refused
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.messages import RunMessage, SendCancel, SendSignal, StartChild
from stormsail.engine.core.requests import ActivityRef, ActivityToken, WorkflowTaskToken
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

PASSED_OVER: Final = frozenset(
    {"describe", "list", "scan", "count", "history", "history-reverse", "describe-queue", "eventually", "poll-update"}
)
"""Verbs that ask to see something, or wait for a server to be done."""
_JUMPS_MAX: Final = 200
_NAMESPACE_IDS: Final = {"default": "32049b68-7872-4094-8e63-d0dd59896a83"}


class Core:
    """See the module."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._first = World()
        self._worlds: dict[str, World] = {}
        self._begun: dict[str, list[str]] = {}

    async def take(self, step: Step) -> list[str] | None:
        """Do a step and tell what came of it; None where the core has no say."""
        words = step.words
        if words.verb in PASSED_OVER:
            return None
        if words.verb == "begin":
            self._begun[words.plain[0]] = self._told(Step(split(words.line.split(maxsplit=2)[2]), step.below)) or []
            return []
        if words.verb == "end":
            # What a waiting caller is told in the end is the shell's to say; that it was refused, the core's.
            told = self._begun.pop(words.plain[0])
            return told if told[:1] != ["OK"] else None
        return self._told(step)

    async def histories(self) -> list[str]:
        """Tell the histories of all workflows that the trace named."""
        told = []
        for workflow_id in list(self._side.workflows):
            world = self._worlds.get(workflow_id, self._first)
            known = self._side.runs.get(workflow_id, [])
            order = [run_id for first in known for run_id in self._chain(world, first)] + list(world.runs)
            for run_id in dict.fromkeys(order):
                self._side.met(workflow_id, run_id)
            for run_id in dict.fromkeys(order):
                told.append(self._side.names.mask(f"{workflow_id} {run_id}"))
                told += [line for each in self._events(world, run_id) for line in event_lines(each, self._side.names)]
        return told

    async def leave(self) -> None:
        """Nothing is ever under way here."""

    def _chain(self, world: World, run_id: str) -> list[str]:
        found: list[str] = []
        while run_id in world.runs and run_id not in found:
            found.append(run_id)
            run_id = getattr(events.attributes_of(self._events(world, run_id)[-1]), "new_execution_run_id", "")
        return found

    def _told(self, step: Step) -> list[str] | None:
        words = step.words
        try:
            match words.verb:
                case "until":
                    self._jump(lambda: self._count(words) >= int(words.get("count", "1")), words)
                    return []
                case "closed":
                    world = self._world(str(self._side.resolve(words.get("id", "~"))))
                    run_id = str(self._side.resolve(words.get("run", ""))) or world.newest
                    self._jump(lambda: not world.runs[run_id].open, words)
                    return []
                case "poll":
                    return self._poll(words)
                case "poll-activity":
                    return self._poll_activity(words)
                case "complete":
                    return self._complete(self._side.completion(step))
            request = self._side.request(words)
            self._asking(VERBS[words.verb].stands_for)(request)
        except Refused as refused:
            told = [refused.status, f"text: {self._side.names.mask(refused.message)}"]
            return [*told, *([f"detail: {type(refused.detail).__name__}"] if refused.detail is not None else [])]
        if name := words.get("as"):
            self._side.kept[name] = self._side.kept["run"]
        return ["OK"]

    # How each method is put to the core.

    def _asking(self, method: str) -> Callable[[Any], object]:
        asking: dict[str, Callable[[Any], object]] = {
            "StartWorkflowExecution": lambda asked: self._start(requests.StartWorkflow(asked)),
            "SignalWithStartWorkflowExecution": lambda asked: self._start(requests.SignalWithStart(asked)),
            "SignalWorkflowExecution": lambda asked: self._run(asked, requests.SignalWorkflow(asked)),
            "RequestCancelWorkflowExecution": lambda asked: self._run(asked, requests.RequestCancel(asked)),
            "TerminateWorkflowExecution": lambda asked: self._run(asked, requests.Terminate(asked)),
            "UpdateWorkflowExecution": lambda asked: self._run(asked, requests.UpdateWorkflow(asked)),
            "PauseActivity": lambda asked: self._run(asked, requests.PauseActivity(asked)),
            "UnpauseActivity": lambda asked: self._run(asked, requests.UnpauseActivity(asked)),
            "ResetActivity": lambda asked: self._run(asked, requests.ResetActivity(asked)),
            "UpdateActivityOptions": lambda asked: self._run(asked, requests.UpdateActivityOptions(asked)),
            "ResetStickyTaskQueue": lambda asked: self._run(asked, requests.ResetSticky()),
            "ResetWorkflowExecution": self._reset,
            "RespondWorkflowTaskFailed": self._fail_task,
            "RespondActivityTaskCompleted": lambda asked: self._activity(
                asked, lambda ref: requests.CompleteActivity(ref, _set(asked, "result"), asked.identity)
            ),
            "RespondActivityTaskFailed": lambda asked: self._activity(
                asked, lambda ref: requests.FailActivity(ref, asked.failure, asked.identity)
            ),
            "RespondActivityTaskCanceled": lambda asked: self._activity(
                asked, lambda ref: requests.CancelActivity(ref, _set(asked, "details"), asked.identity)
            ),
            "RecordActivityTaskHeartbeat": lambda asked: self._activity(
                asked, lambda ref: requests.HeartbeatActivity(ref, _set(asked, "details"), asked.identity)
            ),
        }
        for name in ("RespondActivityTaskCompleted", "RespondActivityTaskFailed", "RespondActivityTaskCanceled"):
            asking[f"{name}ById"] = asking[name]
        asking["RecordActivityTaskHeartbeatById"] = asking["RecordActivityTaskHeartbeat"]
        return asking[method]

    def _start(self, request: Any) -> None:
        workflow_id = request.request.workflow_id
        turn = self._ask(workflow_id, request)
        self._side.met(workflow_id, turn.reply.run_id)
        self._side.kept["run"] = turn.reply.run_id
        first = getattr(turn.reply, "first_task", None)
        if first is not None:
            self._side.kept["task"] = first.token

    def _run(self, asked: Any, request: Any) -> None:
        target = asked.execution if "execution" in asked.DESCRIPTOR.fields_by_name else asked.workflow_execution
        self._ask(target.workflow_id, request, target.run_id)

    def _fail_task(self, asked: Any) -> None:
        token = self._task_token(asked.task_token)
        self._ask(
            token.key.workflow_id,
            requests.FailWorkflowTask(token, asked.cause, asked.failure, asked.identity),
            token.key.run_id,
        )

    def _activity(self, asked: Any, build: Callable[[ActivityRef], Any]) -> None:
        if "task_token" not in asked.DESCRIPTOR.fields_by_name:
            self._ask(asked.workflow_id, build(ActivityRef(activity_id=asked.activity_id)), asked.run_id)
            return
        token = self._side.kept[asked.task_token.decode()]
        assert isinstance(token, ActivityToken)
        self._ask(token.key.workflow_id, build(ActivityRef(token=token)), token.key.run_id)

    def _reset(self, asked: Any) -> None:
        target = asked.workflow_execution
        world = self._world(target.workflow_id)
        base = _there(world, target.run_id or world.newest)
        followers = [
            (world.runs[run_id].key, [world.frames[run_id]]) for run_id in self._chain(world, base.key.run_id)[1:]
        ]
        history = [world.frames[base.key.run_id]]
        turn = decide_reset(base, world.state, history, followers, asked, world.now_ms, world.ids, DEFAULT_LIMITS)
        for one in turn.every:
            world.commit(one)
        self._deliver([turn])
        self._side.met(target.workflow_id, turn.reply)
        self._side.kept["run"] = turn.reply

    # Workers.

    def _poll(self, words: Words) -> list[str]:
        queue = self._side.request(words).task_queue.name
        world = self._jump_to(lambda world: self._waits(world, queue), words)
        task = world.state.workflow_task
        assert task is not None
        asked = requests.StartWorkflowTask(task.scheduled_event_id, task.attempt, "worker", world.ids.uuid())
        started = self._ask(world.state.key.workflow_id, asked).reply
        side = self._side
        self._keep_task(started.token)
        side.met(world.state.key.workflow_id, world.state.key.run_id)
        side.seen(self._events(world, world.state.key.run_id))
        told = ["OK", f"attempt: {started.attempt}", f"started_event_id: {started.started_event_id}"]
        told += [f"previous_started_event_id: {started.previous_started_event_id}"]
        return [*told, *side.told(started.messages)]

    def _waits(self, world: World, queue: str) -> bool:
        task = world.state.workflow_task
        if task is None or task.started_at_ms or not world.state.open:
            return False
        return queue == (world.state.sticky_queue if task.sticky else world.state.start.task_queue.name)

    def _poll_activity(self, words: Words) -> list[str]:
        queue = self._side.request(words).task_queue.name
        found: list[Any] = []

        def waits(world: World) -> bool:
            state = world.state
            found[:] = [
                one
                for one in state.activities.values()
                if one.scheduled.task_queue.name == queue and one.ready and not one.started_at_ms
            ]
            return bool(found)

        world = self._jump_to(waits, words)
        activity = found[0]
        scheduled_id = next(key for key, one in world.state.activities.items() if one is activity)
        asked = requests.StartActivity(scheduled_id, activity.attempt, "worker", world.ids.uuid())
        started = self._ask(world.state.key.workflow_id, asked).reply
        name = activity.scheduled.activity_id
        self._keep_activity(words.get("as") or name, started.token)
        return ["OK", f"activity_id: {name}", f"attempt: {started.attempt}"]

    def _complete(self, asked: Any) -> list[str]:
        token = self._task_token(asked.task_token)
        for command in asked.commands:
            if child := command.start_child_workflow_execution_command_attributes.workflow_id:
                self._side.workflows.setdefault(child)
        turn = self._ask(
            token.key.workflow_id,
            requests.CompleteWorkflowTask(token, asked, namespace_ids=_NAMESPACE_IDS),
            token.key.run_id,
        )
        reply = turn.reply
        if reply is not None:
            if reply.failed:
                return ["INVALID_ARGUMENT", f"text: {self._side.names.mask(reply.failed)}"]
            if reply.new_task is not None:
                self._keep_task(reply.new_task.token)
            for started in reply.activities:
                activity = self._world(token.key.workflow_id).state.activities[started.scheduled_event_id]
                self._keep_activity(activity.scheduled.activity_id, started.token)
        return ["OK"]

    def _keep_task(self, token: WorkflowTaskToken) -> None:
        """Tokens go into requests by name, as bytes; the token itself is found by that name again."""
        name = f"task {token.scheduled_event_id} {token.attempt} {token.nonce}"
        self._side.kept[name], self._side.kept["task"] = token, name.encode()

    def _keep_activity(self, activity_id: str, token: ActivityToken) -> None:
        name = f"activity {token.scheduled_event_id} {token.attempt} {token.nonce}"
        self._side.kept[name], self._side.kept[f"activity.{activity_id}"] = token, name.encode()

    def _task_token(self, name: bytes) -> WorkflowTaskToken:
        token = self._side.kept[name.decode()]
        assert isinstance(token, WorkflowTaskToken)
        return token

    # Turns, messages and time.

    def _world(self, workflow_id: str) -> World:
        if workflow_id not in self._worlds:
            raise NotFound(f"workflow not found for ID: {workflow_id}")
        return self._worlds[workflow_id]

    def _ask(self, workflow_id: str, request: Any, run_id: str = "") -> Turn:
        if isinstance(request, requests.StartRequest):
            made = World(now_ms=self._first.now_ms, ids=self._first.ids)
            world = self._worlds.get(workflow_id, made)
            turn = world.ask(request)
            self._worlds[workflow_id] = world
        else:
            world = self._world(workflow_id)
            _there(world, run_id or world.newest)
            turn = world.ask(request, run_id)
        self._deliver([turn])
        if turn.refusal is not None:
            raise turn.refusal
        return turn

    def _deliver(self, turns: list[Turn]) -> None:
        """Bring what runs tell each other, in order, until nobody has anything to tell."""
        waiting = [message for turn in turns for one in turn.every for message in one.messages]
        while waiting:
            message = waiting.pop(0)
            try:
                turn = self._brought(message)
            except Refused as refused:
                answer = deliveries.refused(message, refused)
                waiting += [answer] if answer is not None else []
                continue
            waiting += [each for one in turn.every for each in one.messages] if turn is not None else []

    def _brought(self, message: RunMessage) -> Turn | None:
        sender = self._worlds.get(message.initiator.workflow_id)
        if not deliveries.still_wanted(sender.runs.get(message.initiator.run_id) if sender else None, message):
            return None
        to = message.to
        if isinstance(message.body, SendSignal | SendCancel) and to.workflow == message.initiator.workflow:
            raise NotFound(f"workflow {to.workflow_id} cannot signal or cancel itself")
        if isinstance(message.body, StartChild):
            made = World(now_ms=self._first.now_ms, ids=self._first.ids)
            world = self._worlds.get(to.workflow_id, made)
            turn = world.ask(requests.StartChildWorkflow(message))
            self._worlds[to.workflow_id] = world
            return turn
        world = self._world(to.workflow_id)
        _there(world, to.run_id or world.newest)
        return world.ask(requests.Delivered(message), to.run_id)

    def _jump_to(self, wanted: Callable[[World], bool], words: Words) -> World:
        def ready() -> World | None:
            return next((world for world in self._worlds.values() if wanted(world)), None)

        self._jump(lambda: ready() is not None, words)
        found = ready()
        assert found is not None
        return found

    def _jump(self, wanted: Callable[[], bool], words: Words) -> None:
        """Move the clock from deadline to deadline until something is so."""
        for _ in range(_JUMPS_MAX):
            if wanted():
                return
            due = [(at_ms, name, run_id) for name, run_id, at_ms in self._deadlines()]
            if not due:
                break
            at_ms, name, run_id = min(due)
            self._first.now_ms = max(self._first.now_ms, at_ms)
            for world in self._worlds.values():
                world.now_ms = self._first.now_ms
            self._deliver([self._worlds[name].ask(requests.FireDue(), run_id)])
        raise AssertionError(f"{words.line}: it does not happen on the core")

    def _deadlines(self) -> list[tuple[str, str, int]]:
        return [
            (name, run_id, at_ms)
            for name, world in self._worlds.items()
            for run_id, state in world.runs.items()
            if (at_ms := deadlines.deadline_ms(state)) is not None
        ]

    def _count(self, words: Words) -> int:
        workflow_id = str(self._side.resolve(words.get("id", "~")))
        world = self._worlds.get(workflow_id)
        if world is None:
            return 0
        run_id = str(self._side.resolve(words.get("run", ""))) or world.newest
        names = [events.NAME_OF_TYPE[event.event_type] for event in self._events(world, run_id)]
        return names.count(words.plain[0])

    def _events(self, world: World, run_id: str) -> list[HistoryEvent]:
        return [event for event, _ in replay.framed(world.frames[run_id])]


def _there(world: World, run_id: str) -> RunState:
    if run_id not in world.runs:
        workflow_id = world.state.key.workflow_id
        raise NotFound(f'workflow execution not found for workflow ID "{workflow_id}" and run ID "{run_id}"')
    return world.runs[run_id]


def _set(message: Any, name: str) -> Any:
    found: Message = getattr(message, name)
    return found if message.HasField(name) else None
