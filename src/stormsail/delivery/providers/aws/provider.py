"""The provider `aws`: one account in one region, where server groups are auto scaling groups.

Decisions that the contract leaves open:
* An instance is healthy when every target group of its group says so. Before its group is enabled it is registered with
  none, so only EC2's own checks speak for it: `OutOfService` then means that it runs.
* Enabling never takes traffic away and disabling never gives any; those that take traffic already keep it.
* Cancelling a resize, an enable or a disable puts the previous capacity or traffic back; a cancelled create is removed;
  a begun destroy cannot be undone and is carried to its end.
* A change that a later one overruled before it was done is a Conflict, since its effect can no longer be had.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from stormsail.delivery.model.names import InvalidName, parse_name
from stormsail.delivery.model.network import Network
from stormsail.delivery.model.server_group import LaunchSpec, Observation, ServerGroup
from stormsail.delivery.providers.aws import weights
from stormsail.delivery.providers.aws.balancers import Balancers
from stormsail.delivery.providers.aws.calls import Calls
from stormsail.delivery.providers.aws.changing import Changing
from stormsail.delivery.providers.aws.creating import VERSION, Creating
from stormsail.delivery.providers.aws.firewalls import Firewalls
from stormsail.delivery.providers.aws.reading import Reading
from stormsail.delivery.providers.aws.settings import AccountSettings, account_settings
from stormsail.delivery.providers.aws.view import Group, Record, Targets, instance_of, serving
from stormsail.delivery.providers.errors import Permanent
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DeleteLoadBalancer,
    DeleteSecurityGroup,
    Progress,
    UpsertLoadBalancer,
    UpsertSecurityGroup,
)

TOKEN_LIFE_MS: Final = 7 * 24 * 3600 * 1000
"""How long a token that was ended is known as such."""


async def open_provider(account: str, settings: Mapping[str, str]) -> "AwsProvider":
    """Open one account in one region. Raises Permanent when settings are wrong or the AWS library is missing."""
    wanted = account_settings(account, settings)
    return AwsProvider(account, wanted, await asyncio.to_thread(_connect, wanted))


def _connect(settings: AccountSettings) -> Calls:
    # Here and not above: the AWS library is an extra, and whoever opens no AWS account does without.
    try:
        from stormsail.delivery.providers.aws.client import open_calls
    except ModuleNotFoundError as missing:
        if missing.name not in ("boto3", "botocore"):
            raise
        raise Permanent(
            f"the aws provider needs {missing.name}, which is not installed: pip install 'stormsail[aws]'"
        ) from None
    return open_calls(settings)


class AwsProvider:
    """Keeps nothing that matters: any number of these, in any processes, may work on the same account."""

    def __init__(
        self,
        account: str,
        settings: AccountSettings,
        calls: Calls,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._account = account
        self._settings = settings
        self._calls = calls
        self._clock_ms = clock_ms
        self._reading = Reading(calls)
        self._creating = Creating(calls, self._reading, clock_ms)
        self._balancers = Balancers(calls, self._reading)
        self._firewalls = Firewalls(calls)
        self._changing = Changing(calls, self._reading, self._creating, clock_ms)

    @property
    def name(self) -> str:
        """The kind of provider."""
        return "aws"

    @property
    def account(self) -> str:
        """The account's name."""
        return self._account

    async def begin(self, token: str, change: Change) -> Progress:
        """Start the change of this token, or find it begun; never do it twice."""
        return await self._carry(token, change)

    async def resume(self, token: str, change: Change) -> Progress:
        """Carry the change further and say how it stands."""
        progress = await self._carry(token, change)
        if progress.done or not self._settings.poll_s:
            return progress
        await asyncio.sleep(self._settings.poll_s)
        return await self._carry(token, change)

    async def cancel(self, token: str, change: Change) -> Progress:
        """Stop the change and undo what can be undone; `done` once nothing more will happen."""
        _check_name(change.name)
        if isinstance(change, UpsertLoadBalancer | DeleteLoadBalancer):
            return await self._balancers.cancel(token, change)
        if isinstance(change, UpsertSecurityGroup | DeleteSecurityGroup):
            return await self._firewalls.cancel(token, change)
        if isinstance(change, CreateServerGroup):
            return await self._creating.cancel(token, change)
        return await self._changing.cancel(token, change)

    async def observe(self, application: str) -> Observation:
        """Read all server groups of an application from AWS."""
        now_ms = self._clock_ms()
        groups = await self._reading.groups(application)
        records: Mapping[str, Record] = await self._reading.records(application) if groups else {}
        targets = await self._reading.targets(arn for group in groups for arn in group.target_groups)
        forwards = await weights.forwards(self._calls, (arn for group in groups for arn in group.target_groups))
        silent = weights.silent(forwards)
        address = await self._reading.address(groups)
        return Observation(
            account=self._account,
            application=application,
            as_of_ms=now_ms,
            server_groups=tuple(self._observed(group, records, targets, silent) for group in groups),
            address=address,
        )

    async def network(self, application: str) -> Network:
        """Read the load balancers and security groups that were made for an application."""
        return Network(
            load_balancers=await self._balancers.observe(application),
            security_groups=await self._firewalls.observe(application),
        )

    async def applications(self) -> tuple[str, ...]:
        """Read the names of the applications that have server groups, sorted."""
        return await self._reading.applications()

    async def reconcile(self) -> None:
        """Remove what is left of tokens that ended long ago. Nothing of this provider runs beside AWS."""
        await self._creating.forget_ended(self._clock_ms() - TOKEN_LIFE_MS)

    async def close(self) -> None:
        """Let go of connections and threads. What is deployed stays up."""
        self._calls.close()

    async def _carry(self, token: str, change: Change) -> Progress:
        _check_name(change.name)
        if isinstance(change, UpsertLoadBalancer | DeleteLoadBalancer):
            return await self._balancers.carry(token, change)
        if isinstance(change, UpsertSecurityGroup | DeleteSecurityGroup):
            return await self._firewalls.carry(token, change)
        if isinstance(change, CreateServerGroup):
            return await self._creating.carry(token, change)
        return await self._changing.carry(token, change)

    def _observed(
        self, group: Group, records: Mapping[str, Record], targets: Targets, silent: frozenset[str]
    ) -> ServerGroup:
        record = records.get(group.token)
        # A template that somebody removed by hand must not hide the group from those who would destroy it.
        launch = record.launch if record is not None else LaunchSpec(version=group.tags.get(VERSION, ""))
        share = group.traffic.share if not group.deleting else 0
        serve = len(serving(group, targets))
        if serve > math.ceil(group.capacity.desired * share / 100):
            # What takes traffic is enabled, whoever gave it.
            share = min(100, math.ceil(100 * serve / max(1, group.capacity.desired)))
        return ServerGroup(
            name=group.name,
            account=self._account,
            location=self._settings.region,
            capacity=group.capacity,
            enabled=share > 0,
            weight_percent=share or 100,
            request_percent=group.request_percent,
            instances=tuple(instance_of(group, member, targets, silent) for member in group.members),
            launch=launch,
            created_at_ms=group.created_at_ms,
            enabled_at_ms=group.traffic.enabled_at_ms,
            token=group.token,
        )


def _check_name(name: str) -> None:
    try:
        parse_name(name)
    except InvalidName as error:
        raise Permanent(str(error)) from None
