"""Whether to try again, where, and after how long; and how many retries everybody together may make.

Retries are the way an outage gets worse, so they are paid from a budget: a tenth of the requests of a provider, and
three for a start (Finagle's retry budget). A fault of the request is never retried; a refused pool never before its
time; the provider is changed after two failures of one. All attempts share one deadline and one max_cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from apikeyrouter.core.failure import Failure, Kind

Failover = Literal["never", "same_provider", "any"]


class Next(StrEnum):
    """Where the next attempt may go."""

    STOP = "stop"
    ANY = "any"
    OTHER_KEY = "other_key"
    OTHER_POOL = "other_pool"
    OTHER_MODEL = "other_model"


NEXT: Final[Mapping[Kind, Next]] = MappingProxyType(
    {
        Kind.RATE_LIMITED: Next.OTHER_POOL,
        Kind.SLOW_DOWN: Next.OTHER_POOL,
        Kind.QUOTA_EXHAUSTED: Next.OTHER_POOL,
        Kind.NOT_ON_PLAN: Next.OTHER_POOL,
        Kind.TOO_LARGE_FOR_POOL: Next.OTHER_POOL,
        Kind.NO_MONEY: Next.OTHER_POOL,
        Kind.IN_FLIGHT_MONEY: Next.OTHER_POOL,
        Kind.UNAUTHENTICATED: Next.OTHER_KEY,
        Kind.FORBIDDEN: Next.OTHER_KEY,
        Kind.MODEL_NOT_FOUND: Next.OTHER_KEY,
        Kind.TOO_LONG: Next.STOP,
        Kind.CONTENT: Next.STOP,
        Kind.INVALID: Next.STOP,
        Kind.OVERLOADED: Next.ANY,
        Kind.SERVER_ERROR: Next.ANY,
        Kind.TIMEOUT: Next.ANY,
        Kind.NETWORK: Next.ANY,
        Kind.MALFORMED: Next.ANY,
        Kind.EMPTY: Next.ANY,
        Kind.CANCELLED: Next.STOP,
    }
)
"""ANY may use the same key again: the fault was not the key's."""

MOST: Final = 24
"""Attempts of one request, whatever the reasons."""
BACKS_OFF: Final = frozenset({Kind.OVERLOADED, Kind.SERVER_ERROR, Kind.TIMEOUT, Kind.NETWORK})
STOPPED: Final = frozenset(
    {Kind.RATE_LIMITED, Kind.SLOW_DOWN, Kind.QUOTA_EXHAUSTED, Kind.NO_MONEY, Kind.IN_FLIGHT_MONEY}
)
"""Refusals that stop the pool for a time of its own; after it the pool may be asked again."""
OUTCOME_UNKNOWN: Final = frozenset({Kind.SERVER_ERROR, Kind.TIMEOUT, Kind.NETWORK, Kind.MALFORMED, Kind.EMPTY})
"""Failures after which nobody knows whether the request was carried out, if it left at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How often one request is tried: in all, by one key, by one provider in a row; the pause `backoff_s` doubles.

    `budget_share` of a retry is earned by each request, `budget_floor` retries are there at the start: when most
    requests fail, retries stop before they become the load.
    """

    attempts: int = 3
    per_key: int = 2
    per_provider: int = 2
    failover: Failover = "any"
    budget_share: float = 0.1
    budget_floor: float = 3.0
    backoff_s: float = 0.1
    longest_backoff_s: float = 5.0


class RetryBudget:
    """Tokens: each request earns `share`, each retry costs one; at least `floor` are there at the start."""

    __slots__ = ("most", "share", "tokens")

    def __init__(self, share: float = 0.1, floor: float = 3.0) -> None:
        self.share = share
        self.tokens = floor
        self.most = max(floor, 100.0)

    def earn(self) -> None:
        if self.tokens < self.most:
            self.tokens += self.share

    def spend(self) -> bool:
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def refund(self) -> None:
        """A retry was paid for and not made."""
        self.tokens = min(self.most, self.tokens + 1.0)


@dataclass(slots=True)
class Attempts:
    """What one request has tried so far, and therefore avoids next.

    Answers that blame the provider are counted against `attempts`. A refused key leaves the candidates for good and a
    stopped pool until its time, so that those are only bounded by MOST: healthy keys must not stay unused because dead
    ones came first. `billed` are the nano-dollars that attempts may have cost whose outcome nobody knows.
    `only_key` is the key that may have carried the request out already and will know a repeat.
    """

    count: int = 0
    provider_faults: int = 0
    billed: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    pools: dict[str, int] = field(default_factory=dict)
    providers: dict[str, int] = field(default_factory=dict)
    avoid_keys: set[str] = field(default_factory=set)
    avoid_pools: set[str] = field(default_factory=set)
    avoid_models: set[tuple[str, str]] = field(default_factory=set)
    avoid_providers: set[str] = field(default_factory=set)
    only_provider: str | None = None
    only_key: str | None = None
    kinds: dict[tuple[str, Kind], set[str]] = field(default_factory=dict)
    failed: list[tuple[str, str, Failure]] = field(default_factory=list)
    last: Failure | None = None

    def note(
        self,
        failure: Failure,
        *,
        key: str,
        pool: str,
        provider: str,
        model: str,
        settings: RetrySettings,
        elsewhere: bool = True,
    ) -> Next:
        """Record a failed attempt and say where the next may go; `elsewhere`: other providers serve this model too."""
        self.count += 1
        self.last = failure
        self.failed.append((key, provider, failure))
        step = NEXT[failure.kind]
        self.keys[key] = self.keys.get(key, 0) + 1
        self.kinds.setdefault((provider, failure.kind), set()).add(key)
        if step is Next.OTHER_POOL:
            self._note_pool(pool, failure, settings)
        elif step is Next.OTHER_KEY or self.keys[key] >= settings.per_key:
            self.avoid_keys.add(key)
        if step is Next.ANY:
            self._note_provider(failure, provider, model, settings, elsewhere=elsewhere)
        if failure.kind is Kind.MODEL_NOT_FOUND and self.same_fault(provider, failure.kind):
            self.avoid_models.add((provider, model))
        if settings.failover == "same_provider":
            self.only_provider = provider
        stop = settings.failover == "never" or self.count >= MOST or self.provider_faults >= settings.attempts
        return Next.STOP if stop else step

    def _note_pool(self, pool: str, failure: Failure, settings: RetrySettings) -> None:
        """The pool's own stop keeps everybody away until its time; who is refused again and again gives up."""
        self.pools[pool] = self.pools.get(pool, 0) + 1
        if failure.kind not in STOPPED or self.pools[pool] >= settings.attempts:
            self.avoid_pools.add(pool)

    def _note_provider(
        self, failure: Failure, provider: str, model: str, settings: RetrySettings, *, elsewhere: bool
    ) -> None:
        self.provider_faults += 1
        self.providers[provider] = self.providers.get(provider, 0) + 1
        enough = self.providers[provider] >= settings.per_provider or failure.retry_after
        if enough and elsewhere and settings.failover == "any":
            self.avoid_models.add((provider, model))

    def avoids(self, provider: str, model: str) -> bool:
        """Whether the next attempt goes to another provider or model."""
        return provider in self.avoid_providers or (provider, model) in self.avoid_models

    def same_fault(self, provider: str, kind: Kind) -> bool:
        """The same failure under two keys of one provider is not the keys' fault."""
        return len(self.kinds.get((provider, kind), ())) >= 2

    def reason(self, provider: str = "") -> str:
        """The failure that made the next attempt avoid somebody, for the explanation."""
        spent = "; no retry of its provider's is left" if provider in self.avoid_providers else ""
        return f"{self.last.kind}{spent}" if self.last else ""


def backoff(attempt: int, chance: float, settings: RetrySettings) -> float:
    """Seconds before attempt `attempt` + 1: exponential with full jitter (`chance` in [0, 1))."""
    return float(chance * min(settings.longest_backoff_s, settings.backoff_s * 2.0**attempt))
