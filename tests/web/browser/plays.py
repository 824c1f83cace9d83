"""Workflows that the browser tests look at: one with a long history, one that goes on while somebody watches."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE = "plays"
TIMERS_AT_ONCE = 500


@activity.defn(name="chargeCard")
async def charge_card(order: str) -> str:
    return f"charged {order}"


@activity.defn(name="reserveStock")
async def reserve_stock(order: str) -> str:
    raise RuntimeError(f"the warehouse has no record of {order}")


@workflow.defn
class Marathon:
    """Two events a timer: a history as long as somebody likes in few workflow tasks."""

    @workflow.run
    async def run(self, timers: int) -> int:
        for first in range(0, timers, TIMERS_AT_ONCE):
            count = min(TIMERS_AT_ONCE, timers - first)
            await asyncio.gather(*(asyncio.sleep(0.001 * (1 + number % 40)) for number in range(count)))
        return timers


@workflow.defn
class Order:
    """Charges a card, then takes signals until it is told to end."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.over = False

    @workflow.run
    async def run(self, order: str) -> str:
        charged = await workflow.execute_activity(
            charge_card, order, start_to_close_timeout=timedelta(seconds=10), activity_id="charge"
        )
        await workflow.wait_condition(lambda: self.over)
        return f"{charged}, {len(self.notes)} notes"

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)
        if text == "end":
            self.over = True

    @workflow.query
    def state(self) -> dict[str, list[str]]:
        return {"notes": self.notes}

    @workflow.update
    def rename(self, name: str) -> str:
        self.notes.append(name)
        return f"renamed to {name}"


@workflow.defn
class Reservation:
    """Fails and is tried again, for as long as somebody lets it."""

    @workflow.run
    async def run(self, order: str) -> str:
        return await workflow.execute_activity(
            reserve_stock,
            order,
            activity_id="reserve",
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5)),
        )


def plays_worker(client: Client) -> Worker:
    """Return a worker of all of them. What it runs is ours and plain, so it runs without the sandbox."""
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Marathon, Order, Reservation],
        activities=[charge_card, reserve_stock],
        workflow_runner=UnsandboxedWorkflowRunner(),
        identity="plays@warehouse-1",
    )
