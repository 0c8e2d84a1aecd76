"""What a request is expected to cost, said with how sure that is; and how such sayings compared with the bills.

What is held is the worst case and stays inside; a person asks for the likely case, its parts and its confidence. The
comparison afterwards is kept by model, so that "the estimates for this model are 40 % too high" is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from apikeyrouter.core.model import Usage, dollars, nano
from apikeyrouter.core.price import Price

METHODS: Final = ("price_row", "free", "unknown_price")
MEMORY: Final = 0.98
MAX_ENTRIES: Final = 1_024
MAX_NAME: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """An expected cost in dollars. `held` is the worst case that is held for it, `confidence` is from 0 to 1.

    `breakdown` has the parts by kind ("input", "output", "request"); `source` and `date` say which price it is. With an
    unknown price the amounts are None.
    """

    amount: Decimal | None
    held: Decimal | None
    currency: str = "USD"
    confidence: float = 0.0
    method: str = "unknown_price"
    input_tokens: int = 0
    output_tokens: int = 0
    breakdown: Mapping[str, Decimal] = field(default_factory=dict)
    source: str = ""
    date: str = ""


def cost_of(usage: Usage, price: Price | None, now: float) -> int | None:
    """Nano-dollars of a usage, None where nobody knows: the provider's own figure, else by the price in force `now`."""
    if price is not None:
        price = price.at(now) if price.varies else price
        return (price.variant(usage.service_tier) if usage.service_tier else price).cost(usage)
    return None if usage.cost_reported is None else nano(usage.cost_reported)


def quote(price: Price | None, *, expected: Usage, held: int | None, confidence: float) -> CostEstimate:
    """The estimate for an expected usage; `held` nano-dollars, `confidence` that of the token counts."""
    given_in, given_out = expected.input_tokens, expected.output_tokens
    if price is None:
        return CostEstimate(amount=None, held=None, input_tokens=given_in, output_tokens=given_out)
    parts = {
        "input": Usage(input_tokens=given_in, requests=0),
        "output": Usage(output_tokens=given_out, requests=0),
        "request": Usage(requests=expected.requests),
    }
    costs = {kind: price.cost(part) for kind, part in parts.items()}
    if given_in and price.row.tiers:  # the context's length prices the answer too
        costs["output"] = price.cost(expected) - costs["input"] - costs["request"]
    return CostEstimate(
        amount=dollars(sum(costs.values())),
        held=None if held is None else dollars(held),
        confidence=1.0 if price.free else confidence,
        method="free" if price.free else "price_row",
        breakdown={kind: dollars(cost) for kind, cost in costs.items() if cost},
        source=price.source,
        date=price.date,
        input_tokens=given_in,
        output_tokens=given_out,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """How holds for a model compared with bills, the last fifty counting most.

    `billed` and `held` are dollars in total; `used` the mean of billed / held; `over` the share of requests that were
    billed more than was held for them; `overrun` the dollars beyond holds in total.
    """

    model: str
    requests: int
    billed: Decimal
    held: Decimal
    used: float
    over: float
    overrun: Decimal


class _Entry:
    __slots__ = ("billed", "held", "over", "overrun", "requests", "used")

    def __init__(self) -> None:
        self.requests = self.billed = self.held = self.overrun = 0
        self.used = self.over = 0.0


class Reconciliation:
    """Bills compared with holds, by model; bounded, the model unused longest leaves first."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def record(self, model: str, held: int, billed: int) -> None:
        """Take in a bill and what had been held for it, in nano-dollars."""
        if len(model) > MAX_NAME:
            return
        entry = self._entries.get(model)
        if entry is None or 2 * len(self._entries) > MAX_ENTRIES:  # only where it may be needed is the order kept
            entry = self._move_last(model)
        entry.requests += 1
        entry.billed += billed
        entry.held += held
        entry.overrun += max(0, billed - held)
        step = max(1 - MEMORY, 1 / entry.requests)
        entry.used += step * ((billed / held if held else float(billed > 0)) - entry.used)
        entry.over += step * ((billed > held) - entry.over)

    def _move_last(self, model: str) -> _Entry:
        entry = self._entries.pop(model, None) or _Entry()
        if len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[model] = entry
        return entry

    def report(self) -> tuple[Reconciled, ...]:
        """By model, the dearest first."""
        ranked = sorted(self._entries.items(), key=lambda item: item[1].billed, reverse=True)
        return tuple(
            Reconciled(
                model=model,
                requests=entry.requests,
                billed=dollars(entry.billed),
                held=dollars(entry.held),
                used=entry.used,
                over=entry.over,
                overrun=dollars(entry.overrun),
            )
            for model, entry in ranked
        )
