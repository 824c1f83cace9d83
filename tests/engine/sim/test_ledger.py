"""What callers were told, held against what they are told later: what breaks a promise, and what does not."""

import pytest
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from stormsail.engine.sim.ledger import Ledger
from stormsail.engine.sim.trace import Violation


def attempt(number: int, told: str = "") -> PollActivityTaskQueueResponse:
    task = PollActivityTaskQueueResponse(
        task_token=str(number).encode(),
        workflow_execution=WorkflowExecution(workflow_id="w", run_id="r"),
        activity_id="a",
        attempt=number,
    )
    if told:
        task.heartbeat_details.CopyFrom(Payloads(payloads=[Payload(data=told.encode())]))
    return task


@pytest.mark.parametrize(
    ("sent_by_second", "told", "broken"),
    [(None, "2", 0), (None, "1", 1), (None, "", 1), (0, "2", 0), (0, "0", 0), (1, "0", 1)],
)
def test_the_next_attempt_is_told_the_last_heartbeat_or_one_that_was_sent_since(
    sent_by_second: int | None, told: str, broken: int
) -> None:
    complaints: list[Violation] = []
    ledger = Ledger(complaints.append)
    first = attempt(1)
    for number in range(3):
        ledger.beating(first, number)
        ledger.beaten(first, number)
    if sent_by_second is not None:
        ledger.beating(attempt(2, "2"), sent_by_second)
    ledger.activity_delivered("worker", attempt(3, told))
    assert len(complaints) == broken
