"""`stormsail task-queue`: who polls a task queue, what waits in it, and how fast it may be worked off."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Place
from stormsail.cli.temporal.options import engine_options

_HERE = "stormsail.cli.temporal.task_queue"

task_queue = LazyGroup(
    "task-queue",
    lazy={
        "describe": Lazy(f"{_HERE}:describe", "Show pollers, backlog and its age.", ("get",)),
        "config": Lazy(f"{_HERE}:config", "Show or set rate limits."),
    },
    help="""Look at task queues.

    \b
    Example:
      stormsail task-queue describe -t orders
    """,
)

_QUEUE = click.option("-t", "--task-queue", "name", required=True, help="Task queue.")
_KIND = click.option(
    "--task-queue-type",
    "kind",
    type=click.Choice(["workflow", "activity"]),
    help="Only this kind. [default: both]",
)


@click.command()
@_QUEUE
@_KIND
@engine_options
def describe(name: str, kind: str | None, place: Place, output: str) -> int:
    """Show who polls a task queue, how many tasks wait, and how long the oldest has waited.

    \b
    Example:
      stormsail task-queue describe -t stormsail
    """
    from stormsail.cli.temporal.task_queue_run import run_describe

    return run_describe(name, (kind,) if kind else ("workflow", "activity"), place, output)


config = LazyGroup(
    "config",
    lazy={
        "get": Lazy(f"{_HERE}:config_get", "Show a task queue's rate limits."),
        "set": Lazy(f"{_HERE}:config_set", "Set a task queue's rate limits."),
    },
    help="""Show or set how fast a task queue may be worked off.

    \b
    Example:
      stormsail task-queue config set -t mails --task-queue-type activity --queue-rps-limit 50
    """,
)


@click.command("get")
@_QUEUE
@_KIND
@engine_options
def config_get(name: str, kind: str | None, place: Place, output: str) -> int:
    """Show a task queue's rate limits.

    \b
    Example:
      stormsail task-queue config get -t mails
    """
    from stormsail.cli.temporal.task_queue_run import run_config_get

    return run_config_get(name, kind or "activity", place, output)


@click.command("set")
@_QUEUE
@_KIND
@click.option("--queue-rps-limit", metavar="RPS|default", help="Tasks a second of the whole queue.")
@click.option("--fairness-key-rps-limit-default", metavar="RPS|default", help="Tasks a second of each fairness key.")
@click.option("--reason", default="", help="Why; kept with the setting.")
@engine_options
def config_set(
    name: str,
    kind: str | None,
    queue_rps_limit: str | None,
    fairness_key_rps_limit_default: str | None,
    reason: str,
    place: Place,
    output: str,
) -> int:
    """Set a task queue's rate limits; the word `default` takes a limit away.

    \b
    Example:
      stormsail task-queue config set -t mails --queue-rps-limit 50 --reason "the provider's limit"
    """
    from stormsail.cli.temporal.task_queue_run import run_config_set

    queue, key = _rps(queue_rps_limit), _rps(fairness_key_rps_limit_default)
    if queue is key is None:
        raise click.UsageError("say what to set: --queue-rps-limit or --fairness-key-rps-limit-default")
    return run_config_set(name, kind or "activity", queue, key, reason, place, output)


def _rps(text: str | None) -> float | str | None:
    """Return a rate, the word default, or None for what was not given."""
    if text is None or text == "default":
        return text
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < 1e9:
        raise click.UsageError(f"{text!r} is no rate: write tasks a second, or the word default")
    return rate
