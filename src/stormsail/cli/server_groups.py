"""`stormsail server-group`: look at versions and change one of them."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import ChangeOptions, Place, account_option, change_options, output_option, place_options

_HERE = "stormsail.cli.server_groups"

server_group = LazyGroup(
    "server-group",
    lazy={
        "list": Lazy(f"{_HERE}:list_", "List the versions of an application, or of all.", ("ls",)),
        "get": Lazy(f"{_HERE}:get", "Show one version with its instances.", ("show", "describe")),
        "clone": Lazy("stormsail.cli.instances:clone", "Deploy a copy of a version.", ("copy",)),
        "terminate": Lazy("stormsail.cli.instances:terminate", "Stop single instances of a version."),
        "register": Lazy("stormsail.cli.instances:register", "Send traffic to single instances again."),
        "deregister": Lazy("stormsail.cli.instances:deregister", "Take single instances out of traffic."),
        "resize": Lazy(f"{_HERE}:resize", "Change how many instances run.", ("scale",)),
        "enable": Lazy(f"{_HERE}:enable", "Send traffic to a version."),
        "disable": Lazy(f"{_HERE}:disable", "Take traffic away from a version."),
        "shift": Lazy(f"{_HERE}:shift", "Give a version a share of the requests."),
        "destroy": Lazy(f"{_HERE}:destroy", "Drain a version and remove it.", ("rm", "delete")),
    },
    help="""List, resize, enable, disable or destroy server groups: the versions of an application.

    \b
    Examples:
      stormsail server-group list hello
      stormsail server-group resize hello-v001 4
    """,
)


@click.command("list")
@click.argument("application", metavar="[APP]", required=False, default="")
@place_options
@account_option
@output_option
def list_(application: str, place: Place, output: str) -> int:
    """List the server groups of APP, or of every application.

    \b
    Examples:
      stormsail server-group list
      stormsail sg ls hello -o name
    """
    from stormsail.cli.server_groups_run import run_list

    return run_list(application, place, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@place_options
@account_option
@output_option
def get(name: str, place: Place, output: str) -> int:
    """Show one server group with its instances.

    \b
    Example:
      stormsail server-group get hello-v001
    """
    from stormsail.cli.server_groups_run import run_get

    return run_get(name, place, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.argument("instances", type=click.IntRange(0), required=False)
@click.option("--instances", "count", type=click.IntRange(0), help="The same as the argument INSTANCES.")
@click.option("--min", "least", type=click.IntRange(0), help="Fewest instances. [default: INSTANCES]")
@click.option("--max", "most", type=click.IntRange(0), help="Most instances. [default: INSTANCES]")
@place_options
@account_option
@change_options
@output_option
def resize(
    name: str,
    instances: int | None,
    count: int | None,
    least: int | None,
    most: int | None,
    place: Place,
    change: ChangeOptions,
    output: str,
) -> int:
    """Change how many instances SERVER-GROUP has. Those that go are drained first.

    \b
    Examples:
      stormsail server-group resize hello-v001 4
      stormsail server-group resize hello-v001 --instances 4 --min 2 --max 8
    """
    from stormsail.cli.deploy import capacity_of
    from stormsail.cli.server_groups_run import run_change

    if instances is not None and count is not None and instances != count:
        raise click.UsageError(f"INSTANCES says {instances} and --instances says {count}: give one of them")
    capacity = capacity_of(instances if instances is not None else count, least, most)
    if capacity is None:
        raise click.UsageError("say how many: `stormsail server-group resize SERVER-GROUP INSTANCES`")
    return run_change("resizeServerGroup", name, {"capacity": capacity}, place, change, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.option("--percent", type=click.IntRange(1, 100), default=100, show_default=True, help="Share of its instances.")
@place_options
@account_option
@change_options
@output_option
def enable(name: str, percent: int, place: Place, change: ChangeOptions, output: str) -> int:
    """Send traffic to SERVER-GROUP once its instances are healthy.

    \b
    Example:
      stormsail server-group enable hello-v000
    """
    from stormsail.cli.server_groups_run import run_change

    return run_change("enableServerGroup", name, {"desiredPercentage": percent}, place, change, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.option("--percent", type=click.IntRange(1, 100), default=100, show_default=True, help="Share of its instances.")
@place_options
@account_option
@change_options
@output_option
def disable(name: str, percent: int, place: Place, change: ChangeOptions, output: str) -> int:
    """Take traffic away from SERVER-GROUP; requests in flight end first and its instances keep running.

    \b
    Example:
      stormsail server-group disable hello-v000 --reason "keeps the old schema busy"
    """
    from stormsail.cli.server_groups_run import run_change

    return run_change("disableServerGroup", name, {"desiredPercentage": percent}, place, change, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@click.argument("percent", type=click.IntRange(0, 100), required=False)
@click.option("--by-instances", is_flag=True, help="Its part by its instances again, in place of a share.")
@place_options
@account_option
@change_options
@output_option
def shift(name: str, percent: int | None, by_instances: bool, place: Place, change: ChangeOptions, output: str) -> int:
    """Give SERVER-GROUP a share of its cluster's requests; the other versions that serve share the rest.

    It must be enabled, and have a healthy instance to get requests. At 0 it stays enabled and gets none.

    \b
    Examples:
      stormsail server-group shift hello-v001 20
      stormsail server-group shift hello-v001 --by-instances
    """
    from stormsail.cli.server_groups_run import run_change

    if (percent is None) is not by_instances:
        raise click.UsageError("say what share: `stormsail server-group shift SERVER-GROUP 20`, or --by-instances")
    return run_change("shiftTraffic", name, {"percent": percent}, place, change, output)


@click.command()
@click.argument("name", metavar="SERVER-GROUP")
@place_options
@account_option
@change_options
@output_option
def destroy(name: str, place: Place, change: ChangeOptions, output: str) -> int:
    """Take traffic away from SERVER-GROUP, stop its instances and remove it.

    \b
    Example:
      stormsail server-group destroy hello-v000 --yes
    """
    from stormsail.cli.server_groups_run import run_change

    return run_change("destroyServerGroup", name, {}, place, change, output)
