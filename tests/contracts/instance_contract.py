"""What every provider promises of single instances, as one suite; see `provider_contract.py` for how it is used."""

import pytest

from contracts.provider_contract import Subject, finish, finish_cancel, group_of
from stormsail.delivery.model.server_group import Capacity, Health, Instance, ServerGroup
from stormsail.delivery.providers.errors import Conflict, NotFound
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DeregisterInstances,
    EnableServerGroup,
    Provider,
    RegisterInstances,
    ResizeServerGroup,
    TerminateInstances,
)

NAME = "shop-v000"


def ids(group: ServerGroup) -> list[str]:
    return [one.id for one in group.instances]


def up(group: ServerGroup) -> list[str]:
    return [one.id for one in group.instances if one.health is Health.UP]


class InstanceContract:
    """The suite. `subject` and `provider` are fixtures of the subclass, as for ProviderContract."""

    @pytest.fixture
    async def serving(self, provider: Provider, subject: Subject) -> tuple[Instance, ...]:
        """Three instances that take traffic."""
        capacity = Capacity(min=2, desired=3, max=4)
        await finish(provider, "create", CreateServerGroup(name=NAME, capacity=capacity, launch=subject.launch))
        await finish(provider, "enable", EnableServerGroup(name=NAME))
        return (await group_of(provider, NAME)).instances

    async def test_a_terminated_instance_is_replaced(
        self, provider: Provider, subject: Subject, serving: tuple[Instance, ...]
    ) -> None:
        terminate = TerminateInstances(name=NAME, instances=(serving[0].id,))
        await finish(provider, "t", terminate)
        await finish(provider, "e", EnableServerGroup(name=NAME))
        group = await group_of(provider, NAME)
        assert len(up(group)) == 3
        assert serving[0].id not in ids(group)
        assert set(ids(group)) > {serving[1].id, serving[2].id}
        assert group.capacity == Capacity(min=2, desired=3, max=4)
        assert await subject.count(NAME) == 3

    async def test_terminating_to_shrink_lowers_desired_and_where_needed_the_minimum(
        self, provider: Provider, subject: Subject, serving: tuple[Instance, ...]
    ) -> None:
        for token, instance, left in (("a", serving[1], 2), ("b", serving[2], 1)):
            await finish(provider, token, TerminateInstances(name=NAME, instances=(instance.id,), shrink=True))
            group = await group_of(provider, NAME)
            assert group.capacity == Capacity(min=min(2, left), desired=left, max=4)
            assert await subject.count(NAME) == left
        assert up(group) == [serving[0].id]

    async def test_the_same_token_terminates_once(
        self, provider: Provider, subject: Subject, serving: tuple[Instance, ...]
    ) -> None:
        terminate = TerminateInstances(name=NAME, instances=(serving[0].id,), shrink=True)
        await finish(provider, "t", terminate)
        other = await subject.open()
        await finish(other, "t", terminate)
        assert (await other.resume("t", terminate)).done
        assert await subject.count(NAME) == 2
        with pytest.raises(Conflict, match="token"):
            await provider.begin("t", terminate.model_copy(update={"shrink": False}))

    async def test_an_instance_that_is_gone_counts_as_gone(
        self, provider: Provider, subject: Subject, serving: tuple[Instance, ...]
    ) -> None:
        terminate = TerminateInstances(name=NAME, instances=(serving[0].id,), shrink=True)
        await finish(provider, "t", terminate)
        await finish(provider, "u", terminate)
        assert (await group_of(provider, NAME)).capacity.desired == 2
        assert await subject.count(NAME) == 2

    @pytest.mark.parametrize("kind", [TerminateInstances, RegisterInstances, DeregisterInstances])
    async def test_what_the_group_never_had_is_not_found(
        self,
        provider: Provider,
        serving: tuple[Instance, ...],
        kind: type[TerminateInstances | RegisterInstances | DeregisterInstances],
    ) -> None:
        with pytest.raises(NotFound, match="no-such-instance"):
            await provider.begin("t", kind(name=NAME, instances=("no-such-instance",)))
        with pytest.raises(NotFound, match="shop-v009"):
            await provider.begin("u", kind(name="shop-v009", instances=(serving[0].id,)))
        assert ids(await group_of(provider, NAME)) == [one.id for one in serving]

    async def test_a_deregistered_instance_keeps_running_without_traffic_until_it_is_registered(
        self, provider: Provider, subject: Subject, serving: tuple[Instance, ...]
    ) -> None:
        first = serving[0].id
        await finish(provider, "d", DeregisterInstances(name=NAME, instances=(first,)))
        group = await group_of(provider, NAME)
        assert up(group) == [serving[1].id, serving[2].id]
        assert group.instances[0].health is Health.OUT_OF_SERVICE
        assert group.enabled
        await finish(provider, "r", ResizeServerGroup(name=NAME, capacity=Capacity.fixed(4)))
        assert first not in up(await group_of(provider, NAME))
        assert await subject.count(NAME) == 4
        await finish(provider, "g", RegisterInstances(name=NAME, instances=(first,)))
        assert len(up(await group_of(provider, NAME))) >= 3
        assert first in up(await group_of(provider, NAME))

    async def test_enabling_the_group_ends_being_out_of_traffic(
        self, provider: Provider, serving: tuple[Instance, ...]
    ) -> None:
        await finish(provider, "d", DeregisterInstances(name=NAME, instances=(serving[0].id, serving[2].id)))
        assert up(await group_of(provider, NAME)) == [serving[1].id]
        await finish(provider, "e", EnableServerGroup(name=NAME))
        assert len(up(await group_of(provider, NAME))) == 3

    async def test_registering_what_is_gone_is_not_found(
        self, provider: Provider, serving: tuple[Instance, ...]
    ) -> None:
        await finish(provider, "t", TerminateInstances(name=NAME, instances=(serving[2].id,), shrink=True))
        with pytest.raises(NotFound, match=serving[2].id):
            await provider.begin("r", RegisterInstances(name=NAME, instances=(serving[2].id,)))
        await finish(provider, "d", DeregisterInstances(name=NAME, instances=(serving[2].id,)))
        assert len(up(await group_of(provider, NAME))) == 2

    async def test_cancelling_what_is_done_changes_nothing(
        self, provider: Provider, subject: Subject, serving: tuple[Instance, ...]
    ) -> None:
        deregister = DeregisterInstances(name=NAME, instances=(serving[0].id,))
        terminate = TerminateInstances(name=NAME, instances=(serving[1].id,), shrink=True)
        await finish(provider, "d", deregister)
        await finish(provider, "t", terminate)
        await finish_cancel(provider, "d", deregister)
        await finish_cancel(provider, "t", terminate)
        assert up(await group_of(provider, NAME)) == [serving[2].id]
        assert await subject.count(NAME) == 2
