"""Forecasts that were made, compared with what came: how the next ones for such a horizon are corrected.

Three things are learned. How fast the recent rates fade into the long one: two weights, by least squares (traffic of
short spikes forgets its last seconds at once, a new level does not). Where outcomes fall in the distributions that were
predicted for them: their histogram recalibrates the next distribution (Kuleshov, Fenner, Ermon, ICML 2018), apart for
when traffic is above and below its average, because calm and burst do not go on alike. And how often a window that was
expected to run out with some probability did, by logistic regression (Platt 1999), apart for windows that refused a
request lately: requests are large and come in clusters, so a window may refuse one although it lasts. Outcomes that
overlap in time say the same thing several times, so each weighs the part of its horizon that is new. What the limit
itself cut off counts as "at least that much".
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log, log2
from typing import Final

EDGES: Final = (
    0.0,
    0.001,
    0.003,
    0.01,
    0.03,
    0.06,
    *(i / 10 for i in range(1, 10)),
    0.94,
    0.97,
    0.99,
    0.997,
    0.999,
    1.0,
)
"""Of the histogram's bins, finer towards the ends: there a burst that ended or began puts its outcomes."""
PRIOR: Final = 4.0
"""Horizons' worth of outcomes that the uncorrected forecast counts for."""
MEMORY_S: Final = 1200.0
LEAST_MEMORY: Final = 12.0
FADES_S: Final = (30.0, 400.0, 14_400.0)
"""How fast the rates of 15 s, 120 s and 900 s fade into the next longer one before anything was learned."""
LEAST_SHARE: Final = 0.02
STIFF: Final = 0.25
"""Curvature the unfitted logistic counts for: about one horizon of undecided outcomes."""


def band_of(horizon_s: float) -> int:
    """Horizons within a factor of about 1.4 share what they learn."""
    return max(0, round(log2(max(1.0, horizon_s))))


class Histogram:
    """Where outcomes fell in their predicted distributions: all in (0, 1), evenly if predictions were right."""

    __slots__ = ("bins", "total")

    def __init__(self) -> None:
        self.bins = [0.0] * (len(EDGES) - 1)
        self.total = 0.0

    def add(self, place: float, weight: float, keep: float, *, at_least: bool = False) -> None:
        """An outcome at `place`, or (`at_least`) anywhere above it; `keep` is what remains of the past."""
        self.bins = [share * keep for share in self.bins]
        self.total = self.total * keep + weight
        first = _bin(place)
        if not at_least:
            self.bins[first] += weight
            return
        above = 1.0 - EDGES[first]
        for i in range(first, len(self.bins)):
            self.bins[i] += weight * (EDGES[i + 1] - EDGES[i]) / above

    def below(self, place: float) -> float:
        """Share of outcomes below a place, with PRIOR even ones among them."""
        full = _bin(place)
        part = (place - EDGES[full]) / (EDGES[full + 1] - EDGES[full])
        found = sum(self.bins[:full]) + self.bins[full] * part
        return (PRIOR * place + found) / (PRIOR + self.total)


def _bin(place: float) -> int:
    return min(len(EDGES) - 2, bisect_right(EDGES, place) - 1)


class Logistic:
    """sigmoid(a * logit(p) + b), fitted by one Newton step for each outcome; at first a = 1 and b = 0."""

    __slots__ = ("_aa", "_ab", "_bb", "a", "b")

    def __init__(self) -> None:
        self.a, self.b = 1.0, 0.0
        self._aa, self._ab, self._bb = STIFF, 0.0, STIFF

    def apply(self, p: float) -> float:
        return _sigmoid(self.a * _logit(p) + self.b)

    def learn(self, p: float, weight: float, keep: float, *, happened: bool) -> None:
        x = _logit(p)
        now = _sigmoid(self.a * x + self.b)
        off, bend = weight * (now - happened), weight * max(now * (1.0 - now), 0.02)
        self._aa = max(STIFF, self._aa * keep + bend * x * x)
        self._ab = self._ab * keep + bend * x
        self._bb = max(STIFF, self._bb * keep + bend)
        area = max(1e-9, self._aa * self._bb - self._ab * self._ab)
        self.a = min(4.0, max(0.1, self.a - (self._bb * off * x - self._ab * off) / area))
        self.b = min(6.0, max(-6.0, self.b - (self._aa * off - self._ab * off * x) / area))


def _logit(p: float) -> float:
    p = min(0.995, max(0.005, p))
    return log(p / (1.0 - p))


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x)) if x > -700 else 0.0


class Band:
    """What is known about forecasts over one kind of horizon."""

    __slots__ = ("_cross", "_square", "above", "below", "fades", "lasting", "memory", "refusing", "seen", "weights")

    def __init__(self, horizon_s: float) -> None:
        self.memory = max(LEAST_MEMORY, MEMORY_S / horizon_s)
        self.fades = _fades(horizon_s)
        self.weights = self.fades
        self._square = (0.0, 0.0, 0.0)
        self._cross = (0.0, 0.0)
        self.above, self.below = Histogram(), Histogram()
        self.lasting, self.refusing = Logistic(), Logistic()
        self.seen = 0.0

    def mean_rate(self, rates: list[float] | tuple[float, ...], horizon_s: float) -> float:
        """Expected consumption a second over the horizon."""
        base = _base(rates, horizon_s)
        recent = self.weights[0] * (rates[0] - base) + self.weights[1] * (rates[1] - base)
        return max(LEAST_SHARE * base, base + recent)

    def chance(self, raw: float, rates: list[float] | tuple[float, ...]) -> float:
        """The corrected probability of exceeding what `raw` is the predicted probability of exceeding for."""
        return 1.0 - self._histogram(rates).below(1.0 - raw)

    def events(self, *, refusing: bool) -> Logistic:
        """How probabilities of running out come true, for a window that refused something lately or did not."""
        return self.refusing if refusing else self.lasting

    def learn(
        self, place: float, rate: float, rates: tuple[float, ...], horizon_s: float, fresh: float, *, cut: bool
    ) -> None:
        """An outcome: its place in the predicted distribution, the rate it means, and the rates known beforehand.

        `fresh` is the part of the horizon no earlier outcome covered; `cut`: there would have been more.
        """
        keep = 1.0 - fresh / self.memory
        self._histogram(rates).add(place, fresh, keep, at_least=cut)
        self.seen += fresh
        base = _base(rates, horizon_s)
        if base > 0 and not (cut and rate < self.mean_rate(rates, horizon_s)):
            self._fit((rates[0] - base) / base, (rates[1] - base) / base, (rate - base) / base, (fresh, keep))

    def _fit(self, x: float, y: float, z: float, weighing: tuple[float, float]) -> None:
        """Least squares with the fades as prior, in units of the long rate."""
        fresh, keep = weighing
        z -= self.fades[0] * x + self.fades[1] * y
        xx, xy, yy = (keep * s + fresh * n for s, n in zip(self._square, (x * x, x * y, y * y), strict=True))
        xz, yz = (keep * s + fresh * n for s, n in zip(self._cross, (x * z, y * z), strict=True))
        self._square, self._cross = (xx, xy, yy), (xz, yz)
        xx, yy = xx + PRIOR, yy + PRIOR
        area = xx * yy - xy * xy
        self.weights = (
            _within(self.fades[0] + (yy * xz - xy * yz) / area),
            _within(self.fades[1] + (xx * yz - xy * xz) / area),
        )

    def _histogram(self, rates: list[float] | tuple[float, ...]) -> Histogram:
        return self.above if rates[0] > rates[2] else self.below


def _base(rates: list[float] | tuple[float, ...], horizon_s: float) -> float:
    """The long rate, which itself fades into the longest over hours."""
    far = _fade(horizon_s, FADES_S[2])
    return far * rates[2] + (1.0 - far) * rates[3]


def _fades(horizon_s: float) -> tuple[float, float]:
    near, far = _fade(horizon_s, FADES_S[0]), _fade(horizon_s, FADES_S[1])
    return near, (1.0 - near) * far


def _fade(horizon_s: float, tau: float) -> float:
    """Mean over the horizon of what decays with tau."""
    return (1.0 - exp(-horizon_s / tau)) * tau / horizon_s if horizon_s > 0 else 1.0


def _within(weight: float) -> float:
    return min(1.0, max(0.0, weight))
