"""One measurement at a time: what programs, URLs and Prometheus answer, and what is made of it."""

import json
import sys
from typing import Any

import pytest

from delivery.metrics import metrics
from stormsail.delivery.checks import ask_prometheus, ask_web, at_path, run_command
from stormsail.delivery.model.canary import CommandCheck, Measurement, PrometheusCheck, WebCheck
from stormsail.delivery.providers.errors import Permanent, Transient


@pytest.mark.parametrize(
    ("path", "found"),
    [("", {"a": [{"b": 1}]}), ("a[0].b", 1), ("$.a[0].b", 1), ("$", {"a": [{"b": 1}]})],
)
def test_a_path_finds_what_stands_there(path: str, found: Any) -> None:
    assert at_path({"a": [{"b": 1}]}, path) == found


@pytest.mark.parametrize("path", ["a.b", "a[1]", "a[0].b.c", "a[x]", "a..b", "[0]"])
def test_a_path_to_nowhere_names_the_part_that_is_missing(path: str) -> None:
    with pytest.raises(LookupError, match=r"there is no|is no path"):
        at_path({"a": [{"b": 1}]}, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "path", "measured"),
    [
        ('{"rate": 0.5}', "rate", Measurement(value=0.5)),
        ('{"rate": null}', "rate", Measurement(detail="rate is nothing, not a number or a word")),
        ('{"state": "ok"}', "state", Measurement(value="ok")),
    ],
)
async def test_a_url_is_asked_for_the_value_at_a_path(answer: str, path: str, measured: Measurement) -> None:
    with metrics(answer) as (url, _):
        assert await ask_web(WebCheck(url=url, json_path=path), 60) == measured


@pytest.mark.slow
async def test_a_url_that_fails_may_do_better_a_moment_later() -> None:
    with metrics("") as (url, _), pytest.raises(Transient, match="503"):
        await ask_web(WebCheck(url=url), 5)
    with pytest.raises(Transient):
        await ask_web(WebCheck(url=url), 5)
    with metrics("<html>") as (url, _), pytest.raises(Transient, match="JSON"):
        await ask_web(WebCheck(url=url), 5)


def series(*values: str) -> str:
    return json.dumps({"data": {"resultType": "vector", "result": [{"value": [1, value]} for value in values]}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "measured"),
    [
        (series("0.25"), Measurement(value=0.25)),
        (json.dumps({"data": {"resultType": "scalar", "result": [1, "3"]}}), Measurement(value=3.0)),
        (series(), Measurement(detail="the query gives 0 series, and one is needed")),
        (series("1", "2"), Measurement(detail="the query gives 2 series, and one is needed")),
        (series("NaN"), Measurement(detail="the query gives no number")),
    ],
)
async def test_prometheus_must_give_one_series(answer: str, measured: Measurement) -> None:
    with metrics(answer) as (url, asked):
        assert await ask_prometheus(PrometheusCheck(address=url, query='rate{g="x"}'), 60) == measured
    assert asked == ["/api/v1/query?query=rate%7Bg%3D%22x%22%7D"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "measured"),
    [
        ("print(0.5)", Measurement(value=0.5)),
        ("print('fine')", Measurement(value="fine")),
        ("pass", Measurement(value="")),
        (
            "import sys; print('bad'); sys.exit(3)",
            Measurement(detail=f"{sys.executable} ended with 3: bad", failed=True),
        ),
    ],
)
async def test_what_a_program_prints_is_the_value_and_its_exit_code_may_fail_it(
    code: str, measured: Measurement
) -> None:
    assert await run_command(CommandCheck(command=(sys.executable, "-c", code)), 60) == measured


@pytest.mark.slow
async def test_a_program_that_does_not_end_is_ended_with_all_that_it_started() -> None:
    found = await run_command(CommandCheck(command=("sh", "-c", "sleep 60 & sleep 60")), 0.2)
    assert (found.failed, "did not end within 0.2 s" in found.detail) == (True, True)


async def test_a_program_that_is_not_there_is_said_so_at_once() -> None:
    with pytest.raises(Permanent, match="No such file"):
        await run_command(CommandCheck(command=("/no/such/program",)), 1)
