"""Upper tails of the gamma and normal distributions, in a few microseconds and without a third party."""

from __future__ import annotations

from math import erfc, exp, inf, lgamma, log, sqrt
from typing import Final

_STEPS: Final = 200
_SMALL: Final = 1e-12


def normal_sf(x: float, mean: float, variance: float) -> float:
    """P(X > x) of a normal distribution; a point mass when the variance is 0."""
    if variance <= 0:
        return 1.0 if mean > x else 0.0
    return 0.5 * erfc((x - mean) / sqrt(2.0 * variance))


def gamma_sf(x: float, shape: float, scale: float) -> float:
    """P(X > x) of a gamma distribution: the regularised upper incomplete gamma function Q(shape, x / scale).

    Series below shape + 1, continued fraction above (Abramowitz and Stegun 6.5.29, 6.5.31), good to about 1e-10.
    """
    if x <= 0:
        return 1.0
    z = x / scale
    if z == inf:
        return 0.0
    head = exp(shape * log(z) - z - lgamma(shape))
    return 1.0 - head * _series(z, shape) if z < shape + 1.0 else head * _fraction(z, shape)


def _series(z: float, shape: float) -> float:
    term = total = 1.0 / shape
    for n in range(1, _STEPS):
        term *= z / (shape + n)
        total += term
        if term < total * _SMALL:
            break
    return total


def _fraction(z: float, shape: float) -> float:
    """Lentz's method."""
    b = z + 1.0 - shape
    c, d = 1.0 / 1e-300, 1.0 / b
    h = d
    for n in range(1, _STEPS):
        a = -n * (n - shape)
        b += 2.0
        d = 1.0 / (a * d + b or 1e-300)
        c = b + a / c or 1e-300
        h *= d * c
        if abs(d * c - 1.0) < _SMALL:
            break
    return h


def matched_sf(x: float, mean: float, variance: float) -> float:
    """P(X > x) for a sum known by its first two moments: gamma where it is skewed, normal where it is not."""
    if mean <= 0:
        return 1.0 if x < 0 else 0.0
    if variance <= 0:
        return 1.0 if mean > x else 0.0
    shape = mean * mean / variance
    if shape > 30.0:
        return normal_sf(x, mean, variance)
    return gamma_sf(x, shape, variance / mean)
