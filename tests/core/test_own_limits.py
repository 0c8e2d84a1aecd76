"""A limit that its owner sets below the provider's is the owner's: a provider with more room does not loosen it."""

from __future__ import annotations

from apikeyrouter.core.merge import merge
from apikeyrouter.core.model import REQUESTS, Reading
from apikeyrouter.core.pool import Pool, need_of
from apikeyrouter.core.window import Limit

NEED = need_of()
NOW = 1_000_000.0


def test_a_provider_with_more_room_gives_nothing_back() -> None:
    pool = Pool("p", [Limit.rpm(3)], now=NOW)
    for sent in range(3):
        marks = pool.take(NEED, NOW)
        merge(pool, (Reading(REQUESTS, 600, 599 - sent, 0.1, 60.0),), marks, sent + 1, NOW)
        pool.settle(NEED, NEED, marks, NOW, NOW)
    assert pool.windows[0].free(NOW) == 0
    assert pool.fits_and_load(NEED, NOW) < 0


def test_a_provider_with_less_room_is_believed() -> None:
    pool = Pool("p", [Limit.rpm(300)], now=NOW)
    marks = pool.take(NEED, NOW)
    merge(pool, (Reading(REQUESTS, 600, 10, 59.0, 60.0),), marks, 1, NOW)
    assert min(w.free(NOW) for w in pool.windows) == 10
    assert pool.windows[0].free(NOW) == 299
