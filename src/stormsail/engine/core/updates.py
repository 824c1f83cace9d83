"""What a run's state says of its updates: how far each is, how many there are, which ones a worker must be given."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from google.protobuf.any_pb2 import Any
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Outcome, Request

from stormsail.engine.core import failures
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.state import RunState

ADMITTED: Final = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
ACCEPTED: Final = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED: Final = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an update is. A completed one has an outcome: here, or in the event of this id."""

    stage: Stage.ValueType
    outcome: Outcome | None = None
    completed_event_id: int = 0


def reached(state: RunState, update_id: str) -> Reached | None:
    """Say how far an update is; None where the run knows nothing of it. Rejected ones it does not remember."""
    if update_id in state.updates_completed:
        return Reached(COMPLETED, completed_event_id=state.updates_completed[update_id])
    if update_id in state.updates_accepted:
        # Whoever knows that an update was accepted waits for an outcome: the end of the run is one.
        return Reached(ACCEPTED) if state.open else Reached(COMPLETED, Outcome(failure=failures.UPDATE_OUTLIVED_RUN))
    return Reached(ADMITTED) if update_id in state.updates_admitted else None


def packed(request: Request) -> Any:
    """Return a request as it goes into a message."""
    body = Any()
    body.Pack(request)
    return body


def message_id(update_id: str) -> str:
    """Return the id of the message that gives a worker this update."""
    return f"{update_id}/request"


def outgoing(state: RunState, started_event_id: int, *, resend: bool) -> tuple[Message, ...]:
    """Return the messages that go with a workflow task; `resend` adds the updates that a worker was given before."""
    return tuple(
        Message(
            id=message_id(update_id),
            protocol_instance_id=update_id,
            event_id=started_event_id - 1,
            body=one.request,
        )
        for update_id, one in state.updates_admitted.items()
        if one.request is not None and (resend or not one.sent)
    )


def in_flight(state: RunState) -> int:
    """Return how many updates have not ended."""
    return len(state.updates_admitted) + len(state.updates_accepted)


def count(state: RunState) -> int:
    """Return how many updates the run has had, but for rejected ones."""
    return in_flight(state) + len(state.updates_completed)


def in_flight_bytes(state: RunState) -> int:
    """Return the size of the updates that have not ended, as Temporal's registry counts it: each id twice."""
    admitted = sum(one.request.ByteSize() for one in state.updates_admitted.values() if one.request is not None)
    return admitted + 2 * (_bytes(state.updates_admitted) + _bytes(state.updates_accepted))


def nearly_too_many(state: RunState, limits: Limits) -> bool:
    """Say whether the run had better continue as new because of its many updates."""
    return count(state) >= math.ceil(limits.updates_max * limits.updates_suggest_continue_as_new)


def _bytes(ids: Iterable[str]) -> int:
    return sum(len(one.encode()) for one in ids)
