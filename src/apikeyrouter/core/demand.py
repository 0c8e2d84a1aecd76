"""How a window is consumed: rates over several times, and how bursty, in one-second bins that are closed lazily.

A rate alone says little, because traffic comes in bursts. So variance is measured in blocks of several sizes: what is
random from second to second averages out in longer blocks, what comes in bursts does not. Nothing here looks ahead.
"""

from __future__ import annotations

from math import exp
from typing import Final

BIN_S: Final = 1.0
TAUS: Final = (15.0, 120.0, 900.0, 14_400.0)
SCALES: Final = (1, 4, 16, 64, 256)
FORGET: Final = 128
"""Blocks a scale's variance remembers, about."""
_GAINS: Final = tuple(1.0 - exp(-BIN_S / tau) for tau in TAUS)


class Scale:
    """Variance of consumption in blocks of so many bins, with forgetting."""

    __slots__ = ("bins", "block", "filled", "mean", "n", "var")

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.filled, self.block = 0, 0.0
        self.n, self.mean, self.var = 0, 0.0, 0.0

    def add(self, amount: float) -> None:
        self.block += amount
        self.filled += 1
        if self.filled == self.bins:
            self._close()

    def _close(self) -> None:
        self.n += 1
        gain = 1.0 / min(self.n, FORGET)
        off = self.block - self.mean
        self.mean += gain * off
        self.var = (1.0 - gain) * (self.var + gain * off * off)
        self.filled, self.block = 0, 0.0


class Demand:
    """The consumption of one window. `closed` is when the last bin ended, `charged` the window's total then."""

    __slots__ = ("born", "charged", "closed", "events", "rates", "scales")

    def __init__(self, now: float, charged: float) -> None:
        self.born = self.closed = now
        self.charged = charged
        self.rates = [0.0] * len(TAUS)
        self.scales = tuple(Scale(bins) for bins in SCALES)
        self.events = 0.0

    def roll(self, now: float, charged: float) -> bool:
        """Close the bins that have ended; True when some have. What was charged since belongs to the first of them.

        A total that fell (a refund) counts nothing until it has risen above what it was.
        """
        bins = int((now - self.closed) / BIN_S)
        if bins <= 0:
            return False
        amount = max(0.0, charged - self.charged)
        long = bins > SCALES[-1]
        self._close(amount / bins if long else amount, 1)
        if bins > 1:
            self._close(amount / bins if long else 0.0, bins - 1)
        self.closed += bins * BIN_S
        self.charged = max(charged, self.charged)
        return True

    def _close(self, amount: float, bins: int) -> None:
        seen = max(BIN_S, self.closed - self.born + bins)
        for i, tau in enumerate(TAUS):
            # While younger than tau the average is over what was seen, not over an imagined idle past.
            gain = _GAINS[i] if bins == 1 else 1.0 - exp(-bins * BIN_S / tau)
            if seen < tau:
                gain = max(gain, bins * BIN_S / seen)
            self.rates[i] += gain * (amount / BIN_S - self.rates[i])
        for _ in range(min(bins, SCALES[-1])):
            for scale in self.scales:
                scale.add(amount)
        self.events += bins if amount else 0

    def variance(self, horizon_s: float, mean: float) -> float:
        """Burstiness at the largest measured scale within the horizon, plus the doubt about the rate itself."""
        spread = 0.0
        for scale in self.scales:
            if scale.n >= 2 and (scale.bins * BIN_S <= horizon_s or scale.bins == 1):
                spread = max(spread, scale.var * horizon_s / (scale.bins * BIN_S))
        seen = max(1.0, min(self.closed - self.born, TAUS[2]))
        return spread + mean * mean / max(1.0, min(self.events, seen))

    @property
    def age_s(self) -> float:
        return self.closed - self.born
