"""Operations over the API: list, read, plan, start, steer, cancel."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from stormsail.delivery.model.priority import Priority
from stormsail.delivery.model.steering import Verb
from stormsail.web.api.context import (
    CHANGE,
    LIMIT,
    READ,
    READ_ONE,
    Asker,
    Cursor,
    Here,
    Limit,
    Text,
    Who,
    answered,
    changed,
    sorted_failures,
)
from stormsail.web.changes.bulk import OPERATIONS_MAX, BulkVerb, BulkView, steer_many
from stormsail.web.changes.change import REASON_MAX, Caller
from stormsail.web.changes.operations import (
    CancelAskedView,
    ClusterNow,
    PlanView,
    StartedView,
    SteeredView,
    cancel_operation,
    plan_operation,
    start_operation,
    steer_operation,
)
from stormsail.web.etags import etag_of
from stormsail.web.problems import Problem
from stormsail.web.sources.held import Source
from stormsail.web.views.operation import OperationView, StepView, read_operation
from stormsail.web.views.operations import OperationsView, read_operations

router = APIRouter(prefix="/operations", tags=["operations"])

Reason = Annotated[str, Field(max_length=REASON_MAX, description="Why; kept in the audit.")]
Name = Annotated[str, Field(min_length=1, max_length=200)]
State = Literal["", "open", "ended", "running", "waiting", "succeeded", "failed", "cancelled"]


class Body(BaseModel):
    """A request body: what is not known is refused by name, never ignored."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = ""


class StartBody(Body):
    """An operation by its type, with the payload that its documentation names."""

    operation_type: Name = Field(examples=["createServerGroup", "rollbackServerGroup", "resizeServerGroup"])
    application: Name
    account: Name = "local"
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: Priority | None = None
    """Who goes first where not everybody can at once; left out, a rollback goes before what a person asks for."""


class BulkBody(Body):
    """The same asked of many operations."""

    verb: BulkVerb
    operations: Annotated[list[Name], Field(min_length=1, max_length=OPERATIONS_MAX)]
    """Their ids."""


class SteerBody(Body):
    """Which step, as `steps[].call` names it; left out, the only one that there is to steer."""

    step: Annotated[str, Field(max_length=200)] = ""
    attempt: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The step's `attempt` that you saw; 0 means whichever it is at."""


class PromoteBody(SteerBody):
    """Whether all steps that are left are passed over, so that the new version gets every request."""

    full: bool = False


class RerunBody(SteerBody):
    """The fields of the step's input to change."""

    input: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepsView:
    """An operation's steps; null where no worker has ever answered for it."""

    sources: tuple[Source, ...]
    operation_id: str
    steps: tuple[StepView, ...] | None


@router.get("", response_model=OperationsView, responses=READ)
async def list_operations(
    request: Request,
    web: Here,
    who: Who,
    application: Text = "",
    account: Text = "",
    state: State = "",
    limit: Limit = LIMIT,
    cursor: Cursor = "",
) -> Response:
    """List operations, newest first. A page may hold fewer than `limit`: go on while there is a `next_cursor`."""
    with sorted_failures():
        view = await read_operations(
            web.sources,
            application=application,
            account=account,
            state=state,
            limit=limit,
            cursor=cursor,
            sees=who.sees,
        )
    return answered(request, view)


@router.post("", response_model=StartedView, status_code=201, responses=CHANGE)
async def post_operation(body: StartBody, asker: Asker) -> Response:
    """Start an operation: createServerGroup (deploy), rollbackServerGroup, resizeServerGroup, enableServerGroup..."""
    return changed(
        await start_operation(
            asker.because(body.reason), body.operation_type, body.application, body.account, body.payload, body.priority
        )
    )


@router.post("/plan", response_model=PlanView, responses=CHANGE)
async def post_plan(request: Request, body: StartBody, asker: Asker) -> Response:
    """Check a start and say what is there now; nothing is done. A start with its ETag in If-Match meets the same."""
    with sorted_failures():
        view = await plan_operation(
            asker.because(body.reason), body.operation_type, body.application, body.account, body.payload
        )
    answer = answered(request, view)
    answer.headers["ETag"] = etag_of(ClusterNow(view.server_groups, view.running))
    return answer


@router.post("/bulk", response_model=BulkView, responses=CHANGE)
async def post_bulk(body: BulkBody, asker: Asker) -> BulkView:
    """Retry or cancel many operations. Each is a change of its own: see `results` for what became of it.

    The answer is `200` also where some were refused. The same Idempotency-Key again does only what was not done.
    """
    return await steer_many(asker.because(body.reason), body.verb, body.operations)


@router.get("/{operation_id}", response_model=OperationView, responses=READ_ONE)
async def get_operation(request: Request, operation_id: str, web: Here, who: Who) -> Response:
    """Show one operation whole, by its id or a prefix: its cause first, steps with attempts, what people asked."""
    return answered(request, await _operation(web, who, operation_id))


@router.get("/{operation_id}/steps", response_model=StepsView, responses=READ_ONE)
async def get_steps(request: Request, operation_id: str, web: Here, who: Who) -> Response:
    """List an operation's steps."""
    view = await _operation(web, who, operation_id)
    if view is None:
        return answered(request, None)
    return answered(request, StepsView(view.sources, view.operation.operation_id, view.steps))


@router.post("/{operation_id}/retry", response_model=SteeredView, responses=CHANGE)
async def post_retry(operation_id: str, body: SteerBody, asker: Asker) -> Response:
    """Try a step again now: the same change under the same token."""
    return await _steered(asker, operation_id, Verb.RETRY, body)


@router.post("/{operation_id}/skip", response_model=SteeredView, responses=CHANGE)
async def post_skip(operation_id: str, body: SteerBody, asker: Asker) -> Response:
    """Go on as if a step had been done."""
    return await _steered(asker, operation_id, Verb.SKIP, body)


@router.post("/{operation_id}/rerun", response_model=SteeredView, responses=CHANGE)
async def post_rerun(operation_id: str, body: RerunBody, asker: Asker) -> Response:
    """Try a step again with another input."""
    return await _steered(asker, operation_id, Verb.RERUN, body, body.input)


@router.post("/{operation_id}/approve", response_model=SteeredView, responses=CHANGE)
async def post_approve(operation_id: str, body: SteerBody, asker: Asker) -> Response:
    """Let a rollout that waits for a person go on: at an approval, or where it was paused."""
    return await _steered(asker, operation_id, Verb.APPROVE, body)


@router.post("/{operation_id}/promote", response_model=SteeredView, responses=CHANGE)
async def post_promote(operation_id: str, body: PromoteBody, asker: Asker) -> Response:
    """Pass over what a rollout waits for now; with `full`, over all that is left."""
    return await _steered(asker, operation_id, Verb.PROMOTE, body, {"full": True} if body.full else None)


@router.post("/{operation_id}/pause", response_model=SteeredView, responses=CHANGE)
async def post_pause(operation_id: str, body: SteerBody, asker: Asker) -> Response:
    """Have a rollout wait for a person before its next step; `approve` has it go on."""
    return await _steered(asker, operation_id, Verb.PAUSE, body)


@router.post("/{operation_id}/abort", response_model=SteeredView, responses=CHANGE)
async def post_abort(operation_id: str, body: SteerBody, asker: Asker) -> Response:
    """Give a rollout up: it fails, and the older version gets every request back."""
    return await _steered(asker, operation_id, Verb.ABORT, body)


async def _steered(
    asker: Caller, operation_id: str, verb: Verb, body: SteerBody, changes: dict[str, Any] | None = None
) -> Response:
    caller = asker.because(body.reason)
    return changed(
        await steer_operation(caller, operation_id, verb, step=body.step, attempt=body.attempt, changes=changes)
    )


@router.post("/{operation_id}/cancel", response_model=CancelAskedView, responses=CHANGE)
async def post_cancel(operation_id: str, body: Body, asker: Asker) -> Response:
    """Ask an operation to stop and to put the previous state back."""
    return changed(await cancel_operation(asker.because(body.reason), operation_id))


async def _operation(web: Here, who: Who, operation_id: str) -> OperationView | None:
    with sorted_failures():
        view = await read_operation(web.sources, operation_id)
    if view is not None and not who.sees(view.operation.application, view.operation.account):
        raise Problem("not-found", f"no operation {operation_id!r} is known to the engine", "list what is there")
    return view
