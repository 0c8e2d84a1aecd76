"""A bucket smaller than its limit: priced by its true size after one answer, bounded by it after three."""

from __future__ import annotations

import pytest

from apikeyrouter.core.merge import merge
from apikeyrouter.core.model import TOKENS, Reading
from apikeyrouter.core.pool import Pool, need_of
from apikeyrouter.core.window import Limit

NOW = 1_767_225_600.0
LIMIT, SIZE, RATE = 60_000, 15_000, 1_000.0
"""A minute's limit, enforced in quarter minutes."""
NEED = need_of(input_tokens=500)


def answered(pool: Pool, times: int) -> None:
    """So many requests, each told the truth at once; the provider's bucket is full before each."""
    for i in range(times):
        now = NOW + 10 * i
        assert pool.fits_and_load(NEED, now) >= 0
        marks = pool.take(NEED, now)
        left = SIZE - 500
        merge(pool, (Reading(TOKENS, LIMIT, left, (SIZE - left) / RATE),), marks, i, now)
        pool.settle(NEED, NEED, marks, now, now)


def test_one_answer_prices_what_is_left_by_the_size_it_tells() -> None:
    small, wide = Pool("small", [Limit.tpm(LIMIT)], now=NOW), Pool("wide", [Limit.tpm(LIMIT)], now=NOW)
    answered(small, 1)
    wide.take(need_of(input_tokens=LIMIT // 5), NOW)
    assert small.windows[0].cap == LIMIT, "one answer does not prove that a larger request can never fit"
    assert 0 < small.fits_and_load(NEED, NOW) < wide.fits_and_load(NEED, NOW)
    assert small.fits_and_load(NEED, NOW + 5) == 0, "full again"


@pytest.mark.parametrize(("answers", "cap"), [(2, LIMIT), (3, SIZE)])
def test_three_answers_bound_it(answers: int, cap: int) -> None:
    pool = Pool("org", [Limit.tpm(LIMIT)], now=NOW)
    answered(pool, answers)
    assert pool.windows[0].cap == pytest.approx(cap)


def test_answers_that_disagree_bound_nothing() -> None:
    pool = Pool("org", [Limit.tpm(LIMIT)], now=NOW)
    for i, reset in enumerate((1.0, 9.0, 17.0, 25.0, 33.0)):
        marks = pool.take(NEED, NOW + i)
        merge(pool, (Reading(TOKENS, LIMIT, 10_000, reset),), marks, i, NOW + i)
    assert pool.windows[0].cap == LIMIT


def test_a_learned_window_is_priced_by_its_size_at_once() -> None:
    pool = Pool("org", [], now=NOW)
    merge(pool, (Reading(TOKENS, LIMIT, SIZE - 500, 0.5),), [], 0, NOW)
    assert pool.fits_and_load(NEED, NOW + 1) == 0
