"""A caller's body and options, understood: what is asked for, what it weighs, what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, TypedDict

from apikeyrouter.core.model import NO_NAMES, NO_TAGS, Request
from apikeyrouter.core.tokens import Measure, measure
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Adapter, Body

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


def understand(
    body: Body, options: RouteOptions, adapters: Mapping[str, Adapter], *, streaming: bool = False
) -> tuple[Request, Measure]:
    """The request behind a body, and its measure. Raises InvalidRequestError for what nobody can take."""
    if not isinstance(body, Mapping):
        raise InvalidRequestError(f"The body is a {type(body).__name__}; it must be a mapping.")
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
        max_cost=_dollars(options.get("max_cost")),
        objective=options.get("objective"),
        request_id=options.get("request_id"),
        correlation_id=options.get("correlation_id"),
    )
    if provider is not None and provider in adapters:
        adapters[provider].check(operation, body)
    return request, weight


def timeout_of(options: RouteOptions, default: float) -> float:
    """Seconds for all attempts together."""
    timeout = options.get("timeout")
    if timeout is None:
        return default
    if not timeout > 0:
        raise InvalidRequestError(f"timeout is {timeout}; it must be more than 0 seconds.")
    return timeout


def _model(body: Body, operation: str, provider: str | None) -> str:
    """The model a language body names; for any other API the operation itself is what keys compete for."""
    if provider is not None and operation not in LANGUAGE_OPERATIONS:
        return operation
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequestError("The body has no `model`; name one, as 'gpt-4o-mini' or 'provider/model'.")
    return model


def _dollars(amount: Decimal | str | None) -> Decimal | None:
    try:
        cost = None if amount is None else Decimal(amount)
    except InvalidOperation:
        raise InvalidRequestError(f"max_cost is '{amount}'; write dollars, as '0.05'.") from None
    if cost is not None and not cost >= 0:
        raise InvalidRequestError(f"max_cost is {cost}; it must be at least 0 dollars.")
    return cost
