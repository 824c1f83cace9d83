"""The part of `task-queue` that talks to the engine."""

from collections.abc import Sequence
from typing import Any, Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    UpdateTaskQueueConfigRequest,
)

from stormsail.cli.connection import run
from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import Column, instant, note, show_list, show_one, span
from stormsail.cli.temporal.rpc import Engine, engine, record

_COLUMNS: Final = (
    Column("type", lambda r: r["type"]),
    Column("pollers", lambda r: str(len(r["pollers"]))),
    Column("waiting", lambda r: str(r["backlog"])),
    Column("oldest", lambda r: span(r["backlog_age_ms"]) if r["backlog"] else "-"),
    Column("added/s", lambda r: f"{r['tasks_add_rate']:.1f}"),
    Column("taken/s", lambda r: f"{r['tasks_dispatch_rate']:.1f}"),
    Column("polled by", lambda r: ", ".join(p["identity"] for p in r["pollers"]) or "nobody"),
    Column("last polled", lambda r: instant(max((p["last_access_at_ms"] for p in r["pollers"]), default=None))),
)


def run_describe(name: str, kinds: Sequence[str], place: Place, output: str) -> int:
    """Print pollers and backlog of a task queue; nobody polling is said aloud."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            return [_queue_record(name, kind, await _describe(e, name, kind)) for kind in kinds]

    records = run(main)
    show_list(records, _COLUMNS, "task_queue", output, empty="")
    if not any(each["pollers"] for each in records):
        note(f"warning: nobody polls {name}: its tasks wait until a worker comes")
    return int(ExitCode.OK)


async def _describe(e: Engine, name: str, kind: str, *, config: bool = False) -> DescribeTaskQueueResponse:
    return await e.workflow.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=e.namespace,
            task_queue=TaskQueue(name=name),
            task_queue_type=_kind(kind),
            report_stats=True,
            report_config=config,
        ),
        retry=True,
    )


def _kind(kind: str) -> TaskQueueType.ValueType:
    return TaskQueueType.Value(f"TASK_QUEUE_TYPE_{kind.upper()}")


def _queue_record(name: str, kind: str, reply: DescribeTaskQueueResponse) -> dict[str, Any]:
    return {
        "task_queue": name,
        "type": kind,
        "backlog": reply.stats.approximate_backlog_count,
        "backlog_age_ms": reply.stats.approximate_backlog_age.ToMilliseconds(),
        "tasks_add_rate": reply.stats.tasks_add_rate,
        "tasks_dispatch_rate": reply.stats.tasks_dispatch_rate,
        "pollers": [
            {
                "identity": poller.identity,
                "last_access_at_ms": poller.last_access_time.ToMilliseconds(),
                "rate_per_second": poller.rate_per_second,
            }
            for poller in reply.pollers
        ],
    }


def run_config_get(name: str, kind: str, place: Place, output: str) -> int:
    """Print a task queue's settings."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            return record((await _describe(e, name, kind, config=True)).config)

    return _show_config(name, kind, run(main), output)


def run_config_set(
    name: str, kind: str, queue: float | str | None, key: float | str | None, reason: str, place: Place, output: str
) -> int:
    """Set a task queue's rate limits; those not named stay."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            request = UpdateTaskQueueConfigRequest(
                namespace=e.namespace, identity=e.identity, task_queue=name, task_queue_type=_kind(kind)
            )
            for update, limit in (
                (request.update_queue_rate_limit, queue),
                (request.update_fairness_key_rate_limit_default, key),
            ):
                if limit is not None:
                    update.reason = reason
                    update.SetInParent()
                if isinstance(limit, float):
                    update.rate_limit.CopyFrom(RateLimit(requests_per_second=limit))
            return record((await e.workflow.update_task_queue_config(request, retry=True)).config)

    return _show_config(name, kind, run(main), output)


def _show_config(name: str, kind: str, told: dict[str, Any], output: str) -> int:
    lines = [f"{name} ({kind})"]
    for field, title in (
        ("queueRateLimit", "whole queue"),
        ("fairnessKeysRateLimitDefault", "each fairness key"),
    ):
        limit = told.get(field, {}).get("rateLimit", {}).get("requestsPerSecond")
        lines.append(f"  {title}: {'no limit' if limit is None else f'{limit:g} tasks a second'}")
    show_one({"task_queue": name, "type": kind, "config": told}, "\n".join(lines), "task_queue", output)
    return int(ExitCode.OK)
