"""`stormsail rollback`: the previous version back into service."""

import click

from stormsail.cli.options import ChangeOptions, Place, account_option, change_options, output_option, place_options


@click.command()
@click.argument("application", metavar="APP")
@click.option("--stack", default="", help="Part of the cluster's name: app-stack-detail.")
@click.option("--detail", default="", help="Part of the cluster's name: app-stack-detail.")
@click.option(
    "--to", default="", metavar="SERVER-GROUP", help="Which one to restore. [default: the one that served before]"
)
@click.option("--previous-image", is_flag=True, help="Make a new version of what ran before instead of enabling it.")
@click.option("--image", default="", help="With --previous-image: which image. [default: that of the earlier version]")
@place_options
@account_option
@change_options
@output_option
def rollback(
    application: str,
    stack: str,
    detail: str,
    to: str,
    previous_image: bool,
    image: str,
    place: Place,
    change: ChangeOptions,
    output: str,
) -> int:
    """Put a previous version of APP back into service.

    The old version takes traffic and is seen healthy before the current one leaves.

    \b
    Examples:
      stormsail rollback hello --reason "v2 logs errors"
      stormsail rollback hello --to hello-v000
      stormsail rollback hello --previous-image
    """
    from stormsail.cli.deploy_run import run_rollback

    if image and not previous_image:
        raise click.UsageError("--image goes with --previous-image")
    by_image = {"rollbackType": "PREVIOUS_IMAGE", "image": image} if previous_image else {}
    return run_rollback(application, stack, detail, to, by_image, place, change, output)
