"""Changing operations: starting them, and steering those that run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stormsail.delivery.model.operation import OperationRequest, cluster_of, workflow_id_of
from stormsail.delivery.model.priority import Priority
from stormsail.delivery.model.steering import Verb
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.installed import installed_operations
from stormsail.delivery.operations.registry import resolve
from stormsail.delivery.records.keys import Role
from stormsail.web.changes.change import Caller, Done, Wanted, carry_out
from stormsail.web.changes.failures import invalid, sorted_failures
from stormsail.web.problems import Problem
from stormsail.web.views.applications import ServerGroupView, read_application
from stormsail.web.views.operation import OperationView, read_operation

ATTEMPT_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class StartedView:
    """An operation that was started, or that the same idempotency key had started before."""

    operation_id: str
    workflow_id: str
    attached: bool
    """Whether it was there already."""


@dataclass(frozen=True, slots=True)
class SteeredView:
    """What was asked of a step, as the operation keeps it."""

    operation_id: str
    id: str
    verb: str
    step: str
    by: str
    reason: str
    at_ms: int
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CancelAskedView:
    """An operation that was asked to stop and to put the previous state back."""

    operation_id: str
    asked: bool


@dataclass(frozen=True, slots=True)
class PlanView:
    """What a start would ask for, and what is there now; nothing is done."""

    operation_type: str
    application: str
    account: str
    cluster: str
    request: dict[str, Any]
    """The payload as the operation reads it, with its defaults."""
    server_groups: tuple[ServerGroupView, ...]
    """What the cluster is now."""
    running: tuple[str, ...]
    """Operations that run on the cluster: a start would be refused."""


async def start_operation(
    caller: Caller,
    operation_type: str,
    application: str,
    account: str,
    payload: Mapping[str, Any],
    priority: Priority | None = None,
) -> Done:
    """Start an operation. Raises Problem, `invalid` with every field of the payload that breaks a rule."""
    caller.principal.must(Role.WRITE, application, account)
    request = OperationRequest(
        operation_type=operation_type,
        payload=dict(payload),
        application=application,
        account=account,
        reason=caller.reason,
        requested_by=caller.principal.name,
        priority=priority,
    )
    _typed(request, caller)
    cluster = cluster_of(request)

    async def make(request_id: str) -> StartedView:
        handle = await caller.web.sources.engine.changing.start(
            request.model_copy(update={"idempotency_key": request_id})
        )
        return StartedView(handle.operation_id, handle.workflow_id, handle.attached)

    wanted = Wanted(
        f"operation.start.{operation_type}"[:60],
        f"cluster/{account}/{cluster}",
        application,
        account,
        {
            "operation_type": operation_type,
            "payload": dict(payload),
            **({"priority": priority.value} if priority is not None else {}),
        },
    )
    return await carry_out(caller, wanted, make, status=201, before=lambda: _cluster_now(caller, request))


async def plan_operation(
    caller: Caller, operation_type: str, application: str, account: str, payload: Mapping[str, Any]
) -> PlanView:
    """Say what a start would do, as far as it is known before; the same rules are checked, and nothing is done."""
    caller.principal.must(Role.READ, application, account)
    request = OperationRequest(
        operation_type=operation_type, payload=dict(payload), application=application, account=account
    )
    typed = _typed(request, caller)
    now = await _cluster_now(caller, request)
    return PlanView(operation_type, application, account, cluster_of(request), typed, now.server_groups, now.running)


async def steer_operation(
    caller: Caller,
    operation_id: str,
    verb: Verb,
    *,
    step: str = "",
    attempt: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Done:
    """Have a step retried now, skipped, or rerun with another input."""
    seen = await _seen(caller, operation_id)
    caller.principal.must(Role.EXECUTE, seen.operation.application, seen.operation.account)
    if verb is Verb.RERUN and not changes:
        raise invalid([("input", "name at least one field to change")])
    whole = seen.operation.operation_id

    async def make(request_id: str) -> SteeredView:
        record = await caller.web.sources.engine.changing.steer(
            whole,
            verb,
            step=step,
            reason=caller.reason,
            requested_by=caller.principal.name,
            changes=changes,
            attempt=attempt,
            request_id=request_id,
        )
        return SteeredView(
            whole,
            record.id,
            record.verb.value,
            record.step,
            record.by,
            record.reason,
            record.at_ms,
            record.before,
            record.after,
        )

    after = {"step": step, "attempt": attempt, "input": dict(changes or {})}
    wanted = _on(seen, f"operation.{verb.value}", after)
    return await carry_out(caller, wanted, make, before=lambda: _standing(caller, whole))


async def cancel_operation(caller: Caller, operation_id: str) -> Done:
    """Ask an operation to stop and to put the previous state back."""
    seen = await _seen(caller, operation_id)
    caller.principal.must(Role.EXECUTE, seen.operation.application, seen.operation.account)
    whole = seen.operation.operation_id
    if not seen.can_cancel:
        raise Problem("conflict", f"operation {whole[:13]} has ended already: there is nothing to cancel", "read it")

    async def make(_: str) -> CancelAskedView:
        await caller.web.sources.engine.changing.cancel(whole, caller.reason, caller.principal.name)
        return CancelAskedView(whole, asked=True)

    return await carry_out(caller, _on(seen, "operation.cancel", None), make, before=lambda: _standing(caller, whole))


async def _seen(caller: Caller, operation_id: str) -> OperationView:
    with sorted_failures():
        seen = await read_operation(caller.web.sources, operation_id)
    if seen is None:
        raise Problem("source-away", "the engine does not answer", "come again in a moment", retry_after_s=2)
    if not caller.principal.sees(seen.operation.application, seen.operation.account):
        raise Problem("not-found", f"no operation {operation_id!r} is known", "list what is there")
    return seen


async def _standing(caller: Caller, operation_id: str) -> OperationView | None:
    with sorted_failures():
        return await read_operation(caller.web.sources, operation_id)


def _on(seen: OperationView, verb: str, after: Mapping[str, Any] | None) -> Wanted:
    row = seen.operation
    return Wanted(verb, f"operation/{row.operation_id}", row.application, row.account, after)


@dataclass(frozen=True, slots=True)
class ClusterNow:
    """What a cluster is before a change."""

    server_groups: tuple[ServerGroupView, ...]
    running: tuple[str, ...]


async def _cluster_now(caller: Caller, request: OperationRequest) -> ClusterNow:
    """Read the cluster. A cloud that does not answer stops no change: the operation itself looks before it acts."""
    seen = await read_application(caller.web.sources, request.application)
    cluster = cluster_of(request)
    if seen is None:
        return ClusterNow((), ())
    groups = tuple(
        group
        for one in seen.clusters
        if one.name == cluster and one.account == request.account
        for group in one.server_groups
    )
    running = tuple(
        row.operation_id
        for row in seen.operations
        if row.state in ("running", "waiting") and row.cluster == cluster and row.account == request.account
    )
    return ClusterNow(groups, running)


def _typed(request: OperationRequest, caller: Caller) -> dict[str, Any]:
    """Check a request by the rules of its operation. Raises Problem."""
    if request.account not in caller.web.sources.accounts:
        known = ", ".join(caller.web.sources.accounts)
        raise invalid([("account", f"there is no account {request.account!r} here; there are {known}")])
    try:
        _, typed = resolve(request, workflow_id_of(request), installed_operations())
    except OperationFailure as failure:
        raise invalid([(error.field, error.message) for error in failure.errors]) from failure
    shown: dict[str, Any] = typed.model_dump(mode="json", by_alias=True)
    return shown
