"""`stormsail deploy`: a new server group, and the strategy that moves the traffic."""

import difflib
import shlex
from pathlib import Path
from typing import Any, Final

import click

from stormsail.cli.canary_steps import CanaryStepParam, check_steps
from stormsail.cli.options import (
    ChangeOptions,
    Duration,
    Percentages,
    Place,
    account_option,
    change_options,
    output_option,
    place_options,
)
from stormsail.cli.steering import fields_of

OWN: Final = ("redblack", "rollingredblack", "canary", "highlander", "none")


class StrategyName(click.ParamType[str]):
    """A strategy of ours, or one that a package offers, which only workers know. A slip of the pen is caught here."""

    name = "strategy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        text = str(value)
        nearest = difflib.get_close_matches(text, OWN, n=1, cutoff=0.8)
        if nearest and text not in OWN:
            self.fail(f"{text!r}: did you mean {nearest[0]}? Ours are {', '.join(OWN)}", param, ctx)
        return text


@click.command()
@click.argument("application", metavar="APP")
@click.option("--command", "command_line", help="What to run; {port} and {host} are filled in.")
@click.option("--image", default="", help="What to boot, on clouds that boot images.")
@click.option("--version", "label", default="", help="The label people know this version by, for example v2.")
@click.option("--stack", default="", help="Part of the cluster's name: app-stack-detail.")
@click.option("--detail", default="", help="Part of the cluster's name: app-stack-detail.")
@click.option("--instances", type=click.IntRange(0), help="How many to run. [default: as many as now, else 1]")
@click.option("--min", "least", type=click.IntRange(0), help="Fewest instances. [default: --instances]")
@click.option("--max", "most", type=click.IntRange(0), help="Most instances. [default: --instances]")
@click.option(
    "--strategy",
    type=StrategyName(),
    default="redblack",
    show_default=True,
    help="How traffic moves to the new version: redblack, rollingredblack, canary, highlander, none, or your own.",
)
@click.option(
    "--target-percentages",
    type=Percentages(),
    default=(),
    metavar="P,P,...",
    help="rollingredblack: the shares of the traffic to take over one after the other; 100 comes last.",
)
@click.option(
    "--step",
    "steps",
    type=CanaryStepParam(),
    multiple=True,
    metavar="STEP",
    help="canary: what it goes through, in this order; see below. Repeat for more.",
)
@click.option(
    "--max-initial",
    type=click.IntRange(-1),
    default=1,
    show_default=True,
    help="rollingredblack: how many versions may serve when it begins; -1 for any number.",
)
@click.option(
    "--health-path", default="/health", show_default=True, help="HTTP path that answers 200 once it is healthy."
)
@click.option(
    "--health-timeout", type=Duration(), default="30m", show_default=True, help="Give up and roll back after this."
)
@click.option(
    "--delay-before-cleanup", type=Duration(), default="0", help="Keep the old version in service this much longer."
)
@click.option(
    "--delay-before-scale-down", type=Duration(), default="0", help="Keep the old version's instances this much longer."
)
@click.option("--scale-down", is_flag=True, help="Stop the old version's instances at the end.")
@click.option("--max-remaining", type=click.IntRange(1), help="Destroy the oldest versions beyond this many.")
@click.option(
    "--rollback-on-failure/--no-rollback-on-failure", default=True, show_default=True, help="Undo on failure."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port that the load balancer listens on. [default: a free one, kept]"
)
@click.option(
    "--setting",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="What the account's provider wants to know of the launch, as instance_type=t3.small; repeat for more.",
)
@click.option("--env", "environment", multiple=True, metavar="K=V", help="Environment variable; repeat for more.")
@place_options
@account_option
@change_options
@output_option
def deploy(
    application: str,
    place: Place,
    change: ChangeOptions,
    output: str,
    **asked: Any,
) -> int:
    """Deploy a new version of APP and move the traffic to it.

    With redblack the new version must be healthy before it takes any traffic, and the old one leaves only then.
    If it never becomes healthy it is taken away again and the old one goes on serving.

    rollingredblack takes the traffic over in shares and grows to the size of the old version. highlander destroys every
    other version once the new one is healthy: there is no way back. none leaves the others as they are.

    canary gives the new version a share of the requests and more of them step by step. What fails, and what a person
    aborts with `operation abort`, gives the old version every request back.

    \b
    Steps of a canary:
      weight=10             10 % of the requests; the first step, and each larger than the one before
      pause=5m, pause       wait so long, or until `operation approve`
      approval="look first" wait until `operation approve`
      web=URL@PATH>=0.99    what stands at PATH of the JSON that URL answers must be so
      command="./ok.sh"     run beside the worker: must end with 0
      analysis=@file.json   any analysis; docs/canary.md shows all that one may say

    \b
    Examples:
      stormsail deploy hello --command "python examples/hello.py --port {port} --version v1" --version v1 --instances 2
      stormsail deploy hello --command "python examples/hello.py --port {port} --version v2" --version v2 --dry-run
      stormsail deploy hello --command "..." --version v3 --strategy rollingredblack --target-percentages 25,50
      stormsail deploy hello --command "..." --strategy canary --step weight=10 --step pause=5m --step approval
    """
    if asked["steps"] and asked["strategy"] != "canary":
        raise click.UsageError(f"--step is of canary; --strategy is {asked['strategy']}")
    if asked["strategy"] == "canary":
        check_steps(asked["steps"])
    if asked["target_percentages"] and asked["strategy"] != "rollingredblack":
        raise click.UsageError(f"--target-percentages is of rollingredblack; --strategy is {asked['strategy']}")
    if not asked["command_line"] and not asked["image"]:
        raise click.UsageError('say what to deploy: --command "..." on this machine, or --image on a cloud')
    payload = payload_for(application, asked)
    from stormsail.cli.deploy_run import run_deploy

    return run_deploy(application, payload, place, change, output)


def payload_for(application: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of createServerGroup for what was asked on the command line."""
    try:
        words = shlex.split(asked["command_line"] or "")
    except ValueError as error:
        raise click.BadParameter(f"{error}: check the quotes", param_hint="--command") from error
    settings: dict[str, Any] = fields_of(asked["settings"], "--setting")
    if words:
        # A relative path in the command means what it means where it was typed, wherever the worker runs.
        settings["directory"] = str(Path.cwd())
    if asked["port"] is not None:
        settings["port"] = asked["port"]
    payload: dict[str, Any] = {
        "application": application,
        "stack": asked["stack"],
        "detail": asked["detail"],
        "launch": {
            "version": asked["label"],
            "image": asked["image"],
            "command": words,
            "environment": environment_of(asked["environment"]),
            "health_path": asked["health_path"],
            "settings": settings,
        },
        "strategy": asked["strategy"],
        "delayBeforeCleanup": asked["delay_before_cleanup"],
        "delayBeforeScaleDown": asked["delay_before_scale_down"],
        "scaleDown": asked["scale_down"],
        "rollback": {"onFailure": asked["rollback_on_failure"]},
        "healthTimeout": asked["health_timeout"],
    }
    if asked["strategy"] == "rollingredblack":
        payload |= {"targetPercentages": [*asked["target_percentages"]], "maxInitialAsgs": asked["max_initial"]}
    if asked["strategy"] == "canary":
        payload["canary"] = {"steps": [*asked["steps"]]}
    if asked["max_remaining"] is not None:
        payload["maxRemainingAsgs"] = asked["max_remaining"]
    capacity = capacity_of(asked["instances"], asked["least"], asked["most"])
    if capacity is not None:
        payload["capacity"] = capacity
    return payload


def capacity_of(desired: int | None, least: int | None, most: int | None) -> dict[str, int] | None:
    """Return min, desired and max, or None when nothing was said. What breaks min <= desired <= max is refused."""
    if desired is None and least is None and most is None:
        return None
    middle = desired if desired is not None else least if least is not None else most
    assert middle is not None
    capacity = {
        "min": least if least is not None else middle,
        "desired": middle,
        "max": most if most is not None else middle,
    }
    if not capacity["min"] <= capacity["desired"] <= capacity["max"]:
        raise click.UsageError(
            f"--min {capacity['min']}, --instances {capacity['desired']}, --max {capacity['max']}:"
            " must be min <= instances <= max",
        )
    return capacity


def environment_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return `K=V` words as a mapping."""
    environment = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not K=V", param_hint="--env")
        environment[key] = value
    return environment
