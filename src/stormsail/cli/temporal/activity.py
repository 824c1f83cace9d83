"""`stormsail activity`: complete or fail an activity by hand, hold its retries, change its options."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place
from stormsail.cli.temporal.options import Command, engine_options, inputs, workflow_option

_HERE = "stormsail.cli.temporal.activity"

activity = LazyGroup(
    "activity",
    lazy={
        "complete": Lazy(f"{_HERE}:complete", "Say that an activity is done, and what it returned."),
        "fail": Lazy(f"{_HERE}:fail", "Say that an activity failed."),
        "pause": Lazy(f"{_HERE}:pause", "Try an activity no more until it is unpaused."),
        "unpause": Lazy(f"{_HERE}:unpause", "Try a paused activity again."),
        "reset": Lazy(f"{_HERE}:reset", "Begin again with the first attempt."),
        "update-options": Lazy(f"{_HERE}:update_options", "Change timeouts, retries or the task queue."),
    },
    help="""Steer activities of running workflows. `stormsail workflow describe` shows their ids.

    \b
    Example:
      stormsail activity pause -w order-17 -a 5 --reason "the bank is down"
    """,
)


def _activity_options(command: Command) -> Command:
    option = click.option("-a", "--activity-id", required=True, help="Activity id.")
    return workflow_option(option(engine_options(command)))


@click.command()
@_activity_options
@click.option("--result", required=True, help="What it returned, as JSON.")
def complete(workflow_id: str, run_id: str, activity_id: str, result: str, place: Place, output: str) -> int:
    """Say that an activity is done, in the place of its worker.

    \b
    Example:
      stormsail activity complete -w order-17 -a 5 --result '{"paid": true}'
    """
    from stormsail.cli.temporal.activity_run import run_complete

    return run_complete(workflow_id, run_id, activity_id, inputs([result], [], False, []), place, output)


@click.command()
@_activity_options
@click.option("--reason", default="failed by hand", show_default=True, help="The failure's message.")
@click.option("--detail", default="", help="The failure's details, as JSON.")
def fail(workflow_id: str, run_id: str, activity_id: str, reason: str, detail: str, place: Place, output: str) -> int:
    """Say that an activity failed, in the place of its worker. Its retry policy decides what follows.

    \b
    Example:
      stormsail activity fail -w order-17 -a 5 --reason "card refused"
    """
    from stormsail.cli.temporal.activity_run import run_fail

    details = inputs([detail] if detail else [], [], False, [])
    return run_fail(workflow_id, run_id, activity_id, reason, details, place, output)


@click.command()
@_activity_options
@click.option("--reason", default="", help="Why; kept with the activity.")
def pause(workflow_id: str, run_id: str, activity_id: str, reason: str, place: Place, output: str) -> int:
    """Try an activity no more until it is unpaused. An attempt that runs is let run.

    \b
    Example:
      stormsail activity pause -w order-17 -a 5 --reason "the bank is down"
    """
    from stormsail.cli.temporal.activity_run import run_pause

    return run_pause(workflow_id, run_id, activity_id, reason, place, output)


@click.command()
@_activity_options
@click.option("--reset-attempts", is_flag=True, help="Begin with the first attempt.")
@click.option("--reset-heartbeats", is_flag=True, help="Forget the heartbeat's details.")
@click.option("--jitter", type=Duration(), help="Begin at a chance moment within this span.")
def unpause(
    workflow_id: str,
    run_id: str,
    activity_id: str,
    reset_attempts: bool,
    reset_heartbeats: bool,
    jitter: float | None,
    place: Place,
    output: str,
) -> int:
    """Try a paused activity again.

    \b
    Example:
      stormsail activity unpause -w order-17 -a 5 --reset-attempts
    """
    from stormsail.cli.temporal.activity_run import run_unpause

    return run_unpause(workflow_id, run_id, activity_id, reset_attempts, reset_heartbeats, jitter, place, output)


@click.command()
@_activity_options
@click.option("--keep-paused", is_flag=True, help="Leave a paused activity paused.")
@click.option("--reset-heartbeats", is_flag=True, help="Forget the heartbeat's details.")
@click.option("--restore-original-options", is_flag=True, help="Undo what update-options changed.")
@click.option("--jitter", type=Duration(), help="Begin at a chance moment within this span.")
def reset(
    workflow_id: str,
    run_id: str,
    activity_id: str,
    keep_paused: bool,
    reset_heartbeats: bool,
    restore_original_options: bool,
    jitter: float | None,
    place: Place,
    output: str,
) -> int:
    """Begin again with the first attempt, at once.

    \b
    Example:
      stormsail activity reset -w order-17 -a 5
    """
    from stormsail.cli.temporal.activity_run import run_reset

    return run_reset(
        workflow_id,
        run_id,
        activity_id,
        keep_paused,
        reset_heartbeats,
        restore_original_options,
        jitter,
        place,
        output,
    )


@click.command("update-options")
@_activity_options
@click.option("--task-queue", help="Task queue of the next attempts.")
@click.option("--schedule-to-close-timeout", type=Duration(), help="Longest time with all attempts.")
@click.option("--schedule-to-start-timeout", type=Duration(), help="Longest wait for a worker.")
@click.option("--start-to-close-timeout", type=Duration(), help="Longest attempt.")
@click.option("--heartbeat-timeout", type=Duration(), help="Longest silence of a worker.")
@click.option("--retry-initial-interval", type=Duration(), help="Wait before the second attempt.")
@click.option("--retry-maximum-interval", type=Duration(), help="Longest wait between attempts.")
@click.option("--retry-backoff-coefficient", type=float, help="How the wait grows.")
@click.option("--retry-maximum-attempts", type=click.IntRange(0), help="0 is no bound.")
@click.option("--restore-original-options", is_flag=True, help="Undo earlier changes.")
def update_options(
    workflow_id: str,
    run_id: str,
    activity_id: str,
    restore_original_options: bool,
    place: Place,
    output: str,
    **changes: object,
) -> int:
    """Change timeouts, retries or the task queue of an activity that is not done.

    \b
    Example:
      stormsail activity update-options -w order-17 -a 5 --start-to-close-timeout 5m
    """
    from stormsail.cli.temporal.activity_run import run_update_options

    wanted = {name: value for name, value in changes.items() if value is not None}
    if bool(wanted) == restore_original_options:
        raise click.UsageError("say what to change, or --restore-original-options alone")
    return run_update_options(workflow_id, run_id, activity_id, wanted, place, output)
