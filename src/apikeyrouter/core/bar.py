"""Refused for a reason of its own: what stands against one candidate apart from its quota.

It failed this request before, a policy or the objective's tags or forecast forbid it, a budget of its key or pool has
no room. Conditions that are equal for all keys of a stratum are `pick`'s, room in pools is `scan`'s.
"""

from __future__ import annotations

from apikeyrouter.core import decision as why
from apikeyrouter.core.bearing import key_facts, pool_facts, told
from apikeyrouter.core.budget import BudgetTree
from apikeyrouter.core.decision import Decision, Rejection
from apikeyrouter.core.model import Tags
from apikeyrouter.core.question import Ask
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.roster import Candidate


def barred(candidate: Candidate, ask: Ask, cost: int | None, d: Decision, now: float) -> bool:
    """Whether a candidate is out; the decision keeps why."""
    refusal = _bar(candidate, ask, cost, now)
    if refusal is not None:
        d.reject(refusal)
    return refusal is not None


def _bar(candidate: Candidate, ask: Ask, cost: int | None, now: float) -> Rejection | None:
    attempts, bound, key = ask.attempts, ask.objective.constraints, candidate.key
    if attempts is not None and _avoided(candidate, attempts):
        return Rejection(key.id, why.AVOIDED, where=attempts.reason(candidate.deployment.provider))
    if ask.verdict.per_key and (refused := forbidden(candidate, ask, cost, now)) is not None:
        return Rejection(key.id, why.POLICY, where=refused)
    if bound.tags and candidate.stratum.tags is None and (missing := untagged(key.tags, bound.tags, key.id, 1)):
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


def forbidden(candidate: Candidate, ask: Ask, cost: int | None, now: float) -> str | None:
    """What the policies have against a candidate, in words."""
    dues = None if cost is None else cost + ask.billed
    key, pool = key_facts(candidate, cost), pool_facts(candidate, now)
    refused = ask.verdict.refusal(key, pool, dues)
    if refused is None:
        return None
    return f"{refused.policy} v{refused.version}, {refused.word}: {refused.detail}{told(refused.detail, key, pool)}"


def preference(candidate: Candidate, ask: Ask, cost: int | None, now: float) -> float:
    """What the policies add for a candidate."""
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


def untagged(tags: Tags, wanted: Tags, who: str, count: int) -> Rejection | None:
    """The first tag that is wanted and missing."""
    for tag, value in wanted.items():
        if tags.get(tag) != value:
            return Rejection(who, why.TAGS, where=f"{tag}={value}", count=count)
    return None
