"""People who put runs and activities in order while all goes on: pause, unpause, reset, change, delete."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DeleteWorkflowExecutionResponse,
    PauseActivityRequest,
    PauseActivityResponse,
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.sim.caller import Caller
from stormsail.engine.sim.children import BYSTANDER
from stormsail.engine.sim.program import CHILD_MARK
from stormsail.engine.sim.swarm import Swarm
from stormsail.engine.sim.trace import Violation
from stormsail.engine.sim.watch import Watch

ACTIVITY_TYPE: Final = "A"
_OPTIONS: Final = ("retry_policy.maximum_attempts", "start_to_close_timeout", "priority.priority_key")


class Administrator:
    """One of them. It looks at what runs, as people do on a page, and acts on it."""

    def __init__(self, caller: Caller, swarm: Swarm, watch: Watch) -> None:
        self._caller = caller
        self._swarm = swarm
        self._watch = watch
        self._chance = caller.chance

    async def work(self) -> None:
        """Do one thing after the other."""
        features = self._swarm.features
        offered: tuple[tuple[str, tuple[Callable[[RunKey], Awaitable[None]], ...]], ...] = (
            ("activities", (self._pause_activities, self._unpause_activities, self._reset_activities, self._change)),
            ("activities", (self._pause_activities, self._reset_activities, self._change_run)),
            ("pauses", (self._pause, self._pause, self._unpause)),
            ("families", (self._end_child,)),
            ("deletions", (self._delete,)),
            ("resets", (self._reset,)),
        )
        operations = [one for feature, some in offered if feature in features for one in some]
        for _ in range(self._swarm.operations if operations else 0):
            await asyncio.sleep(self._chance.random() * self._chance.choice((0.1, 0.5, 2.0)))
            key = self._some_run()
            if key is not None:
                await self._chance.choice(operations)(key)

    def _some_run(self) -> RunKey | None:
        """Choose a run, mostly an open one."""
        mine = {(self._caller.namespace, workflow_id) for workflow_id in self._caller.workflow_ids}
        some = [key for workflow, key in self._watch.open_runs.items() if workflow in mine]
        if not some or self._chance.random() < 0.2:
            some = [key for key in self._watch.runs if key.workflow in mine]
        return self._chance.choice(some) if some else None

    async def _pause_activities(self, key: RunKey) -> None:
        request = PauseActivityRequest(
            namespace=key.namespace,
            execution=_execution(key),
            type=ACTIVITY_TYPE,
            identity=self._caller.name,
            request_id=self._caller.ids.uuid(),
        )
        done = await self._caller.done("PauseActivity", request, PauseActivityResponse)
        if done and request.request_id not in self._watch.pauses:
            self._broken("D1", f"a pause of the activities of {key} was acknowledged, and none was committed")

    async def _unpause_activities(self, key: RunKey) -> None:
        request = UnpauseActivityRequest(
            namespace=key.namespace, execution=_execution(key), unpause_all=True, identity=self._caller.name
        )
        request.reset_attempts = self._chance.random() < 0.3
        request.reset_heartbeat = self._chance.random() < 0.3
        if request.reset_attempts or request.reset_heartbeat:
            self._watch.attempts_forgotten.add(key)
        await self._caller.done("UnpauseActivity", request, UnpauseActivityResponse)

    async def _reset_activities(self, key: RunKey) -> None:
        self._watch.attempts_forgotten.add(key)
        request = ResetActivityRequest(
            namespace=key.namespace, execution=_execution(key), match_all=True, identity=self._caller.name
        )
        request.keep_paused = self._chance.random() < 0.5
        request.reset_heartbeat = self._chance.random() < 0.5
        request.restore_original_options = self._chance.random() < 0.3
        await self._caller.done("ResetActivity", request, ResetActivityResponse)

    async def _change(self, key: RunKey) -> None:
        request = UpdateActivityOptionsRequest(
            namespace=key.namespace, execution=_execution(key), match_all=True, identity=self._caller.name
        )
        if self._chance.random() < 0.3:
            request.restore_original = True
        else:
            request.update_mask.CopyFrom(FieldMask(paths=[self._chance.choice(_OPTIONS)]))
            request.activity_options.retry_policy.maximum_attempts = self._chance.randint(2, 4)
            request.activity_options.start_to_close_timeout.FromMilliseconds(self._chance.choice((2_000, 5_000)))
            request.activity_options.priority.priority_key = self._chance.randint(1, 5)
        await self._caller.done("UpdateActivityOptions", request, UpdateActivityOptionsResponse)

    async def _change_run(self, key: RunKey) -> None:
        request = UpdateWorkflowExecutionOptionsRequest(
            namespace=key.namespace,
            workflow_execution=_execution(key),
            update_mask=FieldMask(paths=["priority"]),
            identity=self._caller.name,
        )
        priority = Priority(priority_key=self._chance.randint(1, 5), fairness_key="d")
        request.workflow_execution_options.priority.CopyFrom(priority)
        await self._caller.done("UpdateWorkflowExecutionOptions", request, UpdateWorkflowExecutionOptionsResponse)

    async def _pause(self, key: RunKey) -> None:
        """Pause a run, and mostly let it go on."""
        request = PauseWorkflowExecutionRequest(
            namespace=key.namespace,
            workflow_id=key.workflow_id,
            run_id=key.run_id,
            identity=self._caller.name,
            request_id=self._caller.ids.uuid(),
            reason="to look at it",
        )
        if await self._caller.done("PauseWorkflowExecution", request, PauseWorkflowExecutionResponse):
            self._caller.ledger.paused.append((key, request.request_id))
        await asyncio.sleep(self._chance.random() * 4.0)
        if self._chance.random() < 0.8:
            await self._unpause(key)

    async def _unpause(self, key: RunKey) -> None:
        request = UnpauseWorkflowExecutionRequest(
            namespace=key.namespace,
            workflow_id=key.workflow_id,
            run_id=key.run_id,
            identity=self._caller.name,
            request_id=self._caller.ids.uuid(),
        )
        if await self._caller.done("UnpauseWorkflowExecution", request, UnpauseWorkflowExecutionResponse):
            self._caller.ledger.unpaused.append((key, request.request_id))

    async def _end_child(self, _: RunKey) -> None:
        """Cancel or terminate a child: its parent hears of it."""
        own = self._caller.namespace
        some = [
            key
            for (namespace, workflow_id), key in self._watch.open_runs.items()
            if namespace == own and workflow_id.endswith(CHILD_MARK)
        ]
        if not some:
            return
        key = self._chance.choice(some)
        if self._chance.random() < 0.5:
            cancel = RequestCancelWorkflowExecutionRequest(
                namespace=own,
                workflow_execution=_execution(key),
                identity=BYSTANDER,
                request_id=self._caller.ids.uuid(),
            )
            await self._caller.done("RequestCancelWorkflowExecution", cancel, RequestCancelWorkflowExecutionResponse)
        else:
            end = TerminateWorkflowExecutionRequest(
                namespace=own, workflow_execution=_execution(key), identity=BYSTANDER
            )
            await self._caller.done("TerminateWorkflowExecution", end, TerminateWorkflowExecutionResponse)

    async def _delete(self, key: RunKey) -> None:
        self._caller.ledger.to_delete.add(key)
        request = DeleteWorkflowExecutionRequest(namespace=key.namespace, workflow_execution=_execution(key))
        done = await self._caller.done("DeleteWorkflowExecution", request, DeleteWorkflowExecutionResponse)
        if done and key in self._watch.runs:
            self._broken("D1", f"{key} was acknowledged as deleted, and is there")

    async def _reset(self, key: RunKey) -> None:
        """Go back to one of the workflow tasks of a run, or to where its first one waits."""
        tasks = [
            event.event_id
            for event in self._watch.known(key).events
            if NAME_OF_TYPE[event.event_type] in ("WorkflowTaskCompleted", "WorkflowTaskTimedOut", "WorkflowTaskFailed")
        ]
        request = ResetWorkflowExecutionRequest(
            namespace=key.namespace,
            workflow_execution=_execution(key),
            workflow_task_finish_event_id=self._chance.choice(tasks) if tasks else 3,
            request_id=self._caller.ids.uuid(),
            reason="to try it again",
            identity=self._caller.name,
        )
        try:
            reply = await self._caller.certain("ResetWorkflowExecution", request, ResetWorkflowExecutionResponse)
        except Refused:
            return
        if reply is not None:
            made = RunKey(key.namespace, key.workflow_id, reply.run_id)
            self._caller.know(key.workflow_id, reply.run_id)
            if made not in self._watch.runs and made not in self._watch.deleted:
                self._broken("D1", f"{made} was acknowledged as made by a reset, and is not there")

    def _broken(self, invariant: str, text: str) -> None:
        self._caller.ledger.violated(Violation(invariant, text))


async def let_go(caller: Caller, watch: Watch) -> None:
    """Unpause whatever is paused."""
    for key in list(watch.open_runs.values()):
        state = watch.runs[key].state
        if state.paused:
            unpause = UnpauseWorkflowExecutionRequest(
                namespace=key.namespace, workflow_id=key.workflow_id, run_id=key.run_id, identity=caller.name
            )
            await caller.done("UnpauseWorkflowExecution", unpause, UnpauseWorkflowExecutionResponse)
        if any(activity.paused_at_ms for activity in state.activities.values()):
            request = UnpauseActivityRequest(
                namespace=key.namespace, execution=_execution(key), unpause_all=True, identity=caller.name
            )
            await caller.done("UnpauseActivity", request, UnpauseActivityResponse)


def _execution(key: RunKey) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id)
