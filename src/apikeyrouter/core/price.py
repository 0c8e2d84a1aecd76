"""Usage x price -> money, and the book that knows which price a model has.

A provider's price list has tiers, cache discounts and modalities; a request must be priced twice (what to hold before,
what it cost after) in under a microsecond. So a row of the list is compiled once into flat integers and the arithmetic
below is all that runs per request. Rates are integer pico-dollars per unit (one dollar per million tokens is exactly
1,000,000), results integer nano-dollars, rounded up once. Where rows come from (files, installed price lists) is not
known here; neither is any provider's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final, Self

from apikeyrouter.core.model import Usage, nano

Rates = Mapping[str, int]
"""Pico-dollars per unit, by the names of `RATES`; an absent name costs what its parent costs (see `_flat`)."""

RATES: Final = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "audio_input", "audio_output",
                "reasoning", "image", "request")  # fmt: skip
NO_RATES: Final[Rates] = MappingProxyType({})

_Flat = tuple[int, int, int, int, int, int, int, int, int]
"""input, output, then what a cache read, cache write, input audio, output audio, reasoning token costs ON TOP of the
plain token it is counted in; then image and request."""

CACHE_SIZE: Final = 4096
"""Model names a book remembers; names come from callers, so they are not kept without bound."""


def pico(dollars_per_million: Decimal | str | int) -> int:
    """Pico-dollars per token of a price in dollars per million tokens, rounded up."""
    return int((Decimal(dollars_per_million) * 1_000_000).to_integral_value(ROUND_CEILING))


def _flat(rates: Rates) -> _Flat:
    plain_in, plain_out = rates.get("input", 0), rates.get("output", 0)
    return (
        plain_in,
        plain_out,
        rates.get("cache_read", plain_in) - plain_in,
        rates.get("cache_write", plain_in) - plain_in,
        rates.get("audio_input", plain_in) - plain_in,
        rates.get("audio_output", plain_out) - plain_out,
        rates.get("reasoning", plain_out) - plain_out,
        rates.get("image", 0),
        rates.get("request", 0),
    )


def _worst(rates: Rates) -> tuple[int, int, int, int]:
    """input and output rates no token of a text request exceeds, then the same with audio."""
    names_in, names_out = ("input", "cache_read", "cache_write", "cache_write_1h"), ("output", "reasoning")
    text_in, text_out = (max((rates.get(n, 0) for n in names), default=0) for names in (names_in, names_out))
    return text_in, text_out, max(text_in, rates.get("audio_input", 0)), max(text_out, rates.get("audio_output", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model's line of a price list as data. `match` are lower-case globs; tiers start ABOVE so many input tokens
    and price the whole request. `variants` are the same for a service tier ("batch", "flex", "priority")."""

    provider: str
    id: str
    rates: Rates = field(default_factory=lambda: NO_RATES)
    tiers: tuple[tuple[int, Rates], ...] = ()
    match: tuple[str, ...] = ()
    source: str = "override"
    date: str = ""
    context_window: int | None = None
    max_output_tokens: int | None = None
    variants: Mapping[str, Row] = field(default_factory=lambda: MappingProxyType({}))


class Price:
    """What a model costs. `hold` is what may be needed, `cost` what was used; both integer nano-dollars.

    `cost` follows the row itself; `hold` follows the dearest of it and `others` (what further sources say of the same
    model), so that a doubtful price is held high and never charged high.
    """

    __slots__ = ("_base", "_tiers", "_worst", "_worst_tiers", "date", "free", "id", "row", "source")

    def __init__(self, row: Row, others: Iterable[Row] = ()) -> None:
        self.id, self.source, self.date, self.row = row.id, row.source, row.date, row
        steps = _steps(row)
        self._base = _flat(steps[0][1])
        self._tiers = tuple((start, _flat(rates)) for start, rates in steps[1:])
        worst = _worst_steps((row, *others))
        self._worst, self._worst_tiers = worst[0][1], worst[1:]
        self.free = not any(self._base) and not self._tiers and not any(self._worst)

    @classmethod
    def of(cls, name: str, *, source: str = "override", date: str = "", **dollars: Decimal | str | int) -> Self:
        """A price by hand, in dollars: per million tokens, but `image` and `request` each."""
        if unknown := sorted(set(dollars) - set(RATES)):
            raise ValueError(f"A price knows no {unknown[0]!r}; it takes {', '.join(RATES)}.")
        rates = {k: pico(v) if k not in ("image", "request") else nano(v) * 1000 for k, v in dollars.items()}
        return cls(Row(provider="", id=name, rates=rates, source=source, date=date))

    def hold(self, input_tokens: int, output_tokens: int, features: frozenset[str] | None = None) -> int:
        """Nano-dollars no usage within these tokens exceeds: no cache discount, dearest tier reached, rounded up.

        Without `features` every modality the row prices is counted; with them audio counts only where named.
        """
        worst = self._worst
        for start, rates in self._worst_tiers:
            if input_tokens <= start:
                break
            worst = rates
        audio = features is None or "audio" in features
        rate_in, rate_out = (worst[2], worst[3]) if audio else (worst[0], worst[1])
        return -(-(input_tokens * rate_in + output_tokens * rate_out + self._base[8]) // 1000)

    def cost(self, usage: Usage) -> int:
        """Nano-dollars of a usage, rounded up once; what the provider itself reports wins."""
        if usage.cost_reported is not None:
            return nano(usage.cost_reported)
        tokens_in, rates = usage.input_tokens, self._base
        for start, tier in self._tiers:
            if tokens_in <= start:
                break
            rates = tier
        total = tokens_in * rates[0] + usage.output_tokens * rates[1]
        if usage.cache_read_tokens:
            total += usage.cache_read_tokens * rates[2]
        if usage.cache_write_tokens:
            total += usage.cache_write_tokens * rates[3]
        if usage.reasoning_tokens:
            total += usage.reasoning_tokens * rates[6]
        if usage.audio_input_tokens or usage.audio_output_tokens:
            total += usage.audio_input_tokens * rates[4] + usage.audio_output_tokens * rates[5]
        if usage.images:
            total += usage.images * rates[7]
        return -(-(total + usage.requests * rates[8]) // 1000)

    def __repr__(self) -> str:
        rates = "free" if self.free else f"{self._base[0] / 1e6:g}/{self._base[1] / 1e6:g} $/M"
        return f"<Price {self.id} {rates} ({self.source} {self.date})>"


def _steps(row: Row) -> list[tuple[int, Rates]]:
    """Tiers as complete rates, from zero input tokens upwards."""
    steps = [(0, dict(row.rates))]
    for start, rates in sorted(row.tiers, key=lambda tier: tier[0]):
        steps.append((start, {**steps[-1][1], **rates}))
    return [(start, rates) for start, rates in steps]


def _worst_steps(rows: Iterable[Row]) -> tuple[tuple[int, tuple[int, int, int, int]], ...]:
    """For each tier start the dearest rates of any row and any tier up to it."""
    ladders = [_steps(row) for row in rows]
    worst = (0, 0, 0, 0)
    result = []
    for start in sorted({start for ladder in ladders for start, _ in ladder}):
        reached = [_worst(rates) for ladder in ladders for at, rates in ladder if at <= start]
        worst = tuple(map(max, worst, *reached))
        result.append((start, worst))
    return tuple(result)


FREE: Final = Price(Row(provider="", id="free", source="declared"))
"""Costs nothing, and is known to: self-hosted models (`price: free`)."""


class PriceBook:
    """Finds the price of a model. Overrides win in the order last given first, then the rows."""

    __slots__ = ("_aliases", "_cache", "_overrides", "_rows")

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._aliases: Mapping[str, str] = {}
        self._overrides: list[tuple[str | None, str, Price]] = []
        self._cache: dict[tuple[str, str], Price | None] = {}

    @classmethod
    def from_rows(cls, rows: Iterable[Row], aliases: Mapping[str, str] = MappingProxyType({})) -> Self:
        """A book of rows; `aliases` map other names of a provider to the one its rows have."""
        book = cls()
        book._aliases = aliases
        for row in rows:
            book._rows.setdefault(row.provider, []).append(row)
        return book

    def override(self, provider: str | None, model: str, price: Price) -> None:
        """Price models that match the glob `model` (of one provider, or of any) by hand."""
        self._overrides.insert(0, (provider, model.lower(), price))
        self._cache.clear()

    def find(self, provider: str, model: str) -> Price | None:
        """The price, or None where nobody knows it. A provider without rows gets the dearest row of that name."""
        key = (provider, model)
        try:
            return self._cache[key]
        except KeyError:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[key] = self._find(provider, model.lower())
            return self._cache[key]

    def _find(self, provider: str, model: str) -> Price | None:
        for owner, glob, price in self._overrides:
            if (owner is None or owner == provider) and fnmatchcase(model, glob):
                return price
        home = self._aliases.get(provider, provider)
        if home in self._rows:
            return _first(self._rows[home], model)
        found = [hit for rows in self._rows.values() if (hit := _first(rows, model))]
        return max(found, key=lambda price: price.hold(1000, 1000), default=None)

    def __len__(self) -> int:
        return sum(map(len, self._rows.values())) + len(self._overrides)


def _first(rows: Iterable[Row], model: str) -> Price | None:
    for row in rows:
        if row.id == model or any(fnmatchcase(model, glob) for glob in row.match):
            return Price(row)
    return None
