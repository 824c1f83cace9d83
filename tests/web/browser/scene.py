"""What has happened before somebody looks: deployments that went well, failed, wait for a person, or back off."""

import contextlib
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Schedule, ScheduleActionStartWorkflow, ScheduleIntervalSpec, ScheduleSpec, ScheduleState

from delivery.stage import until_answered
from stormsail.delivery.providers.model.faults import Fault
from web.browser.plays import QUEUE, Marathon, Order, Reservation
from web.browser.theatre import Theatre


@dataclass(frozen=True, slots=True)
class Scene:
    """The ids of what there is to look at."""

    deployed: str
    failed: str
    waiting: str
    backing_off: str
    canary: str
    """Has 10 % of the requests and waits for an approval."""
    order: tuple[str, str]
    marathon: tuple[str, str]
    """(workflow id, run id), as the one above."""


async def set_scene(theatre: Theatre, *, timers: int = 250) -> Scene:
    """Have it all happen. `timers` says how long the longest history gets: about two events each."""
    await theatre.deploy("checkout", "v41", reason="weekly release", count=3)
    deployed = await theatre.deploy("checkout", "v42", reason="CHG-1203: faster search", count=3)
    await theatre.deploy("catalog", "2026.11.1", reason="weekly release", by="grace")
    await theatre.deploy("catalog", "2026.11.2", reason="fix of the price list", by="grace")
    await theatre.deploy("gateway", "7.0", reason="first of the new major version", by="linus")
    failed = await theatre.deploy(
        "catalog",
        "2026.11.3",
        reason="CHG-1207: new ranking",
        by="grace",
        settings={"not_launchable": True},
    )
    begun = ("begin", "enableServerGroup")
    theatre.weather.faults[begun] = Fault.PERMANENT
    waiting = await theatre.deploy("payments", "v7", reason="CHG-1210", wait=False, onFailure="pause")
    await theatre.paused(waiting)
    del theatre.weather.faults[begun]
    await theatre.deploy("recommend", "v8", by="grace", reason="weekly release", count=4)
    steps = [{"setWeight": 10}, {"approval": {"message": "Look at the error rate of v9 first"}}, {"setWeight": 50}]
    canary = await theatre.deploy(
        "recommend",
        "v9",
        by="grace",
        reason="CHG-1212: new model",
        count=4,
        wait=False,
        strategy="canary",
        canary={"steps": steps},
    )
    await theatre.paused(canary)
    resize = ("begin", "resizeServerGroup")
    theatre.weather.faults[resize] = Fault.TRANSIENT
    request = theatre.request(
        "resizeServerGroup",
        "gateway",
        "more load on Fridays",
        "linus",
        serverGroupName="gateway-v000",
        capacity={"min": 4, "desired": 4, "max": 4},
    )
    backing_off = (await theatre.stage.client.start(request)).operation_id

    async def retried() -> bool:
        return any(one.attempt > 1 for one in (await theatre.stage.client.get(backing_off)).pending)

    await until_answered(retried, lambda did: did, "a second attempt of the resize")
    return Scene(deployed, failed, waiting, backing_off, canary, *await _workflows(theatre, timers))


async def _workflows(theatre: Theatre, timers: int) -> tuple[tuple[str, str], tuple[str, str]]:
    client = theatre.client
    order = await client.start_workflow(Order.run, "order-1001", id="order-1001", task_queue=QUEUE)
    for number in range(1002, 1008):
        other = await client.start_workflow(Order.run, f"order-{number}", id=f"order-{number}", task_queue=QUEUE)
        await other.signal(Order.note, "end")
    await client.start_workflow(Reservation.run, "order-1001", id="reservation-1001", task_queue=QUEUE)
    marathon = await client.start_workflow(Marathon.run, timers, id=f"marathon-{timers}", task_queue=QUEUE)
    for name, paused in (("nightly-report", False), ("clean-old-carts", True)):
        action = ScheduleActionStartWorkflow(Order.run, name, id=f"{name}-run", task_queue=QUEUE)
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=24))])
        state = ScheduleState(paused=paused, note="until the new year" if paused else "")
        with contextlib.suppress(RuntimeError):
            await client.create_schedule(name, Schedule(action=action, spec=spec, state=state))
    await marathon.result()
    return (order.id, order.result_run_id or ""), (marathon.id, marathon.result_run_id or "")
