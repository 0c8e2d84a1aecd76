"""What nobody can beat: a linear programme that knows all arrivals and may cut requests into pieces.

Time is cut into slots; a request may be served in any slot from its arrival's to its deadline's, from one bucket that
is as large and refills as fast as all organisations' together. Cutting, pooling and rounding the slots outward only
help, so no router serves more tokens. What arrived in the warm-up is served first, as every router does.
"""

from __future__ import annotations

from arena.reference import Organisation
from arena.workload import Job

SLOT_S = 1.0
FIRST = 4.0
"""Weight of a warm-up token against a later one."""


def bound(jobs: list[Job], pools: list[Organisation], *, deadline_s: float, warm_s: float) -> float:
    """The largest share of the tokens offered after the warm-up that can be served."""
    from scipy.optimize import linprog  # a development dependency; the rest of the arena runs without it
    from scipy.sparse import coo_matrix

    slots = int(max(job.at for job in jobs) / SLOT_S) + 1
    offered = [0.0] * slots
    for job in jobs:
        offered[int(job.at / SLOT_S)] += job.charge
    reach = int(deadline_s / SLOT_S) + 1
    ends = slots + reach
    cap = sum(pool.tokens.cap for pool in pools)
    refill = sum(pool.tokens.rate for pool in pools) * SLOT_S
    pairs = [(i, t) for i in range(slots) if offered[i] for t in range(i, i + reach + 1)]
    served = {pair: n for n, pair in enumerate(pairs)}
    level = {t: len(pairs) + t for t in range(ends + 1)}
    rows, columns, values, most = [], [], [], []

    def at_most(terms: list[tuple[int, float]], limit: float) -> None:
        for column, value in terms:
            rows.append(len(most))
            columns.append(column)
            values.append(value)
        most.append(limit)

    for i in range(slots):
        if offered[i]:
            at_most([(served[i, t], 1.0) for t in range(i, i + reach + 1)], offered[i])
    by_slot: dict[int, list[tuple[int, float]]] = {}
    for (_, t), column in served.items():
        by_slot.setdefault(t, []).append((column, 1.0))
    for t in range(ends):
        taken = by_slot.get(t, [])
        at_most([*taken, (level[t], -1.0)], refill)
        at_most([*taken, (level[t], -1.0), (level[t + 1], 1.0)], refill)
    gains = [-(FIRST if i * SLOT_S < warm_s else 1.0) for i, _ in pairs]
    found = linprog(
        [*gains, *([0.0] * (ends + 1))],
        A_ub=coo_matrix((values, (rows, columns)), shape=(len(most), len(pairs) + ends + 1)).tocsr(),
        b_ub=most,
        bounds=[(0, None)] * len(pairs) + [(0, cap)] * (ends + 1),
        method="highs",
    )
    later = [n for n, (i, _) in enumerate(pairs) if i * SLOT_S >= warm_s]
    wanted = sum(amount for i, amount in enumerate(offered) if i * SLOT_S >= warm_s)
    return min(1.0, float(sum(found.x[n] for n in later)) / wanted)
