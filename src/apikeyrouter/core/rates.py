"""A line of a price list as data, and its two readings: what each unit costs, and what no unit can exceed.

Price lists say one thing in many shapes: a price that changes with the length of the context, with the hour, on a date,
with a service tier. All of them are one shape here, integer pico-dollars per unit by name, so that the arithmetic in
`price` has nothing left to interpret. A dollar per million tokens is exactly 1,000,000 pico-dollars per token. Where
lists come from is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Final, NamedTuple

from apikeyrouter.core.frozen import Frozen

Rates = Mapping[str, int]
"""Pico-dollars per unit by the names of `RATES`; an absent kind of token costs what a plain one of its side costs."""

RATES: Final = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "audio_output",
    "reasoning",
    "image",
    "request",
)
NO_RATES: Final[Rates] = Frozen({})

_INPUT_KINDS: Final = ("input", "cache_read", "cache_write", "cache_write_1h")
_OUTPUT_KINDS: Final = ("output", "reasoning")


def pico(dollars_per_million: Decimal | str | int) -> int:
    """Pico-dollars per token of a price in dollars per million tokens, rounded up."""
    return pico_each(Decimal(dollars_per_million) / 1_000_000)


def pico_each(dollars: Decimal | str | int) -> int:
    """Pico-dollars of a price in dollars for one unit, rounded up."""
    return int(Decimal(dollars).scaleb(12).to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model's line of a price list.

    `tiers` start ABOVE so many input tokens and then price the whole request; a tier states only what differs from the
    one below. `match` are lower-case patterns (a name, a glob, a regular expression after `~`) of the names the model
    goes by; without them it goes by its id. `variants` price a service tier ("batch", "flex", "priority"), `hours` a
    part of the UTC day [from, to) in seconds since midnight, `later` replace the row from an epoch second on, in rising
    order. `date` (ISO) is when the price began to hold, or when it was read.
    """

    provider: str
    id: str
    rates: Rates = field(default_factory=lambda: NO_RATES)
    tiers: tuple[tuple[int, Rates], ...] = ()
    match: tuple[str, ...] = ()
    source: str = "override"
    date: str = ""
    context_window: int | None = None
    max_output_tokens: int | None = None
    variants: Mapping[str, Row] = field(default_factory=lambda: Frozen({}))
    hours: tuple[tuple[int, int, Row], ...] = ()
    later: tuple[tuple[float, Row], ...] = ()


class Flat(NamedTuple):
    """What a unit costs; the middle five are what a token costs ON TOP of the plain one it is counted in, the
    last what one of an hour's cache costs on top of one written for five minutes."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    audio_input: int
    audio_output: int
    reasoning: int
    image: int
    request: int
    cache_write_1h: int


class Worst(NamedTuple):
    """What no token exceeds: without audio, then with it; and an image, a request."""

    input: int = 0
    output: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image: int = 0
    request: int = 0


def flat(rates: Rates) -> Flat:
    """Rates ready for multiplication."""
    plain_in, plain_out = rates.get("input", 0), rates.get("output", 0)
    return Flat(
        input=plain_in,
        output=plain_out,
        cache_read=rates.get("cache_read", plain_in) - plain_in,
        cache_write=rates.get("cache_write", plain_in) - plain_in,
        audio_input=rates.get("audio_input", plain_in) - plain_in,
        audio_output=rates.get("audio_output", plain_out) - plain_out,
        reasoning=rates.get("reasoning", plain_out) - plain_out,
        image=rates.get("image", 0),
        request=rates.get("request", 0),
        cache_write_1h=rates.get("cache_write_1h", rates.get("cache_write", plain_in))
        - rates.get("cache_write", plain_in),
    )


def steps(row: Row) -> list[tuple[int, Rates]]:
    """The tiers as complete rates, from 0 input tokens upwards."""
    ladder: list[tuple[int, Rates]] = [(0, row.rates)]
    for start, rates in sorted(row.tiers, key=lambda tier: tier[0]):
        ladder.append((start, {**ladder[-1][1], **rates}))
    return ladder


def worst_steps(rows: Iterable[Row]) -> tuple[tuple[int, Worst], ...]:
    """By number of input tokens reached, the dearest rates of any row, any hour of it and any tier up to there."""
    ladders = [steps(one) for row in rows for one in (row, *(hour for _, _, hour in row.hours))]
    result, worst = [], Worst()
    for start in sorted({start for ladder in ladders for start, _ in ladder}):
        reached = [_worst(rates) for ladder in ladders for at, rates in ladder if at <= start]
        worst = Worst(*map(max, worst, *reached))
        result.append((start, worst))
    return tuple(result)


def _worst(rates: Rates) -> Worst:
    text_in = max(rates.get(kind, 0) for kind in _INPUT_KINDS)
    text_out = max(rates.get(kind, 0) for kind in _OUTPUT_KINDS)
    return Worst(
        input=text_in,
        output=text_out,
        audio_input=max(text_in, rates.get("audio_input", 0)),
        audio_output=max(text_out, rates.get("audio_output", 0)),
        image=rates.get("image", 0),
        request=rates.get("request", 0),
    )
