"""genai-prices (MIT, Pydantic Services Inc.) read as a price list; the only file that imports it (extra `prices`).

Its prices are conditions in Python objects: dates, hours of the day, context tiers and request variants. They are
evaluated here at every point where one may change, which leaves plain rows. What our usage does not count (searches,
pages, seconds of audio) is left out, and a model with nothing else gets no row, because a row of zeros would be free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from apikeyrouter.core.rates import Rates, Row, pico, pico_each
from apikeyrouter.errors import MissingDependencyError
from apikeyrouter.prices.listfile import PriceList

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, Provider

CREDIT: Final = (
    "Generated from genai-prices {release} (MIT licence, Copyright (c) Pydantic Services Inc. 2025 to present, "
    "github.com/pydantic/genai-prices). Rates are integer pico-dollars: 1000000 is 1 USD per million tokens; "
    "image and request are for one. A tier starts above its number of input tokens and prices the whole request."
)
RATE_OF: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "output_reasoning_mtok": "reasoning",
    "requests_kcount": "request",
}
CONTEXTS: Final = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"speed": "fast"},
}
"""Service tiers we name, and the request context that means each."""


def read(today: date, providers: Iterable[str] | None = None) -> PriceList:
    """The installed release as a list, with the prices in force on `today` and those announced for later."""
    from importlib.metadata import version

    try:
        from genai_prices.data import providers as known
    except ImportError:
        raise MissingDependencyError(
            "Reading prices needs genai-prices, which is not installed; run: pip install 'apikeyrouter[prices]'"
        ) from None
    release = version("genai-prices")
    wanted = [one for one in known if providers is None or one.id in set(providers)]
    like = Row(provider="", id="", source=f"genai-prices {release}", date=today.isoformat())
    return PriceList(
        name=like.source,
        date=like.date,
        about=CREDIT.format(release=release),
        rows=tuple(row for provider in wanted for row in _rows(provider, today, like)),
        aliases={p.id: tuple(_patterns(p.provider_match)) for p in wanted if p.provider_match},
        claims={p.id: tuple(_patterns(p.model_match)) for p in wanted if p.model_match},
        fallback={p.id: tuple(p.fallback_model_providers) for p in wanted if p.fallback_model_providers},
    )


def ahead() -> None:
    """Load what must not be loaded in a thread of ours: the HTTP library of genai-prices, where that is installed.

    openai's SDK looks for it in `sys.modules` and breaks over one that is half loaded (2.54, 2026-11).
    """
    if find_spec("genai_prices") is not None and find_spec("httpx2") is not None:
        import_module("httpx2")


def _rows(provider: Provider, today: date, like: Row) -> Iterator[Row]:
    for model in provider.models:
        starts = sorted(_starts(model))
        current = _row(provider.id, model, today, like)
        if current is None:
            continue
        begun = max((day for day in starts if day <= today), default=None)
        later = [(day, _row(provider.id, model, day, like)) for day in starts if day > today]
        yield replace(
            current,
            date=begun.isoformat() if begun else like.date,
            match=tuple(patterns) if (patterns := _patterns(model.match)) != [model.id.lower()] else (),
            context_window=model.context_window,
            later=tuple((_moment(day, time()).timestamp(), row) for day, row in later if row),
        )


def _row(provider: str, model: ModelInfo, day: date, like: Row) -> Row | None:
    """The model's prices on a day, by hours where they differ."""

    def at(moment: datetime, context: dict[str, str] | None = None) -> Row | None:
        rates, tiers = _prices(model.get_prices(moment, context))
        if not rates:
            return None
        return Row(
            provider=provider, id=model.id, source=like.source, date=like.date, rates=rates, tiers=tiers,
            context_window=model.context_window,
        )  # fmt: skip

    midnight = _moment(day, time())
    base = at(midnight)
    if base is None:
        return None
    contexts = CONTEXTS.items() if model.price_variants else ()
    variants = {name: row for name, context in contexts if (row := at(midnight, context)) and row != base}
    edges = sorted({0, *_edges(model), 86_400})
    hours = []
    for start, end in pairwise(edges if len(edges) > 2 else ()):
        row = at(_moment(day, time(start // 3600, start % 3600 // 60)))
        if row and row != base:
            hours.append((start, end, row))
    return replace(base, variants=variants, hours=tuple(hours))


def _starts(model: ModelInfo) -> set[date]:
    from genai_prices.types import StartDateConstraint

    conditional = [] if not isinstance(model.prices, list) else model.prices
    constraints = [one.constraint for one in (*conditional, *(model.price_variants or ()))]
    return {one.start_date for one in constraints if isinstance(one, StartDateConstraint)}


def _edges(model: ModelInfo) -> set[int]:
    from genai_prices.types import TimeOfDateConstraint

    conditional = [] if not isinstance(model.prices, list) else model.prices
    constraints = [one.constraint for one in conditional]
    times = [t for one in constraints if isinstance(one, TimeOfDateConstraint) for t in (one.start_time, one.end_time)]
    moments = [
        datetime.combine(date(2026, 1, 1), t if t.tzinfo else t.replace(tzinfo=UTC)).astimezone(UTC) for t in times
    ]
    return {m.hour * 3600 + m.minute * 60 for m in moments}


def _moment(day: date, at: time) -> datetime:
    return datetime.combine(day, at, tzinfo=UTC)


def _prices(price: ModelPrice) -> tuple[Rates, tuple[tuple[int, Rates], ...]]:
    base: dict[str, int] = {}
    tiers: dict[int, dict[str, int]] = {}
    for key, ours in RATE_OF.items():
        value = getattr(price, key)
        if value is None:
            continue
        if isinstance(value, Decimal):
            base[ours] = _pico(ours, value)
            continue
        base[ours] = _pico(ours, value.base)
        for tier in value.tiers:
            tiers.setdefault(tier.start, {})[ours] = _pico(ours, tier.price)
    return base, tuple(sorted(tiers.items()))


def _pico(name: str, price: Decimal) -> int:
    return pico_each(price / 1000) if name == "request" else pico(price)


def _patterns(logic: MatchLogic) -> list[str]:
    """The patterns of a matching rule (see `core.shelf.matches`), in order."""
    from genai_prices import types as kinds

    if isinstance(logic, kinds.ClauseOr):
        return [pattern for clause in logic.or_ for pattern in _patterns(clause)]
    if isinstance(logic, kinds.ClauseAnd):
        return ["~^" + "".join(f"(?=.*?(?:{_regex(clause)}))" for clause in logic.and_)]
    if isinstance(logic, kinds.ClauseRegex):
        return ["~" + logic.regex]
    if isinstance(logic, kinds.ClauseStartsWith):
        return [logic.starts_with.lower() + "*"]
    if isinstance(logic, kinds.ClauseEndsWith):
        return ["*" + logic.ends_with.lower()]
    if isinstance(logic, kinds.ClauseContains):
        return ["*" + logic.contains.lower() + "*"]
    return [logic.equals.lower()]


def _regex(logic: MatchLogic) -> str:
    """One matching rule as a regular expression to be searched for."""
    parts = []
    for pattern in _patterns(logic):
        if pattern.startswith("~"):
            parts.append(pattern[1:])
            continue
        start, end = "" if pattern.startswith("*") else "^", "" if pattern.endswith("*") else "$"
        parts.append(start + re.escape(pattern.strip("*")) + end)
    return "|".join(f"(?:{part})" for part in parts)
