"""Exact bounds of rates."""

from math import comb

import pytest

from stormsail.cli.campaign.bounds import beta_share, bounds_of


def at_most(wrong: int, tries: int, rate: float) -> float:
    """The chance of at most so many, added up term by term."""
    return sum(comb(tries, each) * rate**each * (1 - rate) ** (tries - each) for each in range(wrong + 1))


@pytest.mark.parametrize(("wrong", "tries"), [(1, 10), (5, 100), (39, 1000), (999, 1000), (40, 1001)])
def test_each_bound_leaves_two_and_a_half_in_a_hundred_outside(wrong: int, tries: int) -> None:
    low, high = bounds_of(wrong, tries)
    assert low < wrong / tries < high
    assert at_most(wrong, tries, high) == pytest.approx(0.025, rel=1e-6)
    assert 1 - at_most(wrong - 1, tries, low) == pytest.approx(0.025, rel=1e-6)


def test_none_in_many_is_the_rule_of_three() -> None:
    assert bounds_of(0, 3_000_000).high == pytest.approx(3 / 3_000_000, rel=2e-3)
    assert bounds_of(0, 100) == (0.0, pytest.approx(1 - 0.05**0.01))
    assert bounds_of(7, 7) == (pytest.approx(0.05 ** (1 / 7)), 1.0)
    assert bounds_of(0, 0) == (0.0, 1.0)


def test_large_counts_converge() -> None:
    low, high = bounds_of(120_000, 3_000_000)
    assert (low, high) == (pytest.approx(0.039778, abs=2e-5), pytest.approx(0.040222, abs=2e-5))


def test_the_beta_function_is_symmetric() -> None:
    assert beta_share(0.3, 4, 9) == pytest.approx(1 - beta_share(0.7, 9, 4))
    assert beta_share(0.5, 1, 1) == pytest.approx(0.5)
    assert (beta_share(0, 2, 3), beta_share(1, 2, 3)) == (0.0, 1.0)
