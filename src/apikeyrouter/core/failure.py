"""What went wrong, whose fault it is, and what may be tried next. One table of rules for each provider dialect.

The body's code decides before the status: money can look like an authentication error, authentication like a bad
request, overload like a success. Rules are data that adapters pass in; this module knows no provider. A `Failure` is a
value: it becomes an exception only when it leaves the router.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from apikeyrouter.core.model import Reading


class Kind(StrEnum):
    """What happened, as far as the answer tells."""

    RATE_LIMITED = "rate_limited"
    SLOW_DOWN = "slow_down"
    QUOTA_EXHAUSTED = "quota_exhausted"
    NOT_ON_PLAN = "not_on_plan"
    NO_MONEY = "no_money"
    IN_FLIGHT_MONEY = "in_flight_money"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MODEL_NOT_FOUND = "model_not_found"
    TOO_LONG = "too_long"
    TOO_LARGE_FOR_POOL = "too_large_for_pool"
    CONTENT = "content"
    INVALID = "invalid"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    NETWORK = "network"
    MALFORMED = "malformed"
    EMPTY = "empty"
    CANCELLED = "cancelled"


class Blame(StrEnum):
    """Who is at fault, hence who is avoided next."""

    KEY = "key"
    ACCOUNT = "account"
    POOL = "pool"
    PROVIDER = "provider"
    MODEL = "model"
    REQUEST = "request"
    CALLER = "caller"


BLAME: dict[Kind, Blame] = {
    Kind.RATE_LIMITED: Blame.POOL,
    Kind.SLOW_DOWN: Blame.POOL,
    Kind.QUOTA_EXHAUSTED: Blame.POOL,
    Kind.NOT_ON_PLAN: Blame.POOL,
    Kind.NO_MONEY: Blame.ACCOUNT,
    Kind.IN_FLIGHT_MONEY: Blame.ACCOUNT,
    Kind.UNAUTHENTICATED: Blame.KEY,
    Kind.FORBIDDEN: Blame.KEY,
    Kind.MODEL_NOT_FOUND: Blame.MODEL,
    Kind.TOO_LONG: Blame.REQUEST,
    Kind.TOO_LARGE_FOR_POOL: Blame.POOL,
    Kind.CONTENT: Blame.REQUEST,
    Kind.INVALID: Blame.REQUEST,
    Kind.OVERLOADED: Blame.PROVIDER,
    Kind.SERVER_ERROR: Blame.PROVIDER,
    Kind.TIMEOUT: Blame.PROVIDER,
    Kind.NETWORK: Blame.PROVIDER,
    Kind.MALFORMED: Blame.PROVIDER,
    Kind.EMPTY: Blame.PROVIDER,
    Kind.CANCELLED: Blame.CALLER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A classified failure.

    `message` is the provider's sentence, shortened and free of key material. `retry_after` is seconds from receipt;
    `until` an absolute epoch second where the provider names a date (month end, midnight in its zone). `billed` tells
    that the provider may have charged the request although no answer came (timeouts), so the hold is committed.
    `sent` False: the request never left, so nothing was charged. `readings` are the quotas that the body states, and
    `owner` the account it names, beyond what the headers say. `wait_from` is where the wait was found: in a `header`,
    the `body`, its `message`, a `date`, the reset of a used-up `quota`, our own `rule`, or nowhere.
    """

    kind: Kind
    status: int | None = None
    code: str | None = None
    message: str = ""
    retry_after: float | None = None
    until: float | None = None
    billed: bool = False
    sent: bool = True
    readings: tuple[Reading, ...] = ()
    owner: tuple[str, ...] = ()
    wait_from: str = field(default="", compare=False)

    @property
    def blame(self) -> Blame:
        return BLAME[self.kind]
