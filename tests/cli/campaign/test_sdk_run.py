"""The SDK's workflow code fed with history: replay is checked, and what is not known is told."""

import asyncio

import pytest
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.contrib.pydantic import pydantic_data_converter

from stormsail.cli.campaign.sdk_run import CachedRun, NotDeterministic
from stormsail.delivery.model.operation import RUNNER, OperationRequest, workflow_id_of

REQUEST = OperationRequest(
    operation_type="disableServerGroup", payload={"serverGroupName": "web-v000"}, application="web", account="model"
)


def begun() -> list[HistoryEvent]:
    """The history of an operation that nobody has worked on yet, up to its first workflow task."""
    started = HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    attributes = started.workflow_execution_started_event_attributes
    attributes.workflow_type.name = RUNNER
    attributes.first_execution_run_id = "run"
    attributes.attempt = 1
    attributes.input.payloads.extend(pydantic_data_converter.payload_converter.to_payloads([REQUEST]))
    return [
        started,
        HistoryEvent(event_id=2, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED),
        HistoryEvent(event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED),
    ]


def gone_on(activity_id: str) -> list[HistoryEvent]:
    """What such a history has when its first task asked for an activity and nobody answered the second one."""
    scheduled = HistoryEvent(event_id=5, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    scheduled.activity_task_scheduled_event_attributes.activity_id = activity_id
    scheduled.activity_task_scheduled_event_attributes.activity_type.name = "observe"
    failed = HistoryEvent(event_id=6, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED)
    attributes = failed.activity_task_failed_event_attributes
    attributes.scheduled_event_id = 5
    attributes.failure.message = "there is no such account"
    attributes.failure.application_failure_info.type = "NotFound"
    return [
        HistoryEvent(event_id=4, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED),
        scheduled,
        failed,
        HistoryEvent(event_id=7, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED),
        HistoryEvent(event_id=8, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED),
    ]


async def fed(*pieces: list[HistoryEvent]) -> list[CommandType.ValueType]:
    """Feed a new run, outside of any task as it asks for, and return the kinds of its last commands."""
    run = CachedRun("default", workflow_id_of(REQUEST), "run", "stormsail")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[CommandType.ValueType]] = loop.create_future()

    def feed() -> None:
        try:
            commands = [run.feed(piece) for piece in pieces][-1]
            done.set_result([command.command_type for command in commands])
        except NotDeterministic as wrong:
            done.set_exception(wrong)
        run.evict()

    loop.call_soon(feed)
    return await done


ENDED = [
    CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES,
    CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
]


async def test_the_first_task_asks_for_what_the_operation_does_first() -> None:
    assert await fed(begun()) == [CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK]


async def test_a_history_fed_at_once_and_one_fed_piece_by_piece_lead_to_the_same() -> None:
    assert await fed(begun(), gone_on("001-observe")) == ENDED
    assert await fed(begun() + gone_on("001-observe")) == ENDED


async def test_a_history_that_the_code_would_not_have_written_is_told() -> None:
    with pytest.raises(NotDeterministic, match="002-observe"):
        await fed(begun() + gone_on("002-observe"))


async def test_an_event_that_is_not_known_here_is_told() -> None:
    started, scheduled, task = begun()
    signal = HistoryEvent(event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    with pytest.raises(NotDeterministic, match="not fed here"):
        await fed([started, scheduled, signal, task])
