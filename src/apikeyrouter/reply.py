"""What a caller gets: the reply and how it came about, or the exception that a provider's failure becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from apikeyrouter.core.budget import BudgetStatus, status_of
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Usage, dollars
from apikeyrouter.core.retry import Attempts
from apikeyrouter.errors import (
    AuthenticationError,
    InvalidRequestError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
    ServiceUnavailableError,
)

_ERRORS: Final[Mapping[Kind, type[ProviderError]]] = {
    Kind.RATE_LIMITED: RateLimitError,
    Kind.SLOW_DOWN: RateLimitError,
    Kind.QUOTA_EXHAUSTED: RateLimitError,
    Kind.NO_MONEY: RateLimitError,
    Kind.IN_FLIGHT_MONEY: RateLimitError,
    Kind.NOT_ON_PLAN: RateLimitError,
    Kind.TOO_LARGE_FOR_POOL: RateLimitError,
    Kind.UNAUTHENTICATED: AuthenticationError,
    Kind.FORBIDDEN: AuthenticationError,
    Kind.TIMEOUT: ProviderTimeoutError,
    Kind.TOO_LONG: InvalidRequestError,
    Kind.CONTENT: InvalidRequestError,
    Kind.INVALID: InvalidRequestError,
    Kind.MODEL_NOT_FOUND: InvalidRequestError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An attempt that came to nothing; `status` is the provider's own, None when none came."""

    key: str
    provider: str
    kind: Kind
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingMetadata:
    """How a reply came about. `cost` in dollars, None where the price is unknown; `failed` attempts in their order.

    `budget_status` are the budgets it was paid from, as they stood right after it. `first_token_s` are the seconds from
    the decision to a stream's first content.
    """

    key_used: str
    provider: str
    model: str
    cost: Decimal | None
    decision_id: str
    request_id: str | None
    correlation_id: str | None
    attempts: int
    waited_s: float
    failed: tuple[FailedAttempt, ...] = ()
    budget_status: tuple[BudgetStatus, ...] = ()
    first_token_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A successful answer: `content` text or parsed JSON, `body` in canonical shape, `raw` as the provider said it."""

    content: object
    usage: Usage | None
    body: object
    raw: object
    headers: Mapping[str, str] = field(repr=False)
    metadata: RoutingMetadata


def error_of(failure: Failure, lease: Lease, attempts: Attempts, more: str = "") -> ProviderError:
    """The exception a failure becomes when it leaves the router; `more` says why it was not tried again."""
    kind = _ERRORS.get(failure.kind, ServiceUnavailableError)
    tried = f" after {attempts.count} attempts" if attempts.count > 1 else ""
    status = f" with status {failure.status}" if failure.status else ""
    said = f": {failure.message}" if failure.message else ""
    if lease.provider in attempts.avoid_providers:
        more = f"; its retry budget is used up, so {lease.provider} was not asked again"
    return kind(
        f"{lease.provider} failed{status} ({failure.kind}) for key {lease.key_id}{tried}{said}{more}",
        status=failure.status,
        retry_after=failure.retry_after,
        details={
            "kind": str(failure.kind),
            "blame": str(failure.blame),
            "provider": lease.provider,
            "key": lease.key_id,
            "decision_id": lease.decision.id,
            "attempts": attempts.count,
            "failed": [
                {"key": k, "provider": p, "kind": str(f.kind), "status": f.status} for k, p, f in attempts.failed
            ],
        },
    )


def tried_by(attempts: Attempts) -> tuple[FailedAttempt, ...]:
    """The attempts of a request that failed so far."""
    return tuple(FailedAttempt(key=k, provider=p, kind=f.kind, status=f.status) for k, p, f in attempts.failed)


def metadata_of(attempts: Attempts, lease: Lease, cost: int | None) -> RoutingMetadata:
    """How a request that was served came about; `cost` in nano-dollars."""
    decision = lease.decision
    return RoutingMetadata(
        key_used=lease.key_id,
        provider=lease.provider,
        model=lease.model,
        cost=None if cost is None else dollars(cost),
        decision_id=decision.id,
        request_id=decision.request_id,
        correlation_id=decision.correlation_id,
        attempts=attempts.count + 1,
        waited_s=decision.waited_s,
        failed=tried_by(attempts) if attempts.failed else (),
        budget_status=status_of(lease.nodes) if lease.nodes else (),
    )
