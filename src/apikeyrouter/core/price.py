"""Usage x price -> money, and the book that knows which price a model has.

A request is priced twice: what to hold before it is sent, and what it cost after. Both take under a microsecond:
a price list's line (`rates.Row`) is compiled into flat integers once and nothing but multiplication is left. What is
held follows the dearest of all lists that know the model, what is charged the first one: a doubtful price is held high
and never charged high. Results are integer nano-dollars, rounded up once. Lines are looked up in `shelf`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final, Self

from apikeyrouter.core.model import Usage, nano
from apikeyrouter.core.rates import RATES, Flat, Row, flat, pico, pico_each, steps, worst_steps
from apikeyrouter.core.shelf import Shelf, matches

__all__ = ["FREE", "Price", "PriceBook", "Row", "Shelf"]

DAY_SECONDS: Final = 86_400
AHEAD_S: Final = 3_600.0
"""A price that is announced for a time within this is held already: the answer may end after it began to hold."""
CACHE_SIZE: Final = 4096
"""Model names a book remembers; names come from callers, so they are not kept without bound."""


class Price:
    """What a model costs: `hold` is what may be needed, `cost` what was used, in nano-dollars.

    `row` is the list's line it was compiled from, with the context window and the output limit where they are known.
    """

    __slots__ = (
        "_base",
        "_others",
        "_parts",
        "_tiers",
        "_variants",
        "_worst",
        "_worst_tiers",
        "date",
        "free",
        "id",
        "row",
        "source",
        "varies",
    )

    def __init__(self, row: Row, others: Iterable[Row] = ()) -> None:
        self.id, self.source, self.date, self.row = row.id, row.source, row.date, row
        self._others = tuple(others)
        ladder = steps(row)
        self._base = flat(ladder[0][1])
        self._tiers = tuple((start, flat(rates)) for start, rates in ladder[1:])
        worst = worst_steps((row, *self._others))
        self._worst, self._worst_tiers = worst[0][1], worst[1:]
        self.free = not any(self._worst) and not self._worst_tiers
        self.varies = bool(row.hours or row.later)
        self._parts: dict[tuple[int, int], Price] = {}
        self._variants: dict[str, Price] = {}

    @classmethod
    def of(cls, name: str, *, source: str = "override", date: str = "", **dollars: Decimal | str | int) -> Self:
        """A price by hand, in dollars: for a million tokens of each kind in `RATES`, for one `image` or `request`."""
        if unknown := sorted(set(dollars) - set(RATES)):
            raise ValueError(f"A price knows no {unknown[0]!r}; it takes {', '.join(RATES)}.")
        rates = {k: pico_each(v) if k in ("image", "request") else pico(v) for k, v in dollars.items()}
        if negative := sorted(k for k, v in rates.items() if v < 0):
            raise ValueError(f"The price of {negative[0]} is {dollars[negative[0]]}; give 0 dollars or more.")
        return cls(Row(provider="", id=name, rates=rates, source=source, date=date))

    def at(self, now: float) -> Price:
        """The price in force at `now`: dated changes and hours of the day applied. Itself where nothing varies.

        Its `hold` still covers every hour, because a request may end in another one than it began in.
        """
        if not self.varies:
            return self
        row = self.row
        for start, later in self.row.later:
            if now >= start:
                row = later
        second, chosen = int(now) % DAY_SECONDS, row
        for start, end, hour in row.hours:
            if (start <= second < end) if start < end else not end <= second < start:
                chosen = hour
        return self if chosen is self.row else self._compiled(chosen, row)

    def _compiled(self, chosen: Row, dated: Row) -> Price:
        part = (id(chosen), id(dated))
        price = self._parts.get(part)
        if price is None:
            others = self._others if chosen is dated else (*self._others, dated)
            price = self._parts[part] = Price(replace(chosen, later=(), hours=dated.hours), others)
            price.varies = False
        return price

    def variant(self, name: str) -> Price:
        """The price of a service tier ("batch", "flex", "priority"), or itself where the list names none."""
        row = self.row.variants.get(name)
        if row is None:
            return self
        found = self._variants.get(name)
        if found is None:
            others = [other.variants[name] for other in self._others if name in other.variants]
            found = self._variants[name] = Price(row, others)
        return found

    def most(
        self, input_tokens: int, output_tokens: int, features: frozenset[str] | None, now: float, tier: str = ""
    ) -> int:
        """What is held where time or a service tier decides: the dearest of now, of soon, and of the tier."""
        prices = [self.at(now), self.at(now + AHEAD_S)] if self.varies else [self]
        prices += [price.variant(tier) for price in prices] if tier else []
        return max(price.hold(input_tokens, output_tokens, features) for price in prices)

    def hold(
        self, input_tokens: int, output_tokens: int, features: frozenset[str] | None = None, images: int = 0
    ) -> int:
        """What no usage within these numbers exceeds: no cache discount, dearest tier reached, dearest hour and list.

        Without `features` every modality with a price is counted; with them, audio only where it is named.
        """
        worst = self._worst
        for start, rates in self._worst_tiers:
            if input_tokens <= start:
                break
            worst = rates
        if features is None or "audio" in features:
            total = input_tokens * worst[2] + output_tokens * worst[3]
        else:
            total = input_tokens * worst[0] + output_tokens * worst[1]
        return -(-(total + worst[5] + images * worst[4]) // 1000)

    def cost(self, usage: Usage) -> int:
        """What a usage cost; what the provider itself reports wins, but never gives money back."""
        if usage.cost_reported is not None:
            return max(0, nano(usage.cost_reported))
        input_tokens, rates = usage.input_tokens, self._base
        for start, tier in self._tiers:
            if input_tokens <= start:
                break
            rates = tier
        total = input_tokens * rates[0] + usage.output_tokens * rates[1] + usage.requests * rates[8]
        if usage.cache_read_tokens or usage.cache_write_tokens:
            cached = usage.cache_read_tokens + usage.cache_write_tokens
            total += usage.cache_read_tokens * rates[2] + usage.cache_write_tokens * rates[3]
            total += usage.cache_write_1h_tokens * rates[9]
            if cached > input_tokens:  # an adapter that counts them apart: charge both
                total += cached * rates[0]
        if usage.reasoning_tokens:
            total += usage.reasoning_tokens * rates[6]
            if usage.reasoning_tokens > usage.output_tokens:
                total += usage.reasoning_tokens * rates[1]
        if usage.audio_input_tokens or usage.audio_output_tokens:
            total += _sound(usage, rates)
        return max(0, -(-(total + usage.images * rates[7]) // 1000))

    def __repr__(self) -> str:
        rates = "free" if self.free else f"{self._base[0] / 1e6:g}/{self._base[1] / 1e6:g} $/M"
        return f"<Price {self.id} {rates} {self.source} {self.date}>"


FREE: Final = Price(Row(provider="", id="free", source="declared"))
"""Costs nothing, and is known to: self-hosted models (`price: free`)."""


def _sound(usage: Usage, rates: Flat) -> int:
    """What tokens of sound cost on top of plain ones; those that are not counted among these, all they cost."""
    given, made = usage.audio_input_tokens, usage.audio_output_tokens
    total = given * rates.audio_input + made * rates.audio_output
    total += given * rates.input if given > usage.input_tokens else 0
    return total + (made * rates.output if made > usage.output_tokens else 0)


Lazy = Shelf | Callable[[], Shelf]


class PriceBook:
    """Finds the price of a model: what was overridden by hand (the last wins), else what the lists say.

    The first shelf that knows a model sets its price; `witnesses` can only raise what is held for it. A shelf may be
    given as a function that reads it, called when it is first needed.
    """

    __slots__ = ("_cache", "_overrides", "_shelves", "_witnesses")

    def __init__(self, shelves: Iterable[Lazy] = (), witnesses: Iterable[Lazy] = ()) -> None:
        self._shelves, self._witnesses = list(shelves), list(witnesses)
        self._overrides: list[tuple[str | None, str, Price]] = []
        self._cache: dict[tuple[str, str], Price | None] = {}

    @classmethod
    def from_rows(cls, rows: Iterable[Row]) -> Self:
        """A book of one list."""
        return cls([Shelf(rows)])

    def override(self, provider: str | None, model: str, price: Price) -> None:
        """Price the models that match the glob `model`, of one provider or of any, by hand."""
        self._overrides.insert(0, (provider, model.lower(), price))
        self._cache.clear()

    def adopt(self, other: PriceBook) -> None:
        """Read the lists of another book from now on; what was set by hand stays."""
        self._shelves, self._witnesses = list(other._shelves), list(other._witnesses)
        self._cache.clear()

    def withdraw(self, source: str) -> None:
        """Drop the prices that were set by hand under `source`."""
        self._overrides = [each for each in self._overrides if each[2].source != source]
        self._cache.clear()

    def find(self, provider: str, model: str) -> Price | None:
        """The price, or None where no list knows the model."""
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
            if (owner is None or owner == provider) and matches(glob, model):
                return price
        row = self._first(provider.lower(), model)
        if row is None:
            return None
        others = (witness.find(row.provider, model) for witness in _read(self._witnesses))
        return Price(row, [other for other in others if other and other is not row])

    def _first(self, provider: str, model: str) -> Row | None:
        """The row of a provider some list has; for one that none has, the row the bare name leads to."""
        known = False
        for shelf in self._each() if provider else ():
            known = known or shelf.knows(provider)
            if row := shelf.find(provider, model):
                return row
        anywhere = (row for shelf in self._each() if (row := shelf.find_anywhere(model)))
        return None if known else next(anywhere, None)

    def shelves(self) -> tuple[Shelf, ...]:
        """Every list, read."""
        return tuple(self._each())

    def _each(self) -> Iterator[Shelf]:
        yield from _read(self._shelves)
        yield from _read(self._witnesses)

    def __len__(self) -> int:
        """Rows of the lists read so far, and overrides."""
        read = (s for s in (*self._shelves, *self._witnesses) if isinstance(s, Shelf))
        return sum(map(len, read)) + len(self._overrides)


def _read(shelves: list[Lazy]) -> Iterator[Shelf]:
    """The shelves, each read when it is reached and then kept."""
    for at, shelf in enumerate(shelves):
        if not isinstance(shelf, Shelf):
            shelf = shelves[at] = shelf()
        yield shelf
