"""The happenings that traces are written in: each verb is one call, with the fields that it has unless told otherwise.

`{0}` stands for the verb's first word without `=`; a field whose word is not given is left out. `~` is a name that
belongs to the trace alone, `$new` a fresh id, `$name` what was kept under that name.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_VERBS: Final = """
start                | StartWorkflowExecution           | workflow_id=~ workflow_type=Kind task_queue=~ request_id=$new identity=client workflow_id_reuse_policy=ALLOW_DUPLICATE workflow_id_conflict_policy=FAIL
start-bare           | StartWorkflowExecution           |
signal               | SignalWorkflowExecution          | workflow_execution=~ signal_name={0} input={1} request_id=$new identity=client
signal-with-start    | SignalWithStartWorkflowExecution | workflow_id=~ workflow_type=Kind task_queue=~ request_id=$new identity=client signal_name={0} signal_input={1} workflow_id_reuse_policy=ALLOW_DUPLICATE workflow_id_conflict_policy=USE_EXISTING
cancel               | RequestCancelWorkflowExecution   | workflow_execution=~ request_id=$new identity=client reason={0}
terminate            | TerminateWorkflowExecution       | workflow_execution=~ identity=client reason=enough
reset                | ResetWorkflowExecution           | workflow_execution=~ reason=why request_id=$new workflow_task_finish_event_id={0}
delete               | DeleteWorkflowExecution          | workflow_execution=~
describe             | DescribeWorkflowExecution        | execution=~
history              | GetWorkflowExecutionHistory      | execution=~
history-reverse      | GetWorkflowExecutionHistoryReverse | execution=~
query                | QueryWorkflow                    | execution=~ query.query_type={0} query.query_args={1}
list                 | ListWorkflowExecutions           | query={0}
scan                 | ScanWorkflowExecutions           | query={0}
count                | CountWorkflowExecutions          | query={0}
update               | UpdateWorkflowExecution          | workflow_execution=~ request.meta.update_id={0} request.meta.identity=client request.input.name=change request.input.args=in wait_policy.lifecycle_stage=COMPLETED
poll-update          | PollWorkflowExecutionUpdate      | update_ref.workflow_execution=~ update_ref.update_id={0} wait_policy.lifecycle_stage=COMPLETED
update-with-start    | ExecuteMultiOperation            | operations.0.start_workflow.workflow_id=~ operations.0.start_workflow.workflow_type=Kind operations.0.start_workflow.task_queue=~ operations.0.start_workflow.request_id=$new operations.0.start_workflow.identity=client operations.0.start_workflow.workflow_id_conflict_policy=USE_EXISTING operations.0.start_workflow.namespace=$namespace operations.1.update_workflow.namespace=$namespace operations.1.update_workflow.workflow_execution=~ operations.1.update_workflow.request.meta.update_id={0} operations.1.update_workflow.request.meta.identity=client operations.1.update_workflow.request.input.name=change operations.1.update_workflow.wait_policy.lifecycle_stage=COMPLETED
multi                | ExecuteMultiOperation            |
poll                 | PollWorkflowTaskQueue            | task_queue=~ identity=worker
complete             | RespondWorkflowTaskCompleted     | task_token=$task identity=worker
fail-task            | RespondWorkflowTaskFailed        | task_token=$task identity=worker cause=WORKFLOW_WORKER_UNHANDLED_FAILURE failure={0}
answer               | RespondQueryTaskCompleted        | task_token=$task completed_type=ANSWERED query_result={0}
answer-failed        | RespondQueryTaskCompleted        | task_token=$task completed_type=FAILED error_message={0}
reset-sticky         | ResetStickyTaskQueue             | execution=~
poll-activity        | PollActivityTaskQueue            | task_queue=~ identity=worker
complete-activity    | RespondActivityTaskCompleted     | task_token=$activity.{0} result={1} identity=worker
fail-activity        | RespondActivityTaskFailed        | task_token=$activity.{0} failure={1} identity=worker
cancelled-activity   | RespondActivityTaskCanceled      | task_token=$activity.{0} details={1} identity=worker
heartbeat            | RecordActivityTaskHeartbeat      | task_token=$activity.{0} details={1} identity=worker
complete-by-id       | RespondActivityTaskCompletedById | workflow_id=~ activity_id={0} result={1} identity=worker
fail-by-id           | RespondActivityTaskFailedById    | workflow_id=~ activity_id={0} failure={1} identity=worker
cancelled-by-id      | RespondActivityTaskCanceledById  | workflow_id=~ activity_id={0} details={1} identity=worker
heartbeat-by-id      | RecordActivityTaskHeartbeatById  | workflow_id=~ activity_id={0} details={1} identity=worker
pause-activity       | PauseActivity                    | execution=~ id={0} identity=client reason=why
unpause-activity     | UnpauseActivity                  | execution=~ id={0} identity=client
reset-activity       | ResetActivity                    | execution=~ id={0} identity=client
update-activity      | UpdateActivityOptions            | execution=~ id={0} identity=client
update-options       | UpdateWorkflowExecutionOptions   | workflow_execution=~ identity=client
pause-workflow       | PauseWorkflowExecution           | workflow_id=~ request_id=$new identity=client reason=why
unpause-workflow     | UnpauseWorkflowExecution         | workflow_id=~ request_id=$new identity=client reason=on
describe-queue       | DescribeTaskQueue                | task_queue=~ task_queue_type=WORKFLOW
configure-queue      | UpdateTaskQueueConfig            | task_queue=~ task_queue_type=ACTIVITY identity=client
list-partitions      | ListTaskQueuePartitions          | task_queue=~
worker-heartbeat     | RecordWorkerHeartbeat            | identity=worker worker_heartbeat.0.worker_instance_key=~ worker_heartbeat.0.worker_identity=worker worker_heartbeat.0.task_queue=~ worker_heartbeat.0.sdk_name=sdk worker_heartbeat.0.sdk_version=1 worker_heartbeat.0.status=RUNNING
list-workers         | ListWorkers                      | query={0}
describe-worker      | DescribeWorker                   | worker_instance_key=~
shutdown-worker      | ShutdownWorker                   | identity=worker sticky_task_queue=~sticky
create-schedule      | CreateSchedule                   | schedule_id=~ request_id=$new identity=client schedule.action.start_workflow.workflow_id=~run schedule.action.start_workflow.workflow_type=Kind schedule.action.start_workflow.task_queue=~
describe-schedule    | DescribeSchedule                 | schedule_id=~
update-schedule      | UpdateSchedule                   | schedule_id=~ request_id=$new identity=client schedule.action.start_workflow.workflow_id=~run schedule.action.start_workflow.workflow_type=Kind schedule.action.start_workflow.task_queue=~
patch-schedule       | PatchSchedule                    | schedule_id=~ request_id=$new identity=client
delete-schedule      | DeleteSchedule                   | schedule_id=~ identity=client
list-schedules       | ListSchedules                    | query={0} maximum_page_size=100
count-schedules      | CountSchedules                   | query={0}
matching-times       | ListScheduleMatchingTimes        | schedule_id=~ start_time={0} end_time={1}
batch                | StartBatchOperation              | job_id=~job reason=why visibility_query={0}
stop-batch           | StopBatchOperation               | job_id=~job reason=why identity=client
describe-batch       | DescribeBatchOperation           | job_id=~job
list-batches         | ListBatchOperations              |
register-namespace   | RegisterNamespace                | namespace={0} workflow_execution_retention_period=3d
describe-namespace   | DescribeNamespace                | namespace={0}
update-namespace     | UpdateNamespace                  | namespace={0}
deprecate-namespace  | DeprecateNamespace               | namespace={0}
delete-namespace     | DeleteNamespace                  | namespace={0}
add-attributes       | AddSearchAttributes              |
remove-attributes    | RemoveSearchAttributes           | search_attributes={0}
list-attributes      | ListSearchAttributes             |
search-attributes    | GetSearchAttributes              |
system-info          | GetSystemInfo                    |
"""

_COMMANDS: Final = """
timer           | START_TIMER                                  | timer_id={0} start_to_fire_timeout={1}
cancel-timer    | CANCEL_TIMER                                 | timer_id={0}
activity        | SCHEDULE_ACTIVITY_TASK                       | activity_id={0} activity_type=Greet task_queue=~ start_to_close_timeout=60s
cancel-activity | REQUEST_CANCEL_ACTIVITY_TASK                 | scheduled_event_id=$scheduled.{0}
done            | COMPLETE_WORKFLOW_EXECUTION                  | result={0}
failed          | FAIL_WORKFLOW_EXECUTION                      | failure={0}
cancelled       | CANCEL_WORKFLOW_EXECUTION                    | details={0}
continue-as-new | CONTINUE_AS_NEW_WORKFLOW_EXECUTION           | workflow_type=Kind task_queue=~ input={0}
child           | START_CHILD_WORKFLOW_EXECUTION               | workflow_id={0} workflow_type=Kin task_queue=~kin
signal-other    | SIGNAL_EXTERNAL_WORKFLOW_EXECUTION           | execution={0} signal_name={1} input={2}
cancel-other    | REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION   | workflow_id={0} reason={1}
marker          | RECORD_MARKER                                | marker_name={0}
attributes      | UPSERT_WORKFLOW_SEARCH_ATTRIBUTES            |
memo            | MODIFY_WORKFLOW_PROPERTIES                   |
nothing         | UNSPECIFIED                                  |
"""

MESSAGES: Final = ("accept", "reject", "respond")
"""What a worker says of an update that it was given, beside its commands."""


@dataclass(frozen=True, slots=True)
class Words:
    """A line: its verb, the words without `=`, and the assignments."""

    line: str
    verb: str
    plain: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """Return an assignment's value."""
        return dict(self.fields).get(name, default)


@dataclass(frozen=True, slots=True)
class Verb:
    """What a verb stands for: a method or a kind of command, and its assignments."""

    name: str
    stands_for: str
    defaults: tuple[tuple[str, str], ...]

    def assignments(self, words: Words) -> Iterator[tuple[str, str]]:
        """Return what a line of this verb assigns: the defaults that it leaves as they are, then its own."""
        own = [path for path, _ in words.fields]
        used = 0
        for path, text in self.defaults:
            place = re.search(r"\{(\d)\}", text)
            if place is not None:
                used = max(used, int(place[1]) + 1)
                if int(place[1]) >= len(words.plain):
                    continue
                text = text.replace(place[0], words.plain[int(place[1])])
            if not any(each == path or path.startswith(f"{each}.") for each in own):
                yield path, text
        if len(words.plain) > used:
            raise ValueError(f"{words.line}: {self.name} takes {used} plain words")
        yield from ((path, text) for path, text in words.fields if text != "unset")


def split(line: str) -> Words:
    """Take a line apart."""
    verb, *rest = shlex.split(line)
    fields = [tuple(word.split("=", 1)) for word in rest if _assigns(word)]
    return Words(line, verb, tuple(word for word in rest if not _assigns(word)), tuple(fields))  # type: ignore[arg-type]


def _assigns(word: str) -> bool:
    return re.match(r"[a-z][\w.$~-]*=", word, re.IGNORECASE) is not None


def _table(text: str) -> dict[str, Verb]:
    found = {}
    for line in text.strip().splitlines():
        name, stands_for, defaults = (part.strip() for part in line.split("|"))
        found[name] = Verb(name, stands_for, split(f"{name} {defaults}").fields)
    return found


VERBS: Final = _table(_VERBS)
COMMANDS: Final = _table(_COMMANDS)
