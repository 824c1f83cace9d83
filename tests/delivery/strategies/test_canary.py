"""The steps of a canary: what they do to the cloud, what ends them, and what people may ask of it."""

import asyncio
from typing import Any

import pytest

from delivery.direct_cloud import ACCOUNT, APPLICATION, Clock, run_directly
from stormsail.delivery.model.canary import Analysis, Measurement, Verdict, verdict
from stormsail.delivery.model.operation import OperationResult, StepStatus
from stormsail.delivery.model.server_group import Health
from stormsail.delivery.model.steering import SteeringRecord, SteerRequest, Verb
from stormsail.delivery.operations.steering import Steering
from stormsail.delivery.providers.model.cloud import ModelCloud

CAPACITY = {"min": 1, "desired": 4, "max": 8}
WEB = {"web": {"url": "http://metrics/{canary}"}, "successCondition": ">= 0.9"}


def deploy(cloud: ModelCloud, identity: str = "first", **more: Any) -> OperationResult:
    known = ("measure", "person", "steer_at_call", "at_call")
    how = {name: more.pop(name) for name in known if name in more}
    payload: dict[str, Any] = {"capacity": CAPACITY, "strategy": "canary", "launch": {"command": ["serve"]}, **more}
    result = asyncio.run(run_directly(cloud, Clock(), identity, "createServerGroup", **how, **payload))
    assert result is not None
    return result


def canary(cloud: ModelCloud, *steps: dict[str, Any], **more: Any) -> OperationResult:
    return deploy(cloud, "second", canary={"steps": steps}, **more)


@pytest.fixture
def cloud() -> ModelCloud:
    cloud = ModelCloud(Clock())
    assert deploy(cloud).ok
    cloud.effects.clear()
    return cloud


def effects(cloud: ModelCloud) -> list[str]:
    return [f"{one.kind} {one.name} {one.detail}".strip() for one in cloud.effects]


def serving(cloud: ModelCloud) -> dict[str, int]:
    return {group.name: group.count(Health.UP) for group in cloud.server_groups(ACCOUNT, APPLICATION)}


def asked(verb: Verb, number: int = 0, **more: Any) -> SteerRequest:
    return SteerRequest(id=f"{verb}-{number}", verb=verb, by="ada", reason="because", **more)


def approves(steering: Steering) -> None:
    if steering.memo.paused:
        steering.ask(asked(Verb.APPROVE, len(steering.records)))


def test_each_weight_is_grown_for_before_it_is_given_and_the_old_group_keeps_its_instances(cloud: ModelCloud) -> None:
    result = canary(cloud, {"setWeight": 10}, {"pause": {"duration": 60}}, {"setWeight": 50}, scaleDown=True)
    assert result.ok, result.errors
    assert effects(cloud) == [
        "resize web-v000 4/4/8",
        "create web-v001 0/0/0",
        "resize web-v001 1/1/1",
        "shift web-v001 10%",
        "enable web-v001 100%",
        "shift web-v001 10%",
        "resize web-v001 2/2/2",
        "shift web-v001 50%",
        "resize web-v001 1/4/8",
        "shift web-v001 100%",
        "disable web-v000 100%",
        "resize web-v000 0/0/0",
        "shift web-v001 by instances",
    ]
    assert (result.output["disabled"], result.output["scaledDown"]) == (["web-v000"], ["web-v000"])
    assert result.output["capacity"] == CAPACITY


def test_where_nothing_served_there_is_nothing_to_go_through(cloud: ModelCloud) -> None:
    empty = ModelCloud(Clock())
    result = canary(empty, {"setWeight": 10}, {"approval": {}})
    assert result.ok, result.errors
    assert serving(empty) == {"web-v000": 4}


def test_a_failed_analysis_gives_every_request_back_and_destroys_the_canary(cloud: ModelCloud) -> None:
    seen: list[Analysis] = []

    def measure(analysis: Analysis) -> Measurement:
        seen.append(analysis)
        return Measurement(value=0.95 if len(seen) == 1 else 0.5)

    analysis = {**WEB, "count": 5, "failureLimit": 1}
    result = canary(cloud, {"setWeight": 25}, {"analysis": analysis}, measure=measure)
    assert [error.kind for error in result.errors] == ["AnalysisFailed"]
    assert "2 of 3 measurements failed, and 1 may" in result.errors[0].message
    assert result.rolled_back
    assert len(seen) == 3
    assert seen[0].web is not None
    assert seen[0].web.url == "http://metrics/web-v001"
    assert serving(cloud) == {"web-v000": 4}
    assert "shift web-v001 0%" in effects(cloud)


def test_an_inconclusive_analysis_waits_for_a_person_who_may_go_on(cloud: ModelCloud) -> None:
    waited: list[str] = []

    def person(steering: Steering) -> None:
        waited.extend([steering.memo.paused] if steering.memo.paused else [])
        approves(steering)

    steps = ({"setWeight": 25}, {"analysis": {**WEB, "count": 3}})
    result = canary(cloud, *steps, measure=lambda _: Measurement(detail="no data"), person=person)
    assert result.ok, result.errors
    assert ["analysisInconclusive" in one for one in waited] == [True]
    step = next(one for one in result.steps if one.name == "analysisInconclusive")
    assert (step.status, step.detail) == (StepStatus.SUCCEEDED, "approved by ada: because")


def test_a_dry_run_says_what_it_finds_and_stops_nothing(cloud: ModelCloud) -> None:
    steps = ({"setWeight": 25}, {"analysis": {**WEB, "dryRun": True}})
    result = canary(cloud, *steps, measure=lambda _: Measurement(value=0.0))
    assert result.ok, result.errors
    assert "failed: 0.0" in [step.detail for step in result.steps]


@pytest.mark.parametrize("step", [{"approval": {"message": "look at it"}}, {"pause": {}}])
def test_an_approval_waits_and_an_abort_of_it_gives_every_request_back(cloud: ModelCloud, step: dict[str, Any]) -> None:
    def person(steering: Steering) -> None:
        if steering.memo.paused:
            steering.ask(asked(Verb.ABORT))

    result = canary(cloud, {"setWeight": 50}, step, person=person)
    assert [(error.kind, error.message) for error in result.errors] == [("Aborted", "aborted by ada: because")]
    assert result.rolled_back
    assert serving(cloud) == {"web-v000": 4}


def test_an_abort_at_any_call_ends_with_the_old_group_alone(cloud: ModelCloud) -> None:
    ended = set()
    for number in range(1, 45):
        fresh = ModelCloud(Clock())
        assert deploy(fresh).ok
        fresh.effects.clear()
        steps = ({"setWeight": 10}, {"pause": {"duration": 9}}, {"analysis": WEB}, {"setWeight": 60})
        result = canary(fresh, *steps, steer_at_call={number: asked(Verb.ABORT)})
        ended.add(result.ok)
        if not result.ok:
            assert [error.kind for error in result.errors] == ["Aborted"]
            assert result.rolled_back is bool(fresh.effects), (number, result)
            assert result.left_behind == ()
            assert serving(fresh) == {"web-v000": 4}, number
    assert ended == {True, False}


def test_a_full_promotion_passes_over_all_that_is_left(cloud: ModelCloud) -> None:
    def person(steering: Steering) -> None:
        if steering.memo.paused:
            steering.ask(asked(Verb.PROMOTE, input={"full": True}))

    result = canary(cloud, {"setWeight": 10}, {"approval": {}}, {"setWeight": 50}, {"approval": {}}, person=person)
    assert result.ok, result.errors
    shifts = [one.detail for one in cloud.effects if one.kind == "shift"]
    assert shifts == ["10%", "10%", "100%", "by instances"]


def test_a_pause_that_a_person_asks_for_holds_the_rollout_before_its_next_step(cloud: ModelCloud) -> None:
    waited: list[str] = []

    def person(steering: Steering) -> None:
        if steering.memo.paused:
            waited.append(f"{steering.memo.paused} at {steering.course.weight if steering.course else None}")
        approves(steering)

    result = canary(cloud, {"setWeight": 10}, {"setWeight": 50}, person=person, steer_at_call={9: asked(Verb.PAUSE)})
    assert result.ok, result.errors
    assert [one.partition("-")[2] for one in waited] == ["canaryHeld at 10"]


def records_of(cloud: ModelCloud, *requests: SteerRequest, steps: tuple[dict[str, Any], ...]) -> list[SteeringRecord]:
    found: list[SteeringRecord] = []

    def person(steering: Steering) -> None:
        if steering.memo.paused and len(steering.records) == 0:
            for request in requests:
                steering.ask(request)
            found.extend(steering.records)

    canary(cloud, *steps, person=person)
    return found


def test_of_two_who_approve_at_once_the_second_is_told_and_approves_nothing_else(cloud: ModelCloud) -> None:
    first, second = (asked(Verb.APPROVE, number, attempt=1) for number in range(2))
    ended = asked(Verb.ABORT)
    records = records_of(cloud, first, second, ended, steps=({"setWeight": 10}, {"approval": {}}))
    assert [record.accepted for record in records] == [True, False, True]
    assert "ada was first" in records[1].message


def test_what_a_rollout_does_not_take_is_turned_down_with_what_it_takes(cloud: ModelCloud) -> None:
    said: list[str] = []

    def look(steering: Steering) -> None:
        said.extend(record.message for record in steering.records)

    canary(cloud, {"setWeight": 10}, person=look, steer_at_call={8: asked(Verb.APPROVE)})
    assert "it takes abort, pause then, not approve" in said[0]


def test_what_is_no_canary_cannot_be_promoted(cloud: ModelCloud) -> None:
    said: list[str] = []

    def look(steering: Steering) -> None:
        said.extend(record.message for record in steering.records)

    deploy(cloud, "second", strategy="redblack", person=look, steer_at_call={5: asked(Verb.PROMOTE)})
    assert "no rollout in steps" in said[0]


@pytest.mark.parametrize(
    ("steps", "field", "says"),
    [
        ([{"pause": {}}], "canary", "the first step must be setWeight"),
        ([{"setWeight": 50}, {"setWeight": 20}], "canary", "larger than the one before it: 50, 20"),
        ([{"setWeight": 0}], "canary.steps.0.setWeight", "greater than or equal to 1"),
        ([{"setWeight": 5, "pause": {}}], "canary.steps.0", "this is setWeight and pause"),
        ([{}], "canary.steps.0", "this is none"),
        ([{"setWeight": 5}, {"wait": 3}], "canary.steps.1.wait", "not permitted"),
        ([{"setWeight": 5}, {"pause": {"duration": -1}}], "canary.steps.1.pause.duration", "greater than 0"),
        ([{"setWeight": 5}, {"analysis": {"successCondition": "> 1"}}], "canary.steps.1.analysis", "this has none"),
        ([{"setWeight": 5}, {"analysis": {"web": {"url": "http://x"}}}], "canary.steps.1.analysis", "successCondition"),
        (
            [{"setWeight": 5}, {"analysis": {**WEB, "successCondition": "about 5"}}],
            "canary.steps.1.analysis.successCondition",
            "is no condition",
        ),
        (
            [{"setWeight": 5}, {"analysis": {**WEB, "failureCondition": '< "x"'}}],
            "canary.steps.1.analysis.failureCondition",
            "compare words with == and !=",
        ),
        ([{"setWeight": 5}] * 51, "canary.steps", "at most 50"),
    ],
)
def test_a_step_that_cannot_be_kept_is_refused_by_field(steps: list[dict[str, Any]], field: str, says: str) -> None:
    result = deploy(ModelCloud(Clock()), canary={"steps": steps})
    assert [error.field for error in result.errors] == [field]
    assert says in result.errors[0].message


def test_steps_of_another_strategy_are_refused(cloud: ModelCloud) -> None:
    result = canary(cloud, {"setWeight": 10}, strategy="redblack")
    assert [(error.field, error.kind) for error in result.errors] == [("canary.steps", "InvalidPayload")]


@pytest.mark.parametrize(
    ("conditions", "measured", "expected"),
    [
        ({"successCondition": ">= 0.9"}, 0.9, Verdict.SUCCESSFUL),
        ({"successCondition": "result >= 0.9"}, 0.8, Verdict.FAILED),
        ({"successCondition": ">= 0.9"}, None, Verdict.INCONCLUSIVE),
        ({"successCondition": ">= 0.9"}, float("nan"), Verdict.INCONCLUSIVE),
        ({"successCondition": ">= 0.9"}, "high", Verdict.INCONCLUSIVE),
        ({"successCondition": '== "ok"'}, "ok", Verdict.SUCCESSFUL),
        ({"successCondition": "== true"}, False, Verdict.FAILED),
        ({"failureCondition": "> 5"}, 6.0, Verdict.FAILED),
        ({"failureCondition": "> 5"}, 5.0, Verdict.SUCCESSFUL),
        ({"failureCondition": "> 5"}, None, Verdict.INCONCLUSIVE),
        ({"successCondition": "< 2", "failureCondition": "> 5"}, 3.0, Verdict.INCONCLUSIVE),
        ({"successCondition": "< 2", "failureCondition": "> 5"}, 1.0, Verdict.SUCCESSFUL),
        ({"successCondition": "< 7", "failureCondition": "> 5"}, 6.0, Verdict.FAILED),
    ],
)
def test_a_measurement_means_what_its_conditions_say(
    conditions: dict[str, str], measured: Any, expected: Verdict
) -> None:
    analysis = Analysis.model_validate({"web": {"url": "http://x"}, **conditions})
    assert verdict(analysis, Measurement(value=measured)) is expected
