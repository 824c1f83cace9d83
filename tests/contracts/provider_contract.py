"""What every provider promises, as one suite: each provider's tests subclass `ProviderContract` with a `subject`.

    class TestModelProvider(ProviderContract):
        @pytest.fixture
        async def subject(self) -> AsyncIterator[Subject]:
            yield Subject(...)

The suite asks a provider only what the contract in `provider.py` says. Where real instances take a while, it waits by
`resume` and `observe` with a deadline.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from stormsail.delivery.model.server_group import Capacity, Health, LaunchSpec, Observation, ServerGroup
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, NotFound, Transient
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    Progress,
    Provider,
    ResizeServerGroup,
)

DEADLINE_SECONDS = 60.0


@dataclass
class Subject:
    """One empty account of a provider, and what to launch on it."""

    open: Callable[[], Awaitable[Provider]]
    """Open the account again, as another process would; the fixture closes what it opened."""
    launch: LaunchSpec
    """Becomes healthy soon."""
    never_healthy: LaunchSpec
    """Can be launched, and never passes its health check."""
    invalid: LaunchSpec
    """Cannot be launched: begin fails with InvalidLaunch."""
    count: Callable[[str], Awaitable[int]]
    """Count the running instances of a server group by other means than the provider, so that doubles show."""
    providers: list[Provider] = field(default_factory=list)


async def finish(provider: Provider, token: str, change: Change) -> Progress:
    """Begin a change and resume it until it is done."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    progress = await provider.begin(token, change)
    while not progress.done:
        assert time.monotonic() < deadline, f"{change.kind} of {change.name} is still not done: {progress.detail}"
        await asyncio.sleep(0.01)
        progress = await provider.resume(token, change)
    return progress


async def finish_cancel(provider: Provider, token: str, change: Change) -> Progress:
    """Cancel a change until nothing more will happen."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    progress = await provider.cancel(token, change)
    while not progress.done:
        assert time.monotonic() < deadline, f"cancelling {change.kind} is still not done: {progress.detail}"
        await asyncio.sleep(0.01)
        progress = await provider.cancel(token, change)
    return progress


async def observe_until(provider: Provider, application: str, wanted: Callable[[Observation], bool]) -> Observation:
    """Observe until what is seen is as wanted; what is transient is asked again, as a worker does."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    seen: Observation | Transient
    while True:
        try:
            seen = await provider.observe(application)
        except Transient as failure:
            seen = failure
        else:
            if wanted(seen):
                return seen
        assert time.monotonic() < deadline, f"never seen as wanted; last: {seen}"
        await asyncio.sleep(0.02)


async def group_of(provider: Provider, name: str) -> ServerGroup:
    """Observe one group that has to be there."""
    seen = await provider.observe(name.partition("-")[0])
    group = seen.find(name)
    assert group is not None, f"{name} is not among {[one.name for one in seen.server_groups]}"
    return group


class ProviderContract:
    """The suite. `subject` is a fixture of the subclass."""

    @pytest.fixture
    async def provider(self, subject: Subject) -> Provider:
        return await subject.open()

    async def test_an_application_without_server_groups_is_an_empty_observation(self, provider: Provider) -> None:
        seen = await provider.observe("shop")
        assert (seen.account, seen.application, seen.server_groups) == (provider.account, "shop", ())
        assert await provider.applications() == ()

    async def test_a_created_group_runs_as_many_instances_as_desired_and_takes_no_traffic(
        self, provider: Provider, subject: Subject
    ) -> None:
        create = CreateServerGroup(name="shop-v000", capacity=Capacity(min=1, desired=2, max=3), launch=subject.launch)
        await finish(provider, "t", create)
        seen = await observe_until(provider, "shop", lambda seen: _all(seen, "shop-v000", Health.OUT_OF_SERVICE))
        group = seen.server_groups[0]
        assert (group.name, group.capacity, group.enabled) == ("shop-v000", create.capacity, False)
        assert (group.token, group.launch, group.account) == ("t", subject.launch, provider.account)
        assert len({one.id for one in group.instances}) == 2
        assert await subject.count("shop-v000") == 2
        assert await provider.applications() == ("shop",)

    async def test_a_group_created_enabled_takes_traffic_once_healthy(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 1).model_copy(update={"enabled": True}))
        enable = EnableServerGroup(name="shop-v000")
        await finish(provider, "e", enable)
        assert _all(await provider.observe("shop"), "shop-v000", Health.UP)

    async def test_a_group_without_instances_can_be_created_enabled_and_disabled(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 0))
        await finish(provider, "e", EnableServerGroup(name="shop-v000"))
        assert (await group_of(provider, "shop-v000")).enabled
        await finish(provider, "d", DisableServerGroup(name="shop-v000"))
        assert not (await group_of(provider, "shop-v000")).enabled

    async def test_the_same_token_makes_one_group_however_often_it_is_begun(
        self, provider: Provider, subject: Subject
    ) -> None:
        create = _create(subject, "shop-v000", 2)
        first = await finish(provider, "t", create)
        other = await subject.open()
        assert await finish(other, "t", create) == first
        assert await other.resume("t", create) == first
        assert len((await provider.observe("shop")).server_groups) == 1
        assert await subject.count("shop-v000") == 2

    async def test_two_workers_that_begin_one_token_at_once_make_one_group(
        self, provider: Provider, subject: Subject
    ) -> None:
        other = await subject.open()
        create = _create(subject, "shop-v000", 3)
        await asyncio.gather(*(finish(one, "t", create) for one in (provider, other, provider, other)))
        assert len((await provider.observe("shop")).server_groups) == 1
        assert await subject.count("shop-v000") == 3

    async def test_a_token_that_begin_never_saw_is_begun_by_resume(self, provider: Provider, subject: Subject) -> None:
        create = _create(subject, "shop-v000", 1)
        progress = await provider.resume("t", create)
        while not progress.done:
            progress = await provider.resume("t", create)
        assert await subject.count("shop-v000") == 1

    async def test_a_token_with_a_different_change_is_a_conflict(self, provider: Provider, subject: Subject) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 1))
        with pytest.raises(Conflict, match="token"):
            await provider.begin("t", _create(subject, "shop-v000", 2))
        with pytest.raises(Conflict, match="token"):
            await provider.begin("t", EnableServerGroup(name="shop-v000"))
        assert await subject.count("shop-v000") == 1

    async def test_a_taken_name_is_a_conflict(self, provider: Provider, subject: Subject) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 1))
        with pytest.raises(Conflict, match="shop-v000"):
            await provider.begin("u", _create(subject, "shop-v000", 1))
        assert await subject.count("shop-v000") == 1

    async def test_a_launch_that_cannot_run_fails_and_leaves_nothing(
        self, provider: Provider, subject: Subject
    ) -> None:
        create = CreateServerGroup(name="shop-v000", capacity=Capacity.fixed(2), launch=subject.invalid)
        for _ in range(2):
            with pytest.raises(InvalidLaunch):
                await finish(provider, "t", create)
        assert (await provider.observe("shop")).server_groups == ()
        assert await subject.count("shop-v000") == 0

    @pytest.mark.parametrize("kind", [ResizeServerGroup, EnableServerGroup, DisableServerGroup])
    async def test_a_change_of_what_is_not_there_is_not_found(
        self, provider: Provider, kind: type[ResizeServerGroup | EnableServerGroup | DisableServerGroup]
    ) -> None:
        wanted = {"name": "shop-v000", "capacity": Capacity.fixed(1)} if kind is ResizeServerGroup else {}
        with pytest.raises(NotFound, match="shop-v000"):
            await provider.begin("t", kind.model_validate({"name": "shop-v000", **wanted}))

    async def test_enabling_is_done_when_every_instance_is_healthy_and_takes_traffic(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 2))
        await finish(provider, "e", EnableServerGroup(name="shop-v000"))
        seen = await provider.observe("shop")
        assert seen.server_groups[0].enabled
        assert _all(seen, "shop-v000", Health.UP)

    async def test_a_service_that_never_becomes_healthy_never_takes_traffic(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 1, subject.never_healthy))
        enable = EnableServerGroup(name="shop-v000")
        progress = await provider.begin("e", enable)
        assert not progress.done
        assert progress.detail
        group = await group_of(provider, "shop-v000")
        assert group.instances[0].health in (Health.STARTING, Health.DOWN)
        assert group.instances[0].detail
        await finish_cancel(provider, "e", enable)
        assert not (await group_of(provider, "shop-v000")).enabled

    async def test_disabling_takes_the_traffic_and_keeps_the_instances(
        self, provider: Provider, subject: Subject
    ) -> None:
        await self._enabled(provider, subject, 2)
        await finish(provider, "d", DisableServerGroup(name="shop-v000"))
        seen = await provider.observe("shop")
        assert not seen.server_groups[0].enabled
        assert _all(seen, "shop-v000", Health.OUT_OF_SERVICE)
        assert await subject.count("shop-v000") == 2

    async def test_a_share_of_the_instances_can_be_enabled_and_disabled(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 4))
        shares = []
        for token, change in (
            ("a", EnableServerGroup(name="shop-v000", percent=50)),
            ("b", EnableServerGroup(name="shop-v000", percent=100)),
            ("c", DisableServerGroup(name="shop-v000", percent=25)),
            ("d", DisableServerGroup(name="shop-v000", percent=75)),
            ("e", DisableServerGroup(name="shop-v000", percent=100)),
        ):
            await finish(provider, token, change)
            group = await group_of(provider, "shop-v000")
            shares.append((group.count(Health.UP), group.enabled))
        assert shares == [(2, True), (4, True), (3, True), (1, True), (0, False)]

    async def test_resizing_adds_instances_and_removes_the_newest(self, provider: Provider, subject: Subject) -> None:
        await self._enabled(provider, subject, 2)
        old = [one.id for one in (await group_of(provider, "shop-v000")).instances]
        await finish(provider, "r", ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(3)))
        assert await subject.count("shop-v000") == 3
        assert [one.id for one in (await group_of(provider, "shop-v000")).instances][:2] == old
        await finish(provider, "s", ResizeServerGroup(name="shop-v000", capacity=Capacity(min=0, desired=1, max=4)))
        group = await group_of(provider, "shop-v000")
        assert [one.id for one in group.instances] == old[:1]
        assert group.capacity == Capacity(min=0, desired=1, max=4)
        assert await subject.count("shop-v000") == 1

    async def test_resizing_what_is_not_as_expected_is_a_conflict(self, provider: Provider, subject: Subject) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 1))
        resize = ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(2), expected=Capacity.fixed(3))
        with pytest.raises(Conflict, match="capacity"):
            await provider.begin("r", resize)
        assert await subject.count("shop-v000") == 1
        right = resize.model_copy(update={"expected": Capacity.fixed(1)})
        await finish(provider, "s", right)
        await finish(provider, "s", right)
        assert await subject.count("shop-v000") == 2

    async def test_a_resize_that_is_done_is_not_done_again_after_a_later_one(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "t", _create(subject, "shop-v000", 1))
        first = ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(3))
        await finish(provider, "r", first)
        await finish(provider, "s", ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(2)))
        assert (await provider.begin("r", first)).done
        assert (await group_of(provider, "shop-v000")).capacity == Capacity.fixed(2)
        assert await subject.count("shop-v000") == 2

    async def test_destroying_removes_all_of_an_enabled_group(self, provider: Provider, subject: Subject) -> None:
        await self._enabled(provider, subject, 2)
        destroy = DestroyServerGroup(name="shop-v000")
        await finish(provider, "x", destroy)
        assert (await provider.observe("shop")).server_groups == ()
        assert await provider.applications() == ()
        assert await subject.count("shop-v000") == 0
        assert (await provider.begin("x", destroy)).done

    async def test_destroying_what_is_gone_is_done(self, provider: Provider) -> None:
        assert (await provider.begin("x", DestroyServerGroup(name="shop-v000"))).done

    async def test_a_destroyed_group_is_not_made_again_by_its_token(self, provider: Provider, subject: Subject) -> None:
        create = _create(subject, "shop-v000", 1)
        await finish(provider, "t", create)
        await finish(provider, "x", DestroyServerGroup(name="shop-v000"))
        await provider.begin("t", create)
        assert await subject.count("shop-v000") == 0
        await finish(provider, "u", create)
        assert await subject.count("shop-v000") == 1

    async def test_groups_are_seen_oldest_first_and_apart_from_other_applications(
        self, provider: Provider, subject: Subject
    ) -> None:
        for name in ("shop-v999", "shop-v000", "shop-api-v003", "cart-v000"):
            await finish(provider, name, _create(subject, name, 1))
        seen = await provider.observe("shop")
        assert [group.name for group in seen.server_groups] == ["shop-v999", "shop-v000", "shop-api-v003"]
        assert [group.name for group in seen.cluster("shop")] == ["shop-v999", "shop-v000"]
        assert await provider.applications() == ("cart", "shop")
        await finish(provider, "x", DestroyServerGroup(name="shop-v000"))
        assert await subject.count("shop-v999") == 1
        assert await subject.count("cart-v000") == 1

    async def test_cancelling_what_was_never_begun_or_is_done_changes_nothing(
        self, provider: Provider, subject: Subject
    ) -> None:
        create = _create(subject, "shop-v000", 1)
        assert (await provider.cancel("t", create)).done
        await finish(provider, "t", create)
        assert (await provider.cancel("t", create)).done
        resize = ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(2))
        assert (await provider.cancel("r", resize)).done
        assert (await group_of(provider, "shop-v000")).capacity == Capacity.fixed(1)
        assert await subject.count("shop-v000") == 1

    async def test_a_call_cut_off_anywhere_is_carried_on_by_another_worker(
        self, provider: Provider, subject: Subject
    ) -> None:
        changes: list[Change] = [
            _create(subject, "shop-v000", 2),
            EnableServerGroup(name="shop-v000"),
            ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(3)),
            DisableServerGroup(name="shop-v000"),
            DestroyServerGroup(name="shop-v000"),
        ]
        for number, change in enumerate(changes):
            for delay in (0.0, 0.002, 0.02):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(delay):
                        await asyncio.gather(provider.begin(f"t{number}", change), asyncio.sleep(1))
            await finish(await subject.open(), f"t{number}", change)
            expected = {"createServerGroup": 2, "enableServerGroup": 2, "destroyServerGroup": 0}.get(change.kind, 3)
            assert await subject.count("shop-v000") == expected

    async def _enabled(self, provider: Provider, subject: Subject, count: int) -> None:
        await finish(provider, "create", _create(subject, "shop-v000", count))
        await finish(provider, "enable", EnableServerGroup(name="shop-v000"))


def _create(subject: Subject, name: str, count: int, launch: LaunchSpec | None = None) -> CreateServerGroup:
    return CreateServerGroup(name=name, capacity=Capacity.fixed(count), launch=launch or subject.launch)


def _all(seen: Observation, name: str, health: Health) -> bool:
    group = seen.find(name)
    return group is not None and bool(group.instances) and group.count(health) == len(group.instances)
