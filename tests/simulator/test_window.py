"""Buckets and windows against exact arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.simulator.record import excess
from apikeyrouter.simulator.window import NEVER, Bucket, FixedWindow, day_end, month_end, period_end

NS = 1_000_000_000
MINUTE = 60 * NS

steps = st.lists(st.tuples(st.integers(0, 90 * NS), st.integers(0, 900)), min_size=1, max_size=60)
limits = st.integers(1, 50_000_000)
capacities = st.integers(1, 1000)


class Exact:
    """The bucket of a textbook, in fractions."""

    def __init__(self, limit: int, capacity: int) -> None:
        self.rate = Fraction(limit, MINUTE)
        self.capacity = capacity
        self.level = Fraction(capacity)
        self.at = 0

    def ask(self, now: int, amount: int) -> bool:
        self.level = min(Fraction(self.capacity), self.level + (now - self.at) * self.rate)
        self.at = now
        if amount > self.level:
            return False
        self.level -= amount
        return True


@given(limits, capacities, steps)
def test_a_bucket_decides_like_exact_fractions(limit: int, capacity: int, asks: list[tuple[int, int]]) -> None:
    bucket, exact, now = (
        Bucket("tpm", "tokens", limit=limit, per_ns=MINUTE, capacity=capacity),
        Exact(limit, capacity),
        0,
    )
    for pause, amount in asks:
        now += pause
        fits = bucket.fits(now, amount)
        assert fits == exact.ask(now, amount)
        if fits:
            bucket.take(now, amount)
        assert bucket.remaining(now) == exact.level.__floor__()


@given(limits, capacities, steps)
def test_no_interval_exceeds_capacity_plus_rate_times_time(
    limit: int, capacity: int, asks: list[tuple[int, int]]
) -> None:
    bucket, now, taken = Bucket("tpm", "tokens", limit=limit, per_ns=MINUTE, capacity=capacity), 0, []
    for pause, amount in asks:
        now += pause
        if bucket.fits(now, amount):
            bucket.take(now, amount)
            taken.append((now, amount))
    assert excess(taken, limit=limit, per_ns=MINUTE, capacity=capacity) <= 0
    one_too_many = bucket.remaining(now) + 1
    taken.append((now, one_too_many))
    if len(taken) == 1:  # from a full bucket the proof is sharp: one token more shows
        assert excess(taken, limit=limit, per_ns=MINUTE, capacity=capacity) == 1


@given(limits, capacities, st.integers(1, 1000), st.integers(0, 1000))
def test_the_wait_is_exact_to_the_nanosecond(limit: int, capacity: int, spent: int, amount: int) -> None:
    bucket = Bucket("rpm", "requests", limit=limit, per_ns=MINUTE, capacity=capacity)
    bucket.take(0, min(spent, capacity))
    wait = bucket.wait(0, amount)
    if amount > capacity:
        assert wait == NEVER
    elif wait:
        early = Bucket("rpm", "requests", limit=limit, per_ns=MINUTE, capacity=capacity)
        early.take(0, min(spent, capacity))
        assert not early.fits(wait - 1, amount)
        assert bucket.fits(wait, amount)


@given(limits, st.integers(0, 50_000_000))
def test_the_header_law_holds_for_what_is_shown(limit: int, spent: int) -> None:
    bucket = Bucket("tpm", "tokens", limit=limit, per_ns=MINUTE)
    bucket.take(0, min(spent, limit))
    assert bucket.reset(0) == (limit - bucket.remaining(0)) * MINUTE // limit


@given(st.integers(1, 1000), steps)
def test_a_fixed_window_never_gives_more_than_its_limit_in_a_period(limit: int, asks: list[tuple[int, int]]) -> None:
    window, now, taken = FixedWindow("rpm", "requests", limit=limit, per_ns=MINUTE, end_of=period_end(MINUTE)), 17, {}
    for pause, amount in asks:
        now += pause
        wait = window.wait(now, amount)
        assert (wait == 0) == window.fits(now, amount)
        if wait == 0:
            window.take(now, amount)
            taken[now // MINUTE] = taken.get(now // MINUTE, 0) + amount
    assert all(amount <= limit for amount in taken.values())


def test_a_bucket_that_is_smaller_than_its_limit_shows_what_it_holds() -> None:
    bucket = Bucket("tpm", "tokens", limit=60_000, per_ns=MINUTE, capacity=15_000)
    bucket.take(0, 5_000)
    assert (bucket.limit, bucket.remaining(0), bucket.reset(0)) == (60_000, 10_000, 5 * NS)
    assert bucket.wait(0, 15_001) == NEVER


def test_what_is_charged_as_produced_may_leave_a_debt() -> None:
    bucket = Bucket("otpm", "output", limit=60, per_ns=MINUTE)
    bucket.take(0, 90)
    assert bucket.remaining(0) == 0
    assert bucket.wait(0, 1) == 31 * NS


def test_a_limit_of_nothing_admits_nothing_ever() -> None:
    assert Bucket("rpm", "requests", limit=0, per_ns=MINUTE).wait(0, 1) == NEVER


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (datetime(2026, 3, 8, 0, 0, tzinfo=UTC), 8),  # 16:00 in Los Angeles, winter time
        (datetime(2026, 3, 8, 9, 0, tzinfo=UTC), 22),  # 01:00 on the day that has 23 hours
        (datetime(2026, 11, 1, 8, 0, tzinfo=UTC), 24),  # 01:00 on the day that has 25
    ],
)
def test_days_end_at_midnight_of_their_zone(now: datetime, hours: int) -> None:
    at = int(now.timestamp()) * NS
    assert day_end("America/Los_Angeles")(at) - at == hours * 3600 * NS


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2026, 4, 30, 12, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)),
    ],
)
def test_months_end_before_their_first_day(now: datetime, end: datetime) -> None:
    assert month_end("UTC")(int(now.timestamp()) * NS) == int(end.timestamp()) * NS
