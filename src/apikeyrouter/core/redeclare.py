"""Other limits for a running pool, without losing count: what was charged stays charged, what is held stays held.

Requests under way know a pool's windows by their place, so windows keep theirs: one of the same kind takes the new
size, a new kind goes to the end, and one that is no longer stated is lifted until nobody holds anything in it. What was
learned from the provider stays. The invariant is that no hold is granted beyond the limit then in force: a smaller
limit never gives anything back, and never takes more than it must.
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
    """The new size, in force from now on; what requests under way remember of the level is moved along with it.

    What is charged and has not come back counts against the new size. A bucket that is over full by that is empty, not
    in debt: its refill would have covered the debt by now, had the limit always been the smaller one. A calendar or
    rolling window counts all that its period has seen, so one that is over full refuses until the period has passed.
    """
    window.advance(now)
    if window.limit == limit and window.cap < LIFTED:
        window.learned = False
        return
    lifted = window.cap >= LIFTED
    before = window.level
    used = 0.0 if lifted else window.cap - window.level
    window.limit, window.refund = limit, limit.refund
    window.resize(limit.amount, limit.burst_s)
    window.ceiling = window.cap
    window.level = window.cap - used
    if window.gross:
        window.level = max(window.level, min(before, 0.0))
    window.corrected += 0.0 if lifted else window.level - before
    window.known.clear()
    window.seen = None
    window.learned = False


def _lift(window: Window) -> None:
    window.cap = window.ceiling = window.level = LIFTED
    window.gross = window.rate = 0.0
