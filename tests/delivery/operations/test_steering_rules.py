"""Which requests a step takes: every row of the table, who is first, and what is kept of those turned down."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.model.steering import CancelReason, SteeringRecord, SteerRequest, Verb
from stormsail.delivery.operations.steering import TAKES, Kind, SteeredCall, Steering, Trying, changed_input
from stormsail.delivery.providers.provider import EnableServerGroup, ResizeServerGroup

RESIZE = ResizeServerGroup(name="web-v000", capacity=Capacity(min=1, desired=2, max=2))


class Changes:
    """Counts how often there was news."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def stage(kind: Kind = Kind.CHANGE, trying: Trying = Trying.PAUSED) -> tuple[Steering, SteeredCall]:
    steering = Steering(lambda: 7, Changes())
    call = SteeredCall("003-resize", "resize", kind, RESIZE, trying=trying)
    steering.begin(call)
    return steering, call


def request(verb: Verb, identity: str = "a", **more: Any) -> SteerRequest:
    return SteerRequest(id=identity, verb=verb, by="ada", **{"reason": "because", **more})


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.SKIP, Verb.RERUN])
@pytest.mark.parametrize("trying", Trying)
@pytest.mark.parametrize("kind", Kind)
def test_a_step_takes_what_its_row_of_the_table_says(kind: Kind, trying: Trying, verb: Verb) -> None:
    steering, call = stage(kind, trying)
    steering.ask(request(verb, input={"capacity": {"max": 3}}))
    [record] = steering.records
    assert record.accepted is (verb in TAKES.get((kind, trying), frozenset()))
    assert (call.command is not None) is record.accepted
    assert call.attempt == (2 if record.accepted else 1)
    assert record.accepted or "003-resize is" in record.message


def test_the_second_of_two_who_saw_the_same_attempt_is_told_who_was_first() -> None:
    steering, call = stage()
    steering.ask(request(Verb.RETRY, "a", attempt=1))
    steering.ask(request(Verb.RETRY, "b", attempt=1).model_copy(update={"by": "bob"}))
    assert [record.accepted for record in steering.records] == [True, False]
    assert "is at attempt 2, not 1 any more: ada was first" in steering.records[1].message
    assert call.attempt == 2


def test_a_request_delivered_twice_is_one() -> None:
    steering, call = stage()
    for _ in range(2):
        steering.ask(request(Verb.RETRY))
    assert len(steering.records) == 1
    assert call.attempt == 2


def test_what_was_changed_is_kept_as_it_was_and_as_it_is() -> None:
    steering, _ = stage()
    steering.ask(request(Verb.RERUN, input={"capacity": {"max": 3}}))
    assert steering.records == (
        SteeringRecord(
            id="a",
            verb=Verb.RERUN,
            step="003-resize",
            by="ada",
            reason="because",
            at_ms=7,
            accepted=True,
            before={"capacity": {"min": 1, "desired": 2, "max": 2}},
            after={"capacity": {"min": 1, "desired": 2, "max": 3}},
        ),
    )


@pytest.mark.parametrize(
    ("before", "fields", "says"),
    [
        (None, {"percent": 1}, "no input"),
        (RESIZE, {}, "capacity, expected"),
        (RESIZE, {"kind": "destroyServerGroup"}, "'kind' cannot be changed"),
        (RESIZE, {"percent": 1}, "'percent' cannot be changed"),
        (RESIZE, {"capacity": {"min": 5}}, "capacity"),
        (EnableServerGroup(name="x"), {"percent": 0}, "percent: Input should be greater"),
    ],
)
def test_an_input_that_breaks_a_rule_is_refused_by_field(
    before: BaseModel | None, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        changed_input(before, fields)


def test_nothing_is_steered_while_it_is_cancelled_and_a_wind_down_is_only_retried() -> None:
    steering, _ = stage()
    steering.closed = "the operation is being cancelled"
    steering.ask(request(Verb.RETRY, "a"))
    steering.closed, steering.winding_down = "", True
    steering.ask(request(Verb.SKIP, "b"))
    steering.ask(request(Verb.RETRY, "c"))
    assert [record.accepted for record in steering.records] == [False, False, True]


def test_of_several_steps_one_must_be_named() -> None:
    steering, _ = stage()
    other = SteeredCall("004-wait", "wait", Kind.WAIT, None)
    steering.begin(other)
    steering.ask(request(Verb.RETRY, "a"))
    steering.ask(request(Verb.RETRY, "b", step="wait"))
    assert [(record.step, record.accepted) for record in steering.records] == [("", False), ("004-wait", True)]
    assert "003-resize, 004-wait" in steering.records[0].message


async def test_whoever_waits_is_woken_once_and_waits_again() -> None:
    steering, call = stage()
    waiting = asyncio.create_task(call.commanded())
    await asyncio.sleep(0)
    assert not waiting.done()
    steering.ask(request(Verb.RETRY))
    await waiting
    assert call.take().verb is Verb.RETRY
    again = asyncio.create_task(call.commanded())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


@pytest.mark.parametrize("reason", [CancelReason(by="ada", reason="why"), CancelReason(reason="plain words")])
def test_who_cancels_and_why_survives_the_way(reason: CancelReason) -> None:
    assert CancelReason.read(reason.text) == reason
    assert CancelReason.read("{broken") == CancelReason(reason="{broken")
