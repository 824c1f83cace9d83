"""Strategies that packages offer: what is taken and refused, and the example as it is documented."""

import asyncio
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from delivery.direct_cloud import Clock, run_directly
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.model.steering import SteerRequest, Verb
from stormsail.delivery.offers import OfferUnusable
from stormsail.delivery.operations.create_server_group import CreateServerGroupInput, CreateServerGroupOperation
from stormsail.delivery.operations.operation import Registered
from stormsail.delivery.operations.steering import Steering
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.strategies.catalog import STRATEGIES
from stormsail.delivery.strategies.installed import GROUP, installed_strategies, offered

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_strategy"


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


def test_what_a_package_offers_is_taken_under_its_name_beside_our_own() -> None:
    assert list(offered([entry("mine", "delivery.strategies.own:MINE")])) == ["mine"]
    assert set(installed_strategies()) >= set(STRATEGIES)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry("redblack", "delivery.strategies.own:MINE")], "one of Stormsail's own"),
        ([entry("a", "delivery.strategies.own:MINE"), entry("a", "delivery.strategies.own:HALF")], "same name"),
        ([entry("a", "no_such_module:X")], "cannot be loaded: No module named"),
        ([entry("a", "delivery.strategies.own:A_CLASS")], "is a class; offer an instance"),
        (
            [entry("a", "delivery.strategies.own:HALF")],
            "lacks pins_source, rolls_back, starts_empty, destroys_failed, objection, finish",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(entries: list[EntryPoint], says: str) -> None:
    with pytest.raises(OfferUnusable, match=says):
        offered(entries)


def deploy(
    cloud: ModelCloud, identity: str, verb: Verb, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> OperationResult:
    """Deploy by the example, as it is installed, with a person who answers."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    strategies = {**STRATEGIES, **offered([entry(name, value) for name, value in declared.items()])}
    table = {"createServerGroup": Registered(CreateServerGroupInput, CreateServerGroupOperation(strategies))}

    def person(steering: Steering) -> None:
        if steering.memo.paused:
            steering.ask(SteerRequest(id=str(len(steering.records)), verb=verb, by="ada"))

    payload = {
        "capacity": {"min": 2, "desired": 2, "max": 2},
        "launch": {"command": ["serve"]},
        "strategy": "approvedredblack",
        **more,
    }
    doing = run_directly(cloud, Clock(), identity, "createServerGroup", operations=table, person=person, **payload)
    result = asyncio.run(doing)
    assert result is not None
    return result


@pytest.mark.parametrize(("verb", "left"), [(Verb.APPROVE, ["web-v001"]), (Verb.ABORT, ["web-v000"])])
def test_the_example_asks_a_person_while_both_versions_serve(
    monkeypatch: pytest.MonkeyPatch, verb: Verb, left: list[str]
) -> None:
    cloud = ModelCloud(Clock())
    assert deploy(cloud, "first", verb, monkeypatch).ok, "nothing served before, so nobody is asked"
    result = deploy(cloud, "second", verb, monkeypatch)
    assert [group.name for group in cloud.server_groups("model", "web") if group.enabled] == left
    assert result.ok is (verb is Verb.APPROVE)
    assert [one.name for one in result.steps if "approve" in one.name] == ["approveTakeOver"]


def test_a_strategy_that_nobody_offers_is_refused_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    result = deploy(ModelCloud(Clock()), "x", Verb.APPROVE, monkeypatch, strategy="aprovedredblack")
    assert "Did you mean approvedredblack?" in result.errors[0].message
