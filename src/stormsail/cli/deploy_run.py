"""The part of `deploy` and `rollback` that talks to the engine; imported only when one of them runs."""

import contextlib
from typing import Any, Final

from stormsail.cli.changes import Plan, carry_out, output_lines, request_for
from stormsail.cli.connection import connected, run
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import ChangeOptions, Place
from stormsail.cli.output import note
from stormsail.delivery.client import ApplicationNotFound, DeliveryClient, DeliveryError
from stormsail.delivery.model.canary import CanarySettings
from stormsail.delivery.model.names import InvalidName, Moniker, checked, next_sequence
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.model.server_group import Observation, ServerGroup
from stormsail.delivery.strategies.rolling_redblack import percentages

NOTHING_SERVES: Final = "nothing serves yet, so it takes every request at once and the steps are passed over"


def run_deploy(application: str, payload: dict[str, Any], place: Place, change: ChangeOptions, output: str) -> int:
    """Start createServerGroup and wait as asked."""
    cluster = _moniker(application, payload["stack"], payload["detail"])

    async def main() -> int:
        async with connected(place) as client:
            seen = await _observe(client, place, application)
            groups = seen.cluster(cluster.cluster) if seen else ()
            if "capacity" not in payload:
                _default_capacity(payload, groups)
            # There is no way back from highlander.
            plan = Plan(
                deploy_lines(cluster, groups, payload), ask=payload["strategy"] == "highlander" and bool(groups)
            )
            request = request_for("createServerGroup", application, payload, change, place.account)
            code = await carry_out(client, place, request, plan, change, output, _deployed)
            if code == ExitCode.OK and change.wait and not change.dry_run and output in {"table", "wide"}:
                await _say_where(client, place, application)
            return code

    return run(main)


def run_rollback(
    application: str,
    stack: str,
    detail: str,
    to: str,
    by_image: dict[str, Any],
    place: Place,
    change: ChangeOptions,
    output: str,
) -> int:
    """Start rollbackServerGroup and wait as asked."""
    cluster = _moniker(application, stack, detail).cluster

    async def main() -> int:
        async with connected(place) as client:
            seen = await client.observe(place.account, application)
            groups = seen.cluster(cluster)
            if not groups:
                raise _no_cluster(cluster, seen)
            serving = [group for group in groups if group.enabled]
            payload: dict[str, Any] = {"application": application, "stack": stack, "detail": detail, **by_image}
            if to:
                if to not in {group.name for group in groups}:
                    raise no_server_group(to, groups)
                payload["restoreServerGroupName"] = to
            elif len(groups) < 2 and not by_image.get("image"):
                raise CommandFailed(
                    f"cluster {cluster} has only {groups[0].name}: there is no previous version to go back to",
                    next_step=f"deploy the version you want with `stormsail deploy {application} ...`",
                    code=ExitCode.NOT_FOUND,
                )
            target = to or "the version that served before"
            now = ", ".join(map(label, serving)) or "nothing"
            plan = Plan([f"rollback of {cluster}: now serving {now}; back to {target}"], ask=True)
            request = request_for("rollbackServerGroup", application, payload, change, place.account)
            return await carry_out(client, place, request, plan, change, output, _rolled_back)

    return run(main)


async def _say_where(client: DeliveryClient, place: Place, application: str) -> None:
    """Say where the application answers, where that can be told; the deployment itself is done either way."""
    with contextlib.suppress(DeliveryError):
        seen = await client.observe(place.account, application)
        if seen.address:
            note(f"next:  try it with `curl http://{seen.address}/`")


async def _observe(client: DeliveryClient, place: Place, application: str) -> Observation | None:
    try:
        return await client.observe(place.account, application)
    except ApplicationNotFound:
        return None


def _moniker(application: str, stack: str, detail: str) -> Moniker:
    try:
        return checked(Moniker(app=application, stack=stack, detail=detail))
    except InvalidName as error:
        raise CommandFailed(str(error), next_step="choose another name", code=ExitCode.USAGE) from error


def _default_capacity(payload: dict[str, Any], groups: tuple[ServerGroup, ...]) -> None:
    """Ask for as many instances as the newest serving version has, else for one."""
    serving = [group for group in groups if group.enabled]
    if serving:
        payload["capacity"] = serving[-1].capacity.model_dump()
    else:
        payload["capacity"] = {"min": 1, "desired": 1, "max": 1}


def deploy_lines(cluster: Moniker, groups: tuple[ServerGroup, ...], payload: dict[str, Any]) -> list[str]:
    """Say what a deployment will do, as far as that is known before it begins."""
    sequences = [group.moniker.sequence for group in groups if group.moniker.sequence is not None]
    name = cluster.with_sequence(next_sequence(sequences, sequences[-1] if sequences else None)).name
    version = f" ({payload['launch']['version']})" if payload["launch"]["version"] else ""
    count = payload["capacity"]["desired"]
    serving = [group for group in groups if group.enabled]
    strategy = payload["strategy"]
    if strategy in ("rollingredblack", "canary") and serving and serving[-1].capacity.desired:
        count = serving[-1].capacity.desired  # It grows to what it replaces, whatever was asked.
    lines = [f"deploy {name}{version}: {count} instance{'' if count == 1 else 's'}, strategy {strategy}"]
    if serving and strategy == "redblack":
        lines.append(f"then take traffic from {', '.join(map(label, serving))}, once {name} is healthy")
    if serving and strategy == "rollingredblack":
        shares = ", ".join(f"{percent}%" for percent in percentages(payload["targetPercentages"]))
        lines.append(f"take the traffic of {label(serving[-1])} over in shares: {shares}")
    if strategy == "canary":
        steps = ", ".join(map(str, CanarySettings.model_validate(payload["canary"]).steps))
        lines.append(f"give it requests of {label(serving[-1])} step by step: {steps}" if serving else NOTHING_SERVES)
    others = [group for group in groups if group.name != name]
    if others and strategy == "highlander":
        lines.append(f"then destroy {', '.join(map(label, others))}, once {name} is healthy: there is no way back")
    return lines


def label(group: ServerGroup) -> str:
    """Return a server group's name with its version."""
    return f"{group.name} ({group.launch.version})" if group.launch.version else group.name


def no_server_group(name: str, groups: tuple[ServerGroup, ...]) -> CommandFailed:
    """Return the failure for a server group that is not there."""
    known = ", ".join(group.name for group in groups) or "none"
    return CommandFailed(
        f"no server group {name!r}; there are: {known}",
        next_step="`stormsail server-group list` shows all with their state",
        code=ExitCode.NOT_FOUND,
    )


def _no_cluster(cluster: str, seen: Observation) -> CommandFailed:
    known = ", ".join(dict.fromkeys(group.cluster for group in seen.server_groups))
    return CommandFailed(
        f"application {seen.application!r} has no cluster {cluster!r}; it has: {known}",
        next_step="name the cluster with --stack and --detail",
        code=ExitCode.NOT_FOUND,
    )


def _deployed(result: OperationResult) -> str:
    return "\n".join(["deployed", *output_lines(result)])


def _rolled_back(result: OperationResult) -> str:
    return "\n".join(["rolled back", *output_lines(result)])
