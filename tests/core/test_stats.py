"""What experience says: it fades by time and by count, jumps up at once and comes down slowly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from apikeyrouter.core.stats import HALF_LIFE_REQUESTS, HALF_LIFE_S, PRIOR_BAD, PRIOR_GOOD, Latency, Reliability

NOW = 1_767_225_600.0


@given(st.lists(st.booleans(), max_size=300))
def test_the_bound_is_near_the_exact_quantile(answers: list[bool]) -> None:
    r = Reliability(NOW)
    for ok in answers:
        r.record(ok, NOW)
    exact = beta.ppf(0.05, PRIOR_GOOD + r.good, PRIOR_BAD + r.bad)
    assert 0 <= r.lcb <= r.mean <= 1
    assert abs(r.lcb - exact) < 0.06


def test_a_newcomer_is_trusted_a_little_less_than_the_proven() -> None:
    new, proven, bad = Reliability(NOW), Reliability(NOW), Reliability(NOW)
    for _ in range(100):
        proven.record(True, NOW)
        bad.record(False, NOW)
    assert bad.lcb < 0.2 < new.lcb < proven.lcb
    assert new.samples == 0


def test_half_of_the_past_is_forgotten_after_the_half_life() -> None:
    r = Reliability(NOW)
    r.record(False, NOW)
    r.record(True, NOW + HALF_LIFE_S)
    assert r.bad == pytest.approx(0.5, rel=0.01)
    r = Reliability(NOW)
    r.record(False, NOW)
    for _ in range(int(HALF_LIFE_REQUESTS)):
        r.record(True, NOW)
    assert r.bad == pytest.approx(0.5)


def test_a_clock_that_steps_back_forgets_nothing_twice() -> None:
    r = Reliability(NOW)
    r.record(False, NOW)
    r.record(False, NOW - 10_000)
    assert r.at == NOW
    assert r.bad == pytest.approx(2, rel=0.01)


def test_latency_jumps_up_and_comes_down_slowly() -> None:
    latency = Latency()
    latency.record(1.0, 0, NOW)
    latency.record(8.0, 0, NOW + 1)
    assert latency.first_s == 8.0
    latency.record(1.0, 0, NOW + 2)
    assert 7 < latency.first_s < 8
    latency.record(1.0, 0, NOW + 200)
    assert latency.first_s == pytest.approx(1.0)


def test_the_length_of_an_answer_counts_apart_from_its_beginning() -> None:
    latency = Latency()
    for i in range(50):
        latency.record(0.5 + 100 * 0.02, 100, NOW + i, first_s=0.5)
    assert latency.first_s == pytest.approx(0.5)
    assert latency.expected_s(100) == pytest.approx(2.5, rel=0.05)
    assert latency.expected_s(0) == pytest.approx(0.5)


def test_the_unknown_is_tried() -> None:
    assert Latency().expected_s(1_000) == 0.0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5000), st.floats(-5, 50)), max_size=50))
def test_latency_stays_within_what_was_seen(answers: list[tuple[float, int, float]]) -> None:
    latency, now = Latency(), NOW
    for took, tokens, step in answers:
        now += step
        latency.record(took, tokens, now, first_s=took / 2)
        assert 0 <= latency.first_s <= max(a[0] for a in answers)
        assert latency.per_token_s >= 0
    assert latency.samples == len(answers)
