"""Consumption in one-second bins: rates over several times, and how bursty it is at several scales."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.demand import SCALES, TAUS, Demand

START = 1_767_225_600.0


def played(amounts: list[float], demand: Demand | None = None) -> Demand:
    """A demand that consumed `amounts`, one in each second."""
    d = demand or Demand(START, 0.0)
    total = d.charged
    for amount in amounts:
        total += amount
        d.roll(d.closed + 1.0, total)
    return d


def test_nothing_changes_within_a_second() -> None:
    d = Demand(START, 5.0)
    assert not d.roll(START + 0.99, 100.0)
    assert d.rates == [0.0] * len(TAUS)
    assert d.age_s == 0.0
    assert d.roll(START + 1.0, 105.0)
    assert d.rates == pytest.approx([100.0] * len(TAUS))


@pytest.mark.parametrize("seconds", [1, 20, 500])
def test_a_steady_rate_is_the_rate_from_the_beginning(seconds: int) -> None:
    """A young average is over what was seen, not over an imagined idle past."""
    assert played([7.0] * seconds).rates == pytest.approx([7.0] * len(TAUS))


def test_a_change_reaches_the_short_rates_first() -> None:
    d = played([10.0] * 2000)
    played([50.0] * 30, d)
    assert d.rates == sorted(d.rates, reverse=True)
    assert d.rates[0] > 40.0
    assert d.rates[3] < 12.0


@pytest.mark.parametrize("gap", [60, 3_000])
def test_a_gap_counts_as_idle_time(gap: int) -> None:
    d = played([10.0] * 600)
    before = list(d.rates)
    d.roll(d.closed + gap, d.charged)
    assert all(after < rate for after, rate in zip(d.rates, before, strict=True))
    assert d.age_s == 600 + gap


def test_what_came_after_a_long_gap_is_spread_over_it() -> None:
    """Nobody looked for an hour, so nobody knows when it was consumed."""
    d = played([0.0] * 10)
    d.roll(d.closed + 3_600.0, 3_600.0)
    assert d.rates == pytest.approx([1.0] * len(TAUS), rel=0.02)


def test_a_total_that_falls_counts_nothing_until_it_has_risen_again() -> None:
    d = played([10.0] * 5)
    d.roll(d.closed + 1.0, 30.0)  # 20 were given back
    assert d.charged == 50.0
    rates = list(d.rates)
    d.roll(d.closed + 1.0, 50.0)
    assert all(now < then for now, then in zip(d.rates, rates, strict=True))
    d.roll(d.closed + 1.0, 60.0)
    assert d.charged == 60.0


def test_bursts_are_more_uncertain_than_noise_of_the_same_size() -> None:
    """Noise averages out in longer blocks, bursts do not."""
    rng = Random(1)
    noise = [rng.expovariate(1.0) for _ in range(4096)]
    bursts = [x * (4.0 if (i // 64) % 4 == 0 else 0.0) for i, x in enumerate(noise)]
    mean = sum(noise) / len(noise) * 64
    assert played(bursts).variance(64.0, mean) > 20 * played(noise).variance(64.0, mean)


def test_a_short_past_is_an_uncertain_rate() -> None:
    young, old = played([10.0] * 4), played([10.0] * 800)
    assert young.variance(60.0, 600.0) > 50 * old.variance(60.0, 600.0)


def test_every_scale_measures_its_own_blocks() -> None:
    d = played([float(i % 2) for i in range(4 * SCALES[-1])])
    assert [s.mean for s in d.scales] == pytest.approx([size / 2 for size in SCALES], rel=0.01)
    assert d.scales[0].var == pytest.approx(0.25, rel=0.01)
    assert all(s.var == 0.0 for s in d.scales[1:])


_STEPS = st.lists(st.tuples(st.floats(0.0, 400.0), st.floats(-50.0, 1e6)), max_size=40)


@given(_STEPS, st.floats(1.0, 1e5))
def test_whatever_comes_rates_and_variances_stay_finite_and_not_negative(
    steps: list[tuple[float, float]], horizon: float
) -> None:
    d, now, total = Demand(START, 0.0), START, 0.0
    for wait, amount in steps:
        now, total = now + wait, total + amount
        d.roll(now, total)
        assert d.closed <= now < d.closed + 1.0 + 1e-6
    most = 1e6 + 1.0
    assert all(0.0 <= rate <= most * max(1, len(steps)) for rate in d.rates)
    mean = horizon * d.rates[0]
    assert 0.0 <= d.variance(horizon, mean) < 1e30


@given(_STEPS)
def test_a_clock_that_goes_back_does_no_harm(steps: list[tuple[float, float]]) -> None:
    d, total = played([1.0] * 10), 10.0
    for wait, amount in steps:
        total += abs(amount)
        assert not d.roll(START + 10.0 - wait, total)
    assert d.rates == pytest.approx([1.0] * len(TAUS))
