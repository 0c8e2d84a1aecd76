"""What a failure does: to the key, its pools, the provider's model. The other half of core/failure.py.

The classification says what happened and whose fault it is; here that becomes states, cooldowns and evidence. A refused
key becomes invalid only on its present material. Only the provider's own faults count against its reliability.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from apikeyrouter.core.failure import Blame, Failure, Kind
from apikeyrouter.core.key import State, Transition, Trigger
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.registry import Registry

BLOCK_S: Final = 3600.0
"""How long a key is kept from a model it has no access to."""
PROBE_MONEY_S: Final = 900.0
"""When an account without money is tried again, if the provider names no date."""
IN_FLIGHT_MONEY_S: Final = 5.0
FIRST_THROTTLE_S: Final = 1.0
LONGEST_THROTTLE_S: Final = 60.0
EXHAUSTED_FROM_S: Final = 3600.0
"""A provider's wait of an hour or more means a long window is spent, not that we were too fast."""

_BLOCKS_MODEL: Final = frozenset({Kind.FORBIDDEN, Kind.MODEL_NOT_FOUND, Kind.NOT_ON_PLAN})


@dataclass(slots=True)
class Effects:
    """What changed: audit facts, pools to watch for their recovery, whether the breaker moved."""

    moves: list[Transition] = field(default_factory=list)
    stopped: list[Pool] = field(default_factory=list)
    breaker_moved: bool = False


def apply(registry: Registry, lease: Lease, failure: Failure, now: float, chance: float) -> Effects:
    """Move whatever the failure moves. `chance` in [0, 1) is the jitter of a breaker's wait."""
    effects = Effects()
    key, deployment = lease.candidate.key, lease.candidate.deployment
    blame = failure.blame
    if blame not in (Blame.REQUEST, Blame.CALLER):
        key.failure_count += 1
        _rest(registry, lease, failure, now)
    if failure.kind in _BLOCKS_MODEL:
        _block_model(registry, lease, failure, now)
    elif blame is Blame.KEY:
        _refuse_key(registry, lease, failure, now, effects)
    elif blame in (Blame.POOL, Blame.ACCOUNT) and failure.kind is not Kind.TOO_LARGE_FOR_POOL:
        _stop_pool(lease, failure, now, effects)
    if blame is Blame.PROVIDER:
        deployment.reliability.record(ok=False, now=now)
        effects.breaker_moved = deployment.breaker.record(
            ok=False,
            now=now,
            chance=chance,
            connect=failure.kind is Kind.NETWORK,
            retry_after=failure.retry_after or 0.0,
        )
    return effects


def _rest(registry: Registry, lease: Lease, failure: Failure, now: float) -> None:
    """Keep the key from the model for as long as the policies in force want it to rest after a failure."""
    rest = lease.decision.verdict.actions.cooldown_s
    if rest:
        registry.block(lease.key_id, lease.provider, lease.model, now + rest, f"rests after {failure.kind} by policy")


def _refuse_key(registry: Registry, lease: Lease, failure: Failure, now: float, effects: Effects) -> None:
    key = lease.candidate.key
    if key.version != lease.key_version or key.state is State.INVALID or key.removed:
        return
    context = f"{failure.status or ''} {failure.code or failure.kind}".strip()
    effects.moves.append(key.apply(Trigger.AUTHENTICATION_FAILED, now, context=context))
    registry.changed()


def _block_model(registry: Registry, lease: Lease, failure: Failure, now: float) -> None:
    """Keep this key, or every key of its pool when the plan lacks the model, away from the model."""
    candidate = lease.candidate
    until = failure.until or now + (failure.retry_after or BLOCK_S)
    keys = [candidate.key.id]
    if failure.kind is Kind.NOT_ON_PLAN:
        shared = set(candidate.key.pools)
        keys = [k.id for k in registry.keys.values() if not shared.isdisjoint(k.pools)]
    for name in keys:
        registry.block(name, lease.provider, lease.model, until, f"{failure.kind}: {lease.model}")


def _stop_pool(lease: Lease, failure: Failure, now: float, effects: Effects) -> None:
    pool = lease.candidate.pools[-1]
    if failure.kind is Kind.SLOW_DOWN or (failure.kind is Kind.RATE_LIMITED and not pool.windows):
        pool.crowded()
    until = failure.until if failure.until is not None else now + _wait(pool, failure)
    reason = f"{failure.status or ''} {failure.code or failure.kind}".strip()
    long = until - now >= EXHAUSTED_FROM_S or failure.kind in (Kind.QUOTA_EXHAUSTED, Kind.NO_MONEY)
    effects.moves += pool.exhaust(now, until, reason) if long else pool.throttle(now, until, reason)
    pool.dated = failure.until is not None or failure.retry_after is not None
    lease.candidate.key.cooldown_until = pool.until
    effects.stopped.append(pool)


def _wait(pool: Pool, failure: Failure) -> float:
    """The provider's own wait, else one for the kind, else twice as long for each refusal in a row."""
    if failure.retry_after is not None:
        return max(0.0, failure.retry_after)
    if failure.kind in (Kind.NO_MONEY, Kind.QUOTA_EXHAUSTED):
        return PROBE_MONEY_S
    if failure.kind is Kind.IN_FLIGHT_MONEY:
        return IN_FLIGHT_MONEY_S
    return float(min(LONGEST_THROTTLE_S, FIRST_THROTTLE_S * 2.0 ** min(pool.refusals_in_row, 10)))
