"""One frozen value for each fact the router states. observe/ turns them into logs, metrics and spans.

They are built only when a hook listens for their type, and carry names and numbers, never a body or a secret.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from apikeyrouter.core.budget import Crossing
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.discovery import Shared
from apikeyrouter.core.failure import Failure
from apikeyrouter.core.forecast import Forecast
from apikeyrouter.core.key import State, Transition, Trigger
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Usage
from apikeyrouter.core.roster import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`at` is epoch seconds. `correlation_id` and `request_id` are empty where no request is concerned."""

    at: float
    request_id: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired(Event):
    """A key was chosen and quota and money are held. `cost` in nano-dollars."""

    decision_id: str
    lease_id: str
    key_id: str
    provider_id: str
    model: str
    cost: int | None
    attempt: int

    @classmethod
    def of(cls, lease: Lease) -> Self:
        d = lease.decision
        return cls(
            at=lease.at,
            request_id=d.request_id or "",
            correlation_id=d.correlation_id or "",
            decision_id=d.id,
            lease_id=lease.id,
            key_id=lease.key_id,
            provider_id=lease.provider,
            model=lease.model,
            cost=d.cost,
            attempt=d.attempt,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """Nobody could serve; nothing was sent."""

    decision_id: str
    model: str
    code: str
    retry_after: float | None

    @classmethod
    def of(cls, d: Decision, code: str, retry_after: float | None) -> Self:
        return cls(
            at=d.at,
            request_id=d.request_id or "",
            correlation_id=d.correlation_id or "",
            decision_id=d.id,
            model=d.roster.model,
            code=code,
            retry_after=retry_after,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Event):
    """A request succeeded. Costs in nano-dollars; `latency_s` seconds from lease to settlement."""

    decision_id: str
    lease_id: str
    key_id: str
    provider_id: str
    model: str
    input_tokens: int
    output_tokens: int
    estimated_cost: int | None
    cost: int | None
    latency_s: float

    @classmethod
    def of(cls, lease: Lease, usage: Usage | None, cost: int | None, latency_s: float, now: float) -> Self:
        d = lease.decision
        return cls(
            at=now,
            request_id=d.request_id or "",
            correlation_id=d.correlation_id or "",
            decision_id=d.id,
            lease_id=lease.id,
            key_id=lease.key_id,
            provider_id=lease.provider,
            model=lease.model,
            input_tokens=usage.input_tokens if usage else 0,
            output_tokens=usage.output_tokens if usage else 0,
            estimated_cost=d.cost,
            cost=cost,
            latency_s=latency_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """An attempt failed. `kind`, `blame` and `wait_from` as in core/failure.py."""

    decision_id: str
    lease_id: str
    key_id: str
    provider_id: str
    model: str
    kind: str
    blame: str
    status: int | None
    retry_after: float | None
    wait_from: str = ""

    @classmethod
    def of(cls, lease: Lease, failure: Failure, now: float) -> Self:
        d = lease.decision
        return cls(
            at=now,
            request_id=d.request_id or "",
            correlation_id=d.correlation_id or "",
            decision_id=d.id,
            lease_id=lease.id,
            key_id=lease.key_id,
            provider_id=lease.provider,
            model=lease.model,
            kind=str(failure.kind),
            blame=str(failure.blame),
            status=failure.status,
            retry_after=failure.retry_after,
            wait_from=failure.wait_from,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired(Event):
    """A lease was never settled; its money was committed at the estimate."""

    lease_id: str
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged(Event):
    """A key or pool moved along the table in core/key.py."""

    entity: str
    id: str
    before: State | None
    after: State
    trigger: Trigger
    context: str
    actor: str

    @classmethod
    def of(cls, t: Transition) -> Self:
        return cls(
            at=t.at,
            entity=t.entity,
            id=t.id,
            before=t.before,
            after=t.after,
            trigger=t.trigger,
            context=t.context,
            actor=t.actor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolsShared(Event):
    """Keys thought to have quotas of their own share one: "10 keys = 1 quota". `merged` False: both pools were declared
    apart, so only the owner can say which declaration is wrong."""

    pool: str
    other: str
    merged: bool
    keys: tuple[str, ...]
    identity: tuple[str, ...]

    @classmethod
    def of(cls, found: Shared, now: float) -> Self:
        return cls(
            at=now,
            pool=found.pool,
            other=found.other,
            merged=found.merged,
            keys=found.keys,
            identity=found.identity,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExhaustionNear(Event):
    """A window will probably run out before its reset (forecast.NEAR); told once in each of its periods.

    `p50` and `reset_at` are epoch seconds, `usage_rate` and `remaining` in the window's units (nano-dollars for cost).
    """

    pool: str
    window: str
    probability: float
    p50: float | None
    reset_at: float | None
    remaining: float
    usage_rate: float

    @classmethod
    def of(cls, pool: str, f: Forecast) -> Self:
        return cls(
            at=f.calculated_at,
            pool=pool,
            window=f.window,
            probability=f.probability,
            p50=f.p50,
            reset_at=f.reset_at,
            remaining=f.remaining,
            usage_rate=f.usage_rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged(Event):
    provider_id: str
    model: str
    state: str
    until: float

    @classmethod
    def of(cls, deployment: Deployment, now: float) -> Self:
        state, until = str(deployment.breaker.state), deployment.breaker.until
        return cls(at=now, provider_id=deployment.provider, model=deployment.model, state=state, until=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(Event):
    """A provider was asked how it does, with one of its keys; `kind` is how the probe failed, empty if it did not."""

    provider_id: str
    key_id: str
    ok: bool
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCrossed(Event):
    """A budget passed one of its thresholds (a share of its limit), or was billed beyond what was held.

    Amounts in nano-dollars; `overrun` is what a bill took beyond its hold, 0 where none did.
    """

    budget: str
    scope: str
    threshold: float
    spent: int
    limit: int
    overrun: int = 0

    @classmethod
    def of(cls, c: Crossing, now: float) -> Self:
        return cls(
            at=now,
            budget=c.budget,
            scope=c.key,
            threshold=c.fraction,
            spent=c.spent,
            limit=c.limit,
            overrun=c.overrun,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFailed(Event):
    """A subscriber raised; the request went on."""

    hook: str
    error: str


class Announcer:
    """Who listens, and what is still to be told.

    Facts that arise under the router's lock are put `later` and told by `flush` once it is free, so that a subscriber
    may call the router. What a subscriber raises is counted and told as HookFailed; it cannot break a request.
    """

    __slots__ = ("failures", "hooks", "outbox")

    def __init__(self) -> None:
        self.hooks: dict[type[Event], list[Callable[[Event], None]]] = {}
        self.outbox: deque[Event] = deque()
        self.failures = 0

    def subscribe(self, kind: type[Event], callback: Callable[[Event], None]) -> None:
        """Call `callback` for each event of exactly that type."""
        self.hooks.setdefault(kind, []).append(callback)

    def later(self, event: Event) -> None:
        self.outbox.append(event)

    def flush(self) -> None:
        while self.outbox:
            try:
                event = self.outbox.popleft()
            except IndexError:  # another thread told the last one
                return
            self.tell(event)

    def tell(self, event: Event) -> None:
        for hook in self.hooks.get(type(event), ()):
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001  (a subscriber cannot break a request)
                self._failed(hook, error, event)

    def _failed(self, hook: Callable[[Event], None], error: Exception, event: Event) -> None:
        self.failures += 1
        if type(event) is not HookFailed:
            name = getattr(hook, "__qualname__", type(hook).__name__)
            self.tell(HookFailed(at=event.at, hook=name, error=type(error).__name__))
