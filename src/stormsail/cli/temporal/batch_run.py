"""The part of `batch`, and of the verbs that begin one, that talks to the engine."""

from typing import Any, Final

import click
from temporalio.api.batch.v1 import BatchOperationInfo
from temporalio.api.enums.v1 import BatchOperationState, BatchOperationType
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    StartBatchOperationRequest,
    StopBatchOperationRequest,
)

from stormsail.cli.audited import Entry, audited
from stormsail.cli.connection import run
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import Column, instant, note, show_list, show_one
from stormsail.cli.temporal.rpc import Engine, engine, listed, new_id

_COLUMNS: Final = (
    Column("job id", lambda r: r["job_id"]),
    Column("state", lambda r: r["state"]),
    Column("started", lambda r: instant(r["started_at_ms"])),
    Column("ended", lambda r: instant(r["closed_at_ms"])),
)


def start_batch(
    request: StartBatchOperationRequest, query: str, reason: str, yes: bool, place: Place, output: str
) -> int:
    """Count what a query finds, ask, and begin the batch. A program must say --yes: nobody is there to be asked."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            found = await _found(e, query)
            if not yes and not click.confirm(f"{found} workflows match. Begin?", err=True):
                raise click.Abort
            request.namespace = e.namespace
            request.visibility_query = query
            request.job_id = new_id()
            request.reason = reason or f"asked for by {e.identity}"
            kind = (request.WhichOneof("operation") or "").removesuffix("_operation")
            after = {"query": query, "what": kind, "workflows": found}
            async with audited(place, Entry("batch.start", f"batch/{request.job_id}", reason, after=after)):
                await e.workflow.start_batch_operation(request, retry=True)
            return {"job_id": request.job_id, "workflows": found}

    begun = run(main)
    show_one(begun, f"began batch {begun['job_id']} over {begun['workflows']} workflows", "job_id", output)
    note(f"next:  `stormsail batch describe --job-id {begun['job_id']}` shows how far it has come")
    return int(ExitCode.OK)


async def _found(e: Engine, query: str) -> int:
    request = CountWorkflowExecutionsRequest(namespace=e.namespace, query=query)
    count = (await e.workflow.count_workflow_executions(request, retry=True)).count
    if not count:
        raise CommandFailed(
            "no workflow matches the query",
            next_step="`stormsail workflow list --query ...` shows what a query finds",
            code=ExitCode.NOT_FOUND,
        )
    return count


def run_list(limit: int, place: Place, output: str) -> int:
    """Print batches."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            asked = ListBatchOperationsRequest(namespace=e.namespace)
            return await listed(
                e.workflow.list_batch_operations,
                asked,
                limit,
                lambda page: map(_batch_record, page.operation_info),
            )

    show_list(run(main), _COLUMNS, "job_id", output, empty="no batches")
    return int(ExitCode.OK)


def _batch_record(info: BatchOperationInfo | DescribeBatchOperationResponse) -> dict[str, Any]:
    return {
        "job_id": info.job_id,
        "state": BatchOperationState.Name(info.state).removeprefix("BATCH_OPERATION_STATE_").capitalize(),
        "started_at_ms": info.start_time.ToMilliseconds(),
        "closed_at_ms": info.close_time.ToMilliseconds() if info.HasField("close_time") else None,
    }


def run_describe(job_id: str, place: Place, output: str) -> int:
    """Print one batch."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            reply = await e.workflow.describe_batch_operation(
                DescribeBatchOperationRequest(namespace=e.namespace, job_id=job_id), retry=True
            )
            kind = BatchOperationType.Name(reply.operation_type).removeprefix("BATCH_OPERATION_TYPE_")
            return _batch_record(reply) | {
                "type": kind.capitalize().replace("_", " "),
                "total": reply.total_operation_count,
                "complete": reply.complete_operation_count,
                "failed": reply.failure_operation_count,
                "identity": reply.identity,
                "reason": reply.reason,
            }

    told = run(main)
    text = f"{told['type']}: {told['state']}, {told['complete']} of {told['total']} done, {told['failed']} failed"
    show_one(told, f"{text}\nreason: {told['reason']}\nby: {told['identity'] or '-'}", "job_id", output)
    return int(ExitCode.OK)


def run_terminate(job_id: str, reason: str, place: Place, output: str) -> int:
    """Stop a batch."""

    async def main() -> None:
        async with engine(place) as e:
            await e.workflow.stop_batch_operation(
                StopBatchOperationRequest(namespace=e.namespace, job_id=job_id, reason=reason, identity=e.identity),
                retry=True,
            )

    run(main)
    show_one({"job_id": job_id, "done": "stopped"}, f"batch {job_id}: stopped", "job_id", output)
    return int(ExitCode.OK)
