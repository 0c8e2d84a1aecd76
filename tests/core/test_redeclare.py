"""Other limits while requests are under way: nothing is forgotten, and nobody is locked out for what is not owed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.merge import merge
from apikeyrouter.core.model import TOKENS, Reading
from apikeyrouter.core.pool import Pool, need_of
from apikeyrouter.core.redeclare import redeclare
from apikeyrouter.core.window import Limit, Shape

NOW = 1_767_225_600.0


def pool(amount: int, shape: Shape | None = None) -> Pool:
    return Pool("org", limits(amount, shape), now=NOW)


def limits(amount: int, shape: Shape | None = None) -> list[Limit]:
    return [Limit(of="tokens", amount=amount, window=shape)]


def taken(p: Pool, tokens: int, now: float = NOW) -> list[float]:
    need = need_of(input_tokens=tokens)
    assert p.fits_and_load(need, now) >= 0
    return p.take(need, now)


@pytest.mark.parametrize(
    ("used", "amount", "level"),
    [(500, 100, 0), (40, 100, 60), (1_000, 100, 0), (0, 100, 100), (60, 2_000, 1_940), (1_000, 1_000, 0)],
)
def test_a_bucket_counts_what_was_charged_and_is_never_in_debt_for_it(used: int, amount: int, level: float) -> None:
    p = pool(1_000)
    taken(p, used)
    redeclare(p, limits(amount), NOW)
    assert p.windows[0].free(NOW) == level
    assert p.windows[0].free(NOW + 60) == amount


@pytest.mark.parametrize("shape", ["fixed", "rolling"])
def test_what_a_period_has_seen_counts_against_its_new_amount(shape: Shape) -> None:
    p = pool(1_000, shape)
    taken(p, 500)
    redeclare(p, limits(100, shape), NOW)
    assert p.fits_and_load(need_of(input_tokens=1), NOW + 58) < 0
    assert p.windows[0].free(NOW + 62) == 100
    redeclare(p, limits(1_000, shape), NOW + 62)
    assert p.windows[0].free(NOW + 62) == 1_000


def test_what_is_held_stays_held() -> None:
    p = Pool("org", [Limit.otpm(1_000)], now=NOW)
    need = need_of(output_tokens=400)
    marks = p.take(need, NOW)
    redeclare(p, [Limit.otpm(100)], NOW)
    assert (p.windows[0].held, p.windows[0].free(NOW)) == (400, -300)
    p.settle(need, need_of(output_tokens=30), marks, NOW, NOW)
    assert p.windows[0].free(NOW) == 70


def test_an_equal_limit_keeps_the_size_that_was_learned() -> None:
    p = pool(1_000)
    p.windows[0].cap = p.windows[0].level = 250.0
    redeclare(p, limits(1_000), NOW)
    assert p.windows[0].free(NOW) == 250


def test_an_answer_to_a_request_from_before_is_not_taken_for_news() -> None:
    """The level fell because the limit did; a provider that says what is left of the new limit says nothing more."""
    p = pool(1_000)
    marks = taken(p, 500)
    redeclare(p, limits(600), NOW)
    merge(p, (Reading(TOKENS, 600, 90, 51.0),), marks, 1, NOW)
    assert p.windows[0].free(NOW) == pytest.approx(90)


steps = st.lists(
    st.tuples(st.sampled_from(["take", "take", "size"]), st.integers(1, 120), st.floats(0, 30)), max_size=40
)


@given(steps=steps)
def test_no_interval_admits_more_than_the_largest_size_in_it_the_refill_and_the_debts_let_off(
    steps: list[tuple[str, int, float]],
) -> None:
    p, now, size = pool(60), NOW, 60
    sizes, admitted, let_off = [(NOW, 60)], list[tuple[float, int]](), list[tuple[float, float]]()
    for what, n, wait in steps:
        now += wait
        if what == "size":
            free = p.windows[0].free(now)
            used, size = size - free, n
            redeclare(p, limits(n), now)
            sizes.append((now, n))
            after = p.windows[0].free(now)
            assert after >= min(free, 0.0) - 1e-6, "a smaller limit makes no debt"
            assert after <= n
            let_off.append((now, max(0.0, after - (n - used))))
        elif p.fits_and_load(need_of(input_tokens=n), now) >= 0:
            assert n <= size
            p.take(need_of(input_tokens=n), now)
            admitted.append((now, n))
    for begin, _ in admitted:
        for end in {at for at, _ in admitted if at >= begin}:
            sent = sum(n for at, n in admitted if begin <= at <= end)
            forgiven = sum(debt for at, debt in let_off if begin <= at <= end)
            assert sent <= granted(sizes, begin, end) + forgiven + 1e-6


def granted(sizes: list[tuple[float, int]], begin: float, end: float) -> float:
    """The largest size in force at some time of the interval, and the refill of each in its time."""
    most = refill = 0.0
    for (at, size), until in zip(sizes, [*(at for at, _ in sizes[1:]), end], strict=True):
        if at <= end and until >= begin:
            most = max(most, size)
            refill += max(0.0, min(until, end) - max(at, begin)) * size / 60
    return most + refill
