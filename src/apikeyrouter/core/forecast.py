"""When will a window run out: a probability, not a division.

"Rate times horizon exceeds what is left" is wrong one time in six (expected calibration error 17.6 % on 36 traces,
algorithms page 2c), because traffic comes in bursts and the rate itself is uncertain. Here consumption over a horizon
has a mean in which the recent rates fade into the long ones, and a variance measured at several time scales plus the
doubt about the rate (demand.py); its tail is a gamma's (tail.py); and what was predicted is compared with what came, so
that later predictions are corrected (calibration.py). A request that found no room counts, too: there would have been
more. Cold, it says so: confidence is low. A forecast never blocks by itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from apikeyrouter.core.calibration import Band, band_of
from apikeyrouter.core.demand import BIN_S, Demand
from apikeyrouter.core.tail import matched_sf
from apikeyrouter.core.window import Window

PENDING: Final = 64
"""Predictions whose time has not come, at most one for each sixty-fourth of their horizon."""
FARTHEST_S: Final = 40 * 86_400.0
COLD: Final = "cold"
COLD_S: Final = 300.0
"""Before this much observation a forecast is called cold."""
HALVINGS: Final = 10
PARTS: Final = (0.125, 0.5, 1.0)
"""Of the horizon: how long a burst that empties a bucket may last."""
EVENTS_KEPT: Final = 40.0
"""Horizons whose outcomes are remembered."""
NEAR: Final = 0.8
"""From this probability on, a window's exhaustion is told."""
NO_REFUSAL: Final = (inf, -inf)


class Supply(NamedTuple):
    """What a window can give: `free` now, `refill` a second, until `horizon_s`. `refusing`: it lacked some lately."""

    free: float
    refill: float
    horizon_s: float
    refusing: bool

    def room(self, within_s: float) -> float:
        return self.free + self.refill * within_s


@dataclass(slots=True)
class Prediction:
    """What was expected, kept until `due`: consumption, and with raw probability `p` that `supply` would not do.

    `cut`: meanwhile a request found no room, so more was wanted than was consumed.
    """

    due: float
    made: float
    mean: float
    variance: float
    charged: float
    rates: tuple[float, ...]
    supply: Supply | None
    p: float
    cut: bool = False


class Outlook:
    """A window's demand, what was predicted of it, and what is learned by comparing the two."""

    __slots__ = ("bands", "demand", "judged", "pending")

    def __init__(self, now: float, charged: float) -> None:
        self.demand = Demand(now, charged)
        self.bands: dict[int, Band] = {}
        self.pending: dict[int, deque[Prediction]] = {}
        self.judged: dict[int, float] = {}

    def roll(self, now: float, charged: float, refused: tuple[float, float] = NO_REFUSAL) -> None:
        """Bring it to `now`; `refused` is when requests first and last found no room since the last time."""
        if refused[0] <= refused[1]:
            self._cut(*refused)
        if self.demand.roll(now, charged):
            for name, waiting in self.pending.items():
                while waiting and waiting[0].due <= now:
                    self._judge(name, waiting.popleft(), charged)

    def _cut(self, first: float, last: float) -> None:
        """What is predicted for that time will not be seen in full: there would have been more."""
        for waiting in self.pending.values():
            for made in waiting:
                if made.made <= last and first <= made.due:
                    made.cut = made.supply is not None

    def _judge(self, name: int, made: Prediction, charged: float) -> None:
        used, horizon = max(0.0, charged - made.charged), made.due - made.made
        fresh = min(1.0, (made.due - self.judged.get(name, made.made)) / horizon)
        self.judged[name] = made.due
        supply, band, cut = made.supply, self.bands[name], made.cut
        room = inf if supply is None else supply.room(horizon)
        place = 1.0 - _sf(max(used, room) if cut else used, made.mean, made.variance)
        band.learn(place, used / horizon, made.rates, horizon, fresh, cut=cut)
        if supply is not None:
            events = band.events(refusing=supply.refusing)
            events.learn(made.p, fresh, 1.0 - fresh / EVENTS_KEPT, happened=cut or used > room)

    def band(self, horizon_s: float) -> Band:
        name = band_of(horizon_s)
        found = self.bands.get(name)
        if found is None:
            found = self.bands[name] = Band(horizon_s)
            self.pending[name] = deque()
        return found

    def moments(self, horizon_s: float) -> tuple[float, float]:
        """Mean and variance of what will be consumed within a horizon."""
        mean = horizon_s * self.band(horizon_s).mean_rate(self.demand.rates, horizon_s)
        return mean, self.demand.variance(horizon_s, mean)

    def exceeds(self, room: float, horizon_s: float, like_s: float | None = None) -> float:
        """Probability that more than `room` is wanted within a horizon, corrected as for `like_s` seconds."""
        if room <= 0:
            return 1.0
        raw = _sf(room, *self.moments(horizon_s))
        return self.band(like_s or horizon_s).chance(raw, self.demand.rates)

    def runs_out(self, supply: Supply) -> float:
        """Raw probability that consumption outruns supply: in the end, or in a burst before."""
        parts = [part * supply.horizon_s for part in PARTS]
        return max(self.exceeds(supply.room(part), part, supply.horizon_s) for part in parts)

    def corrected(self, raw: float, supply: Supply) -> float:
        """The probability of running out, by how such ones came true."""
        return self.band(supply.horizon_s).events(refusing=supply.refusing).apply(raw) if supply.free > 0 else 1.0

    def expect(
        self, horizon_s: float, now: float, charged: float, supply: Supply | None = None, p: float = 0.5
    ) -> None:
        """Keep what is predicted now, at that total of charges, until it can be compared."""
        band, waiting = self.band(horizon_s), self.pending[band_of(horizon_s)]
        if len(waiting) >= PENDING or (waiting and now - waiting[-1].made < horizon_s / PENDING):
            return
        rates = tuple(self.demand.rates)
        mean = horizon_s * band.mean_rate(rates, horizon_s)
        variance = self.demand.variance(horizon_s, mean)
        waiting.append(Prediction(now + horizon_s, now, mean, variance, charged, rates, supply, p))

    def confidence(self, horizon_s: float) -> float:
        """0 cold; near 1 when much was seen and some horizons were compared with their outcomes."""
        seen = min(1.0, self.demand.age_s / COLD_S) * min(1.0, self.demand.events / 30.0)
        compared = self.band(horizon_s).seen
        return seen * (0.6 + 0.4 * compared / (compared + 4.0))


def _sf(room: float, mean: float, variance: float) -> float:
    """Probability of more than `room`; of anything at all when there is none."""
    return 1.0 if room <= 0 else matched_sf(room, mean, variance)


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

    @property
    def cold(self) -> bool:
        """Too little was seen to rely on it."""
        return self.method == COLD

    @property
    def near(self) -> bool:
        """Likely enough, and known well enough, to be told."""
        return self.probability >= NEAR and not self.cold


def forecast(window: Window, outlook: Outlook, now: float) -> Forecast:
    """Look ahead to the window's reset (a bucket's: one period)."""
    left = window.free(now)
    outlook.roll(now, window.charged, (window.refused_from, window.refused_at))
    window.refused_from = inf
    horizon = _horizon(window, now)
    # What is held is charged when it ends, so it is still to be consumed.
    free = left + window.held if window.holds else left
    supply = Supply(free, window.rate, horizon, now - window.refused_at < horizon)
    raw = outlook.runs_out(supply)
    outlook.expect(horizon, now, window.charged, supply, raw)
    probability = outlook.corrected(raw, supply)
    quantiles = [_quantile(outlook, supply, share, probability) for share in (0.1, 0.5, 0.9)]
    at = [None if h is None else now + h for h in quantiles]
    return Forecast(
        window=window.name,
        p10=at[0],
        p50=at[1],
        p90=at[2],
        probability=probability,
        confidence=outlook.confidence(horizon),
        method=COLD if outlook.demand.age_s < COLD_S else "multi-scale",
        usage_rate=outlook.demand.rates[1],
        remaining=max(0.0, left),
        reset_at=window.turns_at if window.turns_at < inf else now + horizon,
        calculated_at=now,
    )


def _horizon(window: Window, now: float) -> float:
    if window.rate or window.turns_at == inf:
        return window.period_s
    return min(FARTHEST_S, max(BIN_S, window.turns_at - now))


def _quantile(outlook: Outlook, supply: Supply, share: float, probability: float) -> float | None:
    """The time by which exhaustion is `share` likely, by bisection; None when it is not before the horizon."""
    if probability < share:
        return None
    low, high = 0.0, supply.horizon_s
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        raw = outlook.exceeds(supply.room(middle), max(middle, 1e-3), supply.horizon_s)
        if outlook.corrected(raw, supply) < share:
            low = middle
        else:
            high = middle
    return high
