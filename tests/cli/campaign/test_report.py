"""What a campaign prints and writes."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from stormsail.cli.campaign import published
from stormsail.cli.campaign.figures import Tally
from stormsail.cli.campaign.kinds import KINDS
from stormsail.cli.campaign.report import write_report
from stormsail.cli.campaign.running import Campaign, Settings
from stormsail.cli.campaign.session import record_of
from stormsail.cli.campaign.world import Outcome, Verdict
from stormsail.cli.main import run

NOMINAL_S = dict.fromkeys((kind.name for kind in KINDS), 20.0)


def tally(wrong: int, right: int) -> Tally:
    counted = Tally()
    bad = [Verdict(number, "resize", "given up", 40.0, ("throttle", "worker kill"), "why") for number in range(wrong)]
    good = [Verdict(number, "enable", "", 30.0, (), "") for number in range(wrong, wrong + right)]
    kills = tuple(("worker kill", True) for _ in range(wrong))
    counted.count(Outcome((*bad, *good), kills, 100.0), NOMINAL_S)
    return counted


def campaign(durable_wrong: int, legacy_wrong: int) -> Campaign:
    settings = Settings(3_000, 0.03, 1, ("durable", "legacy"))
    tallies = {
        "durable": tally(durable_wrong, 3_000 - durable_wrong),
        "legacy": tally(legacy_wrong, 3_000 - legacy_wrong),
    }
    return Campaign(settings, NOMINAL_S, settings.chunks, tallies)


def test_a_campaign_passes_when_nothing_durable_is_wrong_and_the_baseline_is_fair() -> None:
    assert record_of(campaign(0, 120))["passed"]
    assert not record_of(campaign(1, 120))["passed"]
    unfair = record_of(campaign(0, 20))
    assert not unfair["passed"]
    assert "no fair baseline" in unfair["verdict"]


def test_figures_have_bounds_by_class_kind_and_kill() -> None:
    figures = record_of(campaign(0, 120))["arms"]["legacy"]
    met = {row["name"]: row for row in figures["met"]}
    assert (met["throttle"]["count"], met["throttle"]["wrong"]) == (120, 120)
    assert (met["none"]["count"], met["none"]["wrong"]) == (2880, 0)
    assert figures["ways"]["given up"] == 120
    assert figures["kills"][-1]["wrong"] == 120
    assert 0.033 < figures["at_least"] < 0.04 < figures["at_most"] < 0.048
    assert figures["longest_in_nominal_times"] == 1.5


def test_the_report_says_the_numbers_their_sources_and_what_it_does_not_show(tmp_path: Path) -> None:
    record = record_of(campaign(0, 120))
    page, chart = write_report(tmp_path / "report", record, NOMINAL_S)
    text = page.read_text()
    assert record["verdict"] in text
    assert all(one.source in text for one in published.ALL)
    assert "## What it does not show" in text
    drawn = ElementTree.parse(chart)
    said = [element.text for element in drawn.iter() if element.text]
    assert "0 of 3000" in said
    assert "120 of 3000" in said


@pytest.mark.slow
def test_the_command_prints_json_alone_on_stdout_and_writes_its_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--operations", "20", "--arm", "both", "--jobs", "1", "--seed", "3", "--fault-rate", "0"]
    assert run(["campaign", *options, "-o", "json", "--report", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["arms"]["durable"]["count"], record["arms"]["durable"]["wrong"]) == (20, 0)
    assert "20 of 20 (100 %)" in err
    assert (tmp_path / "campaign.svg").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--resume"], "--checkpoint FILE"),
        (["--mutant", "no-such-bug"], "--list-mutants"),
        (["--mutant", "no-token", "--arm", "legacy"], "--arm durable"),
        (["--fault-rate", "0.5"], "0.2"),
        (["--resume", "--checkpoint", "/nonexistent/file"], "no checkpoint"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_says_what_to_do(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["campaign", *options]) == 2
    assert said in capsys.readouterr().err


def test_planted_bugs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["campaign", "--list-mutants", "-o", "name"]) == 0
    assert "no-token" in capsys.readouterr().out.split()
