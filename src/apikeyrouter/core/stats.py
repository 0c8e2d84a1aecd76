"""What experience says of a provider's model: how often it answers, and how fast.

Both are kept for each provider x model, with the past fading by time and by count. Only the provider's faults count:
a refused key, an empty pool or a bad request say nothing about reliability.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import Final

HALF_LIFE_S: Final = 600.0
HALF_LIFE_REQUESTS: Final = 200.0
_FADE: Final = 0.5 ** (1.0 / HALF_LIFE_REQUESTS)
PRIOR_GOOD: Final = 9.9
PRIOR_BAD: Final = 0.1
"""Ten imagined answers, 99 % good: an unknown model is trusted a little less than a proven one."""


class Reliability:
    """A Beta posterior with exponential forgetting."""

    __slots__ = ("at", "bad", "good", "lcb", "mean")

    def __init__(self, now: float) -> None:
        self.at = now
        self.good = 0.0
        self.bad = 0.0
        self._remember()

    def record(self, ok: bool, now: float) -> None:
        fade = _FADE * 0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S)
        self.good *= fade
        self.bad *= fade
        self.at = max(now, self.at)
        if ok:
            self.good += 1.0
        else:
            self.bad += 1.0
        self._remember()

    def _remember(self) -> None:
        good, bad = self.good + PRIOR_GOOD, self.bad + PRIOR_BAD
        total = good + bad
        self.mean = good / total
        # Normal approximation of the 5 % quantile; at 10 imagined answers and more it is within 0.01 of the Beta's.
        self.lcb = max(0.0, self.mean - 1.645 * sqrt(self.mean * (1.0 - self.mean) / (total + 1.0)))

    @property
    def samples(self) -> float:
        return self.good + self.bad


class Opinion:
    """What callers said of answers' quality, 0 to 1, on top of what somebody configured."""

    __slots__ = ("total", "weight")

    KEEP: Final = 0.99
    PRIOR: Final = 10.0
    """The configured quality counts as so many judgements."""

    def __init__(self) -> None:
        self.total = 0.0
        self.weight = 0.0

    def record(self, quality: float) -> None:
        self.total = self.total * self.KEEP + quality
        self.weight = self.weight * self.KEEP + 1.0

    def of(self, configured: float) -> float:
        """The quality to go by."""
        return (configured * self.PRIOR + self.total) / (self.PRIOR + self.weight) if self.weight else configured


class Latency:
    """Peak-EWMA of time to first token and of seconds per output token: up at once, down slowly (tau 10 s; Finagle)."""

    __slots__ = ("at", "first_s", "per_token_s", "samples")

    TAU_S: Final = 10.0

    def __init__(self) -> None:
        self.at = 0.0
        self.first_s = 0.0
        self.per_token_s = 0.0
        self.samples = 0

    def record(self, total_s: float, output_tokens: int, now: float, first_s: float | None = None) -> None:
        first = total_s if first_s is None else first_s
        share = 1.0 - exp(-max(0.0, now - self.at) / self.TAU_S)
        self.at = max(now, self.at)
        self.first_s = first if first > self.first_s else self.first_s + share * (first - self.first_s)
        if first_s is not None and output_tokens > 1:
            each = (total_s - first_s) / output_tokens
            self.per_token_s += (share or 0.1) * (each - self.per_token_s)
        self.samples += 1

    def expected_s(self, output_tokens: int) -> float:
        """Seconds to the end of an answer of that length; 0 before the first answer, so that newcomers are tried."""
        return self.first_s + output_tokens * self.per_token_s
