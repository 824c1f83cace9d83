"""`stormsail workflow signal|query|update|...`: talk with a workflow's code."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place
from stormsail.cli.temporal.options import (
    Input,
    engine_options,
    input_options,
    many_options,
    one_or_many,
    start_options,
    workflow_option,
)

_HERE = "stormsail.cli.temporal.workflow_ask"
_REJECT = click.option(
    "--reject-condition",
    type=click.Choice(["not_open", "not_completed_cleanly"]),
    help="Turn the question down when the workflow stands so.",
)


@click.command()
@many_options
@click.option("--name", "--type", "name", required=True, help="Signal name.")
@input_options
@engine_options
def signal(
    workflow_id: str,
    run_id: str,
    query: str,
    reason: str,
    yes: bool,
    name: str,
    arguments: list[Input],
    place: Place,
    output: str,
) -> int:
    """Send a signal to one workflow, or to all that a query finds.

    \b
    Examples:
      stormsail workflow signal -w order-17 --name approve -i '{"by": "kim"}'
      stormsail workflow signal --query 'WorkflowType = "Order"' --name refresh --reason "new prices"
    """
    from stormsail.cli.temporal.workflow_ask_run import run_signal

    one_or_many(workflow_id, run_id, query)
    return run_signal(workflow_id, run_id, query, reason, yes, name, arguments, place, output)


@click.command("signal-with-start")
@click.option("-w", "--workflow-id", required=True, help="Workflow id.")
@click.option("--signal-name", required=True, help="Signal name.")
@click.option("--signal-input", multiple=True, help="One argument of the signal as JSON; may be repeated.")
@start_options
@engine_options
def signal_with_start(
    arguments: list[Input],
    signal_name: str,
    signal_input: tuple[str, ...],
    place: Place,
    output: str,
    **wanted: object,
) -> int:
    """Send a signal; when no workflow with this id runs, start one first, in the same step.

    \b
    Example:
      stormsail workflow signal-with-start -w cart-9 --type Cart -t shop --signal-name add --signal-input '"tea"'
    """
    from stormsail.cli.temporal.options import inputs
    from stormsail.cli.temporal.workflow_ask_run import run_signal_with_start

    return run_signal_with_start(arguments, wanted, signal_name, inputs(signal_input, (), False, ()), place, output)


@click.command()
@workflow_option
@click.option("--name", "--type", "name", required=True, help="Query name.")
@_REJECT
@input_options
@engine_options
def query(
    workflow_id: str,
    run_id: str,
    name: str,
    reject_condition: str | None,
    arguments: list[Input],
    place: Place,
    output: str,
) -> int:
    """Ask a workflow something; a worker answers, also for a workflow that has ended.

    \b
    Example:
      stormsail workflow query -w order-17 --name status
    """
    from stormsail.cli.temporal.workflow_ask_run import run_query

    return run_query(workflow_id, run_id, name, reject_condition, arguments, place, output)


@click.command()
@workflow_option
@_REJECT
@engine_options
def stack(workflow_id: str, run_id: str, reject_condition: str | None, place: Place, output: str) -> int:
    """Show the lines at which a workflow's code waits.

    \b
    Example:
      stormsail workflow stack -w order-17
    """
    from stormsail.cli.temporal.workflow_ask_run import run_query

    return run_query(workflow_id, run_id, "__stack_trace", reject_condition, [], place, output)


@click.command()
@workflow_option
@engine_options
def metadata(workflow_id: str, run_id: str, place: Place, output: str) -> int:
    """Show which queries, signals and updates a workflow takes, and what it says it does now.

    \b
    Example:
      stormsail workflow metadata -w order-17
    """
    from stormsail.cli.temporal.workflow_ask_run import run_query

    return run_query(workflow_id, run_id, "__temporal_workflow_metadata", None, [], place, output)


update = LazyGroup(
    "update",
    lazy={
        "execute": Lazy(f"{_HERE}:update_execute", "Send an update and wait for what it returns."),
        "start": Lazy(f"{_HERE}:update_start", "Send an update and wait until it is accepted."),
        "result": Lazy(f"{_HERE}:update_result", "Wait for what an update returns."),
        "describe": Lazy(f"{_HERE}:update_describe", "Show how far an update has come."),
    },
    help="""Send updates: requests that a workflow's code checks, carries out and answers.

    \b
    Example:
      stormsail workflow update execute -w order-17 --name set-address -i '"12 Quay"'
    """,
)

_NAME = click.option("--name", "--type", "name", required=True, help="Update name.")
_NEW_ID = click.option("--update-id", default="", help="Sending the same id twice does it once. [default: a new one]")
_REASON = click.option("--reason", default="", help="Why; kept in the audit.")
_ID = click.option("--update-id", required=True, help="Update id.")
_TIMEOUT = click.option("--timeout", type=Duration(), default="60s", show_default=True, help="Stop waiting after this.")


@click.command("execute")
@workflow_option
@_NAME
@_NEW_ID
@_TIMEOUT
@_REASON
@input_options
@engine_options
def update_execute(
    workflow_id: str,
    run_id: str,
    name: str,
    update_id: str,
    timeout: float,
    reason: str,
    arguments: list[Input],
    place: Place,
    output: str,
) -> int:
    """Send an update and wait for what it returns. Exit code 3 when the workflow turns it down.

    \b
    Example:
      stormsail workflow update execute -w order-17 --name set-address -i '"12 Quay"'
    """
    from stormsail.cli.temporal.workflow_ask_run import run_update

    return run_update(workflow_id, run_id, name, update_id, reason, arguments, timeout, place, output, completed=True)


@click.command("start")
@workflow_option
@_NAME
@_NEW_ID
@_TIMEOUT
@_REASON
@input_options
@engine_options
def update_start(
    workflow_id: str,
    run_id: str,
    name: str,
    update_id: str,
    timeout: float,
    reason: str,
    arguments: list[Input],
    place: Place,
    output: str,
) -> int:
    """Send an update, and wait only until the workflow has accepted it.

    \b
    Example:
      stormsail workflow update start -w order-17 --name ship --update-id ship-1
    """
    from stormsail.cli.temporal.workflow_ask_run import run_update

    return run_update(workflow_id, run_id, name, update_id, reason, arguments, timeout, place, output, completed=False)


@click.command("result")
@workflow_option
@_ID
@_TIMEOUT
@engine_options
def update_result(workflow_id: str, run_id: str, update_id: str, timeout: float, place: Place, output: str) -> int:
    """Wait for what an update returns.

    \b
    Example:
      stormsail workflow update result -w order-17 --update-id ship-1
    """
    from stormsail.cli.temporal.workflow_ask_run import run_update_poll

    return run_update_poll(workflow_id, run_id, update_id, timeout, place, output, wait=True)


@click.command("describe")
@workflow_option
@_ID
@engine_options
def update_describe(workflow_id: str, run_id: str, update_id: str, place: Place, output: str) -> int:
    """Show how far an update has come, without waiting.

    \b
    Example:
      stormsail workflow update describe -w order-17 --update-id ship-1
    """
    from stormsail.cli.temporal.workflow_ask_run import run_update_poll

    return run_update_poll(workflow_id, run_id, update_id, 10.0, place, output, wait=False)
