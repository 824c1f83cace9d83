"""The part of `activity` that talks to the engine."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskFailedByIdRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

from stormsail.cli.audited import Entry, audited
from stormsail.cli.connection import run
from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import show_one
from stormsail.cli.temporal.options import Input
from stormsail.cli.temporal.rpc import Engine, duration, engine, execution, new_id, payloads, record

_SPANS: Final = {
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
    "retry_initial_interval",
    "retry_maximum_interval",
}


def run_complete(
    workflow_id: str, run_id: str, activity_id: str, result: Sequence[Input], place: Place, output: str
) -> int:
    """Complete an activity by its id."""

    async def ask(e: Engine) -> Message:
        return await e.workflow.respond_activity_task_completed_by_id(
            RespondActivityTaskCompletedByIdRequest(
                namespace=e.namespace,
                workflow_id=workflow_id,
                run_id=run_id,
                activity_id=activity_id,
                result=payloads(result),
                identity=e.identity,
            ),
            retry=True,
        )

    return _change(ask, _Of(workflow_id, activity_id, "complete", ""), "completed", place, output)


def run_fail(
    workflow_id: str, run_id: str, activity_id: str, reason: str, details: Sequence[Input], place: Place, output: str
) -> int:
    """Fail an activity by its id."""

    async def ask(e: Engine) -> Message:
        return await e.workflow.respond_activity_task_failed_by_id(
            RespondActivityTaskFailedByIdRequest(
                namespace=e.namespace,
                workflow_id=workflow_id,
                run_id=run_id,
                activity_id=activity_id,
                failure=Failure(
                    message=reason,
                    source="stormsail",
                    application_failure_info=ApplicationFailureInfo(details=payloads(details)),
                ),
                identity=e.identity,
            ),
            retry=True,
        )

    return _change(ask, _Of(workflow_id, activity_id, "fail", reason), "failed", place, output)


def run_pause(workflow_id: str, run_id: str, activity_id: str, reason: str, place: Place, output: str) -> int:
    """Hold an activity's attempts."""

    async def ask(e: Engine) -> Message:
        return await e.workflow.pause_activity(
            PauseActivityRequest(
                namespace=e.namespace,
                execution=execution(workflow_id, run_id),
                id=activity_id,
                identity=e.identity,
                reason=reason,
                request_id=new_id(),
            ),
            retry=True,
        )

    return _change(ask, _Of(workflow_id, activity_id, "pause", reason), "paused", place, output)


def run_unpause(
    workflow_id: str,
    run_id: str,
    activity_id: str,
    reset_attempts: bool,
    reset_heartbeats: bool,
    jitter_s: float | None,
    place: Place,
    output: str,
) -> int:
    """Let an activity be tried again."""

    async def ask(e: Engine) -> Message:
        return await e.workflow.unpause_activity(
            UnpauseActivityRequest(
                namespace=e.namespace,
                execution=execution(workflow_id, run_id),
                id=activity_id,
                identity=e.identity,
                reset_attempts=reset_attempts,
                reset_heartbeat=reset_heartbeats,
                jitter=duration(jitter_s),
            ),
            retry=True,
        )

    return _change(ask, _Of(workflow_id, activity_id, "unpause", ""), "goes on", place, output)


def run_reset(
    workflow_id: str,
    run_id: str,
    activity_id: str,
    keep_paused: bool,
    reset_heartbeats: bool,
    restore: bool,
    jitter_s: float | None,
    place: Place,
    output: str,
) -> int:
    """Begin an activity again."""

    async def ask(e: Engine) -> Message:
        return await e.workflow.reset_activity(
            ResetActivityRequest(
                namespace=e.namespace,
                execution=execution(workflow_id, run_id),
                id=activity_id,
                identity=e.identity,
                keep_paused=keep_paused,
                reset_heartbeat=reset_heartbeats,
                restore_original_options=restore,
                jitter=duration(jitter_s),
            ),
            retry=True,
        )

    return _change(ask, _Of(workflow_id, activity_id, "reset", ""), "begun again", place, output)


def run_update_options(
    workflow_id: str, run_id: str, activity_id: str, changes: Mapping[str, Any], place: Place, output: str
) -> int:
    """Change an activity's options, or restore them when there are no changes."""
    options, paths = _options(changes)

    async def ask(e: Engine) -> Message:
        return await e.workflow.update_activity_options(
            UpdateActivityOptionsRequest(
                namespace=e.namespace,
                execution=execution(workflow_id, run_id),
                id=activity_id,
                identity=e.identity,
                activity_options=options if paths else None,
                update_mask=FieldMask(paths=paths) if paths else None,
                restore_original=not paths,
            ),
            retry=True,
        )

    return _change(ask, _Of(workflow_id, activity_id, "update-options", ""), "has other options", place, output)


def _options(changes: Mapping[str, Any]) -> tuple[ActivityOptions, list[str]]:
    """Return the protocol's options and the mask that names what of them is meant."""
    options = ActivityOptions()
    paths: list[str] = []
    for name, value in changes.items():
        given: Any = duration(value) if name in _SPANS else value
        if name == "task_queue":
            options.task_queue.name = given
            paths.append("task_queue.name")
        elif name.startswith("retry_"):
            field = name.removeprefix("retry_")
            _assign(options.retry_policy, field, given)
            paths.append(f"retry_policy.{field}")
        else:
            _assign(options, name, given)
            paths.append(name)
    return options, paths


def _assign(message: Message, field: str, value: Any) -> None:
    if isinstance(value, Duration):
        getattr(message, field).CopyFrom(value)
    else:
        setattr(message, field, value)


@dataclass(frozen=True, slots=True)
class _Of:
    """Which activity a change is of."""

    workflow_id: str
    activity_id: str
    verb: str
    reason: str

    @property
    def entry(self) -> Entry:
        return Entry(f"activity.{self.verb}", f"activity/{self.workflow_id}/{self.activity_id}", self.reason)


def _change(ask: Callable[[Engine], Awaitable[Message]], of: _Of, done: str, place: Place, output: str) -> int:
    async def main() -> dict[str, Any]:
        async with engine(place) as e, audited(place, of.entry):
            return record(await ask(e))

    told = run(main)
    shown = {"workflow_id": of.workflow_id, "activity_id": of.activity_id, "done": done, **told}
    show_one(shown, f"activity {of.activity_id} of {of.workflow_id}: {done}", "activity_id", output)
    return int(ExitCode.OK)
