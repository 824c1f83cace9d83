"""`stormsail schedule`: start workflows at given times."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place
from stormsail.cli.temporal.options import Command, Input, Instant, Pair, engine_options, start_options

_HERE = "stormsail.cli.temporal.schedule"
OVERLAPS = ("Skip", "BufferOne", "BufferAll", "CancelOther", "TerminateOther", "AllowAll")

schedule = LazyGroup(
    "schedule",
    lazy={
        "list": Lazy(f"{_HERE}:list_", "List schedules.", ("ls",)),
        "describe": Lazy(f"{_HERE}:describe", "Show one schedule: next and last runs, counts.", ("get",)),
        "create": Lazy(f"{_HERE}:create", "Create a schedule."),
        "update": Lazy(f"{_HERE}:update", "Put another definition in a schedule's place."),
        "toggle": Lazy(f"{_HERE}:toggle", "Pause a schedule, or let it go on."),
        "trigger": Lazy(f"{_HERE}:trigger", "Run a schedule's workflow now."),
        "backfill": Lazy(f"{_HERE}:backfill", "Run what a schedule would have run in a span of the past."),
        "list-matching-times": Lazy(f"{_HERE}:matching", "Show when a schedule runs within a span."),
        "delete": Lazy(f"{_HERE}:delete", "Delete a schedule; workflows it started go on."),
    },
    help="""Start workflows at given times.

    \b
    Example:
      stormsail schedule create -s nightly --cron "0 3 * * *" --type Report -t reports -w report
    """,
)

_ID = click.option("-s", "--schedule-id", required=True, help="Schedule id.")
_OVERLAP = click.option(
    "--overlap-policy",
    type=click.Choice(OVERLAPS, case_sensitive=False),
    help="What to do when the workflow before still runs. [default: the schedule's own]",
)
_REASON = click.option("--reason", default="", help="Why; kept in the audit.")


def _span_options(command: Command) -> Command:
    for decorate in (
        click.option("--end-time", type=Instant(), default="now", show_default=True, help="End of the span."),
        click.option("--start-time", type=Instant(), required=True, help="Begin of the span, as -1h or a date."),
    ):
        command = decorate(command)
    return command


def _definition(command: Command) -> Command:
    """Give a command what a schedule is made of; it takes all of it by keyword."""
    for decorate in (
        click.option("--remaining-actions", type=click.IntRange(0), help="Run this often, then no more. 0: no bound."),
        click.option("--paused", is_flag=True, help="Paused from the start."),
        click.option("--pause-on-failure", is_flag=True, help="Pause when a workflow fails."),
        click.option("--notes", default="", help="Notes for people."),
        click.option("--catchup-window", type=Duration(), help="How late a missed run may still begin."),
        click.option("--overlap-policy", type=click.Choice(OVERLAPS, case_sensitive=False), help="[default: Skip]"),
        click.option("--jitter", type=Duration(), help="Begin at a chance moment within this span."),
        click.option("--time-zone", default="", help="Time zone of calendars and crons, as Europe/Berlin."),
        click.option("--end-time", "until", type=Instant(), help="No run after this."),
        click.option("--start-time", "since", type=Instant(), help="No run before this."),
        click.option("--interval", multiple=True, help="EVERY or EVERY/OFFSET, as 45m or 6h/5h; may be repeated."),
        click.option("--calendar", multiple=True, help='As {"dayOfWeek":"Fri","hour":"17"}; may be repeated.'),
        click.option("--cron", multiple=True, help='As "30 12 * * Fri"; may be repeated.'),
        click.option("--schedule-search-attribute", type=Pair(), multiple=True, help="KEY=JSON of the schedule."),
        click.option("--schedule-memo", type=Pair(), multiple=True, help="KEY=JSON of the schedule."),
        click.option("-w", "--workflow-id", default="", help="Begin of the workflows' ids. [default: a new id]"),
    ):
        command = decorate(command)
    return _ID(start_options(command))


@click.command("list")
@click.option("-q", "--query", default="", help="List filter, as 'ScheduleId STARTS_WITH \"night\"'.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many.")
@engine_options
def list_(query: str, limit: int, place: Place, output: str) -> int:
    """List schedules with their next and last runs.

    \b
    Example:
      stormsail schedule list
    """
    from stormsail.cli.temporal.schedule_run import run_list

    return run_list(query, limit, place, output)


@click.command()
@_ID
@engine_options
def describe(schedule_id: str, place: Place, output: str) -> int:
    """Show one schedule: what it starts and when, its next and last runs, and how many were skipped.

    \b
    Example:
      stormsail schedule describe -s nightly
    """
    from stormsail.cli.temporal.schedule_run import run_describe

    return run_describe(schedule_id, place, output)


@click.command()
@_definition
@engine_options
def create(schedule_id: str, arguments: list[Input], place: Place, output: str, **wanted: object) -> int:
    """Create a schedule.

    \b
    Examples:
      stormsail schedule create -s nightly --cron "0 3 * * *" --type Report -t reports -w report
      stormsail schedule create -s often --interval 45m --type Sync -t sync --overlap-policy Skip
    """
    from stormsail.cli.temporal.schedule_run import run_create

    return run_create(schedule_id, arguments, wanted, place, output)


@click.command()
@_definition
@engine_options
def update(schedule_id: str, arguments: list[Input], place: Place, output: str, **wanted: object) -> int:
    """Put another definition in a schedule's place; what is not named is gone. Its search attributes stay.

    \b
    Example:
      stormsail schedule update -s nightly --cron "0 4 * * *" --type Report -t reports -w report
    """
    from stormsail.cli.temporal.schedule_run import run_update

    return run_update(schedule_id, arguments, wanted, place, output)


@click.command()
@_ID
@click.option("--pause", "paused", flag_value=True, type=bool, default=None, help="Start nothing more.")
@click.option("--unpause", "paused", flag_value=False, type=bool, default=None, help="Go on.")
@click.option("--reason", default="", help="Why; becomes the schedule's notes.")
@engine_options
def toggle(schedule_id: str, paused: bool | None, reason: str, place: Place, output: str) -> int:
    """Pause a schedule, or let it go on.

    \b
    Example:
      stormsail schedule toggle -s nightly --pause --reason "the warehouse is being moved"
    """
    from stormsail.cli.temporal.schedule_run import run_toggle

    if paused is None:
        raise click.UsageError("say which: --pause or --unpause")
    return run_toggle(schedule_id, paused, reason, place, output)


@click.command()
@_ID
@_OVERLAP
@_REASON
@engine_options
def trigger(schedule_id: str, overlap_policy: str | None, reason: str, place: Place, output: str) -> int:
    """Run a schedule's workflow now, besides its own times.

    \b
    Example:
      stormsail schedule trigger -s nightly
    """
    from stormsail.cli.temporal.schedule_run import run_trigger

    return run_trigger(schedule_id, overlap_policy, reason, place, output)


@click.command()
@_ID
@_span_options
@_OVERLAP
@click.option("--dry-run", is_flag=True, help="Show the times, and start nothing.")
@_REASON
@engine_options
def backfill(
    schedule_id: str,
    start_time: float,
    end_time: float,
    overlap_policy: str | None,
    dry_run: bool,
    reason: str,
    place: Place,
    output: str,
) -> int:
    """Run what a schedule would have run in a span of the past.

    \b
    Example:
      stormsail schedule backfill -s nightly --start-time 2026-11-01T00:00:00Z --dry-run
    """
    from stormsail.cli.temporal.schedule_run import run_backfill, run_matching

    if dry_run:
        return run_matching(schedule_id, start_time, end_time, place, output)
    return run_backfill(schedule_id, start_time, end_time, overlap_policy, reason, place, output)


@click.command("list-matching-times")
@_ID
@_span_options
@engine_options
def matching(schedule_id: str, start_time: float, end_time: float, place: Place, output: str) -> int:
    """Show when a schedule runs within a span.

    \b
    Example:
      stormsail schedule list-matching-times -s nightly --start-time now --end-time 2026-12-01
    """
    from stormsail.cli.temporal.schedule_run import run_matching

    return run_matching(schedule_id, start_time, end_time, place, output)


@click.command()
@_ID
@engine_options
def delete(schedule_id: str, place: Place, output: str) -> int:
    """Delete a schedule. Workflows that it started go on.

    \b
    Example:
      stormsail schedule delete -s nightly
    """
    from stormsail.cli.temporal.schedule_run import run_delete

    return run_delete(schedule_id, place, output)
