"""Forecasts compared with what came: histograms, logistic corrections, fading rates; and the laws they must keep."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.calibration import EDGES, PRIOR, Band, Histogram, Logistic, band_of

CALM = (1.0, 1.0, 1.0, 1.0)
"""Rates of the four memories, all alike."""
BURST = (4.0, 2.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("horizon_s", "band"), [(0.0, 0), (1.0, 0), (1.4, 0), (1.5, 1), (15.0, 4), (60.0, 6), (80.0, 6), (86_400.0, 16)]
)
def test_horizons_within_a_factor_share_what_they_learn(horizon_s: float, band: int) -> None:
    assert band_of(horizon_s) == band


# -- histograms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.0, 0.0005, 0.3, 0.5, 0.95, 1.0])
def test_who_has_learned_nothing_changes_nothing(place: float) -> None:
    assert Histogram().below(place) == pytest.approx(place)


def test_outcomes_that_fall_evenly_change_nothing() -> None:
    h = Histogram()
    for i in range(1000):
        h.add((i + 0.5) / 1000, 1.0, 1.0)
    for place in (0.001, 0.02, 0.25, 0.5, 0.9, 0.999):
        assert h.below(place) == pytest.approx(place, abs=2e-3)


def test_outcomes_that_always_fall_high_shift_the_distribution() -> None:
    h = Histogram()
    for _ in range(100):
        h.add(0.85, 1.0, 1.0)
    assert h.below(0.8) == pytest.approx(0.8 * PRIOR / (100 + PRIOR))
    assert h.below(0.9) == pytest.approx((100 + 0.9 * PRIOR) / (100 + PRIOR))


def test_an_outcome_that_was_cut_off_lies_anywhere_above() -> None:
    h = Histogram()
    h.add(0.7, 10.0, 1.0, at_least=True)
    assert h.below(0.7) == pytest.approx(0.7 * PRIOR / (10 + PRIOR))
    assert h.below(0.85) == pytest.approx((5.0 + 0.85 * PRIOR) / (10 + PRIOR))


def test_the_past_fades() -> None:
    h = Histogram()
    for _ in range(200):
        h.add(0.1, 1.0, 0.9)
    for _ in range(200):
        h.add(0.9, 1.0, 0.9)
    assert h.total == pytest.approx(10.0)
    assert h.below(0.5) == pytest.approx(0.5 * PRIOR / (10 + PRIOR), abs=1e-6)


_PLACES = st.floats(0.0, 1.0)
_OUTCOMES = st.lists(st.tuples(_PLACES, st.floats(0.0, 1.0), st.booleans()), max_size=60)


@given(_OUTCOMES, _PLACES, _PLACES)
def test_a_corrected_distribution_is_one(outcomes: list[tuple[float, float, bool]], one: float, other: float) -> None:
    h = Histogram()
    for place, weight, cut in outcomes:
        h.add(place, weight, 0.95, at_least=cut)
    assert sum(h.bins) == pytest.approx(h.total, abs=1e-9)
    assert len(h.bins) == len(EDGES) - 1
    low, high = sorted((one, other))
    assert -1e-9 <= h.below(low) <= h.below(high) + 1e-9 <= 1.0 + 2e-9
    assert (h.below(0.0), h.below(1.0)) == (pytest.approx(0.0), pytest.approx(1.0))


# -- logistic --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.9])
def test_an_unfitted_logistic_changes_nothing(p: float) -> None:
    assert Logistic().apply(p) == pytest.approx(p)


@pytest.mark.parametrize(("said", "true"), [(0.3, 0.6), (0.9, 0.6), (0.5, 0.1)])
def test_a_logistic_learns_how_often_it_comes_true(said: float, true: float) -> None:
    rng, found = Random(3), Logistic()
    for _ in range(2_000):
        found.learn(said, 1.0, 0.998, happened=rng.random() < true)
    assert found.apply(said) == pytest.approx(true, abs=0.06)


def test_a_logistic_learns_that_it_was_too_sure() -> None:
    """What is said with 5 and 95 % comes true in 30 and 70 %."""
    rng, found = Random(4), Logistic()
    for i in range(3_000):
        said, true = ((0.05, 0.3), (0.95, 0.7))[i % 2]
        found.learn(said, 1.0, 0.998, happened=rng.random() < true)
    assert found.a < 0.6
    assert found.apply(0.05) == pytest.approx(0.3, abs=0.08)
    assert found.apply(0.95) == pytest.approx(0.7, abs=0.08)


@given(st.lists(st.tuples(_PLACES, st.floats(0.0, 1.0), st.booleans()), max_size=80), _PLACES, _PLACES)
def test_a_logistic_never_turns_an_order_around(
    outcomes: list[tuple[float, float, bool]], one: float, other: float
) -> None:
    found = Logistic()
    for p, weight, happened in outcomes:
        found.learn(p, weight, 1.0 - weight / 40.0, happened=happened)
    low, high = sorted((one, other))
    assert 0.0 <= found.apply(low) <= found.apply(high) <= 1.0


# -- a band ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon_s", [1.0, 15.0, 300.0, 86_400.0])
def test_steady_traffic_is_expected_to_go_on(horizon_s: float) -> None:
    assert Band(horizon_s).mean_rate(CALM, horizon_s) == pytest.approx(1.0)


def test_a_burst_fades_the_more_the_longer_the_horizon() -> None:
    means = [Band(h).mean_rate(BURST, h) for h in (1.0, 15.0, 60.0, 600.0, 86_400.0)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 3.9
    assert means[-1] < 1.1


@pytest.mark.parametrize(("lasts", "weight"), [(False, 0.1), (True, 0.8)])
def test_a_band_learns_whether_bursts_last(*, lasts: bool, weight: float) -> None:
    """The rate of the last seconds either means nothing, or is the rate from now on."""
    band, rng = Band(60.0), Random(5)
    for _ in range(300):
        recent = rng.choice([0.2, 3.0])
        rates = (recent, 1.0, 1.0, 1.0)
        band.learn(0.5, recent if lasts else 1.0, rates, 60.0, 1.0, cut=False)
    expected = band.mean_rate((3.0, 1.0, 1.0, 1.0), 60.0)
    assert (expected > 1.0 + 2.0 * weight) if lasts else (expected < 1.0 + 2.0 * weight)


def test_an_outcome_the_limit_cut_off_is_no_low_rate() -> None:
    band = Band(60.0)
    for _ in range(100):
        band.learn(0.9, 0.5, BURST, 60.0, 1.0, cut=True)
    assert band.mean_rate(BURST, 60.0) == pytest.approx(Band(60.0).mean_rate(BURST, 60.0))


def test_calm_and_burst_are_corrected_apart() -> None:
    band = Band(60.0)
    for _ in range(50):
        band.learn(0.05, 1.0, CALM, 60.0, 1.0, cut=False)
        band.learn(0.95, 1.0, BURST, 60.0, 1.0, cut=False)
    assert band.chance(0.5, CALM) < 0.2
    assert band.chance(0.5, BURST) > 0.8


@given(st.lists(st.tuples(_PLACES, st.floats(0.0, 50.0), st.floats(0.0, 9.0), st.booleans()), max_size=60))
def test_whatever_came_the_expected_rate_is_finite_and_positive(
    outcomes: list[tuple[float, float, float, bool]],
) -> None:
    band = Band(60.0)
    for place, rate, recent, cut in outcomes:
        band.learn(place, rate, (recent, 1.0, 1.0, 1.0), 60.0, 0.3, cut=cut)
    for rates in (CALM, BURST, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)):
        assert 0.0 <= band.mean_rate(rates, 60.0) < inf
        assert 0.0 <= band.chance(0.4, rates) <= 1.0
