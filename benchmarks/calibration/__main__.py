"""How true the forecasts are: predicted probabilities against what happened, beside the usual rate times horizon.

A trace is played through one window; every few seconds both predict whether the next `horizon` seconds will consume
more than a room drawn around the expected consumption. Printed: Brier score, expected calibration error (10 equal
bins), and how often consumption stayed below the stated p50 and p90.

    python benchmarks/calibration --trace azure-llm-2023-code.csv
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from random import Random

from traces import KINDS, Trace, azure, synthetic

from apikeyrouter.core.forecast import Demand

HORIZONS = (30.0, 60.0, 300.0, 600.0)
WARM_S = 300.0
EVERY_S = 7.0


@dataclass
class Score:
    pairs: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, p: float, happened: bool) -> None:
        self.pairs.append((p, happened))

    @property
    def brier(self) -> float:
        return sum((p - y) ** 2 for p, y in self.pairs) / len(self.pairs)

    @property
    def ece(self) -> float:
        bins: list[list[tuple[float, bool]]] = [[] for _ in range(10)]
        for p, y in self.pairs:
            bins[min(9, int(p * 10))].append((p, y))
        total = len(self.pairs)
        return sum(
            abs(sum(p for p, _ in b) / len(b) - sum(y for _, y in b) / len(b)) * len(b) / total for b in bins if b
        )


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


def judge(trace: Trace, seed: int, ours: Score, point: Score, below: dict[float, list[bool]]) -> None:
    """Play a trace once, scoring both forecasts."""
    rng = Random(seed)
    times = [at for at, _ in trace]
    totals = [0.0]
    for _, tokens in trace:
        totals.append(totals[-1] + tokens)
    demand, rate = Demand(0.0, 0.0), PointRate()
    i, now, end = 0, EVERY_S, trace[-1][0] - max(HORIZONS)
    open_: list[tuple[float, float, float, float]] = []
    while now < end:
        while i < len(times) and times[i] <= now:
            demand.roll(times[i], totals[i])
            rate.see(times[i], trace[i][1])
            i += 1
        demand.roll(now, totals[i])
        if now > WARM_S:
            horizon = rng.choice(HORIZONS)
            expected = max(1.0, demand.mean(horizon))
            room = expected * rng.uniform(0.4, 1.8)
            j = i
            while j < len(times) and times[j] <= now + horizon:
                j += 1
            used = totals[j] - totals[i]
            raw = demand.exceeds(room, horizon)
            ours.add(demand.calibration.apply(raw), used > room)
            point.add(rate.exceeds(room, horizon), used > room)
            for share, hits in below.items():
                hits.append(used <= quantile(demand, horizon, share))
            demand.remember(raw, room, now + horizon, totals[i])
        now += EVERY_S
    del open_


def quantile(demand: Demand, horizon: float, share: float) -> float:
    """Consumption that is not exceeded with probability `share`."""
    low, high = 0.0, 20.0 * max(1.0, demand.mean(horizon))
    for _ in range(40):
        middle = (low + high) / 2
        if demand.calibration.apply(demand.exceeds(middle, horizon)) > 1 - share:
            low = middle
        else:
            high = middle
    return high


def report(name: str, traces: list[Trace]) -> None:
    ours, point = Score(), Score()
    below: dict[float, list[bool]] = {0.5: [], 0.9: []}
    for seed, trace in enumerate(traces):
        judge(trace, seed, ours, point, below)
    shares = {share: sum(hits) / len(hits) for share, hits in below.items()}
    print(
        f"{name:10} n {len(ours.pairs):6}  ours: Brier {ours.brier:.3f} ECE {100 * ours.ece:4.1f} %  "
        f"rate x horizon: Brier {point.brier:.3f} ECE {100 * point.ece:4.1f} %  "
        f"below p50 {100 * shares[0.5]:.0f} %, below p90 {100 * shares[0.9]:.0f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration of the exhaustion forecast.")
    parser.add_argument("--trace", type=Path, help="a CSV of the Azure LLM inference traces' form")
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    if options.trace:
        report("azure", [azure(options.trace)] * 3)
    every: list[Trace] = []
    for kind in KINDS:
        traces = [synthetic(kind, seed) for seed in range(options.seeds)]
        report(kind, traces)
        every += traces
    report("all", every)


if __name__ == "__main__":
    main()
