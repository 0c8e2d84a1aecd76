"""When will a window run out: a probability, not a division.

"Rate times horizon exceeds what is left" is wrong one time in six (expected calibration error 17.6 % on 36 traces,
algorithms page 2c), because traffic comes in bursts and the rate itself is uncertain. Here consumption over a horizon
has a mean that reverts from the short to the long average, and a variance measured at several time scales plus the
doubt about the rate; its tail is a gamma's; and what was predicted is compared with what happened, so that the
probabilities are corrected while running (online Platt scaling). Cold, it says so: confidence is low.

Counted in one-second bins that are closed lazily, when somebody charges or asks. A forecast never blocks by itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp, inf, log
from typing import Final

from apikeyrouter.core.tail import matched_sf
from apikeyrouter.core.window import Window

BIN_S: Final = 1.0
TAUS: Final = (15.0, 120.0, 900.0)
SCALES: Final = (1, 4, 16, 64, 256)
FORGET: Final = 128
"""Samples a scale's variance remembers, about."""
PENDING: Final = 256
LEARN: Final = 0.02
FARTHEST_S: Final = 40 * 86_400.0
COLD_S: Final = 300.0
"""Before this much observation a forecast is called cold."""


class Calibration:
    """sigmoid(a * logit(p) + b), moved a little by every prediction whose outcome has come (Platt 1999, online)."""

    __slots__ = ("a", "b", "error", "n")

    def __init__(self) -> None:
        self.a, self.b, self.error, self.n = 1.0, 0.0, 0.5, 0

    def apply(self, p: float) -> float:
        return _sigmoid(self.a * _logit(p) + self.b)

    def learn(self, p: float, happened: bool) -> None:
        x = _logit(p)
        wrong = self.apply(p) - happened
        self.a = min(3.0, max(0.2, self.a - LEARN * wrong * x * 0.25))
        self.b = min(3.0, max(-3.0, self.b - LEARN * wrong))
        self.error += 0.05 * (abs(wrong) - self.error)
        self.n += 1


def _logit(p: float) -> float:
    p = min(0.995, max(0.005, p))
    return log(p / (1.0 - p))


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x)) if x > -700 else 0.0


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
    """How a window is consumed. `closed` is when the last bin ended, `charged` the window's total then."""

    __slots__ = ("born", "calibration", "charged", "closed", "events", "pending", "rates", "scales")

    def __init__(self, now: float, charged: float) -> None:
        self.born = self.closed = now
        self.charged = charged
        self.rates = [0.0, 0.0, 0.0]
        self.scales = tuple(Scale(bins) for bins in SCALES)
        self.events = 0.0
        self.calibration = Calibration()
        self.pending: deque[tuple[float, float, float, float]] = deque(maxlen=PENDING)

    def roll(self, now: float, charged: float) -> None:
        """Close the bins that have ended; what was charged since the last close belongs to the first of them."""
        bins = int((now - self.closed) / BIN_S)
        if bins <= 0:
            return
        amount = max(0.0, charged - self.charged)
        self._close(amount / bins if bins > SCALES[-1] else amount, 1)
        if bins > 1:
            self._close(amount / bins if bins > SCALES[-1] else 0.0, bins - 1)
        self.closed += bins * BIN_S
        self.charged = charged
        if self.pending:
            self._judge(now, charged)

    def _close(self, amount: float, bins: int) -> None:
        seen = max(BIN_S, self.closed - self.born + bins)
        for i, tau in enumerate(TAUS):
            # While younger than tau the average is over what was seen, not over an imagined idle past.
            gain = 1.0 - exp(-bins * BIN_S / min(tau, seen))
            self.rates[i] += gain * (amount / BIN_S - self.rates[i])
        for _ in range(min(bins, SCALES[-1])):
            for scale in self.scales:
                scale.add(amount)
        self.events += bins if amount else 0

    def mean(self, horizon_s: float) -> float:
        """Expected consumption over a horizon: the recent rate fades into the long one."""
        near, far = _fade(horizon_s, 30.0), _fade(horizon_s, 400.0)
        short, middle, long = self.rates
        return horizon_s * (near * short + (1.0 - near) * (far * middle + (1.0 - far) * long))

    def variance(self, horizon_s: float) -> float:
        """Burstiness at the largest measured scale within the horizon, plus the doubt about the rate itself."""
        spread = 0.0
        for scale in self.scales:
            if scale.n >= 2 and (scale.bins * BIN_S <= horizon_s or scale.bins == 1):
                spread = max(spread, scale.var * horizon_s / (scale.bins * BIN_S))
        seen = max(1.0, min(self.closed - self.born, TAUS[-1]))
        mean = self.mean(horizon_s)
        doubt = mean * mean / max(1.0, min(self.events, seen))
        return spread + doubt

    def exceeds(self, room: float, horizon_s: float) -> float:
        """Raw probability that more than `room` is consumed within the horizon."""
        if room <= 0:
            return 1.0
        return matched_sf(room, self.mean(horizon_s), self.variance(horizon_s))

    def remember(self, p: float, room: float, due: float, charged: float) -> None:
        """Keep a raw prediction until its time comes: then it is compared with what happened."""
        if len(self.pending) < PENDING and (not self.pending or due - self.pending[-1][0] >= BIN_S):
            self.pending.append((due, p, room, charged))

    def _judge(self, now: float, charged: float) -> None:
        while self.pending and self.pending[0][0] <= now:
            due, p, room, before = self.pending.popleft()
            if now - due <= 5 * BIN_S:
                self.calibration.learn(p, charged - before > room)

    @property
    def age_s(self) -> float:
        return self.closed - self.born

    @property
    def confidence(self) -> float:
        """0 cold, near 1 when much was seen and predictions came true."""
        seen = min(1.0, self.age_s / COLD_S) * min(1.0, self.events / 30.0)
        right = 1.0 - min(1.0, 2.0 * max(0.0, self.calibration.error - 0.1)) if self.calibration.n >= 20 else 0.7
        return seen * right


def _fade(horizon_s: float, tau: float) -> float:
    return (1.0 - exp(-horizon_s / tau)) * tau / horizon_s if horizon_s > 0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When a window is expected to run out. Times are epoch seconds, None for "not before its reset".

    `probability` is that of exhausting before `reset_at`; `usage_rate` in units a second; `method` names how it was
    made ("cold" while little has been seen).
    """

    window: str
    p10: float | None
    p50: float | None
    p90: float | None
    probability: float
    confidence: float
    method: str
    usage_rate: float
    remaining: float
    reset_at: float | None
    calculated_at: float


def forecast(window: Window, demand: Demand, now: float) -> Forecast:
    """Look ahead to the window's reset (a bucket's: one period)."""
    free = window.free(now)
    demand.roll(now, window.charged)
    horizon = _horizon(window, now)
    raw = _exhausts(window, demand, free, horizon)
    if horizon <= 3600.0:
        demand.remember(raw, free + window.rate * horizon, now + horizon, window.charged)
    quantiles = [_quantile(window, demand, free, horizon, q) for q in (0.1, 0.5, 0.9)]
    at = [None if h is None else now + h for h in quantiles]
    return Forecast(
        window=window.name,
        p10=at[0],
        p50=at[1],
        p90=at[2],
        probability=demand.calibration.apply(raw) if demand.calibration.n >= 20 else raw,
        confidence=demand.confidence,
        method="cold" if demand.age_s < COLD_S else "multi-scale",
        usage_rate=demand.rates[1],
        remaining=max(0.0, free),
        reset_at=window.turns_at if window.turns_at < inf else now + horizon,
        calculated_at=now,
    )


def _horizon(window: Window, now: float) -> float:
    if window.rate or window.turns_at == inf:
        return window.period_s
    return min(FARTHEST_S, max(BIN_S, window.turns_at - now))


def _exhausts(window: Window, demand: Demand, free: float, horizon_s: float) -> float:
    return demand.exceeds(free + window.rate * horizon_s, horizon_s)


def _quantile(window: Window, demand: Demand, free: float, horizon_s: float, share: float) -> float | None:
    """The time by which exhaustion is `share` likely, by bisection; None when it is not before the horizon."""
    if _exhausts(window, demand, free, horizon_s) < share:
        return None
    low, high = 0.0, horizon_s
    for _ in range(24):
        middle = 0.5 * (low + high)
        if _exhausts(window, demand, free, max(middle, 1e-3)) < share:
            low = middle
        else:
            high = middle
    return high
