"""What can be said of a rate after so many tries: exact binomial bounds, after Clopper and Pearson (Biometrika, 1934).

They are quantiles of beta distributions. The incomplete beta function is computed by its continued fraction, NIST's
Digital Library of Mathematical Functions 8.17.22, and inverted by bisection.
"""

import math
from typing import Final, NamedTuple

CONFIDENCE: Final = 0.95
_TERMS_MAX: Final = 10_000
_TINY: Final = 1e-300


class Bounds(NamedTuple):
    """Between what a rate lies with 95 % confidence."""

    low: float
    high: float


def bounds_of(wrong: int, tries: int) -> Bounds:
    """Return the bounds of a rate. Where none was wrong, or all were, the one bound is one-sided: about 3 / tries."""
    assert 0 <= wrong <= tries
    outside = 1 - CONFIDENCE
    if tries == 0:
        return Bounds(0.0, 1.0)
    if wrong == 0:
        return Bounds(0.0, -math.expm1(math.log(outside) / tries))
    if wrong == tries:
        return Bounds(math.exp(math.log(outside) / tries), 1.0)
    low = _quantile(outside / 2, wrong, tries - wrong + 1)
    return Bounds(low, _quantile(1 - outside / 2, wrong + 1, tries - wrong))


def _quantile(share: float, a: float, b: float) -> float:
    """Invert the regularised incomplete beta function."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if beta_share(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_share(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges fast
        return 1 - beta_share(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction from the front, after Lentz."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _TERMS_MAX):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            return value
    raise AssertionError(f"the continued fraction does not converge at {x}, {a}, {b}")


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
