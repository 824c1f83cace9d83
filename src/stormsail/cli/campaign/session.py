"""What `stormsail campaign` does: shows progress, prints the figures and the verdict, writes the report."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stormsail.cli.campaign.figures import figures_of
from stormsail.cli.campaign.mutants import MUTANTS
from stormsail.cli.campaign.report import write_report
from stormsail.cli.campaign.running import Campaign, Settings, Unusable, begin, run_campaign, take_up
from stormsail.cli.campaign.world import Broken
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.output import Column, note, show_list, show_one, span, table
from stormsail.engine.sim.campaign import cores

PROGRESS_S: Final = 5.0
LEGACY_EXPECTED: Final = (0.03, 0.05)
"""What the legacy arm should come to at the default fault rate: Netflix's about 4 %."""
LEGACY_JUDGED_FROM: Final = 2_000
"""Operations from which on that is judged."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options."""

    operations: int
    fault_rate: float
    seed: int
    arms: tuple[str, ...]
    mutant: str
    checkpoint: Path | None
    resume: bool
    report: Path | None
    jobs: int | None

    @property
    def settings(self) -> Settings:
        """What is played."""
        return Settings(self.operations, self.fault_rate, self.seed, self.arms, self.mutant)


def play_all(asked: Asked, output: str) -> int:
    """Play a campaign; return the exit code."""
    campaign = _begun(asked)
    jobs = asked.jobs or cores()
    planted = f", with {asked.mutant} planted" if asked.mutant else ""
    note(
        f"campaign: {asked.operations} operations, seed {asked.seed}, fault rate {asked.fault_rate:g}, "
        f"{' and '.join(asked.arms)}, {jobs} process{'es' if jobs > 1 else ''}{planted}"
    )
    try:
        run_campaign(campaign, jobs, checkpoint=asked.checkpoint, report=_progress(campaign))
    except Broken as broken:
        raise CommandFailed(
            f"a process did what it must never do: {broken}",
            next_step="the name of the world is campaign/SEED/NUMBER; the same options play it again",
        ) from broken
    record = record_of(campaign)
    if asked.report is not None:
        for path in write_report(asked.report, record, campaign.nominal_s):
            note(f"written: {path}")
    show_one(record, _text(record), "verdict", output)
    return int(ExitCode.OK if record["passed"] else ExitCode.ERROR)


def record_of(campaign: Campaign) -> Json:
    """Return everything that a campaign found. The same settings give the same, but for `seconds`."""
    settings = campaign.settings
    arms = {arm: figures_of(tally) for arm, tally in campaign.tallies.items()}
    passed, verdict = _judged(settings, arms)
    return {
        "operations": settings.operations,
        "fault_rate": settings.fault_rate,
        "seed": settings.seed,
        "mutant": settings.mutant,
        "arms": arms,
        "passed": passed,
        "verdict": verdict,
        "seconds": round(campaign.spent_s, 1),
    }


def list_mutants(output: str) -> int:
    """Print the planted bugs."""
    records = [{"name": mutant.name, "says": mutant.says} for mutant in MUTANTS.values()]
    columns = [Column("name", lambda one: str(one["name"])), Column("what it does", lambda one: str(one["says"]))]
    show_list(records, columns, "name", output, empty="no planted bugs")
    return int(ExitCode.OK)


def check_mutant(name: str) -> None:
    """Refuse a mutant that is none."""
    if name not in MUTANTS:
        raise CommandFailed(
            f"--mutant {name!r} is no planted bug", next_step="`stormsail campaign --list-mutants`", code=ExitCode.USAGE
        )


def play_real(operations: int, fault_rate: float, seed: int, output: str) -> int:
    """Play operations with real processes; return the exit code."""
    from stormsail.cli.campaign.real import play_for_real

    return play_for_real(operations, fault_rate, seed, output)


def _begun(asked: Asked) -> Campaign:
    if not asked.resume or asked.checkpoint is None:
        return begin(asked.settings)
    try:
        return take_up(asked.settings, asked.checkpoint)
    except Unusable as error:
        raise CommandFailed(
            str(error),
            next_step="give the options it was begun with, or begin anew without --resume",
            code=ExitCode.USAGE,
        ) from error


def _judged(settings: Settings, arms: Json) -> tuple[bool, str]:
    """Say in one line whether the campaign shows what it is to show."""
    said, passed = [], True
    durable, legacy = arms.get("durable"), arms.get("legacy")
    if durable is not None:
        passed = durable["wrong"] == 0
        said.append(
            f"durable {durable['wrong']} wrong of {durable['count']} (at most {_percent(durable['at_most'])} at 95 %)"
        )
    if legacy is not None:
        low, high = LEGACY_EXPECTED
        said.append(
            f"legacy {legacy['wrong']} wrong of {legacy['count']} ({_percent(legacy['rate'])}, "
            f"between {_percent(legacy['at_least'])} and {_percent(legacy['at_most'])})"
        )
        if settings.operations >= LEGACY_JUDGED_FROM and not low <= legacy["rate"] <= high:
            said.append(f"which is not {_percent(low)} to {_percent(high)}, so it is no fair baseline")
            passed = False
    return passed, f"{'PASSED' if passed else 'FAILED'}: {'; '.join(said)}"


def _progress(campaign: Campaign) -> Callable[[Campaign], None]:
    """Show progress on stderr now and then."""
    last_s = began_s = time.monotonic()
    before = campaign.operations_done

    def report(campaign: Campaign) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s < PROGRESS_S and not campaign.over:
            return
        last_s = now_s
        done, whole = campaign.operations_done, campaign.settings.operations
        speed = (done - before) / max(now_s - began_s, 0.001)
        wrong = ", ".join(f"{arm} {tally.wrong} wrong" for arm, tally in campaign.tallies.items())
        left = f", {span((whole - done) / speed * 1000)} left" if done < whole else ""
        note(f"{done} of {whole} ({100 * done / whole:.0f} %), {speed:.0f} a second{left}: {wrong}")
        sys.stderr.flush()

    return report


def _text(record: Json) -> str:
    parts = []
    for arm, figures in record["arms"].items():
        ways = ", ".join(f"{way} {count}" for way, count in figures["ways"].items() if count) or "none"
        rows = [
            _row(f"{group}{row['name']}" if group else arm, row)
            for group, rows_of in (
                ("", [figures]),
                ("  met ", figures["met"]),
                ("  of ", [*figures["kills"], figures["worlds"]]),
            )
            for row in rows_of
            if not group or row["count"]
        ]
        parts.append(table(["", "count", "wrong", "rate", "at least", "at most"], rows))
        parts.append(
            f"ways to be wrong: {ways}; the longest good end took {figures['longest_in_nominal_times']} x nominal"
        )
        parts += [
            f"  operation {one['operation']}: {one['how']}" for one in figures["examples"][:5] if arm == "durable"
        ]
        parts.append("")
    return "\n".join([*parts, record["verdict"]])


def _row(name: str, row: Json) -> list[str]:
    rates = [_percent(row[field]) for field in ("rate", "at_least", "at_most")]
    return [name, str(row["count"]), str(row["wrong"]), *rates]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share else "0 %"
