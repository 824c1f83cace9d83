"""A run's progress as bytes: what its history does not say and a crash must not lose.

JSON, because these bytes are small and read by people after something went wrong; protocol messages in it are base64.
Only what differs from a run fresh out of replay is written.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core.activity_notes import options_of, with_options
from stormsail.engine.core.apply import take_effect
from stormsail.engine.core.compact_json import quoted, text
from stormsail.engine.core.deadlines import run_expires_at_ms
from stormsail.engine.core.errors import InvalidTransition
from stormsail.engine.core.state import Activity, RunState, WorkflowTask
from stormsail.engine.core.values import replace

VERSION: Final = 1
"""Written as "v". A file with another one is of another release: it is refused, not guessed at."""

_PLAIN: Final = (
    "start_request_id",
    "reset_request_id",
    "reset_at_ms",
    "reset_run_id",
    "reset_event_id",
    "reset_run_request_id",
    "batch_request_id",
    "sticky_queue",
    "sticky_timeout_ms",
    "sticky_touched_at_ms",
    "close_attempted",
    "state_transitions",
    "updates_turned_down",
)
"""Fields of RunState written as they are."""

_ACTIVITY_PLAIN: Final = {
    "attempt": 1,
    "ready": True,
    "started_at_ms": 0,
    "nonce": "",
    "identity": "",
    "build_id": "",
    "heartbeat_at_ms": 0,
    "last_attempt_completed_at_ms": 0,
    "paused_at_ms": 0,
    "paused_by": "",
    "pause_reason": "",
    "pause_request_id": "",
    "reset": False,
    "forget_heartbeat": False,
    "begun_again_at_ms": 0,
}
"""Fields of an activity written as they are, with their values in one that only waits for its first start: a run may
have thousands of those, and writes its progress with every turn."""


_IN_JSON: Final[Mapping[Any, str]] = {int: "one.{}", str: "quoted(one.{})"}
"""By a field's type, what gives it as it stands in JSON."""


def _telling(told: type, names: Sequence[str]) -> Callable[[Any], str]:
    """Write the function that returns those of these fields of a value that are not as they are by default, as they
    stand in a JSON object: '"attempt":2,"queue":"q"'. A loop over them takes several times as long, in every turn."""
    lines = ["def tell(one):", " told = ''"]
    for one in fields(told):
        if one.name in names:
            usual = [] if one.default_factory is list else one.default
            lines.append(f" if one.{one.name} != {usual!r}:" if usual is not MISSING else " if True:")
            value = _IN_JSON.get(one.type, "text(one.{})").format(one.name)
            lines.append(f"""  told += f',"{one.name}":{{{value}}}'""")
    made: dict[str, Callable[[Any], str]] = {}
    known = {"quoted": quoted, "text": text}
    exec("\n".join([*lines, " return told[1:]"]), known, made)  # noqa: S102 - of the fields' names, and no input
    return made["tell"]


_tell_plain: Final = _telling(RunState, _PLAIN)
_tell_task: Final = _telling(WorkflowTask, tuple(one.name for one in fields(WorkflowTask)))
_activity_plain_of: Final = attrgetter(*_ACTIVITY_PLAIN)
NOTHING_APART: Final[Mapping[int, dict[str, Any]]] = {}


def pack(state: RunState, *, apart: bool = False) -> bytes:
    """Return the state's progress as bytes. `apart`: without its activities, which are then kept as `pack_activity`
    tells them."""
    told = [f'"v":{VERSION}']
    if plain := _tell_plain(state):
        told.append(plain)
    if state.open:
        told.append(f'"first_task_ready":{text(state.first_task_ready)}')
        if state.workflow_task is not None and not state.workflow_task.speculative:
            task = state.workflow_task
            task = task.waiting if task.held_start is not None else task
            told.append(f'"workflow_task":{{{_tell_task(task)}}}')
        if apart:
            told.append('"activities_apart":true')
        elif changed := {key: one for key, each in state.activities.items() if (one := pack_activity(each))}:
            told.append(f'"activities":{text(changed)}')
        if state.buffered:
            told.append(f'"buffered":{text([_message(event) for event in state.buffered])}')
    return f"{{{','.join(told)}}}".encode()


def is_apart(progress: bytes) -> bool:
    """Say whether the activities of a state that was packed are kept apart from it."""
    return b'"activities_apart":true' in progress and bool(json.loads(progress).get("activities_apart"))


def unpack_into(state: RunState, progress: bytes, apart: Mapping[int, dict[str, Any]] = NOTHING_APART) -> None:
    """Add progress to a state that has been replayed from history. None, as before the first turn: changes nothing.

    `apart`: what was told of each activity, where they are kept apart.
    """
    if not progress:
        return
    found = json.loads(progress)
    if found.get("v") != VERSION:
        raise InvalidTransition(f"run {state.key}: its progress is of version {found.get('v')}, not {VERSION}")
    for name in _PLAIN:
        if name in found:
            setattr(state, name, found[name])
    if state.reset_at_ms:
        state.execution_started_at_ms = state.reset_at_ms
        state.expires_at_ms = run_expires_at_ms(state)
    if not state.open:
        return
    for update_id in state.updates_turned_down:
        state.updates_admitted.pop(update_id, None)
    state.first_task_ready = found["first_task_ready"]
    for event in found.get("buffered", ()):
        take_effect(state, _restored(event))
        state.buffered.append(_restored(event))
    if found.get("activities_apart", False):
        if apart.keys() != state.activities.keys():
            raise InvalidTransition(f"run {state.key}: progress is kept of other activities than are pending")
        for event_id, known in apart.items():
            state.activities[event_id] = _restored_activity(state.activities[event_id], known)
    for key, known in found.get("activities", {}).items():
        state.activities[int(key)] = _restored_activity(state.activities[int(key)], known)
    task = found.get("workflow_task")
    state.workflow_task = _restored_task(task) if task is not None else None


def pack_activity(activity: Activity) -> dict[str, Any]:
    """Return what of an activity's progress differs from one that only waits for its first start."""
    values = zip(_ACTIVITY_PLAIN.items(), _activity_plain_of(activity), strict=True)
    out = {name: value for (name, fresh), value in values if value != fresh}
    if activity.ready_at_ms != activity.scheduled_at_ms:
        out["ready_at_ms"] = activity.ready_at_ms
    if activity.heartbeat_details is not None:
        out["heartbeat_details"] = _message(activity.heartbeat_details)
    if activity.last_failure is not None:
        out["last_failure"] = _message(activity.last_failure)
    if activity.original is not None:
        out["options"] = _message(options_of(activity.scheduled))
    return out


def _restored_activity(activity: Activity, fields: dict[str, Any]) -> Activity:
    known = dict(fields)
    if "heartbeat_details" in fields:
        known["heartbeat_details"] = Payloads.FromString(b64decode(fields["heartbeat_details"]))
    if "last_failure" in fields:
        known["last_failure"] = Failure.FromString(b64decode(fields["last_failure"]))
    if begun_again_at_ms := fields.get("begun_again_at_ms"):
        activity = replace(activity, scheduled_at_ms=begun_again_at_ms, ready_at_ms=begun_again_at_ms)
    if "options" in fields:
        activity = with_options(activity, ActivityOptions.FromString(b64decode(known.pop("options"))))
    return replace(activity, **known)


def _restored_task(fields: dict[str, Any]) -> WorkflowTask:
    reasons = tuple(fields.pop("suggest_continue_as_new_reasons", ()))
    return WorkflowTask(**fields, suggest_continue_as_new_reasons=reasons)


def _restored(event: str) -> HistoryEvent:
    return HistoryEvent.FromString(b64decode(event))


def _message(message: Message) -> str:
    return b64encode(message.SerializeToString(deterministic=True)).decode("ascii")
