"""Names: taken apart, put together, and the next version."""

import pytest

from stormsail.delivery.model.names import InvalidName, Moniker, next_sequence, parse_name


@pytest.mark.parametrize(
    ("name", "moniker"),
    [
        ("app", Moniker(app="app")),
        ("app-v000", Moniker(app="app", sequence=0)),
        ("app-stack-v003", Moniker(app="app", stack="stack", sequence=3)),
        ("app-stack-detail-v042", Moniker(app="app", stack="stack", detail="detail", sequence=42)),
        ("app-stack-two-words-v042", Moniker(app="app", stack="stack", detail="two-words", sequence=42)),
        ("app--detail-v001", Moniker(app="app", detail="detail", sequence=1)),
        ("app-v01", Moniker(app="app", stack="v01")),
        ("app-v1234567", Moniker(app="app", stack="v1234567")),
        ("a.b_c-s-d~e^f-v999", Moniker(app="a.b_c", stack="s", detail="d~e^f", sequence=999)),
    ],
)
def test_a_name_is_taken_apart_and_put_together_again(name: str, moniker: Moniker) -> None:
    assert parse_name(name) == moniker
    assert moniker.name == name


@pytest.mark.parametrize("name", ["", "-v001", "sp ace-v001", "app-st/ack-v001", "app-s-d/e-v001"])
def test_a_name_outside_the_rule_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        parse_name(name)


@pytest.mark.parametrize(
    ("taken", "last", "following"),
    [
        ([], None, 0),
        ([0], 0, 1),
        ([0, 1, 2], 2, 3),
        ([0, 2], 0, 1),
        ([0, 1], 0, 2),
        ([998, 999], 999, 0),
        ([0, 999], 999, 1),
        ([5], None, 6),
    ],
)
def test_the_next_version_follows_the_newest_and_skips_taken_ones(
    taken: list[int], last: int | None, following: int
) -> None:
    assert next_sequence(taken, last) == following


def test_a_cluster_with_every_version_taken_has_no_next_one() -> None:
    with pytest.raises(InvalidName, match="all 1000 versions"):
        next_sequence(range(1000), 5)
