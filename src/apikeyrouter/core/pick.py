"""Filter, score, pick: the decision itself. It holds nothing; the ledger does that in the same breath.

Order: lower tiers first; inside a tier each stratum is filtered and scored once for all its keys, then its keys by
quota and load (`scan`). Strata go by their static score, and of many keys a stratum whose static score alone already
loses is not drawn from at all.
"""

from __future__ import annotations

from math import exp
from operator import itemgetter
from typing import Final

from apikeyrouter.core import decision as why
from apikeyrouter.core.bar import forbidden, preference, untagged
from apikeyrouter.core.bound import UNSEEN
from apikeyrouter.core.budget import BudgetTree, Node
from apikeyrouter.core.decision import Decision, Rejection
from apikeyrouter.core.question import Ask, with_cost
from apikeyrouter.core.ranking import best_by_rank, keyed_terms
from apikeyrouter.core.roster import Candidate, Roster, Stratum
from apikeyrouter.core.scan import Chance, draw, scan
from apikeyrouter.core.score import CAPACITY_SCALE, TIE_BREAK, Constraints
from apikeyrouter.core.terms import static_term

WORST: Final = float("inf")

__all__ = ["Ask", "Chance", "choose", "with_cost"]


def choose(roster: Roster, ask: Ask, now: float, chance: Chance) -> Decision:
    """The best candidate that may serve, or a decision without one that says why."""
    d = Decision(ask.request, roster, ask.objective, ask.need, now)
    d.verdict, d.capped = ask.verdict, ask.capped
    if ask.nodes:
        ask.room, ask.room_node = BudgetTree.room(ask.nodes, now)
    for tier in roster.tiers:
        allowed = _strata(tier, ask, d, now)
        if allowed and _best(allowed, ask, d, now, chance, small=roster.small):
            break
    return d


# -- strata ----------------------------------------------------------------------------------------------------------


def _strata(tier: tuple[Stratum, ...], ask: Ask, d: Decision, now: float) -> list[tuple[float, int | None, Stratum]]:
    """The strata that pass every condition that is equal for their keys, with static score and cost, best first."""
    costs = [_hold(tier[0], ask, now)] if len(tier) == 1 else [_hold(s, ask, now) for s in tier]
    worst = costs[0] or 0 if len(costs) == 1 else max(c or 0 for c in costs)
    allowed = []
    for stratum, cost in zip(tier, costs, strict=True):
        refusal = _refusal(stratum, ask, cost, now)
        if refusal is not None:
            d.reject(refusal)
            continue
        score = 0.0
        for term, weight in ask.objective.static:
            value = static_term(term, stratum, cost, worst, ask.output_tokens)
            d.terms.append(value)
            score += weight * value
        if ask.verdict.prefers and not ask.verdict.per_key:
            score -= preference(stratum.candidates[0], ask, cost, now)
        allowed.append((score, cost, stratum))
        d.statics.append((stratum, score, cost))
    if len(allowed) > 1:
        allowed.sort(key=itemgetter(0))
    return allowed


def _hold(stratum: Stratum, ask: Ask, now: float) -> int | None:
    price = stratum.deployment.price
    if price is None:
        return None
    tokens = ask.priced_tokens
    if ask.unseen:
        tokens = max(tokens, price.row.context_window or UNSEEN)
    if price.varies or ask.service_tier:
        return price.most(tokens, ask.output_tokens, ask.features, now, ask.service_tier)
    return price.hold(tokens, ask.output_tokens, ask.features)


def _refusal(stratum: Stratum, ask: Ask, cost: int | None, now: float) -> Rejection | None:
    deployment = stratum.deployment
    who, count = deployment.name, len(stratum.candidates)
    if not deployment.breaker.allows(now):
        wait = max(0.0, deployment.breaker.until - now)
        return Rejection(who, why.BREAKER, wait_s=wait, where=str(deployment.breaker.state), count=count)
    most = deployment.max_output_tokens
    if most is not None and ask.output_tokens > most:
        return Rejection(who, why.OUTPUT_TOO_LONG, ask.output_tokens, most, count=count)
    if cost is None:
        if (ask.max_cost is not None or ask.room_node is not None) and not ask.lets_unpriced:
            return Rejection(who, why.PRICE_UNKNOWN, count=count)
    elif ask.max_cost is not None and cost > ask.max_cost - ask.billed:
        left = max(0, ask.max_cost - ask.billed)
        return Rejection(who, why.MAX_COST, cost, left, where=ask.capped_by, count=count)
    elif cost and cost > ask.room:
        return Rejection(who, why.BUDGET, cost, ask.room, where=_name(ask.room_node), count=count)
    if ask.verdict.asks and not ask.verdict.per_key:
        refused = forbidden(stratum.candidates[0], ask, cost, now)
        if refused is not None:
            return Rejection(who, why.POLICY, where=refused, count=count)
    if ask.objective.constraints.any:
        return _unmet(stratum, ask.objective.constraints, ask, cost, who)
    return None


def _name(node: Node | None) -> str:
    return "" if node is None else node.key


def _unmet(stratum: Stratum, bound: Constraints, ask: Ask, cost: int | None, who: str) -> Rejection | None:
    deployment, count = stratum.deployment, len(stratum.candidates)
    if deployment.reliability.mean < bound.min_reliability:
        return Rejection(who, why.MIN_RELIABILITY, deployment.reliability.mean, bound.min_reliability, count=count)
    if bound.max_cost is not None and (cost is None or cost > bound.max_cost - ask.billed):
        code, left = why.MAX_COST if cost is not None else why.PRICE_UNKNOWN, max(0, bound.max_cost - ask.billed)
        return Rejection(who, code, cost or 0, left, where="the objective", count=count)
    if bound.max_latency is not None:
        expected = deployment.latency.expected_s(ask.output_tokens)
        if expected > bound.max_latency:
            return Rejection(who, why.MAX_LATENCY, expected, bound.max_latency, count=count)
    quality = stratum.quality
    if quality < bound.min_quality:
        return Rejection(who, why.MIN_QUALITY, quality, bound.min_quality, count=count)
    missing = bound.capabilities - deployment.features
    if missing:
        return Rejection(who, why.CAPABILITY, where=", ".join(sorted(missing)), count=count)
    return None if stratum.tags is None else untagged(stratum.tags, bound.tags, who, count)


# -- candidates ------------------------------------------------------------------------------------------------------


def _best(
    strata: list[tuple[float, int | None, Stratum]], ask: Ask, d: Decision, now: float, chance: Chance, *, small: bool
) -> bool:
    """Choose among the candidates with room. Inside a stratum most objectives tell them apart by nothing but load."""
    objective = ask.objective
    if objective.keyed or objective.order or (ask.verdict.prefers and ask.verdict.per_key):
        return _best_of_each(strata, ask, d, now, chance, small=small)
    best_score, ties, scale = WORST, 0.0, objective.capacity
    for static, cost, stratum in strata:
        if static > best_score and not small:
            continue
        need = ask.need if not ask.costly else with_cost(ask.need, cost or 0)
        first = len(d.loads)
        shuffled = (scan if small else draw)(stratum, ask, need, cost, d, now, chance)
        loads = d.loads[first:] if first else d.loads
        if not loads:
            continue
        load = min(loads)
        candidate, weight = _lightest(d.scanned[first:] if first else d.scanned, loads, load, chance, shuffled=shuffled)
        if len(strata) == 1:  # nobody to compare it with
            d.chosen, d.cost = candidate, cost
            break
        score = static + TIE_BREAK * load + (scale * (1.0 - exp(-CAPACITY_SCALE * load)) if scale else 0.0)
        if score > best_score:
            continue
        ties = ties + weight if score == best_score else weight
        if score < best_score or chance() * ties < weight:
            d.chosen, d.cost, best_score = candidate, cost, score
    return d.chosen is not None


def _lightest(
    scanned: list[Candidate], loads: list[float], load: float, chance: Chance, *, shuffled: bool
) -> tuple[Candidate, float]:
    """One of those with the least load, by weight, and the weight of them all.

    `shuffled` tells that they stand in a random order, and weigh the same.
    """
    equals = loads.count(load)
    best = scanned[loads.index(load)]
    if equals == 1 or shuffled:
        return best, equals * best.key.weight
    weight = 0.0
    for candidate, its in zip(scanned, loads, strict=True):
        if its == load:
            # Equals share by weight: reservoir sampling, one draw for each tie.
            own = candidate.key.weight
            weight += own
            if weight == own or chance() * weight < own:
                best = candidate
    return best, weight


def _best_of_each(
    strata: list[tuple[float, int | None, Stratum]], ask: Ask, d: Decision, now: float, chance: Chance, *, small: bool
) -> bool:
    """The same where a term, a rank or a policy's preference tells keys of a stratum apart: each has its own score."""
    objective, best_score, ties = ask.objective, WORST, 0.0
    d.scores = scores = []
    preferring = ask.verdict.prefers and ask.verdict.per_key
    prunes = not (small or preferring or objective.order)
    least = _least_served(strata) if objective.fairness else 0.0
    for static, cost, stratum in strata:
        if prunes and static > best_score:
            continue
        need = ask.need if not ask.costly else with_cost(ask.need, cost or 0)
        first = len(d.loads)
        (scan if small else draw)(stratum, ask, need, cost, d, now, chance)
        for candidate, load in zip(d.scanned[first:], d.loads[first:], strict=True):
            score = static + TIE_BREAK * load + objective.capacity * (1.0 - exp(-CAPACITY_SCALE * load))
            if objective.keyed:
                score += keyed_terms(candidate, ask, cost, load, least)
            if preferring:
                score -= preference(candidate, ask, cost, now)
            scores.append(score)
            if score > best_score:
                continue
            ties = candidate.key.weight + (ties if score == best_score else 0.0)
            if score < best_score or chance() * ties < candidate.key.weight:
                d.chosen, d.cost, best_score = candidate, cost, score
    if objective.order and d.chosen is not None:
        d.chosen = best = best_by_rank(d, ask, least, chance)
        d.cost = next(cost for _, cost, stratum in strata if stratum is best.stratum)
    return d.chosen is not None


def _least_served(strata: list[tuple[float, int | None, Stratum]]) -> float:
    return min(c.key.served / c.key.weight for _, _, s in strata for c in s.candidates[:64])
