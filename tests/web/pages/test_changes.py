"""The dialogs' own rules: what an edited input changes, which arguments a field holds, and that each command exists."""

import shlex
from typing import Any

import pytest

from stormsail.web.pages.changes.change import command, must_say_why, whole_number
from stormsail.web.pages.changes.operations import _changed, _pairs
from stormsail.web.pages.changes.routes import CHANGES
from stormsail.web.pages.changes.workflows import arguments_of
from stormsail.web.problems import Problem
from web.pages.commands import accepted

BEFORE: dict[str, Any] = {"kind": "resize", "capacity": {"min": 1, "max": 2}, "percent": 100}


def test_only_the_fields_that_were_edited_are_changed_and_nested_ones_are_named_by_their_path() -> None:
    after = '{"kind": "resize", "capacity": {"min": 1, "max": 4}, "percent": 50}'
    changed = _changed(BEFORE, {"input": after})
    assert changed == {"capacity": {"max": 4}, "percent": 50}
    assert _pairs(changed) == [("capacity.max", 4), ("percent", 50)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [("{", "JSON"), ("[1]", "a JSON object"), ('{"kind": "resize"}', "capacity, percent is missing")],
)
def test_an_edited_input_that_is_none_is_turned_down_with_its_rule(text: str, rule: str) -> None:
    with pytest.raises(Problem) as refused:
        _changed(BEFORE, {"input": text})
    assert (refused.value.field, rule in refused.value.rule) == ("input", True)


def test_arguments_are_one_value_a_list_or_none() -> None:
    assert arguments_of(" ") == []
    assert arguments_of('{"a": 1}') == [{"a": 1}]
    assert arguments_of('["a", 2]') == ["a", 2]
    with pytest.raises(Problem, match="JSON"):
        arguments_of("{")


@pytest.mark.parametrize("text", ["", "-1", "1.5", "a", "²", "9" * 30])
def test_a_number_is_whole_and_bounded(text: str) -> None:
    with pytest.raises(Problem):
        whole_number({"desired": text}, "desired")


def test_a_change_without_a_reason_is_turned_down() -> None:
    with pytest.raises(Problem, match="say why"):
        must_say_why({"reason": "  "})


def test_a_command_is_quoted_for_a_shell() -> None:
    line = command("operation", "retry", "0190", reason="it's $HOME; ok")
    assert shlex.split(line) == ["stormsail", "operation", "retry", "0190", "--reason", "it's $HOME; ok"]


COMMANDS = [
    "operation retry 0190 --step 004-x --reason y",
    "operation skip 0190 --step 004-x --reason y",
    "operation rerun 0190 --step 004-x --set percent=50 --reason y",
    "operation cancel 0190 --reason y",
    "operation approve 0190 --reason y",
    "operation promote 0190 --full --reason y",
    "operation pause 0190 --reason y",
    "operation abort 0190 --reason y",
    "server-group resize a-v000 4 --min 2 --max 8 --reason y",
    "server-group shift a-v000 20 --reason y",
    "server-group shift a-v000 --by-instances --reason y",
    "server-group enable a-v000 --reason y",
    "server-group disable a-v000 --reason y",
    "workflow signal -w order-17 -r 0190 --name note --input '\"x\"' --reason y",
    "workflow update execute -w order-17 -r 0190 --name rename --input '\"x\"' --reason y",
    "workflow reset -w order-17 -r 0190 --type LastWorkflowTask --reason y",
    "workflow reset -w order-17 -r 0190 --event-id 9 --reason y",
    "workflow cancel -w order-17 -r 0190 --reason y",
    "workflow terminate -w order-17 -r 0190 --reason y",
    "workflow describe -w order-17 -r 0190",
    "schedule toggle -s nightly --pause --reason y",
    "schedule toggle -s nightly --unpause --reason y",
    "schedule trigger -s nightly --reason y",
    "schedule backfill -s nightly --start-time 2026-11-20T00:00:00.000Z --end-time 2026-11-21T00:00:00.000Z "
    "--overlap-policy BufferAll --reason y",
    "operation get 0190",
    "rollback a --stack b --detail c --to a-v000 --reason y",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_a_page_shows_is_one_that_there_is(line: str) -> None:
    assert accepted(f"stormsail {line}")


def test_every_change_names_what_it_changes() -> None:
    assert all(change.subject and change.title and change.submit for change in CHANGES.values())
