"""What nobody can beat: linear programmes that know all arrivals and may cut requests into pieces.

Time is cut into slots; a request may be served anywhere in its slot, and pools of one plan count as one that is as
large and refills as fast as all of them together. Cutting, pooling and rounding outward only help, so no router admits
more. Each pool has two buckets of a minute, requests and tokens, charged at admission.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from admitted.world import Pool, Task

SLOT_S = 2.0
Unit = Literal["requests", "tokens", "work"]
"""`work`: half a request's part of all requests offered, half its part of all tokens."""
Size = tuple[str, int, int]


class _Rows:
    """Sparse rows of `sum(value * x) <= limit`."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.values: list[float] = []
        self.most: list[float] = []

    def add(self, terms: Sequence[tuple[int, float]], limit: float) -> None:
        for column, value in terms:
            self.rows.append(len(self.most))
            self.columns.append(column)
            self.values.append(value)
        self.most.append(limit)

    def best(self, gains: Sequence[float], bounds: Sequence[tuple[float, float | None]]) -> float:
        matrix = coo_matrix((self.values, (self.rows, self.columns)), shape=(len(self.most), len(gains))).tocsr()
        found = linprog([-gain for gain in gains], A_ub=matrix, b_ub=self.most, bounds=bounds, method="highs-ipm")
        if found.x is None:
            raise RuntimeError(f"The linear programme has no solution: {found.message}")
        return -float(found.fun)


def steady(pools: Sequence[Pool], mix: Mapping[Size, int]) -> float:
    """How often a second the whole mix can be served for ever, each request by the pools of its model."""
    plans = _plans(pools)
    by_shape: Counter[tuple[str, int]] = Counter()
    for (model, tokens, output), count in mix.items():
        by_shape[model, tokens + output] += count
    rows, rate, column = _Rows(), 0, 1
    used: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for (model, charge), count in by_shape.items():
        parts = []
        for plan, (models, _, _) in plans.items():
            if model in models:
                parts.append((column, -1.0))
                used.setdefault((plan, 0), []).append((column, 1.0))
                used.setdefault((plan, 1), []).append((column, float(charge)))
                column += 1
        rows.add([(rate, float(count)), *parts], 0.0)
    for (plan, of), terms in used.items():
        rows.add(terms, plans[plan][1 + of] / 60.0)
    return rows.best([1.0, *([0.0] * (column - 1))], [(0, None)] * column)


def _plans(pools: Sequence[Pool]) -> dict[int, tuple[tuple[str, ...], int, int]]:
    """(models, requests, tokens a minute) of all pools of each plan together."""
    found: dict[int, tuple[tuple[str, ...], int, int]] = {}
    for pool in pools:
        _, rpm, tpm = found.get(pool.plan, (pool.models, 0, 0))
        found[pool.plan] = (pool.models, rpm + pool.rpm, tpm + pool.tpm)
    return found


def _worth(task: Task, unit: Unit) -> Callable[[int], float]:
    """What a request of a given charge adds to the share."""
    requests, tokens = task.offered
    of_requests = {"requests": 1.0, "tokens": 0.0, "work": 0.5}[unit]
    return lambda charge: of_requests / requests + (1.0 - of_requests) * charge / tokens


def bound(task: Task, unit: Unit, *, start: float) -> float:
    """The largest share of what is offered that can be admitted; buckets hold `start` of a minute when it begins."""
    plans = _plans(task.pools)
    worth = _worth(task, unit)
    slots = int(task.seconds / SLOT_S) + 1
    alike = Counter((int(job.at / SLOT_S), job.model, job.charge) for job in task.jobs)
    rows = _Rows()
    gains: list[float] = []
    bounds: list[tuple[float, float | None]] = []
    taken: dict[tuple[int, int, int], list[tuple[int, float]]] = {}
    for (slot, model, charge), count in alike.items():
        parts = []
        for plan, (models, _, tpm) in plans.items():
            if model in models and charge <= tpm:
                column = len(gains)
                parts.append((column, 1.0))
                taken.setdefault((plan, 0, slot), []).append((column, 1.0))
                taken.setdefault((plan, 1, slot), []).append((column, float(charge)))
                gains.append(worth(charge))
                bounds.append((0.0, float(count)))
        if len(parts) > 1:
            rows.add(parts, float(count))
    for plan, limits in ((plan, found[1:]) for plan, found in plans.items()):
        for of, cap in enumerate(limits):
            first = len(gains)
            gains += [0.0] * (slots + 1)
            bounds += [(0.0, float(cap))] * (slots + 1)
            bounds[first] = (0.0, start * cap)
            refill = cap / 60.0 * SLOT_S
            for slot in range(slots):
                used = taken.get((plan, of, slot), [])
                rows.add([*used, (first + slot, -1.0), (first + slot + 1, 1.0)], refill)
    return rows.best(gains, bounds)
