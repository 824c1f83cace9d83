"""How groups share requests, and what that becomes on the load balancers that there are."""

import pytest

from delivery.providers.test_local_records import group as local_group
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.aws import ledger
from stormsail.delivery.providers.aws.ledger import Traffic
from stormsail.delivery.providers.aws.view import Group
from stormsail.delivery.providers.aws.weights import Forward, check_apart, wanted_weights
from stormsail.delivery.providers.errors import Conflict
from stormsail.delivery.providers.local.runtime import Server
from stormsail.delivery.providers.local.weights import misweighed, server_weights
from stormsail.delivery.providers.sharing import Part, request_shares


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        ([], {}),
        ([("a", 3, None), ("b", 1, None)], {"a": 0.75, "b": 0.25}),
        ([("a", 3, None), ("b", 1, 10)], {"a": 0.9, "b": 0.1}),
        ([("a", 1, None), ("b", 3, None), ("c", 1, 20)], {"a": 0.2, "b": 0.6, "c": 0.2}),
        ([("a", 3, None), ("b", 1, 0)], {"a": 1.0, "b": 0.0}),
        ([("a", 3, None), ("b", 1, 100)], {"a": 0.0, "b": 1.0}),
        ([("a", 1, 100), ("b", 1, 100)], {"a": 0.5, "b": 0.5}),
        ([("a", 1, 10)], {"a": 1.0}),
        ([("a", 1, 0), ("b", 3, 0)], {"a": 0.25, "b": 0.75}),
        ([("a", 0, None), ("b", 1, 10)], {"b": 1.0}),
    ],
)
def test_shares_add_up_to_the_whole_and_nobody_is_left_without(
    parts: list[tuple[str, int, int | None]], shares: dict[str, float]
) -> None:
    assert request_shares([Part(*part) for part in parts]) == pytest.approx(shares)


def test_servers_are_alike_unless_a_share_was_given() -> None:
    old, new = local_group(2), local_group(1, name="shop-v001")
    assert server_weights([old, new]) == {"shop-v000:0": 100, "shop-v000:1": 100, "shop-v001:0": 100}
    canary = new.model_copy(update={"request_percent": 10})
    assert server_weights([old, canary]) == {"shop-v000:0": 135, "shop-v000:1": 135, "shop-v001:0": 30}
    other = local_group(2, name="shop-api-v000")
    assert server_weights([other, canary]) == {"shop-api-v000:0": 100, "shop-api-v000:1": 100, "shop-v001:0": 100}


def test_weights_stay_within_what_haproxy_knows_and_are_not_rounded_to_none() -> None:
    weights = server_weights([local_group(1), local_group(9, name="shop-v001", request_percent=1)])
    assert weights["shop-v000:0"] == 256
    assert {weights[f"shop-v001:{index}"] for index in range(9)} == {1}


def test_who_gets_more_is_given_it_before_the_others_lose_it() -> None:
    groups = [local_group(1), local_group(1, name="shop-v001", request_percent=100)]
    servers = {f"shop-v00{n}:0": Server(f"shop-v00{n}:0", 1, True, True, 0) for n in range(2)}
    assert list(misweighed(groups, servers).items()) == [("shop-v001:0", 200), ("shop-v000:0", 0)]


BLUE, GREEN, FOREIGN = (f"arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/{name}/1" for name in ("b", "g", "f"))


def aws_group(name: str, arn: str, *, share: int = 100, percent: str = "", desired: int = 2) -> Group:
    traffic = Traffic(enabled=share > 0, percent=share or 100)
    tags = {ledger.TRAFFIC: str(traffic), ledger.REQUESTS: percent, ledger.TOKEN: "t"}
    return Group(name, Capacity.fixed(desired), (), False, (arn,), tags, 0, False)


def listener(**weights: int) -> Forward:
    arns = {"blue": BLUE, "green": GREEN, "foreign": FOREIGN}
    return Forward("l", "", [{"Type": "forward"}], {arns[name]: weight for name, weight in weights.items()})


@pytest.mark.parametrize(
    ("old", "new", "before", "after"),
    [
        ({}, {"percent": "10"}, (100, 0), (90, 10)),
        ({}, {"percent": "0"}, (90, 10), (100, 0)),
        ({}, {"percent": "10", "share": 0}, (100, 0), (100, 0)),
        ({}, {"percent": "10", "desired": 0}, (100, 0), (100, 0)),
        ({}, {}, (100, 0), (50, 50)),
        ({}, {}, (7, 3), (7, 3)),
        ({"share": 0}, {}, (50, 50), (0, 100)),
        ({"share": 0}, {"share": 0}, (7, 3), (7, 3)),
    ],
)
def test_a_listener_sends_to_who_serves_and_as_was_given(
    old: dict[str, object], new: dict[str, object], before: tuple[int, int], after: tuple[int, int]
) -> None:
    cluster = [aws_group("shop-v000", BLUE, **old), aws_group("shop-v001", GREEN, **new)]  # type: ignore[arg-type]
    forward = listener(blue=before[0], green=before[1], foreign=0)
    assert wanted_weights(forward, cluster) == {BLUE: after[0], GREEN: after[1], FOREIGN: 0}


@pytest.mark.parametrize(
    ("arn", "found", "says"),
    [
        (BLUE, listener(blue=100, green=0), "both behind target group b"),
        (GREEN, listener(blue=100, foreign=0), "no listener forwards to target groups of both"),
        (GREEN, listener(blue=100, green=0, foreign=5), "also sends requests to f"),
    ],
)
def test_a_share_that_no_listener_can_give_is_refused_with_the_reason(arn: str, found: Forward, says: str) -> None:
    new = aws_group("shop-v001", arn, share=0)
    with pytest.raises(Conflict, match=says):
        check_apart(new, [aws_group("shop-v000", BLUE), new], [found])
