"""Which error a decision without a choice becomes, and its sentence.

Rules removed all: PolicyViolation. State, capability or model left none: NoEligibleKeys. Some are left but none has
room in time: QuotaExhausted with the time the first one will. All lack money (and nobody only waits for a breaker):
BudgetExceeded.
"""

from __future__ import annotations

from apikeyrouter.core import decision as why
from apikeyrouter.core.decision import Decision, Rejection
from apikeyrouter.core.explain import limit_of, rejections, sentence
from apikeyrouter.core.model import dollars
from apikeyrouter.core.window import NEVER
from apikeyrouter.errors import (
    BudgetExceededError,
    NoEligibleKeysError,
    PolicyViolationError,
    QuotaExhaustedError,
    RoutingError,
)


def refusal(d: Decision, *, known: tuple[str, ...] = ()) -> RoutingError:
    """The error for `d`; `known` are names of models or aliases for the hint when nobody serves the model."""
    if not d.roster.candidates:
        return _nobody(d, known)
    rejected = rejections(d)
    money = [r for r in rejected if r.code in why.MONEY_CODES]
    quota = [r for r in rejected if r.code in (why.QUOTA, "throttled", "exhausted", "recovering", "in_flight")]
    if quota or any(count for _, count, _ in d.parked):
        return _no_room(d, quota)
    if money and not any(r.code == why.BREAKER for r in rejected):
        return _no_money(d, money[0])
    if any(r.code == why.POLICY for r in rejected):
        return _forbidden(d, [r for r in rejected if r.code == why.POLICY])
    return _unfit(d, rejected)


def _nobody(d: Decision, known: tuple[str, ...]) -> NoEligibleKeysError:
    model, excluded = d.roster.model, d.roster.excluded
    unfit = [e for e in excluded if e.code != "model"]
    if unfit:
        shown = "; ".join(f"{e.key} {e.why}" for e in unfit[:3])
        more = f" and {len(unfit) - 3:,} more" if len(unfit) > 3 else ""
        text = f"No key can serve '{model}' now: {shown}{more}; enable, rotate or add a key."
    elif excluded:
        hint = f" Known: {', '.join(known)}." if known else ""
        text = (
            f"No key serves '{model}': {len(excluded)} keys serve other models.{hint} "
            f"Pin it as provider/model, or add the model to a key's `models`."
        )
    else:
        text = f"No key is registered for '{model}'; register_key adds one."
    return NoEligibleKeysError(text, decision=d, details={"model": model})


def _no_room(d: Decision, quota: list[Rejection]) -> RoutingError:
    after = d.retry_after
    if after is None:
        worst = quota[0] if quota else None
        told = f": {worst.who}: {sentence(worst)}" if worst else ""
        return QuotaExhaustedError(
            f"No pool for '{d.roster.model}' can ever hold this request{told}; send less or raise the limit.",
            decision=d,
            details={"model": d.roster.model, "tokens": d.need[1]},
        )
    soonest = min((r for r in quota if r.wait_s not in (None, NEVER)), key=lambda r: r.wait_s or 0.0, default=None)
    told = f" ({soonest.who}: {sentence(soonest)})" if soonest else ""
    return QuotaExhaustedError(
        f"All {d.total} keys for '{d.roster.model}' are without room; try again in {after:.1f} s{told}.",
        decision=d,
        retry_after=after,
        details={"model": d.roster.model, "tokens": d.need[1], "retry_after": after},
    )


def _no_money(d: Decision, r: Rejection) -> BudgetExceededError:
    if r.code == why.PRICE_UNKNOWN:
        text = f"The price of '{r.who}' is unknown and a hard limit on cost applies; give it a price, or `price: free`."
        return BudgetExceededError(text, decision=d, details={"model": r.who})
    needs, has = dollars(int(r.value)), dollars(max(0, int(r.bound)))
    name = limit_of(r)
    then = "or wait for its reset" if r.code == why.BUDGET else "or choose a cheaper model"
    text = f"The request may cost ${needs:f} and {name} has ${has:f} left; send less, raise it, {then}."
    return BudgetExceededError(text, decision=d, details={"cost": needs, "left": has, "budget": r.where, "limit": name})


def _forbidden(d: Decision, rejected: list[Rejection]) -> PolicyViolationError:
    shown = "; ".join(f"{r.who}: {sentence(r)}" for r in rejected[:3])
    more = f"; and {len(rejected) - 3:,} more" if len(rejected) > 3 else ""
    text = f"Policies leave no key for '{d.roster.model}': {shown}{more}; change the request or the policy."
    return PolicyViolationError(text, decision=d, details={"model": d.roster.model})


def _unfit(d: Decision, rejected: list[Rejection]) -> NoEligibleKeysError:
    shown = "; ".join(f"{r.who}: {sentence(r)}" for r in rejected[:3])
    more = f"; and {len(rejected) - 3:,} more" if len(rejected) > 3 else ""
    text = f"No key can serve '{d.roster.model}' now: {shown}{more}; see explain('{d.id}')."
    return NoEligibleKeysError(text, decision=d, retry_after=d.retry_after, details={"model": d.roster.model})
