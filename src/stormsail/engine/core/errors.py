"""The ways a request is turned down, each with its gRPC status and Temporal's own error detail."""

from typing import Final

from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from temporalio.api.errordetails.v1 import (
    CancellationAlreadyRequestedFailure,
    MultiOperationExecutionFailure,
    NamespaceAlreadyExistsFailure,
    NamespaceNotFoundFailure,
    NotFoundFailure,
    PermissionDeniedFailure,
    QueryFailedFailure,
    ResourceExhaustedFailure,
    WorkflowExecutionAlreadyStartedFailure,
    WorkflowNotReadyFailure,
)
from temporalio.api.failure.v1 import Failure, MultiOperationExecutionAborted


class Refused(Exception):
    """A request understood and turned down; state is unchanged. Becomes a gRPC status.

    `detail` is packed into google.rpc.Status.details, where the SDKs look for it.
    """

    status = "FAILED_PRECONDITION"

    def __init__(self, message: str, detail: Message | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class InvalidArgument(Refused):
    """A field that breaks its rule; the message names both."""

    status = "INVALID_ARGUMENT"


class NotFound(Refused):
    """The thing named is not there, or no longer."""

    status = "NOT_FOUND"

    def __init__(self, message: str) -> None:
        super().__init__(message, NotFoundFailure())


class NamespaceNotFound(Refused):
    """No such namespace."""

    status = "NOT_FOUND"

    def __init__(self, namespace: str) -> None:
        super().__init__(f"Namespace {namespace} is not found.", NamespaceNotFoundFailure(namespace=namespace))


class NamespaceAlreadyExists(Refused):
    """A namespace of that name is registered."""

    status = "ALREADY_EXISTS"

    def __init__(self, namespace: str) -> None:
        super().__init__(f'Namespace "{namespace}" already exists', NamespaceAlreadyExistsFailure())


class AlreadyStarted(Refused):
    """The workflow id is in use, or the reuse policy forbids it."""

    status = "ALREADY_EXISTS"

    def __init__(self, message: str, start_request_id: str, run_id: str, first_execution_run_id: str = "") -> None:
        detail = WorkflowExecutionAlreadyStartedFailure(
            start_request_id=start_request_id, run_id=run_id, first_execution_run_id=first_execution_run_id
        )
        super().__init__(message, detail)


class CancellationAlreadyRequested(Refused):
    """The run is already being cancelled by another request."""

    status = "ALREADY_EXISTS"

    def __init__(self) -> None:
        super().__init__(
            "Cancellation already requested for this workflow execution.", CancellationAlreadyRequestedFailure()
        )


class FailedPrecondition(Refused):
    """The state does not allow it now."""


class WorkflowNotReady(Refused):
    """The run cannot answer this yet, for example a query before its first workflow task."""

    def __init__(self, message: str) -> None:
        super().__init__(message, WorkflowNotReadyFailure())


class QueryFailed(Refused):
    """The worker answered a query with a failure."""

    status = "INVALID_ARGUMENT"

    def __init__(self, message: str, failure: Failure | None = None) -> None:
        super().__init__(message, QueryFailedFailure(failure=failure))


class ResourceExhausted(Refused):
    """A limit is reached; later, or less, may do."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, detail: ResourceExhaustedFailure | None = None) -> None:
        super().__init__(message, detail or ResourceExhaustedFailure())


class Unimplemented(Refused):
    """Not served here; the message names the RPC or the field."""

    status = "UNIMPLEMENTED"


class Unavailable(Refused):
    """Not now: the server is stopping, or its disk refuses writes. Clients retry."""

    status = "UNAVAILABLE"


class DeadlineExceeded(Refused):
    """The caller's time is over, or nobody answered in it."""

    status = "DEADLINE_EXCEEDED"


class Unauthenticated(Refused):
    """The server does not know who calls, and asks."""

    status = "UNAUTHENTICATED"


class PermissionDenied(Refused):
    """Not allowed on this server."""

    status = "PERMISSION_DENIED"

    def __init__(self, message: str) -> None:
        super().__init__(message, PermissionDeniedFailure())


class Aborted(Refused):
    """Given up because of something else that happened; asked again, it may do."""

    status = "ABORTED"


OPERATION_ABORTED: Final = Aborted("Operation was aborted.", MultiOperationExecutionAborted())
"""What became of the half of an update-with-start that was not tried, because the other one failed."""


class Cancelled(Refused):
    """The call was given up by the server, for example a poll of a worker that is shutting down."""

    status = "CANCELLED"


class MultiOperationFailed(Refused):
    """An update-with-start of which one half failed. The details say of each half how it went, in the order asked."""

    def __init__(self, start: Refused | None, update: Refused | None) -> None:
        failed = [one for one in (start, update) if one is not None and one is not OPERATION_ABORTED]
        self.status = failed[0].status if failed else OPERATION_ABORTED.status
        self.start, self.update = start, update
        statuses = [_operation_status(start), _operation_status(update)]
        super().__init__("Update-with-Start could not be executed.", MultiOperationExecutionFailure(statuses=statuses))

    @classmethod
    def at_start(cls, refused: Refused) -> "MultiOperationFailed":
        """The start was refused, so there was no update."""
        return cls(refused, OPERATION_ABORTED)

    @classmethod
    def at_update(cls, refused: Refused, *, started: bool) -> "MultiOperationFailed":
        """The update was refused. `started`: the workflow was started all the same."""
        return cls(None if started else OPERATION_ABORTED, refused)


def _operation_status(refused: Refused | None) -> MultiOperationExecutionFailure.OperationStatus:
    if refused is None:
        return MultiOperationExecutionFailure.OperationStatus()
    told = MultiOperationExecutionFailure.OperationStatus(code=Code.Value(refused.status), message=refused.message)
    if refused.detail is not None:
        told.details.add().Pack(refused.detail)
    return told


class InvalidTransition(AssertionError):
    """A history no correct server writes: our bug or a damaged file, never the client's fault."""
