"""What `operation rerun` changes, how steering is told, and the three commands against a whole Stormsail."""

import pytest

from stormsail.cli.own_operation import payload_of
from stormsail.cli.steering import fields_of
from stormsail.cli.steering_run import steering_lines
from stormsail.delivery.model.steering import SteeringRecord, Verb
from tests.cli.conftest import Place, eventually


@pytest.mark.parametrize(
    ("pairs", "fields"),
    [
        (["percent=50"], {"percent": 50}),
        (["capacity.max=4", "capacity.min=1"], {"capacity": {"max": 4, "min": 1}}),
        (["launch.version=v2"], {"launch": {"version": "v2"}}),
        (['launch.command=["a", "b=c"]'], {"launch": {"command": ["a", "b=c"]}}),
        (["launch.environment.A="], {"launch": {"environment": {"A": ""}}}),
    ],
)
def test_words_become_nested_fields(pairs: list[str], fields: dict[str, object]) -> None:
    assert fields_of(pairs) == fields


def test_a_field_overrules_the_payload() -> None:
    assert payload_of('{"a": 1, "b": 2}', ("b=3", "c.d=x")) == {"a": 1, "b": 3, "c": {"d": "x"}}


def test_what_people_asked_is_told_in_a_line_each() -> None:
    asked = SteeringRecord(id="a", verb=Verb.RERUN, step="003-x", by="ada", reason="quota", accepted=True, at_ms=1)
    changed = asked.model_copy(update={"before": {"percent": 50}, "after": {"percent": 20}})
    refused = asked.model_copy(update={"verb": Verb.RETRY, "accepted": False, "message": "bob was first"})
    told, turned_down = steering_lines([changed, refused])
    assert told.endswith("003-x: rerun with another input by ada, because: quota; percent 50 -> 20")
    assert "003-x: retry was turned down (bob was first) by ada" in turned_down


@pytest.mark.e2e
@pytest.mark.slow
def test_a_deployment_that_waits_is_rerun_and_skipped_from_the_command_line(running: Place) -> None:
    eventually(lambda: running.note("web.json"))  # The page makes the records as it starts.
    words = ["deploy", "steered", "--command", "no-such-command-anywhere", "--on-failure", "pause", "--no-wait"]
    started = running.run(*words, "--health-timeout", "2", "-o", "name")
    assert started.code == 0, started.err
    operation = started.out.strip()
    refused = running.run("operation", "retry", operation, "--step", "enableServerGroup")
    assert refused.code == 6, refused.err
    assert "can be steered now" in refused.err

    def newest() -> tuple[str, str]:
        steps = running.run("operation", "get", operation, "-o", "json").json["steps"]
        return (steps[-1]["name"], steps[-1]["status"]) if steps else ("", "")

    def until_paused_at(name: str) -> None:
        eventually(lambda: newest() == (name, "PAUSED"))

    until_paused_at("createServerGroup")
    change = 'launch.command=["python3", "-m", "http.server", "{port}"]'
    rerun = running.run("operation", "rerun", operation, "--set", change, "--reason", "typo")
    assert rerun.code == 0, rerun.err
    until_paused_at("waitForUpInstances")  # It answers, but not at /health.
    again = running.run("operation", "rerun", operation, "--set", "up_at_least=0", "--reason", "no health page")
    assert again.code == 0, again.err
    until_paused_at("enableServerGroup")
    skipped = running.run("operation", "skip", operation, "--reason", "try without")
    assert skipped.code == 0, skipped.err
    until_paused_at("waitForUpInstances")
    shown = running.run("operation", "get", operation)
    assert "waits for a person" in shown.out
    assert "createServerGroup: rerun with another input by " in shown.out
    assert "because: typo" in shown.out
    canceled = running.run("operation", "cancel", operation, "--reason", "enough")
    assert canceled.code == 0, canceled.err
    assert running.run("operation", "retry", operation).code == 6
    whole = running.run("operation", "get", operation, "-o", "json").json
    assert [record["verb"] for record in whole["steering"] if record["accepted"]] == [
        "rerun",
        "rerun",
        "skip",
        "cancel",
    ]
    assert whole["steering"][-1]["reason"] == "enough"
    assert running.run("server-group", "get", "steered-v000").code == 5
    entries = [one for one in running.run("audit", "list", "-o", "json").json if one["application"] == "steered"]
    assert [(one["via"], one["verb"], one["state"]) for one in reversed(entries)] == [
        ("cli", "operation.start.createServerGroup", "done"),
        ("cli", "operation.retry", "refused"),
        ("cli", "operation.rerun", "done"),
        ("cli", "operation.rerun", "done"),
        ("cli", "operation.skip", "done"),
        ("cli", "operation.cancel", "done"),
        ("cli", "operation.retry", "refused"),
    ]
    assert {one["principal"] for one in entries} == {whole["steering"][-1]["by"]}
