"""Workflows that start, signal and cancel other workflows, for the tests that run a real worker."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    TemporalError,
    WorkflowAlreadyStartedError,
)
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy


@workflow.defn
class Kin:
    """A child that does what its argument says."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, what: str) -> str:
        match what:
            case "fails":
                raise ApplicationError("no", "detail", type="Broken")
            case "fails twice":
                if workflow.info().attempt < 3:
                    raise ApplicationError("again")
            case "continues":
                workflow.continue_as_new("echo")
            case "waits":
                await workflow.wait_condition(lambda: bool(self.heard))
            case "lingers":
                try:
                    await workflow.wait_condition(lambda: False)
                except asyncio.CancelledError:
                    await asyncio.sleep(0.3)
                    raise
            case "sleeps":
                await asyncio.sleep(3_600)
        return f"{what}:{','.join(self.heard)}"

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(what)


@dataclass
class Order:
    what: str
    policy: int = 1
    cancellation: int = 2


@workflow.defn
class Parent:
    """Has one child do something and says what became of it."""

    @workflow.run
    async def run(self, order: Order) -> str:
        try:
            return await workflow.execute_child_workflow(
                Kin.run,
                order.what,
                id=f"{workflow.info().workflow_id} kin",
                execution_timeout=timedelta(seconds=1) if order.what == "sleeps" else None,
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100))
                if "twice" in order.what
                else None,
                memo={"of": "the child"},
                static_summary="a child",
                task_timeout=timedelta(seconds=7),
            )
        except WorkflowAlreadyStartedError:
            return "already started"
        except ChildWorkflowError as error:
            assert error.cause is not None
            return f"{type(error.cause).__name__} {error.retry_state}"


@workflow.defn
class Leaver:
    """Leaves a child behind."""

    def __init__(self) -> None:
        self.how = ""

    @workflow.run
    async def run(self, order: Order) -> str:
        if order.what == "again":
            return "again"
        await workflow.start_child_workflow(
            Kin.run,
            "waits",
            id=f"{workflow.info().workflow_id} kin",
            parent_close_policy=ParentClosePolicy(order.policy),
        )
        await workflow.wait_condition(lambda: bool(self.how))
        match self.how:
            case "fail":
                raise ApplicationError("left")
            case "continue":
                workflow.continue_as_new(Order("again"))
        return self.how

    @workflow.signal
    def leave(self, how: str) -> None:
        self.how = how


@workflow.defn
class Canceller:
    """Cancels its child when told to."""

    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self, order: Order) -> str:
        child = await workflow.start_child_workflow(
            Kin.run,
            order.what,
            id=f"{workflow.info().workflow_id} kin",
            cancellation_type=ChildWorkflowCancellationType(order.cancellation),
        )
        await workflow.wait_condition(lambda: self.told)
        child.cancel()
        try:
            return await child
        except (ChildWorkflowError, asyncio.CancelledError) as error:
            return type(error).__name__

    @workflow.signal
    def go(self) -> None:
        self.told = True


@workflow.defn
class Caller:
    """Signals or cancels another workflow and says what came of it."""

    @workflow.run
    async def run(self, asked: list[str]) -> str:
        what, workflow_id = asked
        try:
            match what:
                case "signal":
                    await workflow.get_external_workflow_handle(workflow_id).signal("hear", "a call")
                case "cancel":
                    await workflow.get_external_workflow_handle(workflow_id).cancel()
                case "child":
                    child = await workflow.start_child_workflow(Kin.run, "waits", id=workflow_id)
                    await asyncio.sleep(1)  # so that the child rests and both servers have one order of things
                    await child.signal(Kin.hear, "a word")
                    return await child
        except (FailureError, TemporalError) as error:
            return f"{type(error).__name__}: {error}"
        return "done"


@workflow.defn
class Ticks:
    """What a cron schedule starts: fails at its second time, and goes on."""

    @workflow.run
    async def run(self) -> int:
        count = workflow.get_last_completion_result(int) if workflow.has_last_completion_result() else 0
        failed = workflow.get_last_failure()
        if count == 1 and failed is None:
            raise ApplicationError("the second time")
        return (count or 0) + 1


@workflow.defn
class Crowd:
    """Starts many children and signals each; for the crash test."""

    @workflow.run
    async def run(self, count: int) -> list[str]:
        async def one(number: int) -> str:
            child = await workflow.start_child_workflow(
                Kin.run, "waits", id=f"{workflow.info().workflow_id} {number}", task_timeout=timedelta(seconds=2)
            )
            await child.signal(Kin.hear, str(number))
            return await child

        return list(await asyncio.gather(*(one(number) for number in range(count))))


WORKFLOWS = [Kin, Parent, Leaver, Canceller, Caller, Ticks, Crowd]
