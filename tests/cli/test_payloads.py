"""What `deploy` and `server-group` ask for, and when they want a yes."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stormsail.cli.deploy import capacity_of, payload_for
from stormsail.cli.deploy_run import deploy_lines
from stormsail.cli.notes import left_note
from stormsail.cli.options import DEFAULT_ENGINE, Duration, Percentages, Place, place_options
from stormsail.cli.server_groups_run import plan_for
from stormsail.delivery.model.names import Moniker
from stormsail.delivery.model.server_group import Capacity, Health, Instance, LaunchSpec, Observation, ServerGroup

ASKED = {
    "command_line": "python 'my app.py' --port {port}",
    "image": "",
    "label": "v2",
    "stack": "prod",
    "detail": "",
    "instances": 2,
    "least": None,
    "most": None,
    "strategy": "redblack",
    "health_path": "/health",
    "health_timeout": 1800.0,
    "delay_before_cleanup": 5.0,
    "delay_before_scale_down": 0.0,
    "scale_down": True,
    "max_remaining": 3,
    "rollback_on_failure": True,
    "port": 8080,
    "environment": ("A=1", "B=x=y"),
    "settings": (),
}


def group(name: str, *, enabled: bool) -> ServerGroup:
    return ServerGroup(
        name=name,
        account="local",
        location="here",
        capacity=Capacity.fixed(2),
        enabled=enabled,
        launch=LaunchSpec(version="v1", command=("run",)),
        created_at_ms=1,
    )


def seen(*groups: ServerGroup) -> Observation:
    return Observation(account="local", application="hello", as_of_ms=1, server_groups=groups)


def test_a_deployment_asks_for_what_was_typed() -> None:
    assert payload_for("hello", ASKED) == {
        "application": "hello",
        "stack": "prod",
        "detail": "",
        "launch": {
            "version": "v2",
            "image": "",
            "command": ["python", "my app.py", "--port", "{port}"],
            "environment": {"A": "1", "B": "x=y"},
            "health_path": "/health",
            "settings": {"directory": str(Path.cwd()), "port": 8080},
        },
        "strategy": "redblack",
        "delayBeforeCleanup": 5.0,
        "delayBeforeScaleDown": 0.0,
        "scaleDown": True,
        "rollback": {"onFailure": True},
        "healthTimeout": 1800.0,
        "maxRemainingAsgs": 3,
        "capacity": {"min": 2, "desired": 2, "max": 2},
    }


def test_shares_are_asked_for_with_rollingredblack_only() -> None:
    asked = {**ASKED, "strategy": "rollingredblack", "target_percentages": (25, 50), "max_initial": 2}
    payload = payload_for("hello", asked)
    assert (payload["targetPercentages"], payload["maxInitialAsgs"]) == ([25, 50], 2)
    assert "targetPercentages" not in payload_for("hello", ASKED)


@pytest.mark.parametrize(("text", "shares"), [("25,50", (25, 50)), ("10%, 100%", (10, 100)), ("7", (7,))])
def test_percentages_are_rising_shares(text: str, shares: tuple[int, ...]) -> None:
    assert Percentages().convert(text, None, None) == shares


@pytest.mark.parametrize("text", ["", "50,25", "0,50", "50,50", "101", "half"])
def test_what_is_no_list_of_rising_shares_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="rising shares from 1 to 100"):
        Percentages().convert(text, None, None)


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("redblack", ["5 instances, strategy redblack", "then take traffic from hello-v001 (v1)"]),
        ("rollingredblack", ["2 instances, strategy rollingredblack", "over in shares: 25%, 100%"]),
        ("highlander", ["5 instances, strategy highlander", "destroy hello-v000 (v1), hello-v001 (v1)", "no way back"]),
        ("none", ["5 instances, strategy none"]),
    ],
)
def test_the_plan_says_what_becomes_of_the_other_versions(strategy: str, says: list[str]) -> None:
    groups = (group("hello-v000", enabled=False), group("hello-v001", enabled=True))
    payload = {
        "launch": {"version": ""},
        "capacity": {"desired": 5},
        "strategy": strategy,
        "targetPercentages": [25],
    }
    lines = "; ".join(deploy_lines(Moniker(app="hello"), groups, payload))
    assert lines.startswith("deploy hello-v002: ")
    assert all(words in lines for words in says), lines


def test_without_a_number_the_capacity_is_left_to_what_serves_now() -> None:
    assert "capacity" not in payload_for("hello", ASKED | {"instances": None})


@pytest.mark.parametrize(
    ("said", "capacity"),
    [
        ((3, None, None), (3, 3, 3)),
        ((3, 1, None), (1, 3, 3)),
        ((None, 2, 4), (2, 2, 4)),
        ((None, None, 4), (4, 4, 4)),
        ((0, None, None), (0, 0, 0)),
    ],
)
def test_what_was_not_said_of_a_capacity_follows_from_the_rest(
    said: tuple[int | None, int | None, int | None],
    capacity: tuple[int, int, int],
) -> None:
    assert capacity_of(*said) == dict(zip(("min", "desired", "max"), capacity, strict=True))


def test_destroying_always_needs_a_yes() -> None:
    old, new = group("hello-v000", enabled=False), group("hello-v001", enabled=True)
    assert plan_for("destroyServerGroup", old, seen(old, new), {}).needs_yes == "hello-v000 will be gone for good"
    assert "only one that serves" in plan_for("destroyServerGroup", new, seen(old, new), {}).needs_yes


def test_taking_the_last_traffic_away_needs_a_yes() -> None:
    old, new = group("hello-v000", enabled=False), group("hello-v001", enabled=True)
    off = {"desiredPercentage": 100}
    to_zero = {"capacity": {"min": 0, "desired": 0, "max": 0}}
    assert "nothing would answer" in plan_for("disableServerGroup", new, seen(old, new), off).needs_yes
    assert "nothing would answer" in plan_for("resizeServerGroup", new, seen(old, new), to_zero).needs_yes


@pytest.mark.parametrize("kind", ["terminateInstances", "deregisterInstances"])
def test_taking_the_last_serving_instances_needs_a_yes(kind: str) -> None:
    instances = tuple(Instance(id=f"hello-v000:{index}", health=Health.UP) for index in range(2))
    only = group("hello-v000", enabled=True).model_copy(update={"instances": instances})
    assert (
        "nothing would answer"
        in plan_for(kind, only, seen(only), {"instanceIds": [one.id for one in instances]}).needs_yes
    )
    assert plan_for(kind, only, seen(only), {"instanceIds": [instances[0].id]}).needs_yes == ""


def test_taking_traffic_away_beside_another_that_serves_needs_none() -> None:
    old, new = group("hello-v000", enabled=True), group("hello-v001", enabled=True)
    assert plan_for("disableServerGroup", old, seen(old, new), {"desiredPercentage": 100}).needs_yes == ""
    assert plan_for("enableServerGroup", old, seen(old, new), {"desiredPercentage": 100}).needs_yes == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("0.5s", 0.5), ("2h", 7200)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1d", "-5", "5 min"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        Duration().convert(text, None, None)


def test_options_before_the_command_count_and_those_beside_it_win() -> None:
    places: list[Place] = []

    @click.group()
    @place_options
    def top() -> None:
        pass

    @top.command()
    @place_options
    def look(place: Place) -> None:
        places.append(place)

    before = ["--engine", "127.0.0.1:1", "--namespace", "first"]
    result = CliRunner().invoke(
        top, [*before, "look", "--namespace", "second"], env={"STORMSAIL_ENGINE": "127.0.0.1:9"}
    )
    assert result.exit_code == 0
    assert [(place.engine, place.namespace) for place in places] == [("127.0.0.1:1", "second")]


def test_the_environment_names_the_engine_and_our_own_variable_comes_first() -> None:
    places: list[Place] = []

    @click.command()
    @place_options
    def look(place: Place) -> None:
        places.append(place)

    both = {"STORMSAIL_ENGINE": "127.0.0.1:1", "TEMPORAL_ADDRESS": "127.0.0.1:2", "TEMPORAL_NAMESPACE": "prod"}
    CliRunner().invoke(look, env=both)
    CliRunner().invoke(look, env=both | {"STORMSAIL_ENGINE": None})
    assert [(place.engine, place.namespace) for place in places] == [("127.0.0.1:1", "prod"), ("127.0.0.1:2", "prod")]


def test_an_engine_that_runs_on_the_data_directory_is_found_and_a_dead_one_is_not(tmp_path: Path) -> None:
    place = Place("", "default", tmp_path)
    with left_note(tmp_path / "engine.json", "127.0.0.1:4711"):
        assert place.address == "127.0.0.1:4711"
    assert place.address == DEFAULT_ENGINE
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / "engine.json").write_text(json.dumps({"address": "127.0.0.1:4711", "pid": int(gone.stdout)}))
    assert place.address == DEFAULT_ENGINE
