"""A caller's body and options, understood: what is asked for, what it weighs, what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from math import isfinite
from operator import attrgetter
from typing import Final, TypedDict

from apikeyrouter.checks import Rule, Rules, anything, check, is_name, is_tags, is_texts, is_truth, is_whole, kind_of
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import NO_NAMES, NO_TAGS, Reading, Request, Usage
from apikeyrouter.core.tokens import Measure, measure
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Adapter, Body, Headers

LANGUAGE_OPERATIONS: Final = frozenset({"chat", "completion", "embeddings", "responses", "messages", "models"})


class RouteOptions(TypedDict, total=False):
    """Keyword arguments of route() and stream(). `timeout` in seconds over all attempts, `max_cost` in dollars."""

    operation: str
    provider: str | None
    objective: object
    tenant: str | None
    user: str | None
    tags: Mapping[str, str]
    session: str | None
    priority: int
    max_cost: Decimal | str | None
    needs: Iterable[str]
    timeout: float | None
    wait: bool
    request_id: str | None
    correlation_id: str | None


_NAME: Final = "a text of 1 to 256 characters"
_RULES: Final[Rules] = {
    "operation": Rule(lambda value: value is not None and is_name(value), "a name such as 'chat' or 'embeddings'"),
    "provider": Rule(is_name, "the name of a provider"),
    "objective": Rule(anything, ""),
    "tenant": Rule(is_name, _NAME),
    "user": Rule(is_name, _NAME),
    "tags": Rule(is_tags, "a mapping of texts such as {'feature': 'chat'}"),
    "session": Rule(is_name, _NAME),
    "priority": Rule(is_whole, "a whole number, higher first"),
    "max_cost": Rule(anything, ""),
    "needs": Rule(is_texts, "a list such as ['tools']"),
    "timeout": Rule(anything, ""),
    "wait": Rule(is_truth, "True or False"),
    "request_id": Rule(is_name, _NAME),
    "correlation_id": Rule(is_name, _NAME),
}


def understand(
    body: Body, options: RouteOptions, adapters: Mapping[str, Adapter], *, streaming: bool = False
) -> tuple[Request, Measure]:
    """The request behind a body, and its measure. Raises InvalidRequestError for what nobody can take."""
    if not isinstance(body, Mapping):
        raise InvalidRequestError(f"The body is {kind_of(body)}; it must be a mapping such as {{'model': ...}}.")
    check(options, _RULES, InvalidRequestError, "A request")
    operation, provider = options.get("operation", "chat"), options.get("provider")
    weight = measure(operation, body)
    request = Request(
        model=_model(body, operation, provider),
        provider=provider,
        operation=operation,
        needs=frozenset(options.get("needs", ())) | weight.features | ({"streaming"} if streaming else NO_NAMES),
        tenant=options.get("tenant"),
        user=options.get("user"),
        tags=options.get("tags", NO_TAGS),
        session=options.get("session"),
        priority=options.get("priority", 0),
        max_cost=dollars_of(options.get("max_cost")),
        objective=options.get("objective"),
        request_id=options.get("request_id"),
        correlation_id=options.get("correlation_id"),
    )
    if provider is not None and provider in adapters:
        adapters[provider].check(operation, body)
    return request, weight


def timeout_of(timeout: object, default: float) -> float:
    """Seconds for all attempts together."""
    if timeout is None:
        return default
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not isfinite(timeout) or timeout <= 0:
        shown = repr(timeout) if isinstance(timeout, str | int | float) else kind_of(timeout)
        raise InvalidRequestError(f"timeout is {shown[:40]}; write seconds, more than 0.")
    return float(timeout)


def checked(request: Request) -> Request:
    """A request that a caller built by hand. Raises InvalidRequestError for what nobody can hold."""
    given: object = request  # callers without a type checker pass anything
    if not isinstance(given, Request):
        raise InvalidRequestError(f"The request is {kind_of(given)}; write Request(model='gpt-4o-mini', ...).")
    _tokens("input_tokens", request.input_tokens)
    _tokens("max_output_tokens", request.max_output_tokens)
    if not request.model and request.provider is not None and request.operation not in LANGUAGE_OPERATIONS:
        request.model = request.operation
    if request.max_cost is not None:
        request.max_cost = dollars_of(request.max_cost)
    if request.needs is not NO_NAMES:
        request.needs = _names(request.needs)
    model: object = request.model  # callers without a type checker pass anything
    if not isinstance(model, str) or not model:
        raise InvalidRequestError("The request names no model; write Request(model='gpt-4o-mini', ...).")
    return request


def _tokens(name: str, tokens: int | None) -> None:
    if tokens is not None and (not is_whole(tokens) or tokens < 0):
        raise InvalidRequestError(f"{name} of the request is {kind_of(tokens)}; write a number of tokens, or None.")


def _names(needs: object) -> frozenset[str]:
    if (
        isinstance(needs, str)
        or not isinstance(needs, Set | list | tuple)
        or not all(isinstance(n, str) for n in needs)
    ):
        raise InvalidRequestError(f"needs of the request is {kind_of(needs)}; write a set of names, as {{'tools'}}.")
    return frozenset(needs)


MOST_UNITS: Final = 10**12
"""Tokens, images or requests in one usage: more is a mistake, not a use."""
_NAMES: Final = tuple(each.name for each in fields(Usage) if each.name not in ("cost_reported", "service_tier"))
_COUNTS: Final = attrgetter(*_NAMES)
_WHOLE: Final = {int}


def sane(usage: Usage | None) -> Usage | None:
    """A usage that a caller reports. Raises InvalidRequestError for what cannot have been used; the lease stays open.

    Money depends on it: a negative or endless amount would undo a budget.
    """
    given: object = usage
    if given is None:
        return None
    if not isinstance(given, Usage):
        raise InvalidRequestError(f"The usage is {kind_of(given)}; write Usage(input_tokens=..., output_tokens=...).")
    counts = _COUNTS(given)
    # One look at all numbers, as every settlement pays for it; which of them is wrong is asked only when one is.
    if set(map(type, counts)) != _WHOLE or min(counts) < 0 or max(counts) > MOST_UNITS:
        _complain(given)
    cost: object = given.cost_reported
    if cost is not None and (not isinstance(cost, Decimal) or not cost.is_finite() or cost < 0):
        raise InvalidRequestError("cost_reported of the usage is not an amount; write Decimal('0.0123').")
    tier: object = given.service_tier
    if not isinstance(tier, str):
        raise InvalidRequestError(f"service_tier of the usage is {kind_of(tier)}; write its name, such as 'flex'.")
    return usage


def _complain(usage: Usage) -> None:
    for name in _NAMES:
        value = getattr(usage, name)
        if not is_whole(value) or not 0 <= value <= MOST_UNITS:
            raise InvalidRequestError(f"{name} of the usage is {kind_of(value)}; write a number of at least 0.")


def own(lease: Lease, prefix: str) -> Lease:
    """A lease that the router of this prefix granted. Raises InvalidRequestError for anything else."""
    given: object = lease
    if not isinstance(given, Lease):
        raise InvalidRequestError(f"The lease is {kind_of(given)}; give what acquire() returned.")
    if not given.id.startswith(prefix, 6):  # after "lease_"
        raise InvalidRequestError(f"Lease {given.id} was granted by another router; end it there.")
    return given


def told(adapter: Adapter | None, headers: Headers | None) -> tuple[tuple[Reading, ...], tuple[str, ...]]:
    """What response headers say of quotas and of who owns them; nothing once the provider was taken out."""
    return (adapter.limits(headers), adapter.identity(headers)) if adapter and headers else ((), ())


def classified(adapter: Adapter | None, failure: Failure | int, headers: Headers | None, body: object) -> Failure:
    """The failure a caller reports: as it is, or by its HTTP status with headers and body."""
    if isinstance(failure, Failure):
        return failure
    if not is_whole(failure):
        raise InvalidRequestError(f"The failure is {kind_of(failure)}; give a Failure or the HTTP status.")
    return (
        Failure(kind=Kind.INVALID, status=failure)
        if adapter is None
        else adapter.classify(failure, headers or {}, body)
    )


def _model(body: Body, operation: str, provider: str | None) -> str:
    """The model a language body names; for any other API the operation itself is what keys compete for."""
    if provider is not None and operation not in LANGUAGE_OPERATIONS:
        return operation
    if operation == "models":
        return _listing(body, provider)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequestError("The body has no `model`; name one, as 'gpt-4o-mini' or 'provider/model'.")
    return model


def _listing(body: Body, provider: str | None) -> str:
    """A list of models is asked of a provider; it competes for keys under its own name."""
    model = body.get("model")
    if isinstance(model, str) and model:
        return model
    if provider is None:
        raise InvalidRequestError("A list of models needs `provider=`; each has its own.")
    return "models"


def dollars_of(amount: object) -> Decimal | None:
    """Dollars of what a caller gave, who may not have a type checker."""
    if amount is None:
        return None
    try:
        known = isinstance(amount, Decimal | str | int | float) and not isinstance(amount, bool)
        cost = Decimal(amount) if known else Decimal("NaN")  # type: ignore[arg-type]  # `known` says so
    except (InvalidOperation, ValueError):
        cost = Decimal("NaN")
    if not cost.is_finite() or cost < 0:
        shown = str(amount) if isinstance(amount, Decimal | int | float) else repr(amount)
        raise InvalidRequestError(f"max_cost is {shown[:40]}; write dollars of at least 0, as '0.05'.")
    return cost
