"""Other limits for a running pool, without losing count: what was charged stays charged, what is held stays held.

Requests under way know a pool's windows by their place, so windows keep theirs: one of the same kind takes the new
size, a new kind goes to the end, and one that is no longer stated is lifted until nobody holds anything in it. What was
learned from the provider stays. The invariant is that no hold is granted beyond the limit then in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from apikeyrouter.core.pool import Pool
from apikeyrouter.core.window import Limit, Window

LIFTED: Final = 1e18
"""The size of a window that limits nothing any more."""

Kind = tuple[object, ...]


def redeclare(pool: Pool, limits: Iterable[Limit], now: float) -> None:
    """Put `limits` in force in `pool`, in place."""
    stated = [Window(limit, now) for limit in limits]
    wanted = {_kind(window): window for window in stated}
    kept: list[Window] = []
    for window in pool.windows:
        fresh = wanted.pop(_kind(window), None)
        if fresh is not None:
            _resize(window, fresh.limit, now)
        elif not window.learned and pool.in_flight:
            _lift(window)
        if fresh is not None or window.learned or pool.in_flight:
            kept.append(window)
    pool.windows = (*kept, *(window for window in stated if _kind(window) in wanted))


def _kind(window: Window) -> Kind:
    """What two windows must agree in to be the same one with another size."""
    return (window.of, window.per, window.shape, window.charge, window.zone, window.limit.models)


def _resize(window: Window, limit: Limit, now: float) -> None:
    """The new size, with as much used as before; a window that is now over full refuses until it has drained."""
    window.advance(now)
    used = 0.0 if window.cap >= LIFTED else window.cap - window.level
    window.limit, window.refund = limit, limit.refund
    window.resize(limit.amount, limit.burst_s)
    window.ceiling = window.cap
    window.level = window.cap - used
    window.learned = False


def _lift(window: Window) -> None:
    window.cap = window.ceiling = window.level = LIFTED
    window.gross = window.rate = 0.0
