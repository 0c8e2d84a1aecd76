"""Scores beyond the common ones: terms that depend on the key, and objectives that rank terms instead of weighing them.

`pick` scores every candidate by static terms and load, which is all that most objectives need; what is here runs for
the others, so that it costs those nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import TYPE_CHECKING

from apikeyrouter.core.decision import Decision
from apikeyrouter.core.roster import Candidate
from apikeyrouter.core.score import CAPACITY_SCALE, STATIC
from apikeyrouter.core.terms import affinity_term, fairness_term, own_term, ranked, risk_term

if TYPE_CHECKING:
    from apikeyrouter.core.question import Ask


def keyed_terms(candidate: Candidate, ask: Ask, cost: int | None, load: float, least: float) -> float:
    """The parts of a score that depend on the key, which few objectives ask for."""
    objective, score = ask.objective, 0.0
    if objective.fairness:
        score += objective.fairness * fairness_term(candidate, least)
    if objective.risk:
        score += objective.risk * risk_term(candidate)
    if objective.affinity:
        score += objective.affinity * affinity_term(candidate, ask.home)
    for term, weight in objective.own:
        score += weight * own_term(term, ask.request, candidate, cost, load)
    return score


def best_by_rank(d: Decision, ask: Ask, least: float, chance: Callable[[], float]) -> Candidate:
    """The choice of an objective that ranks its terms; equals in all bands go by load, then by weight and chance."""
    objective, width = ask.objective, len(ask.objective.static)
    first = {id(stratum): (i * width, cost) for i, (stratum, _, cost) in enumerate(d.statics)}
    place = {STATIC[term]: i for i, (term, _) in enumerate(objective.static)}
    columns: dict[str, list[float]] = {name: [] for name in objective.order}
    own = dict(objective.own_names)
    for candidate, load in zip(d.scanned, d.loads, strict=True):
        at, cost = first[id(candidate.stratum)]
        for name, column in columns.items():
            if name in place:
                column.append(d.terms[at + place[name]])
            elif name == "capacity":
                column.append(1.0 - exp(-CAPACITY_SCALE * load))
            elif name in own:
                column.append(own_term(own[name], ask.request, candidate, cost, load))
            else:
                column.append(_keyed(name, candidate, ask, least))
    left = ranked(objective.order, columns, len(d.scanned))
    lightest = min(d.loads[i] for i in left)
    equals = [d.scanned[i] for i in left if d.loads[i] == lightest]
    point = chance() * sum(c.key.weight for c in equals)
    for candidate in equals:
        point -= candidate.key.weight
        if point < 0.0:
            return candidate
    return equals[-1]


def _keyed(name: str, candidate: Candidate, ask: Ask, least: float) -> float:
    if name == "fairness":
        return fairness_term(candidate, least)
    return risk_term(candidate) if name == "risk" else affinity_term(candidate, ask.home)
