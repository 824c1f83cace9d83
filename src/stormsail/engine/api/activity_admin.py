"""RPCs by which people act on pending activities of workflows: pause, unpause, reset, other options.

An activity without a workflow is not served: a request that names none is refused.
"""

from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.requests import PauseActivity, ResetActivity, UnpauseActivity, UpdateActivityOptions
from stormsail.engine.shell.engine import Engine

_Request = PauseActivityRequest | UnpauseActivityRequest | ResetActivityRequest | UpdateActivityOptionsRequest


async def pause_activity(engine: Engine, _: Call, request: PauseActivityRequest) -> Message:
    """Hand out no attempt of an activity, or of all of a type, until it is unpaused."""
    _check(request)
    validate.request_id(request, engine.limits)
    validate.identity(request.identity, engine.limits)
    await _execute(engine, request, PauseActivity(request))
    return PauseActivityResponse()


async def unpause_activity(engine: Engine, _: Call, request: UnpauseActivityRequest) -> Message:
    """Hand attempts of paused activities out again."""
    _check(request)
    _check_jitter(request)
    await _execute(engine, request, UnpauseActivity(request))
    return UnpauseActivityResponse()


async def reset_activity(engine: Engine, _: Call, request: ResetActivityRequest) -> Message:
    """Let activities begin again with their first attempt."""
    _check(request)
    _check_jitter(request)
    await _execute(engine, request, ResetActivity(request))
    return ResetActivityResponse()


async def update_activity_options(engine: Engine, _: Call, request: UpdateActivityOptionsRequest) -> Message:
    """Change options of pending activities, or restore those they were scheduled with."""
    _check(request)
    validate.priority(request.activity_options.priority)
    options = await _execute(engine, request, UpdateActivityOptions(request))
    return UpdateActivityOptionsResponse(activity_options=options)  # type: ignore[arg-type]


def _check(request: _Request) -> None:
    if not request.execution.workflow_id:
        raise InvalidArgument("WorkflowId is not set on request.")
    validate.run_id(request.execution.run_id)
    if request.WhichOneof("activity") is None:
        raise InvalidArgument("Either Activity.Id or Activity.Type should be set on request.")


def _check_jitter(request: UnpauseActivityRequest | ResetActivityRequest) -> None:
    if wrong := validate.duration(request.jitter):
        raise InvalidArgument(f"Jitter is not a valid duration: {wrong}")


async def _execute(
    engine: Engine,
    request: _Request,
    asked: PauseActivity | UnpauseActivity | ResetActivity | UpdateActivityOptions,
) -> object:
    execution = request.execution
    return await engine.execute(request.namespace, execution.workflow_id, execution.run_id, asked)
