"""`stormsail server-group terminate`, `register`, `deregister` and `clone`."""

from typing import Any

import click

from stormsail.cli.options import ChangeOptions, Place, account_option, change_options, output_option, place_options


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.argument("instances", metavar="INSTANCE...", nargs=-1, required=True)
@click.option("--shrink", is_flag=True, help="Let the group be smaller by one instead of replacing it.")
@place_options
@account_option
@change_options
@output_option
def terminate(
    name: str, instances: tuple[str, ...], shrink: bool, place: Place, change: ChangeOptions, output: str
) -> int:
    """Drain and stop instances of SERVER-GROUP; others are started in their place.

    \b
    Examples:
      stormsail server-group terminate hello-v000 hello-v000:1
      stormsail server-group terminate hello-v000 hello-v000:1 --shrink
    """
    from stormsail.cli.server_groups_run import run_change

    if not shrink:
        return run_change("terminateInstances", name, {"instanceIds": [*instances]}, place, change, output)
    if len(instances) > 1:
        raise click.UsageError("--shrink takes one instance at a time; `server-group resize` removes several")
    payload = {"instance": instances[0], "adjustMinIfNecessary": True}
    return run_change("terminateInstanceAndDecrementServerGroup", name, payload, place, change, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.argument("instances", metavar="INSTANCE...", nargs=-1, required=True)
@place_options
@account_option
@change_options
@output_option
def register(name: str, instances: tuple[str, ...], place: Place, change: ChangeOptions, output: str) -> int:
    """Send traffic to instances of SERVER-GROUP again.

    \b
    Example:
      stormsail server-group register hello-v000 hello-v000:1
    """
    from stormsail.cli.server_groups_run import run_change

    return run_change("registerInstances", name, {"instanceIds": [*instances]}, place, change, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.argument("instances", metavar="INSTANCE...", nargs=-1, required=True)
@place_options
@account_option
@change_options
@output_option
def deregister(name: str, instances: tuple[str, ...], place: Place, change: ChangeOptions, output: str) -> int:
    """Take instances of SERVER-GROUP out of traffic, to look at them; they keep running.

    \b
    Example:
      stormsail server-group deregister hello-v000 hello-v000:1 --reason "a heap dump"
    """
    from stormsail.cli.server_groups_run import run_change

    return run_change("deregisterInstances", name, {"instanceIds": [*instances]}, place, change, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.option("--version", "label", default="", help="The label people know the copy by. [default: that of the copied]")
@click.option("--image", default="", help="What the copy boots instead.")
@click.option(
    "--env", "environment", multiple=True, metavar="K=V", help="Environment variable to set; repeat for more."
)
@click.option(
    "--strategy",
    type=click.Choice(["redblack", "rollingredblack", "highlander", "none"]),
    default="redblack",
    show_default=True,
    help="How traffic moves to the copy.",
)
@place_options
@account_option
@change_options
@output_option
def clone(
    name: str,
    label: str,
    image: str,
    environment: tuple[str, ...],
    strategy: str,
    place: Place,
    change: ChangeOptions,
    output: str,
) -> int:
    """Deploy the next version of a cluster as a copy of SERVER-GROUP, with what is given changed.

    \b
    Example:
      stormsail server-group clone hello-v000 --env LOG=debug
    """
    from stormsail.cli.deploy import environment_of
    from stormsail.cli.server_groups_run import run_change

    launch: dict[str, Any] = {"environment": environment_of(environment)} if environment else {}
    launch |= {key: value for key, value in (("version", label), ("image", image)) if value}
    return run_change("cloneServerGroup", name, {"strategy": strategy, "launch": launch}, place, change, output)
