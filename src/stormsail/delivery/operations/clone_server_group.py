"""cloneServerGroup: make the next version of a cluster like one that is there, with what is asked for changed."""

from typing import Any

from pydantic import Field, ValidationError

from stormsail.delivery.model.names import Moniker, parse_name
from stormsail.delivery.model.server_group import LaunchSpec, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.create_server_group import (
    CreateServerGroupInput,
    CreateServerGroupOperation,
    CreateServerGroupOutput,
    DeployInput,
)
from stormsail.delivery.operations.operation import check_cluster, check_server_group_name, found, invalid
from stormsail.delivery.strategies.selection import serving


class CloneServerGroupInput(DeployInput):
    """What to copy, and the fields of `launch` that are to be different.

    With `serverGroupName` the copy is made in that group's own cluster. Else stack and detail name the cluster, and
    `source` may name a group of any cluster of the application; the newest that serves is copied when nothing is named.
    """

    server_group_name: str = ""
    launch: dict[str, Any] = Field(default_factory=dict)


class CloneServerGroupOperation:
    """Read the group to copy, then deploy like createServerGroup does."""

    def __init__(self, create: CreateServerGroupOperation | None = None) -> None:
        self._create = create or CreateServerGroupOperation()

    async def operate(self, conduct: Conduct, wanted: CloneServerGroupInput) -> CreateServerGroupOutput:
        """Do it. It fails and is cancelled like the deployment that it is."""
        named = wanted.server_group_name or wanted.source.server_group_name
        if named:
            field = "serverGroupName" if wanted.server_group_name else "source.serverGroupName"
            check_server_group_name(named, conduct.application, field)
        cluster = parse_name(wanted.server_group_name) if wanted.server_group_name else wanted.moniker
        check_cluster(cluster, conduct.application)
        async with conduct.step("determineSourceServerGroup", cluster.cluster):
            observation = await conduct.observe()
            groups = observation.cluster(cluster.with_sequence(0).cluster)
            if not named and not groups:
                raise OperationFailure("NotFound", f"cluster {cluster.cluster!r} has no server group to copy")
            copied = found(observation, named) if named else serving(groups) or groups[-1]
            conduct.note(f"copies {copied.name}")
        return await self._create.operate(conduct, deployment_like(copied, cluster, wanted))


def deployment_like(copied: ServerGroup, cluster: Moniker, wanted: CloneServerGroupInput) -> CreateServerGroupInput:
    """Return the deployment that copies a group into a cluster."""
    launch = copied.launch.model_dump(mode="json")
    for name, value in wanted.launch.items():
        known = {"healthPath": "health_path"}.get(name, name)
        merges = known in ("environment", "settings") and isinstance(value, dict)
        launch[known] = {**launch[known], **value} if merges else value
    try:
        changed = LaunchSpec.model_validate(launch)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        raise invalid((f"launch.{'.'.join(map(str, first['loc']))}", first["msg"])) from None
    fields = wanted.model_dump(exclude={"server_group_name", "launch"}, exclude_unset=True)
    fields |= {"application": cluster.app, "stack": cluster.stack, "detail": cluster.detail, "launch": changed}
    if wanted.capacity is None:
        fields["capacity"] = copied.capacity
    if wanted.source.server_group_name and copied.cluster != cluster.cluster:
        # Copied from another cluster: there it serves on, and what is replaced is found here.
        fields.pop("source", None)
    return CreateServerGroupInput.model_validate(fields)
