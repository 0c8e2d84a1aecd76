"""The price that LiteLLM itself was told for a deployment; list prices are found by name, as for every key."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from apikeyrouter.core.price import FREE, Price
from apikeyrouter.core.rates import RATES, Row, pico, pico_each

_TOKENS: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
}
_EACH: Final = {"input_cost_per_request": "request", "output_cost_per_image": "image"}


def price_in(params: Mapping[str, object], info: Mapping[str, object]) -> Price | None:
    """A deployment's own price (dollars for one token, as LiteLLM writes it), or None where it states none."""
    rates: dict[str, Decimal] = {}
    for name, rate in (*_TOKENS.items(), *_EACH.items()):
        stated = params.get(name, info.get(name))
        amount = None if stated is None else _decimal(stated)
        if amount is not None:
            rates[rate] = amount * 1_000_000 if name in _TOKENS else amount
    if not rates:
        return None
    return dollars("litellm_params", rates) if any(rates.values()) else FREE


def dollars(source: str, rates: Mapping[str, Decimal]) -> Price:
    """A price of dollars for a million tokens of each kind, or for one image or request."""
    unknown = sorted(set(rates) - set(RATES))
    if unknown:
        raise ValueError(f"A price knows no {unknown[0]!r}; it takes {', '.join(RATES)}.")
    return Price(Row(provider="", id="deployment", rates={k: _pico(k, v) for k, v in rates.items()}, source=source))


def _pico(name: str, amount: Decimal) -> int:
    return pico_each(amount) if name in _EACH.values() else pico(amount)


def _decimal(value: object) -> Decimal | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None
