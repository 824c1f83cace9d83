"""What delivery and the engine say no with, as problems that name the thing and the next step."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.service import RPCError, RPCStatusCode

from stormsail.delivery import client_types as failures
from stormsail.web.problems import Problem, Violation
from stormsail.web.sources.engine import NotThere, Refused
from stormsail.web.sources.held import SourceFailed
from stormsail.web.views.paging import BadCursor

_REFUSALS = {
    "INVALID_ARGUMENT": "invalid",
    "FAILED_PRECONDITION": "conflict",
    "ALREADY_EXISTS": "conflict",
    "OUT_OF_RANGE": "invalid",
    "ABORTED": "conflict",
    "SHORT": "invalid",
    "AMBIGUOUS": "invalid",
}


@contextmanager
def sorted_failures() -> Iterator[None]:
    """Turn what a change or a reading raises into a Problem."""
    try:
        yield
    except (failures.DeliveryError, NotThere, Refused, SourceFailed, BadCursor, RPCError, RuntimeError) as error:
        problem = problem_of(error)
        if problem is None:
            raise
        raise problem from error


def problem_of(error: BaseException) -> Problem | None:
    """Return the problem that an error is for the caller, or None for a bug of ours."""
    match error:
        case failures.OperationConflict():
            running = error.running.operation_id
            return Problem("conflict", str(error), f"GET /api/v1/operations/{running} shows the one that runs")
        case failures.IdempotencyKeyReused():
            return Problem("key-reused", str(error), "use a new key", field="Idempotency-Key", rule="one request a key")
        case failures.SteeringRefused() | failures.OperationEnded():
            return Problem("conflict", str(error), "read the operation again: it has moved on")
        case failures.OperationNotFound() | failures.ApplicationNotFound() | NotThere():
            return Problem("not-found", str(error), "list what is there")
        case failures.AmbiguousOperation():
            return Problem("invalid", str(error), "give the whole id", field="operation_id", rule="fits one operation")
        case failures.NoWorker():
            return Problem("unknown-outcome", str(error), "it is done as soon as a worker is there, if at all")
        case failures.EngineRefused():
            return _refused(error.status, str(error))
        case failures.DeliveryError():
            return Problem("unknown-outcome", str(error), "send it again with the same Idempotency-Key")
        case Refused():
            return _refused(error.status, str(error))
        case SourceFailed():
            return Problem("source-away", str(error), "come again in a moment", retry_after_s=2)
        case BadCursor():
            return Problem(
                "bad-cursor",
                "the cursor is not one that this list gave out",
                "begin at the first page, without a cursor",
                field="cursor",
                rule="next_cursor of this list's page before",
            )
        case RPCError() if error.status is RPCStatusCode.NOT_FOUND:
            return Problem("not-found", error.message, "list what is there")
        case RPCError():
            return _refused(error.status.name, error.message)
        case RuntimeError() if "connect" in str(error).lower():
            # What the SDK raises where its first connection cannot be made.
            return Problem("source-away", "the engine does not answer", "start it with `stormsail up`", retry_after_s=2)
    return None


def invalid(errors: list[tuple[str, str]]) -> Problem:
    """Return the problem of fields that break rules."""
    field, rule = errors[0]
    return Problem(
        "invalid",
        f"{field or 'the request'}: {rule}",
        "correct the fields named in `errors`",
        field=field,
        rule=rule,
        errors=tuple(Violation(one, why) for one, why in errors),
    )


def _refused(status: str, message: str) -> Problem:
    if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"):
        return Problem("unknown-outcome", message, "send it again with the same Idempotency-Key")
    if status == "RESOURCE_EXHAUSTED":
        return Problem("source-away", message, "come again in a moment", retry_after_s=2)
    return Problem(_REFUSALS.get(status, "engine-refused"), message, "correct what the message names")
