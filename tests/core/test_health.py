"""What probing may spend, and what is told of a provider: pure arithmetic and one table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.breaker import Breaker, Breaking
from apikeyrouter.core.health import Health, Probe, Standing, standing


@given(st.floats(0.1, 86_400), st.floats(0, 1), st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_no_gap_is_shorter_than_its_bound(every: float, jitter: float, keys: int, chance: float) -> None:
    gap = Probe(every_s=every, jitter=jitter).gap(keys, chance)
    least = max(every / max(1, keys), min(1.0, every))
    assert least * (1 - jitter) * 0.999999 <= gap <= least * (1 + jitter) * 1.000001


def test_the_mean_gap_gives_each_key_its_turn() -> None:
    probe = Probe(every_s=60.0, jitter=0.5)
    gaps = [probe.gap(6, n / 1000) for n in range(1000)]
    assert sum(gaps) / len(gaps) == pytest.approx(10.0, rel=0.01)
    assert probe.gap(1000, 0.5) == 1.0


def breaker(state: Breaking) -> Breaker:
    made = Breaker("p/m")
    made.state = state
    return made


@pytest.mark.parametrize(
    ("states", "failing", "reason", "usable", "told"),
    [
        ((), False, "", True, Standing.HEALTHY),
        ((Breaking.CLOSED,), False, "", True, Standing.HEALTHY),
        ((Breaking.CLOSED,), False, "", False, Standing.DEGRADED),
        ((Breaking.CLOSED,), False, "unauthenticated for key a", True, Standing.DEGRADED),
        ((Breaking.CLOSED, Breaking.OPEN), False, "", True, Standing.DEGRADED),
        ((Breaking.HALF_OPEN,), False, "", True, Standing.DEGRADED),
        ((Breaking.OPEN, Breaking.OPEN), False, "", True, Standing.DOWN),
        ((Breaking.CLOSED,), True, "network for key a", True, Standing.DOWN),
    ],
)
def test_what_is_told(states: tuple[Breaking, ...], failing: bool, reason: str, usable: bool, told: Standing) -> None:
    health = Health(reason=reason, failing_since=1.0 if failing else None)
    assert standing(health, [breaker(state) for state in states], usable=usable) is told


def test_only_a_provider_that_was_down_is_found_back() -> None:
    health = Health()
    assert not health.good("a", 1.0)
    health.bad("unauthenticated", 2.0, provider=False)
    assert not health.good("a", 3.0)
    health.bad("network", 4.0, provider=True)
    health.bad("network", 5.0, provider=True)
    assert health.failing_since == 4.0
    assert health.good("b", 6.0)
    assert (health.last_ok, health.ok_key, health.reason) == (6.0, "b", "")


def test_a_breaker_is_found_back_once_and_held_down_for_two_minutes_at_most() -> None:
    it = Breaker("p/m")
    assert not it.found_back()
    it.still_down(1_000.0)
    for _ in range(5):
        it.record(ok=False, now=100.0, chance=0.0, connect=True)
    assert it.state is Breaking.OPEN
    it.still_down(110.0)
    assert it.until == 110.0
    it.still_down(105.0)
    assert it.until == 110.0
    it.still_down(9_999.0)
    assert it.until == 220.0
    assert not it.allows(219.0)
    assert it.found_back()
    assert not it.found_back()
    assert it.allows(111.0)
    it.begin()
    assert not it.allows(111.0)
