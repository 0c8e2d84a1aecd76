"""Filter, score, pick: the decision itself. It holds nothing; the ledger does that in the same breath.

Order: lower tiers first; inside a tier each stratum is filtered and scored once for all its keys, then its keys by
quota and load. Few candidates are scanned whole. Of many, DRAW are drawn from each stratum, in order of the strata's
static score, and a stratum whose static score alone already loses is not drawn from at all.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from operator import itemgetter
from typing import Final

from apikeyrouter.core import decision as why
from apikeyrouter.core.bearing import key_facts, pool_facts, told
from apikeyrouter.core.bound import UNSEEN
from apikeyrouter.core.budget import BudgetTree, Node
from apikeyrouter.core.decision import Decision, Rejection
from apikeyrouter.core.model import COST, Need, Tags
from apikeyrouter.core.question import Ask, with_cost
from apikeyrouter.core.ranking import best_by_rank, keyed_terms
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.roster import ANY_SIZE, DRAW, Candidate, Roster, Stand, Stratum
from apikeyrouter.core.score import CAPACITY_SCALE, TIE_BREAK, Constraints
from apikeyrouter.core.terms import static_term

__all__ = ["Ask", "Chance", "choose", "with_cost"]

Chance = Callable[[], float]
"""A source of uniform numbers in [0, 1), such as random.Random().random."""

WINDOW_OF: Final = {"requests": 0, "tokens": 1, "input_tokens": 2, "output_tokens": 3, "cost": COST}


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
    costs = [_hold(s, ask, now) for s in tier]
    worst = max(c or 0 for c in costs)
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
            score -= _preference(stratum.candidates[0], ask, cost, now)
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
        refused = _forbidden(stratum.candidates[0], ask, cost, now)
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
    return None if stratum.tags is None else _untagged(stratum.tags, bound.tags, who, count)


def _untagged(tags: Tags, wanted: Tags, who: str, count: int) -> Rejection | None:
    for tag, value in wanted.items():
        if tags.get(tag) != value:
            return Rejection(who, why.TAGS, where=f"{tag}={value}", count=count)
    return None


# -- candidates ------------------------------------------------------------------------------------------------------


def _best(  # noqa: C901  (the scoring loop stands in one place on purpose: it runs for every candidate)
    strata: list[tuple[float, int | None, Stratum]], ask: Ask, d: Decision, now: float, chance: Chance, *, small: bool
) -> bool:
    best: Candidate | None = None
    best_score, best_cost, ties = float("inf"), None, 0.0
    objective = ask.objective
    scale = objective.capacity
    preferring = ask.verdict.prefers and ask.verdict.per_key
    more = objective.keyed
    prunes = not (small or preferring or objective.order)
    least = _least_served(strata) if objective.fairness else 0.0
    scanned, numbers = d.scanned, d.numbers
    for static, cost, stratum in strata:
        if prunes and static > best_score:
            continue
        need = ask.need if not ask.costly else with_cost(ask.need, cost or 0)
        found = _scan(stratum, ask, need, cost, d, now) if small else _draw(stratum, ask, need, cost, d, now, chance)
        for candidate, load in found:
            score = static + TIE_BREAK * load
            if scale:
                score += scale * (1.0 - exp(-CAPACITY_SCALE * load))
            if more:
                score += keyed_terms(candidate, ask, cost, load, least)
            if preferring:
                score -= _preference(candidate, ask, cost, now)
            scanned.append(candidate)
            numbers.append(score)
            numbers.append(load)
            if score < best_score:
                best, best_score, best_cost, ties = candidate, score, cost, candidate.key.weight
            elif score == best_score:
                # Equals share by weight: reservoir sampling, one draw for each tie.
                ties += candidate.key.weight
                if chance() * ties < candidate.key.weight:
                    best, best_cost = candidate, cost
    if objective.order and best is not None:
        best = best_by_rank(d, ask, least, chance)
        best_cost = next(cost for _, cost, stratum in strata if stratum is best.stratum)
    d.chosen, d.cost = best, best_cost
    return best is not None


def _least_served(strata: list[tuple[float, int | None, Stratum]]) -> float:
    return min(c.key.served / c.key.weight for _, _, s in strata for c in s.candidates[:64])


def _scan(
    stratum: Stratum, ask: Ask, need: Need, cost: int | None, d: Decision, now: float
) -> list[tuple[Candidate, float]]:
    found = []
    for candidate in stratum.candidates:
        if (ask.picky or candidate.nodes) and _barred(candidate, ask, cost, d, now):
            continue
        load = 0.0
        for pool in candidate.pools:
            part = pool.fits_and_load(need, now)
            if part < 0.0:
                shortfall = candidate.shortfall(need, now)
                if shortfall is not None:
                    d.shortfalls.append((candidate, shortfall))
                break
            load += part
        else:
            found.append((candidate, load))
    return found


def _draw(  # noqa: PLR0917  (one decision's context, passed flat because this loop is the hot path)
    stratum: Stratum, ask: Ask, need: Need, cost: int | None, d: Decision, now: float, chance: Chance
) -> list[tuple[Candidate, float]]:
    """Up to DRAW candidates with room, at random, of as many stands as there are; who has none is parked until then."""
    stratum.wake(now)
    live = stratum.live
    if len(live) < DRAW:
        stratum.wake_for(need)
    found: list[tuple[Candidate, float]] = []
    seen: set[int] = set()
    looked: set[int] = set()
    tries = 3 * DRAW
    each = DRAW // len(live) or 1 if live else 1
    while live and len(found) < DRAW and tries and len(looked) < len(live):
        stand = live[int(chance() * len(live))]
        if id(stand) in looked:
            tries -= 1
            continue
        able = stand.some(each, chance)
        if ask.picky or len(able) > 1 or able[0].nodes:
            seen.update(map(id, able))
            able = [c for c in able if not ((ask.picky or c.nodes) and _barred(c, ask, cost, d, now))]
            if not able:
                looked.add(id(stand))
                tries -= 1
                continue
        load = _load(stand, need, now)
        if load < 0.0:
            _park(stand, need, d, now)
        else:
            looked.add(id(stand))
            found += [(candidate, load) for candidate in able]
    while not found:
        found = _scan_live(stratum, ask, need, cost, d, now, seen)
        if not found and not stratum.wake_for(need):
            break
    if not found:
        d.parked.append((stratum, stratum.asleep, stratum.opens_at))
    return found


def _scan_live(  # noqa: PLR0917  (as _draw)
    stratum: Stratum, ask: Ask, need: Need, cost: int | None, d: Decision, now: float, seen: set[int]
) -> list[tuple[Candidate, float]]:
    """Everybody that is left and was not barred before, before refusing."""
    found: list[tuple[Candidate, float]] = []
    for stand in list(stratum.live):
        load: float | None = None
        for candidate in stand.candidates:
            if id(candidate) in seen:
                continue
            seen.add(id(candidate))
            if (ask.picky or candidate.nodes) and _barred(candidate, ask, cost, d, now):
                continue
            load = _load(stand, need, now) if load is None else load
            if load < 0.0:
                _park(stand, need, d, now)
                break
            found.append((candidate, load))
    return found


def _load(stand: Stand, need: Need, now: float) -> float:
    load = 0.0
    for pool in stand.pools:
        part = pool.fits_and_load(need, now)
        if part < 0.0:
            return part
        load += part
    return load


def _park(stand: Stand, need: Need, d: Decision, now: float) -> None:
    candidate = stand.candidates[0]
    shortfall = candidate.shortfall(need, now)
    if shortfall is None:
        return
    if len(d.shortfalls) < DRAW:
        d.shortfalls.append((candidate, shortfall))
    of = WINDOW_OF.get(shortfall.window.partition("/")[0], ANY_SIZE) if shortfall.cause == "window" else ANY_SIZE
    stand.stratum.park(stand, shortfall, need, of, now)


def _barred(candidate: Candidate, ask: Ask, cost: int | None, d: Decision, now: float) -> bool:
    """Refused for a reason of its own: it failed this request before, or a budget of its key or pool has no room."""
    refusal = _bar(candidate, ask, cost, now)
    if refusal is not None:
        d.reject(refusal)
    return refusal is not None


def _bar(candidate: Candidate, ask: Ask, cost: int | None, now: float) -> Rejection | None:
    attempts, bound, key = ask.attempts, ask.objective.constraints, candidate.key
    if attempts is not None and _avoided(candidate, attempts):
        return Rejection(key.id, why.AVOIDED, where=attempts.reason(candidate.deployment.provider))
    if ask.verdict.per_key and (refused := _forbidden(candidate, ask, cost, now)) is not None:
        return Rejection(key.id, why.POLICY, where=refused)
    if bound.tags and candidate.stratum.tags is None and (missing := _untagged(key.tags, bound.tags, key.id, 1)):
        return missing
    if bound.min_exhaustion and (refusal := _exhausts_too_soon(candidate, bound.min_exhaustion, now)) is not None:
        return refusal
    return _poor(candidate, ask, cost, now) if candidate.nodes else None


def _poor(candidate: Candidate, ask: Ask, cost: int | None, now: float) -> Rejection | None:
    room, node = BudgetTree.room(candidate.nodes, now)
    blind = cost is None and not ask.lets_unpriced
    if node is None or not (blind or (cost or 0) > max(room, 0)):
        return None
    code = why.PRICE_UNKNOWN if cost is None else why.BUDGET
    return Rejection(candidate.key.id, code, cost or 0, room, where=node.key)


def _forbidden(candidate: Candidate, ask: Ask, cost: int | None, now: float) -> str | None:
    """What the policies have against a candidate, in words."""
    dues = None if cost is None else cost + ask.billed
    key, pool = key_facts(candidate, cost), pool_facts(candidate, now)
    refused = ask.verdict.refusal(key, pool, dues)
    if refused is None:
        return None
    return f"{refused.policy} v{refused.version}, {refused.word}: {refused.detail}{told(refused.detail, key, pool)}"


def _preference(candidate: Candidate, ask: Ask, cost: int | None, now: float) -> float:
    return ask.verdict.preference(key_facts(candidate, cost), pool_facts(candidate, now))


def _exhausts_too_soon(candidate: Candidate, soonest: float, now: float) -> Rejection | None:
    """The constraint on the forecast; a pool that nothing is forecast for passes."""
    for pool in candidate.pools:
        if now >= pool.ticks_at:
            pool.look_ahead(now)
        f = pool.soonest
        if f is not None and f.p50 is not None and f.p50 - now < soonest and (f.reset_at is None or now < f.reset_at):
            back = None if f.reset_at is None else max(0.0, f.reset_at - now)
            where = f"{pool.id} {f.window}"
            return Rejection(candidate.key.id, why.FORECAST, max(0.0, f.p50 - now), soonest, wait_s=back, where=where)
    return None


def _avoided(candidate: Candidate, attempts: Attempts) -> bool:
    deployment = candidate.deployment
    return (
        candidate.key.id in attempts.avoid_keys
        or (attempts.only_key is not None and candidate.key.id != attempts.only_key)
        or deployment.provider in attempts.avoid_providers
        or (attempts.only_provider is not None and deployment.provider != attempts.only_provider)
        or (deployment.provider, deployment.model) in attempts.avoid_models
        or (bool(attempts.avoid_pools) and any(p.id in attempts.avoid_pools for p in candidate.pools))
    )
