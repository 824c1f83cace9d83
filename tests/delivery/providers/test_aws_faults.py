"""Whatever goes wrong at whatever call to AWS: one group is made for one token, and every change comes to its end."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.provider_contract import finish, finish_cancel
from delivery.providers.aws_account import CREDENTIALS, launch, opened, settings
from delivery.providers.aws_cloud import UNLAUNCHABLE, StrictCloud
from delivery.providers.aws_proxy import TIMEOUTS, Fault, Refusal
from delivery.providers.aws_story import life, persist, token_of
from stormsail.delivery.model.server_group import Capacity, Health
from stormsail.delivery.providers.aws.provider import TOKEN_LIFE_MS, AwsProvider, open_provider
from stormsail.delivery.providers.aws.settings import account_settings
from stormsail.delivery.providers.errors import (
    Conflict,
    InvalidLaunch,
    NotFound,
    Permanent,
    Transient,
    UnknownOutcome,
)
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DeregisterInstances,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    Provider,
    RegisterInstances,
    ResizeServerGroup,
    TerminateInstances,
)

pytestmark = [pytest.mark.long, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

QUICK_TO_GIVE_UP = {"read_timeout_s": "1.0"}
"""For calls that are never answered. On a busy machine others may be given up too: then nobody counts how many."""

GIVES_UP = {"read_timeout_s": "5.0"}
"""Where only those calls may be given up that are never answered."""


def create(cloud: StrictCloud, name: str, count: int = 2, **more: str) -> CreateServerGroup:
    return CreateServerGroup(name=name, capacity=Capacity.fixed(count), launch=launch(cloud, "shop-blue", **more))


@pytest.fixture
def blue(cloud: StrictCloud) -> str:
    return cloud.target_group("shop-blue")


async def test_one_group_is_made_under_every_fault_at_every_call_of_its_making(cloud: StrictCloud, blue: str) -> None:
    patient, hasty = await opened(cloud), await opened(cloud, **QUICK_TO_GIVE_UP)
    before = len(cloud.proxy.calls)
    await persist(patient, "clean", create(cloud, "clean-v000"))
    calls = len(cloud.proxy.calls) - before
    assert calls > 8
    for fault in Fault:
        provider = hasty if fault in TIMEOUTS else patient
        for number in range(1, calls + 1):
            name = f"shop-{fault.name.lower()}-{number}-v000"
            cloud.proxy.fail(number, fault)
            _, faults = await persist(provider, name, create(cloud, name))
            cloud.proxy.be_well()
            assert faults <= 1 or fault in TIMEOUTS
            assert cloud.created.count(name) == 1, f"{fault} at call {number}: {cloud.created}"
            assert cloud.running(name) == 2, f"{fault} at call {number}"
            await persist(provider, f"{name}-x", DestroyServerGroup(name=name))
    assert cloud.names("shop") == []
    for one in (patient, hasty):
        await one.close()


async def test_every_change_comes_to_its_end_with_a_fault_at_every_call_in_turn(cloud: StrictCloud, blue: str) -> None:
    provider = await opened(cloud, **QUICK_TO_GIVE_UP)
    faults = list(Fault)
    number, hit = 0, True
    while hit:
        number += 1
        name = f"shop-{number}-v000"
        cloud.proxy.fail(number, faults[number % len(faults)])
        start = len(cloud.proxy.calls)
        for place, change in enumerate(life(name, launch(cloud, "shop-blue"))):
            await persist(provider, token_of(place, change), change)
        hit = len(cloud.proxy.calls) - start >= number
        cloud.proxy.be_well()
        assert cloud.created.count(name) == 1, f"fault at call {number}"
        assert cloud.running(name) == 0, f"fault at call {number}"
    assert number > 40, "the calls were not counted"
    permissions = (Path(__file__).parents[3] / "docs" / "providers" / "aws.md").read_text()
    assert [action for action in sorted(set(cloud.proxy.actions)) if action not in permissions] == []
    assert cloud.names("shop") == []
    assert cloud.registered(blue) == set()
    await provider.close()


@pytest.mark.parametrize("seed", range(6))
async def test_every_change_has_its_effect_once_while_a_quarter_of_all_calls_fail(
    cloud: StrictCloud, blue: str, seed: int
) -> None:
    provider, clear_sighted = await opened(cloud), await opened(cloud)
    story = life("shop-v000", launch(cloud, "shop-blue"))
    served, failed = [], 0
    for place, change in enumerate(story):
        cloud.proxy.fail_at_random(seed * 100 + place, 0.25)
        _, faults = await persist(provider, token_of(place, change), change)
        cloud.proxy.be_well()
        failed += faults
        group = (await clear_sighted.observe("shop")).find("shop-v000")
        served.append((group.capacity.desired, group.count(Health.UP)) if group else None)
        assert len(cloud.registered(blue)) == (served[-1][1] if served[-1] else 0)
    assert served == [(2, 0), (2, 1), (2, 2), (3, 3), (1, 1), (1, 0), None]
    assert cloud.created == ["shop-v000"]
    assert len(cloud.terminated) == 3
    assert failed > 5
    await provider.close()
    await clear_sighted.close()


async def test_every_change_has_its_effect_once_although_aws_tells_late_of_its_groups(
    cloud: StrictCloud, blue: str
) -> None:
    provider = await opened(cloud)
    await finish(provider, "first", create(cloud, "shop-v000"))
    cloud.tell_late(0.15)
    running, served = [], []
    for place, change in enumerate(life("shop-v001", launch(cloud, "shop-blue"))):
        await persist(provider, token_of(place, change), change)
        running.append(cloud.running("shop-v001"))
        served.append(len(cloud.registered(blue)))
    assert running == [2, 2, 2, 3, 1, 1, 0]
    assert served == [0, 1, 2, 3, 1, 0, 0]
    assert cloud.created == ["shop-v000", "shop-v001"]
    assert len(cloud.terminated) == 3
    await provider.close()


async def test_single_instances_go_and_come_back_once_with_a_fault_at_every_call_in_turn(
    cloud: StrictCloud, blue: str
) -> None:
    provider = await opened(cloud)
    faults = [fault for fault in Fault if fault not in TIMEOUTS]
    number, hit = 0, True
    while hit:
        number += 1
        name = f"shop-{number}-v000"
        await finish(provider, f"{name}-t", create(cloud, name, 4))
        await finish(provider, f"{name}-e", EnableServerGroup(name=name))
        seen = (await provider.observe("shop")).find(name)
        assert seen is not None
        first, second, third, last = (one.id for one in seen.instances)
        cloud.proxy.fail(number, faults[number % len(faults)])
        start, gone = len(cloud.proxy.calls), len(cloud.terminated)
        serving = []
        for place, change in enumerate(
            (
                DeregisterInstances(name=name, instances=(first, last)),
                RegisterInstances(name=name, instances=(last,)),
                TerminateInstances(name=name, instances=(second,), shrink=True),
                TerminateInstances(name=name, instances=(third,)),
            )
        ):
            await persist(provider, token_of(place, change), change)
            serving.append(cloud.registered(blue))
        hit = len(cloud.proxy.calls) - start >= number
        cloud.proxy.be_well()
        assert serving[:3] == [{second, third}, {second, third, last}, {third, last}], f"fault at call {number}"
        assert len(serving[3]) == 2
        assert last in serving[3]
        assert cloud.terminated[gone:] == [second, third], f"fault at call {number}"
        assert cloud.running(name) == 3
        await persist(provider, f"{name}-x", DestroyServerGroup(name=name))
    assert number > 25, "the calls were not counted"
    await provider.close()


async def test_errors_are_sorted_by_what_may_have_happened(cloud: StrictCloud, blue: str) -> None:
    provider = await opened(cloud, **GIVES_UP)
    await finish(provider, "t", create(cloud, "shop-v000"))
    start = len(cloud.proxy.calls)
    await finish(provider, "r", ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(3)))
    write = cloud.proxy.actions[start:].index("UpdateAutoScalingGroup") + 1
    uncertain = {Fault.INTERNAL_BEFORE, Fault.INTERNAL_AFTER, Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.HALF, *TIMEOUTS}
    for size, fault in enumerate(Fault, start=4):
        cloud.proxy.fail(write, fault)
        with pytest.raises(UnknownOutcome if fault in uncertain else Transient, match="update_auto_scaling_group"):
            await provider.begin(fault.name, ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(size)))
        await persist(provider, fault.name, ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(size)))
        cloud.proxy.fail(1, fault)
        with pytest.raises(Transient):
            await provider.observe("shop")
    await provider.close()


async def test_a_cloud_that_is_away_is_transient(cloud: StrictCloud) -> None:
    provider = await open_provider("aws", {**settings(cloud), "endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(Transient, match=r"127\.0\.0\.1:9"):
        await provider.observe("shop")
    await provider.close()


async def test_whoever_still_holds_a_cancelled_order_makes_no_group(cloud: StrictCloud, blue: str) -> None:
    provider, late = await opened(cloud), await opened(cloud)
    wanted = create(cloud, "shop-v000")
    start = len(cloud.proxy.calls)
    await finish(provider, "clean", create(cloud, "shop-v999"))
    making = cloud.proxy.actions[start:].index("CreateAutoScalingGroup") + 1
    # The order to make the group has left the late worker; it is cancelled before it arrives.
    cloud.proxy.fail(making, Fault.CUT_BEFORE)
    with pytest.raises(UnknownOutcome):
        await late.begin("t", wanted)
    order = cloud.proxy.calls[-1]
    await finish_cancel(provider, "t", wanted)
    with pytest.raises(Refusal, match="specified launch template"):
        cloud.serve(order)
    with pytest.raises(Conflict, match="cancelled"):
        await late.resume("t", wanted)
    assert cloud.names() == ["shop-v999"]
    for one in (provider, late):
        await one.close()


@pytest.mark.parametrize("calls", range(1, 12))
async def test_a_create_that_is_cancelled_after_any_call_leaves_nothing(
    cloud: StrictCloud, blue: str, calls: int
) -> None:
    provider = await opened(cloud)
    cloud.proxy.fail(calls, Fault.CUT_AFTER)
    wanted = create(cloud, "shop-v000")
    try:
        progress = await provider.begin("t", wanted)
        while not progress.done:
            progress = await provider.resume("t", wanted)
    except (Transient, UnknownOutcome):
        progress = await finish_cancel(provider, "t", wanted)
        cloud.proxy.be_well()
        if cloud.created:
            with pytest.raises(Conflict, match="cancelled"):
                await provider.begin("t", wanted)
        assert cloud.names() == []
        assert cloud.running("shop-v000") == 0
        assert [name for name in cloud.templates() if not name.endswith("-ended")] == []
    await provider.close()


async def test_a_group_whose_instances_can_never_be_launched_is_removed_and_says_why(
    cloud: StrictCloud, blue: str
) -> None:
    provider = await opened(cloud)
    wanted = create(cloud, "shop-v000", image=UNLAUNCHABLE)
    for _ in range(2):
        with pytest.raises(InvalidLaunch, match="does not exist"):
            await finish(provider, "t", wanted)
    assert cloud.names() == []
    await provider.close()


async def test_cancelling_a_change_puts_the_previous_capacity_and_traffic_back(cloud: StrictCloud, blue: str) -> None:
    provider = await opened(cloud)
    await finish(provider, "t", create(cloud, "shop-v000", 4))
    await finish(provider, "e", EnableServerGroup(name="shop-v000", percent=50))
    cloud.timing.start = 30.0
    grow = ResizeServerGroup(name="shop-v000", capacity=Capacity.fixed(6))
    assert not (await provider.begin("r", grow)).done
    assert not (await provider.resume("r", grow)).done
    await finish_cancel(provider, "r", grow)
    assert (await provider.observe("shop")).server_groups[0].capacity == Capacity.fixed(4)
    with pytest.raises(Conflict, match="cancelled"):
        await provider.resume("r", grow)
    cloud.timing.start, cloud.timing.drain = 0.0, 30.0
    disable = DisableServerGroup(name="shop-v000")
    assert not (await provider.begin("d", disable)).done
    assert cloud.registered(blue) == set()
    await finish_cancel(provider, "d", disable)
    assert len(cloud.registered(blue)) == 2
    group = (await provider.observe("shop")).server_groups[0]
    assert (group.enabled, group.weight_percent) == (True, 50)
    await provider.close()


async def test_instances_that_come_by_themselves_take_traffic_only_in_a_wholly_enabled_group(
    cloud: StrictCloud, blue: str
) -> None:
    provider = await opened(cloud)
    await finish(provider, "t", create(cloud, "shop-v000"))
    for token, change, serve in (
        ("e", EnableServerGroup(name="shop-v000"), 2),
        ("d", DisableServerGroup(name="shop-v000"), 0),
        ("f", EnableServerGroup(name="shop-v000", percent=50), 1),
    ):
        await finish(provider, token, change)
        first = (await provider.observe("shop")).server_groups[0].instances[-1].id
        cloud.terminate(first)
        assert cloud.running("shop-v000") == 2
        assert len(cloud.registered(blue)) == serve
    await provider.close()


async def test_a_group_that_somebody_else_made_is_not_touched(cloud: StrictCloud, blue: str) -> None:
    provider = await opened(cloud)
    await finish(provider, "t", create(cloud, "shop-v000"))
    described = cloud.proxy.calls[-1]
    assert described.action == "CreateOrUpdateTags"
    keys = ("stormsail:token", "stormsail:application")
    tags = {f"Tags.member.{number}.Key": key for number, key in enumerate(keys, start=1)}
    of = {f"Tags.member.{number}.ResourceId": "shop-v000" for number in (1, 2)}
    kinds = {f"Tags.member.{number}.ResourceType": "auto-scaling-group" for number in (1, 2)}
    cloud._forward("autoscaling", {"Action": "DeleteTags", **tags, **of, **kinds})
    assert (await provider.observe("shop")).server_groups == ()
    for change in (EnableServerGroup(name="shop-v000"), DestroyServerGroup(name="shop-v000")):
        with pytest.raises(Conflict, match="did not make"):
            await provider.begin("x", change)
    with pytest.raises(Conflict, match="did not make"):
        await provider.begin("u", create(cloud, "shop-v000"))
    assert cloud.running("shop-v000") == 2
    await provider.close()


async def test_a_target_group_that_was_removed_hides_no_group_and_lets_it_be_destroyed(
    cloud: StrictCloud, blue: str
) -> None:
    provider = await opened(cloud)
    await finish(provider, "t", create(cloud, "shop-v000"))
    await finish(provider, "e", EnableServerGroup(name="shop-v000"))
    cloud.remove_target_group(blue)
    group = (await provider.observe("shop")).server_groups[0]
    assert group.count(Health.UP) == 0
    with pytest.raises(NotFound, match="register_targets"):
        await finish(provider, "f", EnableServerGroup(name="shop-v000", percent=50))
    await finish(provider, "x", DestroyServerGroup(name="shop-v000"))
    assert cloud.names() == []
    await provider.close()


async def test_what_is_left_of_ended_tokens_is_swept_after_a_week(cloud: StrictCloud, blue: str) -> None:
    provider = await opened(cloud)
    await finish(provider, "t", create(cloud, "shop-v000"))
    await finish(provider, "x", DestroyServerGroup(name="shop-v000"))
    await provider.reconcile()
    assert len(cloud.templates()) == 1
    assert isinstance(provider, AwsProvider)
    later = AwsProvider("aws", provider._settings, provider._calls, lambda: provider._clock_ms() + TOKEN_LIFE_MS + 1000)
    await later.reconcile()
    assert cloud.templates() == []
    await provider.close()


async def test_a_wrong_launch_is_refused_before_anything_is_made(cloud: StrictCloud, blue: str) -> None:
    provider = await opened(cloud)
    good = launch(cloud, "shop-blue")
    for wrong, said in (
        (good.model_copy(update={"image": ""}), "launch.image"),
        (good.model_copy(update={"command": ("serve",)}), "launch.command"),
        (good.model_copy(update={"environment": {"A": "b"}}), "launch.environment"),
        (good.model_copy(update={"settings": {**good.settings, "colour": "red"}}), "no setting colour"),
        (good.model_copy(update={"settings": {"subnets": ["a"]}}), "needs the setting instanceType"),
        (good.model_copy(update={"settings": {"instance_type": "t3.micro"}}), "subnets, or availability_zones"),
        (good.model_copy(update={"settings": {**good.settings, "user_data": "x" * 20_000}}), "user_data"),
        (launch(cloud, "shop-red"), "shop-red|target_groups"),
    ):
        change = CreateServerGroup(name="shop-v000", capacity=Capacity.fixed(1), launch=wrong)
        with pytest.raises(InvalidLaunch, match=said):
            await provider.begin("t", change)
    assert cloud.created == []
    assert cloud.templates() == []
    await provider.close()


async def test_credentials_appear_in_no_log_and_no_error(
    cloud: StrictCloud, blue: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    provider = await opened(cloud, **GIVES_UP)
    said = []
    for fault in Fault:
        cloud.proxy.fail(1, fault)
        try:
            await provider.observe("shop")
        except Transient as error:
            said.append(f"{error!r} {error.__cause__!r} {error.__context__!r}")
    await finish(provider, "t", create(cloud, "shop-v000"))
    written = caplog.text + " ".join(said)
    assert len(said) == len(list(Fault))
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        assert CREDENTIALS[name] not in written
    assert "Signature=" not in written
    await provider.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "needs the setting region"),
        ({"region": "eu-west-1", "colour": "red"}, "no setting colour"),
        ({"region": "eu-west-1", "calls_per_second": "0"}, "calls_per_second"),
        ({"region": "eu-west-1", "secret_access_key": "abc"}, "no setting of the aws provider"),
    ],
)
def test_wrong_account_settings_are_named_and_no_secret_is_repeated(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(Permanent, match=said) as refusal:
        account_settings("prod", wrong)
    assert "prod" in str(refusal.value)
    assert "abc" not in str(refusal.value)


async def test_a_profile_that_is_not_there_is_permanent(cloud: StrictCloud) -> None:
    with pytest.raises(Permanent, match="nobody"):
        await open_provider("aws", {"region": "eu-west-1", "profile": "nobody"})


def test_without_the_aws_library_the_error_names_the_extra() -> None:
    script = (
        "import asyncio, sys\n"
        "sys.modules['boto3'] = None\n"
        "from stormsail.delivery.providers.aws.provider import open_provider\n"
        "from stormsail.delivery.providers.errors import Permanent\n"
        "try:\n"
        "    asyncio.run(open_provider('prod', {'region': 'eu-west-1'}))\n"
        "except Permanent as error:\n"
        "    print(error)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "stormsail[aws]" in answer.stdout


async def test_an_account_that_is_called_too_often_delays_no_other(cloud: StrictCloud, blue: str) -> None:
    crowded, other = await opened(cloud, "crowded", calls_per_second="1", burst="1"), await opened(cloud, "other")
    looking = [asyncio.create_task(crowded.observe("shop")) for _ in range(20)]
    await finish(other, "t", create(cloud, "shop-v000"))
    assert sum(task.done() for task in looking) < 20
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    for one in (crowded, other):
        await one.close()


async def test_what_is_not_there_is_not_found_and_an_impossible_name_is_permanent(cloud: StrictCloud) -> None:
    provider: Provider = await opened(cloud)
    with pytest.raises(NotFound):
        await provider.begin("e", EnableServerGroup(name="shop-v000"))
    with pytest.raises(Permanent, match="application"):
        await provider.begin("e", EnableServerGroup(name="-v000"))
    await provider.close()
