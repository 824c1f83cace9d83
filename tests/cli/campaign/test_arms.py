"""Both arms on the same worlds, in short: what is kept, what is lost, and that planted bugs are seen."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stormsail.cli.campaign.durable import DurableArm
from stormsail.cli.campaign.figures import Tally
from stormsail.cli.campaign.kinds import KINDS, Operation
from stormsail.cli.campaign.legacy import LegacyArm
from stormsail.cli.campaign.mutants import MUTANTS
from stormsail.cli.campaign.plan import Victim, plan_nominal, plan_world
from stormsail.cli.campaign.running import (
    Campaign,
    Settings,
    Unusable,
    begin,
    nominal_times,
    play_chunk,
    run_campaign,
    take_up,
)
from stormsail.cli.campaign.world import Arm, Broken, Stage, play

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nominal_s() -> dict[str, float]:
    return nominal_times()


def test_without_faults_every_operation_ends_as_intended_in_both_arms() -> None:
    for arm in (DurableArm, LegacyArm):
        for verdict in play(plan_nominal(), {}, arm).verdicts:
            assert (verdict.wrong, verdict.felt) == ("", ()), verdict


def test_at_fault_rate_nought_nothing_goes_wrong_and_nobody_is_killed(nominal_s: dict[str, float]) -> None:
    plan = plan_world(3, 0, 0.0)
    assert plan.kills == ()
    assert {verdict.wrong for verdict in play(plan, nominal_s, LegacyArm).verdicts} == {""}


def test_the_durable_arm_ends_right_where_faults_and_kills_are_dense(nominal_s: dict[str, float]) -> None:
    tally = Tally()
    for world in range(3):
        tally.count(play(plan_world(1, world, 0.1, 10), nominal_s, DurableArm), nominal_s)
    assert tally.wrong == 0, tally.examples
    assert min(tally.met[victim] for victim in Victim) > 0, "somebody was killed under an operation"


@pytest.mark.parametrize(("arm", "fault_rate"), [(LegacyArm, 0.0), (DurableArm, 0.0), (DurableArm, 0.15)])
def test_a_deployment_that_is_cancelled_at_whatever_moment_is_undone(
    arm: Callable[[Stage], Arm], fault_rate: float, nominal_s: dict[str, float]
) -> None:
    [cancelled] = [kind for kind in KINDS if kind.cancelled]
    operations = tuple(Operation(number, cancelled, f"app{number}", number / 4) for number in range(24))
    outcome = play(replace(plan_world(1, 0, fault_rate), operations=operations), nominal_s, arm)
    assert {verdict.wrong for verdict in outcome.verdicts} == {""}
    assert 2 in {len(verdict.effects) for verdict in outcome.verdicts}, "something was made and taken away again"


def test_the_legacy_arm_loses_about_four_in_a_hundred_and_none_that_met_no_fault(nominal_s: dict[str, float]) -> None:
    tally = Tally()
    for world in range(150):
        tally.count(play(plan_world(1, world, 0.03), nominal_s, LegacyArm), nominal_s)
    assert 0.03 <= tally.wrong / tally.operations <= 0.05
    assert tally.met_wrong["none"] == 0


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_seen(name: str, nominal_s: dict[str, float]) -> None:
    def planted(stage: Stage) -> Arm:
        return DurableArm(stage, MUTANTS[name].plant)

    tally = Tally()
    try:
        for world in range(2):
            tally.count(play(plan_world(1, world, 0.1, 10), nominal_s, planted), nominal_s)
    except Broken:
        return
    assert tally.wrong > 0


def test_both_arms_play_the_same_plan() -> None:
    one, other = plan_world(5, 7, 0.03), plan_world(5, 7, 0.03)
    assert (one.kills, one.climate) == (other.kills, other.climate)
    drawn = [[(each.kind.name, each.starts_at_s) for each in plan.operations] for plan in (one, other)]
    assert drawn[0] == drawn[1]
    assert plan_world(6, 7, 0.03).operations[0].starts_at_s != one.operations[0].starts_at_s


SCRIPT = """
from stormsail.cli.campaign.durable import DurableArm
from stormsail.cli.campaign.kinds import KINDS, Operation
from stormsail.cli.campaign.legacy import LegacyArm
from stormsail.cli.campaign.plan import plan_world
from stormsail.cli.campaign.world import play
arms = []
def durable(stage):
    arms.append(DurableArm(stage))
    return arms[-1]
for arm in (durable, LegacyArm):
    print(play(plan_world(1, 0, 0.1, 6), {}, arm))
print(arms[0].digest)
"""


@pytest.mark.timeout(300)
def test_a_seed_goes_the_same_way_in_every_process() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert "took_s" in said[0]


class Enough(Exception):
    """Stops a campaign."""


def test_a_campaign_taken_up_again_comes_to_the_same_figures(tmp_path: Path) -> None:
    settings = Settings(operations=330, fault_rate=0.03, seed=4, arms=("legacy",))
    whole = begin(settings)
    run_campaign(whole, 1, report=lambda _: None)

    def stop(_: Campaign) -> None:
        raise Enough

    file = tmp_path / "checkpoint.json"
    for _ in range(2):
        stopped = take_up(settings, file) if file.exists() else begin(settings)
        with pytest.raises(Enough):
            run_campaign(stopped, 1, checkpoint=file, report=stop)
    taken_up = take_up(settings, file)
    assert 0 < taken_up.chunks_done < settings.chunks
    run_campaign(taken_up, 1, checkpoint=file, report=lambda _: None)
    assert taken_up.tallies == whole.tallies
    assert taken_up.tallies["legacy"].operations == settings.operations
    assert take_up(settings, file).over


def test_a_checkpoint_of_other_settings_or_none_at_all_is_refused(tmp_path: Path, nominal_s: dict[str, float]) -> None:
    file = tmp_path / "checkpoint.json"
    settings = Settings(operations=100, fault_rate=0.03, seed=4, arms=("legacy",))
    with pytest.raises(Unusable, match="there is no checkpoint"):
        take_up(settings, file)
    Campaign(settings, nominal_s).save(file)
    with pytest.raises(Unusable, match="was begun with seed 4, not 5"):
        take_up(Settings(operations=100, fault_rate=0.03, seed=5, arms=("legacy",)), file)
    Campaign(settings, {"resize": 20.0}).save(file)
    with pytest.raises(Unusable, match="begun by a version with other kinds of operation"):
        take_up(settings, file)
    file.write_text('{"settings": 1}')
    with pytest.raises(Unusable, match="no checkpoint of a campaign"):
        take_up(settings, file)


def test_counts_do_not_depend_on_who_plays_which_chunk(nominal_s: dict[str, float]) -> None:
    settings = Settings(operations=300, fault_rate=0.05, seed=2, arms=("legacy",))
    forth, back = Tally(), Tally()
    chunks = [play_chunk(settings, chunk, nominal_s)["legacy"] for chunk in range(settings.chunks)]
    for tally in chunks:
        forth.add(tally)
    random.Random(1).shuffle(chunks)
    for tally in chunks:
        back.add(Tally.from_json(tally.to_json()))
    assert (forth.ways, forth.met, forth.kills, forth.examples) == (back.ways, back.met, back.kills, back.examples)
    assert forth.operations == 300


def test_a_process_that_breaks_is_told_and_never_counted(nominal_s: dict[str, float]) -> None:
    class Breaking(LegacyArm):
        async def open(self) -> None:
            await super().open()
            loop = asyncio.get_running_loop()
            loop.call_later(1.0, lambda: 1 / 0)

    with pytest.raises(Broken, match="division by zero"):
        play(plan_world(1, 0, 0.0, 3), nominal_s, Breaking)
