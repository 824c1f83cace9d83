"""The workflow of every operation: from an untyped request to a result, with a wind-down on failure and on cancel."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stormsail.delivery.model.operation import (
        MEMO_OUTCOME,
        RUNNER,
        OperationProgress,
        OperationRequest,
        OperationResult,
        OperationStatus,
        OutcomeMemo,
    )
    from stormsail.delivery.model.priority import Priority, priority_of
    from stormsail.delivery.model.steering import MEMO_STEERING, STEER, CancelReason, SteerRequest
    from stormsail.delivery.operations.cloud import OperationFailure
    from stormsail.delivery.operations.conduct import Conduct
    from stormsail.delivery.operations.installed import installed_operations
    from stormsail.delivery.operations.operation import OperationOutput
    from stormsail.delivery.operations.registry import read_request, resolve
    from stormsail.delivery.operations.temporal_cloud import TemporalCloud
    from stormsail.delivery.operations.undo import Ending, Undone


@workflow.defn(name=RUNNER)
class UntypedCloudOperationRunner:
    """One operation. Business failures are its result; it fails only by a bug and is cancelled only on request."""

    @workflow.init
    def __init__(self, untyped: Any = None) -> None:
        self._status = OperationStatus.RUNNING
        self._refused: OperationFailure | None = None
        try:
            request = read_request(untyped)
        except OperationFailure as failure:
            # Anybody may start a workflow with anything. Typed by the SDK, such an argument would leave it running for
            # ever on failing workflow tasks; read here, it ends at once and says what is wrong.
            self._refused = failure
            request = OperationRequest(operation_type="", application="")
        self._request = request
        self._cloud = TemporalCloud(request.account, request.application)
        self._cloud.priority = priority_of(request.operation_type, request.priority)
        self._conduct = Conduct(
            self._cloud,
            request.account,
            request.application,
            # The first run's id survives resets and retries of the workflow, so tokens do too.
            identity=workflow.info().first_execution_run_id,
            steered=self._remember_steering,
        )

    @workflow.query
    def progress(self) -> OperationProgress:
        """Say how the operation stands, step by step."""
        return OperationProgress(
            operation_type=self._request.operation_type,
            status=self._status,
            steps=self._conduct.steps,
            steering=self._conduct.steering.records,
            rollout=self._conduct.course.progress if self._conduct.course is not None else None,
        )

    @workflow.signal(name=STEER)
    def steer(self, request: SteerRequest) -> None:
        """Take what a person asks of a step, or turn it down; `progress` shows which under the request's id.

        A signal has no answer, and it works on every server: whoever sent it reads the record.
        """
        self._conduct.steering.ask(request)

    @workflow.run
    async def run(self, untyped: Any = None) -> OperationResult:  # noqa: ARG002 - read when the workflow was made
        """Run the operation of an OperationRequest to its end."""
        working = asyncio.create_task(self._operate(self._request))
        try:
            result = await self._finished(working)
        except asyncio.CancelledError:
            undone = await self._wound_down(Ending.CANCEL)
            self._end(OperationStatus.CANCELED, undone.left_behind)
            raise
        self._end(OperationStatus.SUCCEEDED if result.ok else OperationStatus.TERMINAL, result.left_behind)
        return result

    async def _finished(self, working: "asyncio.Task[OperationOutput]") -> OperationResult:
        try:
            try:
                output = await asyncio.shield(working)
            except asyncio.CancelledError:
                # From now on no step begins; the one under way is asked to stop, and its end is waited for.
                self._conduct.stop()
                asked = CancelReason.read(workflow.cancellation_reason() or "")
                self._conduct.steering.cancelled(workflow.info().run_id, asked.by, asked.reason)
                working.cancel()
                output = await working
        except OperationFailure as failure:
            if self._conduct.stopped:
                raise asyncio.CancelledError from failure
            return await self._failed(failure)
        return OperationResult(ok=True, output=output.model_dump(mode="json", by_alias=True), steps=self._conduct.steps)

    async def _operate(self, request: OperationRequest) -> OperationOutput:
        if self._refused is not None:
            raise self._refused
        registered, wanted = resolve(request, workflow.info().workflow_id, installed_operations())
        self._cloud.retry_timeout_s = wanted.retry_timeout
        return await registered.run(self._conduct, wanted)

    async def _failed(self, failure: OperationFailure) -> OperationResult:
        ending = self._conduct.ending_after(failure)
        undone = await self._wound_down(ending)
        return OperationResult(
            ok=False,
            errors=failure.errors,
            steps=self._conduct.steps,
            rolled_back=ending is Ending.ROLL_BACK and undone.any and not undone.left_behind,
            left_behind=undone.left_behind,
        )

    async def _wound_down(self, ending: Ending) -> Undone:
        """Put back what is to be put back. From here on nothing that is asked for is more urgent."""
        self._cloud.priority = Priority.ROLLBACK
        return await _uninterrupted(self._conduct.wind_down(ending))

    def _remember_steering(self) -> None:
        """Write what people asked where lists see it, and where it stays once the workflow has ended."""
        workflow.upsert_memo({MEMO_STEERING: self._conduct.steering.memo.model_dump(mode="json")})

    def _end(self, status: OperationStatus, left_behind: tuple[str, ...]) -> None:
        """Write the outcome where lists see it; a cancelled workflow has no result to tell it in."""
        self._status = status
        outcome = OutcomeMemo(status=status, left_behind=left_behind)
        workflow.upsert_memo({MEMO_OUTCOME: outcome.model_dump(mode="json")})


async def _uninterrupted(winding_down: Coroutine[Any, Any, Undone]) -> Undone:
    """Wait for a wind-down to its end, whoever cancels meanwhile: half of one is worse than a late one."""
    task = asyncio.create_task(winding_down)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    return task.result()
