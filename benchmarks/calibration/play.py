"""Traces played through the forecast: as consumption alone, and through a live bucket as the router does it.

Consumption: every few seconds, for each horizon, the probability of consuming more than a room drawn around the long
average, and the median and ninth decile. Bucket: a window of a minute that holds what it refills, at a load of 0.9 of
the trace's mean; the stated probability of running out within its period against whether a request found no room in it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from math import exp
from random import Random

from apikeyrouter.core.forecast import Outlook, forecast
from apikeyrouter.core.model import Need
from apikeyrouter.core.pool import REFUSED, Pool
from apikeyrouter.core.window import Limit
from calibration.scores import Quantile, Score, Shot
from calibration.traces import Trace

HORIZONS = (15.0, 30.0, 60.0, 120.0, 300.0)
WARM_S = 300.0
ROOMS = (0.3, 2.2)
"""Of the long average over the horizon: does not depend on what is predicted."""


class PointRate:
    """The usual forecast: an exponentially weighted rate (120 s) times the horizon; yes or no."""

    def __init__(self) -> None:
        self.rate, self.last = 0.0, 0.0

    def see(self, now: float, tokens: float) -> None:
        elapsed = max(1e-6, now - self.last)
        self.rate += (1 - exp(-elapsed / 120.0)) * (tokens / elapsed - self.rate)
        self.last = now

    def exceeds(self, room: float, horizon: float) -> float:
        return 1.0 if self.rate * horizon > room else 0.0


@dataclass(slots=True)
class Outcome:
    """What came of one or several traces."""

    ours: Score = field(default_factory=Score)
    point: Score = field(default_factory=Score)
    quantiles: tuple[Quantile, ...] = field(default_factory=lambda: (Quantile(0.5), Quantile(0.9)))


def consumption(trace: Trace, number: int, every_s: float, out: Outcome) -> None:
    """Forecast a trace's consumption. `number` names it and seeds the rooms."""
    rng = Random(number)
    times = [at for at, _ in trace]
    totals = [0.0]
    for _, tokens in trace:
        totals.append(totals[-1] + tokens)
    outlook, rate = Outlook(0.0, 0.0), PointRate()
    seen, now, end = 0, every_s, times[-1]
    while now < end:
        while seen < len(times) and times[seen] <= now:
            outlook.roll(times[seen], totals[seen])
            rate.see(times[seen], trace[seen][1])
            seen += 1
        outlook.roll(now, totals[seen])
        for horizon in HORIZONS:
            room = max(1.0, outlook.demand.rates[2] * horizon) * rng.uniform(*ROOMS)
            if now > WARM_S and now + horizon < end:
                used = totals[bisect_right(times, now + horizon)] - totals[seen]
                block = (number, int(now // horizon))
                out.ours.shots.append(Shot(outlook.exceeds(room, horizon), used > room, horizon, block))
                out.point.shots.append(Shot(rate.exceeds(room, horizon), used > room, horizon, block))
                for quantile in out.quantiles:
                    quantile.add(_quantile(outlook, horizon, quantile.share), used)
            outlook.expect(horizon, now, totals[seen])
        now += every_s


def _quantile(outlook: Outlook, horizon: float, share: float) -> float:
    """Consumption that is not exceeded with probability `share`."""
    low, high = 0.0, 20.0 * max(1.0, outlook.moments(horizon)[0])
    for _ in range(24):
        middle = (low + high) / 2
        if outlook.exceeds(middle, horizon) > 1 - share:
            low = middle
        else:
            high = middle
    return high


def bucket(trace: Trace, number: int, load: float, ours: Score, point: Score) -> None:
    """Play a trace through a live bucket, whose forecast is made once a second; what finds no room goes elsewhere."""
    mean = sum(tokens for _, tokens in trace) / trace[-1][0]
    cap = int(60 * mean / load)
    pool = Pool("p", [Limit.tpm(cap)], now=0.0)
    window = pool.windows[0]
    rate = PointRate()
    refusals: list[float] = []
    asked: list[tuple[float, float, float]] = []
    for at, tokens in trace:
        need: Need = (1, tokens, tokens, 0, 1, 0)
        rate.see(at, tokens)
        if pool.fits_and_load(need, at) == REFUSED:
            refusals.append(at)
            if window.outlook is not None and at >= pool.ticks_at:
                pool.look_ahead(at)
        else:
            pool.settle(need, need, pool.take(need, at), at, at)
        if window.outlook is not None and at > WARM_S and (not asked or at - asked[-1][0] >= 1.0):
            f = forecast(window, window.outlook, at)
            room = window.level + 60 * window.rate
            asked.append((at, f.probability, rate.exceeds(room, 60.0)))
    for at, p, q in asked:
        if at + 60 < trace[-1][0]:
            happened = bisect_right(refusals, at + 60) > bisect_right(refusals, at)
            block = (number, int(at // 60))
            ours.shots.append(Shot(p, happened, 60.0, block))
            point.shots.append(Shot(q, happened, 60.0, block))
