"""What is left of a window, said with its doubt: a value, bounds, confidence, and how it is known.

A number from the provider ages: others may use the same limit, and requests under way may or may not be in it. So the
bounds are what those two can explain, and the confidence fades with the age in units of the window's period.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Final

from apikeyrouter.core.key import State
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.window import Window

STALE_PERIODS: Final = 3.0
EDGES: Final = (("abundant", 0.8), ("constrained", 0.5))
HYSTERESIS: Final = 0.03
"""A window leaves a capacity state only when it is this much beyond its edge, so that the word does not flicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`value` between `least` and `most`; `confidence` 0 to 1; `source` observed, estimated or stale; `age_s` seconds
    since the provider's last word (None: it has said nothing); `uncertainty` high, medium, low or unknown."""

    value: float
    least: float
    most: float
    confidence: float
    source: str
    method: str
    age_s: float | None
    last_verified: float | None
    uncertainty: str


def estimate(w: Window, now: float) -> Estimate:
    """What is free in a window."""
    free = max(0.0, w.free(now))
    heard = w.merged_seq >= 0
    age = max(0.0, now - w.merged_at) if heard else None
    drift = (w.foreign + 0.02 * w.gross) * age if age is not None else 0.2 * w.cap
    confidence = exp(-age / (STALE_PERIODS * w.period_s)) if age is not None else 0.6
    stale = age is not None and age > STALE_PERIODS * w.period_s
    source = "estimated" if age is None else "stale" if stale else "observed"
    return Estimate(
        value=free,
        least=max(0.0, free - min(drift, w.cap)),
        most=min(w.cap, free + w.flight),
        confidence=confidence,
        source=source,
        method="own count" if age is None else "own count corrected by the provider",
        age_s=age,
        last_verified=w.merged_at if heard else None,
        uncertainty="low" if confidence > 0.7 else "medium" if confidence > 0.3 else "high",
    )


def capacity(pool: Pool, w: Window, now: float) -> str:
    """How much is left, in a word: above 80 % abundant, above 50 % constrained, below that critical.

    `exhausted` only when no request fits, because calling the last fifth exhausted would waste it.
    """
    if pool.state in (State.EXHAUSTED, State.RECOVERING):
        return str(pool.state)
    free = w.free(now)
    if now < pool.until or free < 1:
        w.shown = "exhausted"
    else:
        w.shown = _band(free / w.cap, w.shown)
    return w.shown


def _band(share: float, before: str) -> str:
    for name, edge in EDGES:
        slack = -HYSTERESIS if before == name else HYSTERESIS if before else 0.0
        if share > edge + slack:
            return name
    return "critical"
