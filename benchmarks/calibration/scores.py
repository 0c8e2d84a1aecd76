"""Scores of probabilities and quantiles, and how much of an error chance alone would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

BINS = 10
PERFECT_RUNS = 20


@dataclass(frozen=True, slots=True)
class Shot:
    """One prediction and its outcome. `block` names the stretch of time it fell in, as long as its horizon."""

    p: float
    happened: bool
    horizon_s: float
    block: tuple[int, int]


@dataclass(slots=True)
class Score:
    """Probabilities: Brier score, expected calibration error (ten equal bins)."""

    shots: list[Shot] = field(default_factory=list)

    @property
    def brier(self) -> float:
        return sum((s.p - s.happened) ** 2 for s in self.shots) / len(self.shots)

    @property
    def ece(self) -> float:
        return error((s.p, s.happened) for s in self.shots)

    def of(self, horizon_s: float) -> Score:
        return Score([s for s in self.shots if s.horizon_s == horizon_s])

    @property
    def noise(self) -> float:
        """The error a perfect forecaster would show on as many stretches of time: what overlaps happens together."""
        rng, total = Random(1), 0.0
        for _ in range(PERFECT_RUNS):
            luck: dict[tuple[int, int, float], float] = {}
            total += error((s.p, luck.setdefault((*s.block, s.horizon_s), rng.random()) < s.p) for s in self.shots)
        return total / PERFECT_RUNS

    def reliability(self) -> list[tuple[int, float, float]]:
        """(count, mean probability, share that happened) of each bin that is not empty."""
        return _bins((s.p, s.happened) for s in self.shots)


def error(pairs: object) -> float:
    found = _bins(pairs)
    total = sum(n for n, _, _ in found)
    return sum(abs(p - y) * n for n, p, y in found) / total if total else 0.0


def _bins(pairs: object) -> list[tuple[int, float, float]]:
    sums = [[0, 0.0, 0] for _ in range(BINS)]
    for p, y in pairs:  # type: ignore[attr-defined]  # any iterable of (probability, outcome)
        cell = sums[min(BINS - 1, int(p * BINS))]
        cell[0] += 1
        cell[1] += p
        cell[2] += y
    return [(n, p / n, y / n) for n, p, y in sums if n]


@dataclass(slots=True)
class Quantile:
    """A stated quantile: how often the truth stayed below it, and its pinball loss in units of the mean."""

    share: float
    below: int = 0
    count: int = 0
    loss: float = 0.0
    scale: float = 0.0

    def add(self, stated: float, actual: float) -> None:
        self.count += 1
        self.below += actual <= stated
        over = actual - stated
        self.loss += self.share * over if over > 0 else (self.share - 1.0) * over
        self.scale += actual

    @property
    def coverage(self) -> float:
        return self.below / max(1, self.count)

    @property
    def pinball(self) -> float:
        return self.loss / self.scale if self.scale else 0.0


def pooled(scores: Sequence[Score]) -> Score:
    return Score([shot for score in scores for shot in score.shots])
