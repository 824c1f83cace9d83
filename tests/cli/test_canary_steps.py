"""The steps of a canary on the command line: what each word becomes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from stormsail.cli.canary_steps import CanaryStepParam, check_steps
from stormsail.cli.follow import PlainView
from stormsail.delivery.model.canary import CanarySettings
from stormsail.delivery.model.operation import OperationProgress, OperationStatus, Step, StepStatus


@pytest.mark.parametrize(
    ("word", "step"),
    [
        ("weight=10", {"setWeight": 10}),
        ("weight=10%", {"setWeight": 10}),
        ("pause=5m", {"pause": {"duration": 300.0}}),
        ("pause", {"pause": {}}),
        ("approval", {"approval": {}}),
        ("approval=look first", {"approval": {"message": "look first"}}),
        ("command=./ok.sh 'a b'", {"analysis": {"command": {"command": ["./ok.sh", "a b"]}}}),
        (
            "web=http://h:9/x?a@data[0].rate >= 0.99",
            {
                "analysis": {
                    "web": {"url": "http://h:9/x?a", "jsonPath": "data[0].rate"},
                    "successCondition": ">= 0.99",
                }
            },
        ),
        (
            'web=http://h/x=="ok"',
            {"analysis": {"web": {"url": "http://h/x", "jsonPath": ""}, "successCondition": '=="ok"'}},
        ),
    ],
)
def test_a_word_becomes_a_step_that_workers_take(word: str, step: dict[str, Any]) -> None:
    found = CanaryStepParam().convert(word, None, None)
    assert found == step
    first = [] if "setWeight" in found else [{"setWeight": 1}]
    CanarySettings.model_validate({"steps": [*first, found]})


def test_an_analysis_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    path.write_text(json.dumps({"name": "errors", "count": 3}))
    assert CanaryStepParam().convert(f"analysis=@{path}", None, None) == {"analysis": {"name": "errors", "count": 3}}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("wait=5m", "there are weight, pause, approval, web, command, analysis"),
        ("weight=ten", "percentage from 1 to 100"),
        ("pause=soon", "is not a duration"),
        ("web=http://h/x", "a condition"),
        ("command='a", "check the quotes"),
        ("analysis=@no-such-file", "No such file"),
        ("analysis=[1]", "is an object"),
        ("analysis={", "is not JSON"),
    ],
)
def test_a_word_that_is_no_step_is_refused_with_how_to_write_it(word: str, says: str) -> None:
    with pytest.raises(click.BadParameter, match=says):
        CanaryStepParam().convert(word, None, None)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([], "say what the canary goes through"),
        ([{"pause": {}}], "the first step must be setWeight"),
        ([{"setWeight": 5}, {"pause": {"duration": 0.0}}], "step 2: pause.duration"),
        ([{"setWeight": 500}], "step 1: setWeight"),
    ],
)
def test_steps_that_no_worker_would_take_are_refused_by_number(steps: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(click.UsageError, match=says):
        check_steps(steps)


def test_what_waits_for_a_person_says_which_commands_let_it_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    waits = Step(name="canaryApproval", status=StepStatus.PAUSED, detail="look first")
    failed = Step(name="resizeServerGroup", status=StepStatus.PAUSED, error="no quota")
    view = PlainView()
    for step in (waits, failed):
        view.show(OperationProgress(operation_type="x", status=OperationStatus.RUNNING, steps=(step,)))
        view.shown.clear()
        view.told.clear()
    said = capsys.readouterr().err
    assert "`stormsail operation approve`, `promote` or `abort`" in said
    assert "`stormsail operation retry`, `skip`, `rerun` or `cancel`" in said
