"""The state of a router as plain values: what a person, the CLI and the dashboard read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from apikeyrouter.core.breaker import Breaking
from apikeyrouter.core.budget import BudgetStatus
from apikeyrouter.core.estimate import Estimate, capacity, estimate
from apikeyrouter.core.forecast import Forecast, forecast
from apikeyrouter.core.health import Standing, standing
from apikeyrouter.core.key import Key, State
from apikeyrouter.core.model import COST
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.redeclare import LIFTED
from apikeyrouter.core.registry import Provider
from apikeyrouter.core.window import NEVER, Window
from apikeyrouter.router import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStatus:
    """One limit now. `reset_in_s` until it is full again; `capacity` abundant, constrained, critical, exhausted or
    recovering; amounts in requests, tokens or dollars. `forecast` is None until a second of use was seen."""

    name: str
    limit: float
    remaining: float
    used: float
    held: int
    reset_in_s: float | None
    reset_at: float | None
    capacity: str
    estimate: Estimate
    forecast: Forecast | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    id: str
    state: State
    until: float | None
    reason: str
    in_flight: int
    throttles: int
    windows: tuple[WindowStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """`state` as shown: the key's own trouble, else the best of its pools."""

    id: str
    provider: str
    state: State
    pools: tuple[str, ...]
    usage_count: int
    failure_count: int
    cooldown_until: float | None
    version: int
    tags: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHealth:
    """`state` healthy, degraded or down. `reason` is what the last probe met, empty where it met nothing bad.

    `last_check` and `last_ok` are epoch seconds of the last probe and the last that went well; `resting` names the
    models whose breaker keeps traffic away or lets only little of it through.
    """

    id: str
    state: Standing
    reason: str
    last_check: float | None
    last_ok: float | None
    keys: int
    usable_keys: int
    resting: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSummary:
    """Everything at one moment; `line` is the one-line form that repr() shows."""

    at: float
    keys: tuple[KeyStatus, ...]
    pools: tuple[PoolStatus, ...]
    budgets: tuple[BudgetStatus, ...]
    open_leases: int
    decisions: int

    @property
    def line(self) -> str:
        parts = [_keys_line(self), f"{self.open_leases} leases"]
        hard = [b for b in self.budgets if b.mode == "hard"]
        if hard:
            spent: Decimal = sum((b.spent for b in hard), Decimal(0))
            limit: Decimal = sum((b.limit for b in hard), Decimal(0))
            parts.append(f"${spent:.2f} of ${limit:f}")
        return " | ".join(parts)


def _keys_line(s: StateSummary) -> str:
    counts = Counter(str(k.state) for k in s.keys)
    soonest = min((p.until for p in s.pools if p.until is not None), default=None)
    shown = []
    for state in State:
        if counts[state]:
            wait = f" {soonest - s.at:.0f}s" if state is State.THROTTLED and soonest is not None else ""
            shown.append(f"{counts[state]} {state}{wait}")
    return f"{len(s.keys)} keys" + (": " + ", ".join(shown) if shown else "")


def summarize(router: Router) -> StateSummary:
    """A consistent picture, taken under the lock."""
    with router.lock:
        now, registry = router.now(), router.registry
        return StateSummary(
            at=now,
            keys=tuple(_key(k, registry.state_of(k)) for k in registry.keys.values()),
            pools=tuple(_pool(p, now) for p in registry.pools.values()),
            budgets=router.budgets.status(now=now),
            open_leases=len(router.ledger.open_leases),
            decisions=len(router.decisions),
        )


def _key(key: Key, state: State) -> KeyStatus:
    return KeyStatus(
        id=key.id,
        provider=key.provider,
        state=state,
        pools=key.pools,
        usage_count=key.usage_count,
        failure_count=key.failure_count,
        cooldown_until=key.cooldown_until,
        version=key.version,
        tags=dict(key.tags),
    )


def _pool(pool: Pool, now: float) -> PoolStatus:
    return PoolStatus(
        id=pool.id,
        state=pool.state,
        until=pool.until if pool.until > now else None,
        reason=pool.reason,
        in_flight=pool.in_flight,
        throttles=pool.throttles,
        windows=tuple(_window(pool, w, now) for w in pool.windows if w.cap < LIFTED),
    )


def _window(pool: Pool, w: Window, now: float) -> WindowStatus:
    free = w.free(now)
    full = (w.cap - w.level) / w.rate if w.rate else None
    turns = w.turns_at - now if w.turns_at < NEVER else None
    reset = full if full is not None else turns
    unit = 1e9 if w.of == COST else 1.0
    return WindowStatus(
        name=w.name,
        limit=w.cap / unit,
        remaining=max(0.0, free) / unit,
        used=max(0.0, w.cap - w.level) / unit,
        held=w.held,
        reset_in_s=reset,
        reset_at=None if reset is None else now + reset,
        capacity=capacity(pool, w, now),
        estimate=estimate(w, now),
        forecast=None if w.outlook is None else forecast(w, w.outlook, now),
    )


def health_of(router: Router) -> tuple[ProviderHealth, ...]:
    """How each provider is doing, in the order they were registered."""
    with router.lock:
        return tuple(_health(router, provider) for provider in router.registry.providers.values())


def _health(router: Router, provider: Provider) -> ProviderHealth:
    registry, known = router.registry, provider.health
    keys = [key for key in registry.keys.values() if key.provider == provider.id]
    usable = sum(registry.state_of(key) is State.AVAILABLE for key in keys)
    deployments = [d for (name, _), d in registry.deployments.items() if name == provider.id]
    return ProviderHealth(
        id=provider.id,
        state=standing(known, (d.breaker for d in deployments), usable=usable > 0),
        reason=known.reason,
        last_check=known.last_check,
        last_ok=known.last_ok,
        keys=len(keys),
        usable_keys=usable,
        resting=tuple(d.model for d in deployments if d.breaker.state is not Breaking.CLOSED),
    )


def quota_of(router: Router, name: str) -> tuple[PoolStatus, ...]:
    """The pools of a key, or the pool of that name. KeyNotFoundError when it is neither."""
    with router.lock:
        registry, now = router.registry, router.now()
        pool = registry.pools.get(name)
        pools = registry.pools_of(registry.key(name)) if pool is None or name in registry.keys else (pool,)
        return tuple(_pool(p, now) for p in pools)
