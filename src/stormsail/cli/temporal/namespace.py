"""`stormsail namespace` and `stormsail search-attribute`: what an operator sets up once."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place
from stormsail.cli.temporal.options import Command, Pair, engine_options

_HERE = "stormsail.cli.temporal.namespace"
TYPES = ("Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList")

namespace = LazyGroup(
    "namespace",
    lazy={
        "list": Lazy(f"{_HERE}:list_", "List namespaces.", ("ls",)),
        "describe": Lazy(f"{_HERE}:describe", "Show one namespace.", ("get",)),
        "create": Lazy(f"{_HERE}:create", "Create a namespace.", ("register",)),
        "update": Lazy(f"{_HERE}:update", "Change retention, owner, description or data."),
        "delete": Lazy(f"{_HERE}:delete", "Delete a namespace with all its workflows."),
    },
    help="""Manage namespaces: workflows of one do not see those of another.

    \b
    Example:
      stormsail namespace create shop --retention 720h
    """,
)

_NAME = click.argument("name", metavar="NAMESPACE")


def _properties(command: Command) -> Command:
    for decorate in (
        click.option("--data", type=Pair(plain=True), multiple=True, help="KEY=VALUE; may be repeated."),
        click.option("--email", default="", help="Owner's address."),
        click.option("--description", default="", help="What it is for."),
    ):
        command = decorate(command)
    return command


@click.command("list")
@engine_options
def list_(place: Place, output: str) -> int:
    """List namespaces.

    \b
    Example:
      stormsail namespace list
    """
    from stormsail.cli.temporal.namespace_run import run_list

    return run_list(place, output)


@click.command()
@_NAME
@engine_options
def describe(name: str, place: Place, output: str) -> int:
    """Show one namespace: its id, state, retention and owner.

    \b
    Example:
      stormsail namespace describe default
    """
    from stormsail.cli.temporal.namespace_run import run_describe

    return run_describe(name, place, output)


@click.command()
@_NAME
@click.option("--retention", type=Duration(), default="72h", show_default=True, help="How long ended workflows stay.")
@_properties
@engine_options
def create(
    name: str,
    retention: float,
    description: str,
    email: str,
    data: tuple[tuple[str, str], ...],
    place: Place,
    output: str,
) -> int:
    """Create a namespace.

    \b
    Example:
      stormsail namespace create shop --retention 720h --email shop@example.com
    """
    from stormsail.cli.temporal.namespace_run import run_create

    return run_create(name, retention, description, email, dict(data), place, output)


@click.command()
@_NAME
@click.option("--retention", type=Duration(), help="How long ended workflows stay.")
@_properties
@engine_options
def update(
    name: str,
    retention: float | None,
    description: str,
    email: str,
    data: tuple[tuple[str, str], ...],
    place: Place,
    output: str,
) -> int:
    """Change a namespace; what is not named stays.

    \b
    Example:
      stormsail namespace update shop --retention 168h
    """
    from stormsail.cli.temporal.namespace_run import run_update

    if retention is None and not (description or email or data):
        raise click.UsageError("say what to change: --retention, --description, --email or --data")
    return run_update(name, retention, description, email, dict(data), place, output)


@click.command()
@_NAME
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@engine_options
def delete(name: str, yes: bool, place: Place, output: str) -> int:
    """Delete a namespace with all its workflows and histories. There is no way back.

    \b
    Example:
      stormsail namespace delete shop
    """
    from stormsail.cli.temporal.namespace_run import run_delete

    return run_delete(name, yes, place, output)


search_attribute = LazyGroup(
    "search-attribute",
    lazy={
        "list": Lazy(f"{_HERE}:attributes", "List search attributes and their types.", ("ls",)),
        "create": Lazy(f"{_HERE}:create_attribute", "Register search attributes."),
        "remove": Lazy(f"{_HERE}:remove_attribute", "Remove search attributes.", ("delete",)),
    },
    help="""Manage search attributes: the fields that list filters know.

    \b
    Example:
      stormsail search-attribute create --name CustomerId --type Keyword
    """,
)


@click.command("list")
@engine_options
def attributes(place: Place, output: str) -> int:
    """List search attributes and their types.

    \b
    Example:
      stormsail search-attribute list
    """
    from stormsail.cli.temporal.namespace_run import run_attributes

    return run_attributes(place, output)


@click.command("create")
@click.option("--name", "names", multiple=True, required=True, help="Name; may be repeated.")
@click.option(
    "--type",
    "kinds",
    multiple=True,
    required=True,
    type=click.Choice(TYPES, case_sensitive=False),
    help="Type of each.",
)
@engine_options
def create_attribute(names: tuple[str, ...], kinds: tuple[str, ...], place: Place, output: str) -> int:
    """Register search attributes; each --name has its --type, in order.

    \b
    Example:
      stormsail search-attribute create --name CustomerId --type Keyword
    """
    from stormsail.cli.temporal.namespace_run import run_create_attributes

    if len(names) != len(kinds):
        raise click.UsageError(f"{len(names)} --name and {len(kinds)} --type: give each name its type")
    return run_create_attributes(dict(zip(names, kinds, strict=True)), place, output)


@click.command("remove")
@click.option("--name", "names", multiple=True, required=True, help="Name; may be repeated.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@engine_options
def remove_attribute(names: tuple[str, ...], yes: bool, place: Place, output: str) -> int:
    """Remove search attributes: list filters know them no more.

    \b
    Example:
      stormsail search-attribute remove --name CustomerId
    """
    from stormsail.cli.temporal.namespace_run import run_remove_attributes

    return run_remove_attributes(names, yes, place, output)
