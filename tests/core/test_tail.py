"""Upper tails: against known values and an independent implementation, and as laws."""

from __future__ import annotations

from math import exp, inf, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.tail import gamma_sf, matched_sf, normal_sf


@pytest.mark.parametrize(
    ("x", "mean", "variance", "share"),
    [
        (0.0, 0.0, 1.0, 0.5),
        (1.959964, 0.0, 1.0, 0.025),
        (-1.281552, 0.0, 1.0, 0.9),
        (13.0, 10.0, 9.0, 0.158655),
        (9.0, 10.0, 0.0, 1.0),
        (10.0, 10.0, 0.0, 0.0),
        (11.0, 10.0, 0.0, 0.0),
        (inf, 0.0, 1.0, 0.0),
    ],
)
def test_normal_tails(x: float, mean: float, variance: float, share: float) -> None:
    assert normal_sf(x, mean, variance) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("x", [0.01, 0.5, 1.0, 2.0, 10.0, 100.0])
def test_a_gamma_of_shape_one_is_exponential(x: float) -> None:
    assert gamma_sf(x, 1.0, 2.0) == pytest.approx(exp(-x / 2.0), rel=1e-9)


@pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 2.5, 7.0, 29.0, 120.0])
@pytest.mark.parametrize("share", [1e-4, 0.01, 0.3, 0.9, 1.0, 1.1, 2.0, 6.0])
def test_gamma_tails_agree_with_another_implementation(shape: float, share: float) -> None:
    special = pytest.importorskip("scipy.special")
    x = share * shape * 3.0
    assert gamma_sf(x, shape, 3.0) == pytest.approx(float(special.gammaincc(shape, x / 3.0)), abs=1e-9)


@pytest.mark.parametrize(("x", "share"), [(-1.0, 1.0), (0.0, 1.0), (inf, 0.0), (1e300, 0.0)])
def test_gamma_tails_end_where_they_must(x: float, share: float) -> None:
    assert gamma_sf(x, 0.5, 2.0) == share


@pytest.mark.parametrize(
    ("x", "mean", "variance", "share"),
    [
        (1.0, 0.0, 5.0, 0.0),
        (-1.0, 0.0, 5.0, 1.0),
        (1.0, 2.0, 0.0, 1.0),
        (3.0, 2.0, 0.0, 0.0),
        (10.0, 10.0, 100.0, exp(-1.0)),
    ],
)
def test_a_sum_of_two_known_moments(x: float, mean: float, variance: float, share: float) -> None:
    assert matched_sf(x, mean, variance) == pytest.approx(share, abs=1e-9)


def test_where_gamma_gives_way_to_normal_they_nearly_agree() -> None:
    mean, variance = 300.0, 300.0**2 / 30.0
    for x in (200.0, 280.0, 300.0, 350.0, 450.0):
        assert isclose(matched_sf(x, mean, variance * 1.0001), matched_sf(x, mean, variance * 0.9999), abs_tol=0.025)


_POSITIVE = st.floats(min_value=1e-3, max_value=1e6)


@given(x=st.floats(min_value=-1e6, max_value=1e7), more=_POSITIVE, mean=_POSITIVE, spread=st.floats(0.01, 4.0))
def test_a_tail_falls_and_is_a_probability(x: float, more: float, mean: float, spread: float) -> None:
    variance = (spread * mean) ** 2
    here, beyond = matched_sf(x, mean, variance), matched_sf(x + more, mean, variance)
    assert 0.0 <= beyond <= here + 1e-9 <= 1.0 + 2e-9
