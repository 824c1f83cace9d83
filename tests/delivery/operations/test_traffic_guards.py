"""Which changes a traffic guard lets through: tables of rules and of clusters, the file, and whole operations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from delivery.stage import Stage
from stormsail.delivery.guard_file import NO_RULES, guards_in
from stormsail.delivery.model.names import parse_name
from stormsail.delivery.model.server_group import Capacity, Health, Instance, LaunchSpec, Observation, ServerGroup
from stormsail.delivery.model.traffic_guard import TrafficGuard, TrafficGuards
from stormsail.delivery.operations.judging import refusal
from stormsail.delivery.operations.orders import ChangeOrder, HealthGuard, Outage
from stormsail.delivery.providers.errors import Transient
from stormsail.delivery.providers.provider import (
    Change,
    DeregisterInstances,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
    ShiftTraffic,
    TerminateInstances,
)

ON, OFF = {"enabled": True}, {"enabled": False}


@pytest.mark.parametrize(
    ("cluster", "rules", "holds"),
    [
        ("web", [], None),
        ("web", [{}], 0),
        ("web", [{"application": "shop"}], None),
        ("web", [{"application": "w*"}], 0),
        ("web-prod", [{"stack": "prod"}], 0),
        ("web-prod", [{"stack": ""}], None),
        ("web", [{"stack": ""}], 0),
        ("web-prod-blue", [{"stack": "prod", "detail": ""}], None),
        ("web", [{"account": "test"}], None),
        ("web", [{"region": "here"}], 0),
        ("web", [{"region": "there"}], None),
        ("web-prod", [{"stack": "prod", **OFF}, {**ON}], 0),  # The more exact rule holds, wherever it stands.
        ("web-prod", [{**ON}, {"stack": "prod", **OFF}], 1),
        ("web-prod", [{"stack": "p*"}, {"stack": "prod", **OFF}], 1),  # A name is more exact than a pattern.
        ("web-prod", [{"stack": "prod"}, {"application": "web", **OFF}], 1),  # The application weighs most.
        ("web", [{**OFF}, {**ON}], 1),  # Of equals the one that guards.
    ],
)
def test_the_most_exact_rule_holds(cluster: str, rules: list[dict[str, Any]], holds: int | None) -> None:
    guards = TrafficGuards.model_validate({"trafficGuards": rules})
    rule = guards.rule_for("a", "here", parse_name(cluster))
    assert rule == (None if holds is None else guards.traffic_guards[holds])


def seen(text: str) -> Observation:
    """Read a cluster: `E2` is enabled with two instances up, `D1` disabled, `S2` enabled with both sick."""
    return Observation(
        account="a",
        application="web",
        as_of_ms=0,
        server_groups=tuple(_group(index, word) for index, word in enumerate(text.split())),
    )


def _group(index: int, word: str) -> ServerGroup:
    name, count = f"web-v{index:03d}", int(word[1])
    health = {"E": Health.UP, "D": Health.OUT_OF_SERVICE, "S": Health.DOWN}[word[0]]
    return ServerGroup(
        name=name,
        account="a",
        location="here",
        capacity=Capacity.fixed(count),
        enabled=word[0] != "D",
        instances=tuple(Instance(id=f"{name}-{number}", health=health) for number in range(count)),
        launch=LaunchSpec(),
        created_at_ms=index,
    )


DISABLE = DisableServerGroup(name="web-v000")
DESTROY = DestroyServerGroup(name="web-v000")
TO_ZERO = ResizeServerGroup(name="web-v000", capacity=Capacity.fixed(0))


@dataclass(frozen=True)
class Case:
    there: str
    change: Change
    refused: bool
    ratio: float = 0.0
    rules: tuple[TrafficGuard, ...] = ()
    outage: Outage = Outage.REFUSED


@pytest.mark.parametrize(
    "case",
    [
        Case("E2", DISABLE, refused=True),
        Case("E2", DESTROY, refused=True),
        Case("E2", TO_ZERO, refused=True),
        Case("E2", DisableServerGroup(name="web-v000", percent=99), refused=False),  # Less than all is not guarded.
        Case("E2", ResizeServerGroup(name="web-v000", capacity=Capacity.fixed(1)), refused=False),
        Case("E2", EnableServerGroup(name="web-v000"), refused=False),
        Case("D2", DESTROY, refused=False),
        Case("D2 E1", DESTROY, refused=False),
        Case("E2 E1", DISABLE, refused=False),
        Case("E2 D1", DISABLE, refused=True),  # What does not serve is no replacement,
        Case("E2 S2", DISABLE, refused=True),  # and neither is what is sick.
        Case("S2", DISABLE, refused=False),  # Nothing is up: there is nothing to lose.
        Case("S2 E2", DISABLE, refused=False),
        Case("E3 E1", DISABLE, refused=True, ratio=0.25),  # 1 of 4 is a quarter, and more must remain.
        Case("E3 E1", DISABLE, refused=False, ratio=0.24),
        Case("E2 E2", DISABLE, refused=False, ratio=0.49),
        Case("E2", DISABLE, refused=False, outage=Outage.ASKED_FOR),
        Case("E2", DISABLE, refused=False, outage=Outage.AS_BEFORE),
        Case("E2", DISABLE, refused=False, rules=(TrafficGuard(enabled=False),)),
        Case("E2", DISABLE, refused=True, rules=(TrafficGuard(),)),
        Case("E2", DISABLE, refused=True, rules=(TrafficGuard(),), outage=Outage.ASKED_FOR),
        Case("E2", DISABLE, refused=False, rules=(TrafficGuard(),), outage=Outage.AS_BEFORE),
        Case("E2", DISABLE, refused=False, rules=(TrafficGuard(application="shop"),), outage=Outage.ASKED_FOR),
        Case("", DESTROY, refused=False),
        Case("E2", TerminateInstances(name="web-v000", instances=("web-v000-0", "web-v000-1")), refused=True),
        Case("E2", TerminateInstances(name="web-v000", instances=("web-v000-0",)), refused=False),
        Case("E1 E1", TerminateInstances(name="web-v000", instances=("web-v000-0",)), refused=False),
        Case("E1", DeregisterInstances(name="web-v000", instances=("web-v000-0",)), refused=True),
        Case("D1 E1", TerminateInstances(name="web-v000", instances=("web-v000-0",)), refused=False),
    ],
)
def test_a_guard_lets_through_what_leaves_enough_to_serve(case: Case) -> None:
    order = ChangeOrder(account="a", application="web", token="t", change=case.change, outage=case.outage)
    guards = TrafficGuards(traffic_guards=case.rules, min_capacity_ratio=case.ratio)
    outcome = refusal(order, seen(case.there), guards)
    assert (outcome is not None) is case.refused
    assert outcome is None or (outcome.refused_by == "TrafficGuard" and "web-v000" in outcome.refused)


@pytest.mark.parametrize(
    ("change", "scope", "refused"),
    [
        (DISABLE, "cluster", True),
        (DISABLE, "application", False),
        (ShiftTraffic(name="web-v000", percent=0), "cluster", False),  # Alone, it gets every request anyway.
        (TerminateInstances(name="web-api-v000", instances=("web-api-v000-0",)), "cluster", True),
        (TerminateInstances(name="web-api-v000", instances=("web-api-v000-0",)), "application", False),
    ],
)
def test_a_guard_of_a_whole_application_counts_what_serves_in_all_its_clusters(
    change: Change, scope: Literal["cluster", "application"], refused: bool
) -> None:
    both = seen("E2").server_groups[0], _group(0, "E1").model_copy(update={"name": "web-api-v000"})
    api = both[1].model_copy(update={"instances": (Instance(id="web-api-v000-0", health=Health.UP),)})
    observation = seen("").model_copy(update={"server_groups": (both[0], api)})
    order = ChangeOrder(account="a", application="web", token="t", change=change)
    guards = TrafficGuards(traffic_guards=(TrafficGuard(application="web", scope=scope),))
    assert (refusal(order, observation, guards) is not None) is refused
    alone = observation.model_copy(update={"server_groups": (both[0],)})
    if change is DISABLE:
        said = refusal(order, alone, guards)
        assert said is not None
        assert "traffic guard of application web" in said.refused


@pytest.mark.parametrize(
    ("there", "change", "refused"),
    [
        ("E2 E1", ShiftTraffic(name="web-v001", percent=100), False),
        ("E2 S1", ShiftTraffic(name="web-v001", percent=100), True),
        ("E2 E1", ShiftTraffic(name="web-v001", percent=50), False),
        ("S2 E1", ShiftTraffic(name="web-v001", percent=0), True),
        ("E2 D1", ShiftTraffic(name="web-v001", percent=100), False),  # It counts once it is enabled.
    ],
)
def test_whoever_is_given_every_request_must_have_instances_for_them(there: str, change: Change, refused: bool) -> None:
    order = ChangeOrder(account="a", application="web", token="t", change=change)
    assert (refusal(order, seen(there), TrafficGuards()) is not None) is refused


@pytest.mark.parametrize(("there", "refused"), [("D2", False), ("S2", False), ("D0", True)])
def test_an_enabling_that_was_begun_is_not_refused_for_what_it_did_itself(there: str, refused: bool) -> None:
    guard = HealthGuard(server_group="web-v000", up_at_least=2, serving=False)
    enable = EnableServerGroup(name="web-v000")
    order = ChangeOrder(account="a", application="web", token="t", change=enable, guard=guard)
    assert (refusal(order, seen(there), TrafficGuards()) is not None) is refused


def test_another_location_is_no_replacement() -> None:
    both = seen("E2 E2").server_groups
    apart = Observation(
        account="a",
        application="web",
        as_of_ms=0,
        server_groups=(both[0], both[1].model_copy(update={"location": "there"})),
    )
    order = ChangeOrder(account="a", application="web", token="t", change=DISABLE)
    assert refusal(order, apart, NO_RULES) is not None


def test_the_file_is_read_anew_each_time_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "traffic-guards.json"
    read = guards_in(path)
    assert read() == NO_RULES
    path.write_text('{"trafficGuards": [{"application": "web", "stack": "prod"}], "minCapacityRatio": 0.2}')
    assert read() == TrafficGuards(
        traffic_guards=(TrafficGuard(application="web", stack="prod"),), min_capacity_ratio=0.2
    )
    for text, field in (('{"minCapacityRatio": 0.5}', "minCapacityRatio"), ('{"guards": []}', "guards"), ("{", "JSON")):
        path.write_text(text)
        with pytest.raises(Transient, match=field):
            read()


async def test_the_last_serving_group_is_refused_with_the_reason_unless_the_outage_is_asked_for(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    before = stage.effects()
    to_zero = {"capacity": {"min": 0, "desired": 0, "max": 0}}
    for operation_type, payload in (
        ("disableServerGroup", {}),
        ("destroyServerGroup", {}),
        ("resizeServerGroup", to_zero),
    ):
        result = await stage.run(operation_type, serverGroupName="web-v000", **payload)
        assert [error.kind for error in result.errors] == ["TrafficGuard"]
        assert "would leave nothing to answer" in result.errors[0].message
        assert "allowOutage" in result.errors[0].message
        assert result.left_behind == ()
    assert stage.effects() == before
    assert (await stage.run("destroyServerGroup", serverGroupName="web-v000", allowOutage=True)).ok
    assert stage.groups() == {}


async def test_a_rule_that_was_written_down_refuses_even_an_outage_that_was_asked_for(stage: Stage) -> None:
    stage.guards = TrafficGuards(traffic_guards=(TrafficGuard(application="web", stack=""),))
    assert (await stage.deploy("v1")).ok
    assert (await stage.deploy("v2")).ok  # A deployment replaces what serves before it takes it away.
    refused = await stage.run("disableServerGroup", serverGroupName="web-v001", allowOutage=True)
    assert "the traffic guard of application web, stack (none) forbids" in refused.errors[0].message
    assert stage.serving() == ["web-v001"]
    stage.guards = TrafficGuards(traffic_guards=(TrafficGuard(application="web", enabled=False),))
    assert (await stage.run("disableServerGroup", serverGroupName="web-v001")).ok


async def test_a_version_that_is_too_small_does_not_take_over_alone(stage: Stage) -> None:
    stage.guards = TrafficGuards(min_capacity_ratio=0.4)
    assert (await stage.deploy("v1", capacity=Capacity.fixed(4).model_dump())).ok
    result = await stage.deploy("v2", capacity=Capacity.fixed(2).model_dump())
    assert [error.kind for error in result.errors] == ["TrafficGuard"]
    assert "would leave 2 of 6 serving instances of cluster web to answer" in result.errors[0].message
    assert stage.serving() == ["web-v000", "web-v001"]


async def test_a_first_deployment_that_fails_goes_back_to_nothing_past_the_guard(stage: Stage) -> None:
    result = await stage.deploy(
        "v1",
        settings={"sick_under_traffic": True},
        healthTimeout=1,
        rollback={"onFailure": True, "destroyLatest": True},
    )
    assert result.rolled_back, result.left_behind
    assert stage.groups() == {}
