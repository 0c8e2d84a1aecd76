"""When a window will run out: laws of the probability and its quantiles, what is told when, and whether it is true."""

from __future__ import annotations

from itertools import pairwise
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import MODEL, Rig, ask

from apikeyrouter.core.forecast import COLD_S, NEAR, Forecast, Outlook, Supply, forecast
from apikeyrouter.core.model import Usage
from apikeyrouter.core.pool import FORECAST_EVERY_S, Pool, need_of
from apikeyrouter.core.window import Limit, Window
from apikeyrouter.events import ExhaustionNear

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""
DAY = 86_400.0


def traffic(seed: int, seconds: int, mean: float = 10.0, *, bursts: bool = True) -> list[float]:
    """Consumption of each second: exponential sizes, in bursts of four times the rate."""
    rng, found, high = Random(seed), [], False
    for _ in range(seconds):
        high = rng.random() < (1 / 20 if not high else 19 / 20) if bursts else False
        found.append(rng.expovariate(1.0) * mean * ((3.25 if high else 0.25) if bursts else 1.0))
    return found


def seen(amounts: list[float]) -> Outlook:
    outlook, total = Outlook(START, 0.0), 0.0
    for second, amount in enumerate(amounts, 1):
        total += amount
        outlook.roll(START + second, total)
        outlook.expect(60.0, START + second, total)
    return outlook


WARM = seen(traffic(1, 1500))


# -- the probability -------------------------------------------------------------------------------------------------


@given(st.floats(0.0, 5_000.0), st.floats(0.0, 5_000.0), st.sampled_from([1.0, 15.0, 60.0, 300.0, 3_600.0]))
def test_more_room_is_never_more_dangerous(one: float, other: float, horizon: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= WARM.exceeds(high, horizon) <= WARM.exceeds(low, horizon) + 1e-9 <= 1.0 + 2e-9


@given(st.floats(-10.0, 5_000.0), st.floats(-10.0, 5_000.0), st.floats(0.0, 50.0), st.booleans())
def test_a_window_with_more_left_runs_out_no_more_likely(
    one: float, other: float, refill: float, refusing: bool
) -> None:
    low, high = (Supply(free, refill, 60.0, refusing) for free in sorted((one, other)))
    probabilities = [WARM.corrected(WARM.runs_out(supply), supply) for supply in (low, high)]
    assert 1.0 >= probabilities[0] >= probabilities[1] - 1e-9
    assert probabilities[1] >= 0.0


@pytest.mark.parametrize("free", [0.0, -5.0])
def test_what_is_empty_has_run_out(free: float) -> None:
    supply = Supply(free, 0.0, 60.0, refusing=False)
    assert WARM.corrected(WARM.runs_out(supply), supply) == 1.0


def test_who_never_consumed_will_not_run_out() -> None:
    assert seen([0.0] * 900).exceeds(1.0, 3_600.0) == 0.0


# -- the forecast of a window ----------------------------------------------------------------------------------------


def daily(amount: int, used: int, rate: int, minutes: int = 120, hour: float = 8.0) -> tuple[Window, Forecast]:
    """A day's window at an hour, with so much used before and a steady rate for the last `minutes`."""
    now = START + hour * 3600.0 - minutes * 60.0
    window = Window(Limit(of="tokens", amount=amount, per="day", window="fixed"), now)
    window.debit(used, now)
    outlook = window.outlook = Outlook(now, 0.0)
    found = forecast(window, outlook, now)
    for second in range(1, minutes * 60 + 1):
        now += 1.0
        window.take(rate, now)
        outlook.roll(now, window.charged)
        if second % 60 == 0:
            found = forecast(window, outlook, now)
    return window, found


@pytest.mark.parametrize(
    ("rate", "hours"),
    [
        (100, (5_000_000 - 100 * 7200) / 100 / 3600),
        (300, (5_000_000 - 300 * 7200) / 300 / 3600),
    ],
)
def test_a_steady_rate_runs_out_when_division_says_so(rate: int, hours: float) -> None:
    window, found = daily(6_000_000, 1_000_000, rate)
    assert found.probability > 0.9
    assert found.p50 is not None
    assert (found.p50 - found.calculated_at) / 3600.0 == pytest.approx(hours, rel=0.1)
    assert found.usage_rate == pytest.approx(rate)
    assert found.reset_at == START + DAY
    assert found.remaining == pytest.approx(window.level)
    assert found.method == "multi-scale"


def test_what_lasts_until_its_reset_has_no_time_of_its_end() -> None:
    _, found = daily(6_000_000, 0, 10)
    assert found.probability < 0.05
    assert (found.p50, found.p90) == (None, None)
    assert not found.near


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    amount=st.integers(1, 40_000),
    seconds=st.integers(1, 900),
    shape=st.sampled_from(["bucket", "fixed"]),
)
def test_quantiles_are_in_order_and_before_the_reset(seed: int, amount: int, seconds: int, shape: str) -> None:
    limit = Limit(of="tokens", amount=amount, per="minute" if shape == "bucket" else "hour", window=shape)  # type: ignore[arg-type]
    pool, now = Pool("p", [limit], now=START), START
    for tokens in traffic(seed, seconds):
        now += 1.0
        need = need_of(input_tokens=int(tokens))
        if pool.fits_and_load(need, now) >= 0:
            pool.settle(need, need, pool.take(need, now), now, now)
        if now >= pool.ticks_at:
            pool.look_ahead(now)
        window = pool.windows[0]
        if window.outlook is None:
            continue
        f = forecast(window, window.outlook, now)
        known = [at for at in (f.p10, f.p50, f.p90) if at is not None]
        assert known == sorted(known)
        assert [at is None for at in (f.p10, f.p50, f.p90)] == sorted(at is None for at in (f.p10, f.p50, f.p90))
        assert all(f.calculated_at <= at <= (f.reset_at or 0.0) + 1e-6 for at in known)
        assert (f.p50 is not None) == (f.probability >= 0.5)
        assert 0.0 <= f.probability <= 1.0
        assert 0.0 <= f.confidence <= 1.0


def test_cold_says_so_and_is_not_told() -> None:
    window = Window(Limit(of="tokens", amount=1_000, per="day", window="fixed"), START)
    outlook = Outlook(START, 0.0)
    for second in range(1, 60):
        window.take(16, START + second)
        found = forecast(window, outlook, START + second)
    assert found.probability > NEAR
    assert found.method == "cold"
    assert found.confidence < 0.2
    assert not found.near


def test_confidence_grows_with_what_was_seen_and_compared() -> None:
    found = [seen(traffic(2, seconds)).confidence(60.0) for seconds in (2, 30, 150, 300, 900, 3_000)]
    assert found == sorted(found)
    assert found[0] < 0.05
    assert found[-1] > 0.9


def test_what_was_held_is_still_to_be_consumed() -> None:
    """Output is billed as produced: a hold keeps others out, but has not been spent."""
    window = Window(Limit.otpm(1_000), START)
    outlook = seen([1.0] * 600)
    before = outlook.runs_out(Supply(900.0, window.rate, 60.0, refusing=False))
    window.held = 100
    window.level = 900.0
    found = forecast(window, outlook, START + 600.0)
    assert found.remaining == pytest.approx(900.0)
    assert found.probability == pytest.approx(before, abs=0.05)


# -- what a pool makes of it -----------------------------------------------------------------------------------------


def drained(pool: Pool, now: float, *, seconds: int, tokens: int) -> tuple[float, int]:
    """A request every five seconds; how often it was told that the end is near."""
    told, need = 0, need_of(input_tokens=tokens)
    for _ in range(seconds // 5):
        now += 5.0
        if pool.fits_and_load(need, now) >= 0:
            pool.settle(need, need, pool.take(need, now), now, now)
        told += len(pool.alarms)
        pool.alarms.clear()
    return now, told


def test_that_the_end_is_near_is_told_once_in_each_period() -> None:
    limit = Limit(of="tokens", amount=12_000, per="hour", window="fixed")
    pool = Pool("p", [limit], now=START)
    now, told = drained(pool, START, seconds=3_000, tokens=30)
    assert told == 1
    now, told = drained(pool, now, seconds=595, tokens=30)
    assert told == 0
    assert pool.risk > NEAR
    now, told = drained(pool, now, seconds=3_000, tokens=30)
    assert told == 1


@pytest.mark.parametrize(
    ("per", "shape", "told"), [("hour", "fixed", True), ("day", "bucket", True), ("minute", "bucket", False)]
)
def test_only_an_end_that_lasts_is_the_pools_own(per: str, shape: str, told: bool) -> None:
    """A minute's bucket that is empty is back in seconds; its risk counts all the same."""
    limit = Limit(of="tokens", amount=3_000, per=per, window=shape)  # type: ignore[arg-type]
    pool = Pool("p", [limit], now=START)
    drained(pool, START, seconds=290, tokens=30)
    assert pool.soonest is None
    drained(pool, START + 290, seconds=60, tokens=30 if told else 300)
    assert (pool.soonest is not None) == told
    assert pool.risk > 0.0


def test_what_lasts_is_not_told() -> None:
    pool = Pool("p", [Limit(of="tokens", amount=1_000_000, per="hour", window="fixed")], now=START)
    assert drained(pool, START, seconds=3_000, tokens=30)[1] == 0
    assert pool.risk < 0.05


def test_a_pool_looks_ahead_at_most_once_a_second() -> None:
    pool, need = Pool("p", [Limit.tpm(10**6)], now=START), need_of(input_tokens=1)
    ticks = []
    for i in range(10_000):
        pool.take(need, START + i / 1000.0)
        ticks.append(pool.ticks_at)
    assert len(set(ticks)) <= 10.0 / FORECAST_EVERY_S + 1
    assert all(later - earlier >= FORECAST_EVERY_S for earlier, later in pairwise(sorted(set(ticks))))


def test_the_event_has_the_numbers() -> None:
    rig = Rig()
    rig.key("k", [Limit(of="tokens", amount=60_000, per="day", window="fixed")])
    told: list[ExhaustionNear] = []
    rig.router.announce.subscribe(ExhaustionNear, told.append)
    for _ in range(400):
        rig.clock.advance(1.0)
        rig.router.settle(rig.router.acquire(ask(60)), Usage(input_tokens=60))
    (event,) = told
    assert (event.pool, event.window, event.reset_at) == ("k", "tokens/day", START + DAY)
    assert event.probability >= NEAR
    assert event.p50 is not None
    left_s = (60_000 - 60 * (event.at - START)) / 60.0
    assert event.p50 - event.at == pytest.approx(left_s, rel=0.15)
    assert event.usage_rate == pytest.approx(60.0, rel=0.05)
    assert event.at - START >= COLD_S


def test_quota_that_would_be_wasted_is_used_first() -> None:
    """Two half used days: the one that ends soon is cheaper than the one that must last."""
    soon = Limit(of="requests", amount=1_000, per="day", window="fixed", zone="UTC")
    late = Limit(of="requests", amount=1_000, per="day", window="fixed", zone="Pacific/Auckland")
    rig = Rig(objective="capacity")
    rig.clock.time = START + DAY - 1_800.0  # half an hour before midnight in UTC, half past noon in Auckland
    rig.key("soon", [soon])
    rig.key("late", [late])
    for name in ("soon", "late"):
        window = rig.registry.pools[name].windows[0]
        window.debit(500, rig.clock.time)
    loads = {name: rig.registry.pools[name].fits_and_load(need_of(), rig.clock.time) for name in ("soon", "late")}
    assert loads["soon"] < 0.1 * loads["late"]
    chosen = {rig.router.acquire(ask()).key_id for _ in range(20)}
    assert chosen == {"soon"}
    assert rig.router.acquire(ask(among=frozenset({("late", MODEL)}))).key_id == "late"


# -- whether it is true ----------------------------------------------------------------------------------------------

GATE = 0.06
"""Expected calibration error on forty minutes of bursts, six windows: so few that chance alone makes 4 % of it. The
report of benchmarks/calibration has longer traces, and a lower figure."""


def refusals(pool: Pool, amounts: list[float], rng: Random) -> tuple[list[tuple[float, float]], list[float]]:
    """Play requests through a pool; every tenth second (time, stated probability), and when a request found no room."""
    now, stated, refused = START, [], []
    for second, amount in enumerate(amounts):
        now += 1.0
        for tokens in _requests(amount, rng):
            need = need_of(input_tokens=tokens)
            if pool.fits_and_load(need, now) < 0:
                refused.append(now)
            else:
                pool.settle(need, need, pool.take(need, now), now, now)
        if now >= pool.ticks_at:
            pool.look_ahead(now)
        if second % 10 == 9:
            stated.append((now, pool.risk))
    return stated, refused


def _requests(amount: float, rng: Random) -> list[int]:
    """An amount in a few requests of different sizes."""
    parts = [rng.random() for _ in range(3)]
    return [max(1, int(amount * part / sum(parts))) for part in parts]


def calibration_error(pairs: list[tuple[float, bool]]) -> float:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, happened in pairs:
        bins.setdefault(min(9, int(p * 10)), []).append((p, happened))
    off = (abs(sum(p for p, _ in each) - sum(y for _, y in each)) for each in bins.values())
    return sum(off) / len(pairs)


def test_stated_probabilities_come_true() -> None:
    """A minute's bucket under bursts: ours against rate times horizon, in the same run."""
    ours: list[tuple[float, bool]] = []
    division: list[tuple[float, bool]] = []
    for seed in range(3):
        for load in (0.7, 1.0):
            amounts, rng = traffic(100 + seed, 2_400, mean=100.0), Random(seed)
            cap = int(60 * 100.0 / load)
            pool = Pool("p", [Limit.tpm(cap)], now=START)
            stated, refused = refusals(pool, amounts, rng)
            levels = _divided(amounts, cap)
            for at, p in stated:
                if at > START + COLD_S and at + 60.0 < START + len(amounts):
                    happened = any(at < when <= at + 60.0 for when in refused)
                    ours.append((p, happened))
                    division.append((float(levels[at]), happened))
    assert 0.1 < sum(y for _, y in ours) / len(ours) < 0.9
    assert calibration_error(ours) < GATE
    assert calibration_error(ours) < 0.4 * calibration_error(division)


def _divided(amounts: list[float], cap: int) -> dict[float, bool]:
    """ "Rate times horizon exceeds what is left and flows in": the usual forecast, over an average of two minutes."""
    rate, level, found = 0.0, float(cap), {}
    for second, amount in enumerate(amounts, 1):
        level = min(float(cap), level + cap / 60.0)
        rate += (1.0 - exp(-1.0 / 120.0)) * (amount - rate)
        level = max(0.0, level - amount)
        found[START + second] = rate * 60.0 > level + cap
    return found
