"""The one file format of price lists: JSON, a model a line, so that a change of price is a line of a diff.

JSON because the shipped list is read at the first request and YAML takes a hundred times as long. Integers are
pico-dollars, exactly as `core.rates.Row` has them; a number that needs rounding was rounded up when the list was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, cast

from apikeyrouter.core.rates import RATES, Rates, Row
from apikeyrouter.core.shelf import Shelf
from apikeyrouter.errors import InvalidConfigurationError

SCHEMA: Final = 1
Object = Mapping[str, object]
Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """A list as read: its rows in order, and how its providers are also called (see `Shelf`)."""

    name: str
    date: str
    rows: tuple[Row, ...]
    about: str = ""
    aliases: Names = field(default_factory=dict)
    claims: Names = field(default_factory=dict)
    fallback: Names = field(default_factory=dict)

    def with_others(self, rows: Iterable[Row]) -> PriceList:
        """The list with those rows added that name a model of its providers it does not know."""
        known = shelf(self, date.fromisoformat(self.date))
        providers = {row.provider for row in self.rows}
        more = [row for row in rows if row.provider in providers and not known.find(row.provider, row.id)]
        return replace(self, rows=(*self.rows, *more))


def shelf(listed: PriceList, today: date) -> Shelf:
    """The list as a shelf, with the rows in force on `today`."""
    return Shelf(
        [_on(row, today) for row in listed.rows],
        name=listed.name,
        date=listed.date,
        aliases=listed.aliases,
        claims=listed.claims,
        fallback=listed.fallback,
    )


def _on(row: Row, today: date) -> Row:
    if not row.later:
        return row
    midnight = _epoch(today)
    past = [later for start, later in row.later if start <= midnight]
    ahead = tuple((start, later) for start, later in row.later if start > midnight)
    return replace(past[-1] if past else row, later=ahead)


def read(path: Path) -> PriceList:
    """The list in a file; raises InvalidConfigurationError naming the file for one that is not a list."""
    return parse(path.read_text("utf-8"), path.name)


def parse(text: str, name: str) -> PriceList:
    """The list in a text."""
    try:
        raw = json.loads(text)
        if raw["schema"] != SCHEMA:
            raise InvalidConfigurationError(
                f"The price list {name} has schema {raw['schema']}, this version reads {SCHEMA}; refresh the list."
            )
        return _list(raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__} {error}".strip()
        raise InvalidConfigurationError(f"The file {name} is not a price list ({problem}); refresh it.") from error


def _list(raw: Mapping[str, object]) -> PriceList:
    providers = cast(Mapping[str, Mapping[str, list[str]]], raw["providers"])
    source, day = str(raw["name"]), str(raw["date"])
    date.fromisoformat(day)
    names = {
        kind: {provider: tuple(entry[kind]) for provider, entry in providers.items() if kind in entry}
        for kind in ("aliases", "claims", "fallback")
    }
    rows = [
        _row(cast(Object, model), Row(provider=provider, id="", source=source, date=day))
        for provider, entry in providers.items()
        for model in entry["models"]
    ]
    return PriceList(name=source, date=day, rows=tuple(rows), about=str(raw.get("about", "")), **names)


def _row(raw: Object, like: Row) -> Row:
    """A row of its JSON object; what the object does not state is as in `like`."""
    name = str(raw.get("id", like.id))
    base = Row(
        provider=like.provider,
        id=name,
        rates=_rates(raw.get("rates", {})),
        tiers=tuple(
            (int(start), _rates(rates)) for start, rates in cast("list[tuple[int, Object]]", raw.get("tiers", ()))
        ),
        match=tuple(cast("list[str]", raw.get("match", ()))),
        source=str(raw.get("source", like.source)),
        date=str(raw.get("date", like.date)),
        context_window=cast("int | None", raw.get("context", like.context_window)),
        max_output_tokens=cast("int | None", raw.get("max_output", like.max_output_tokens)),
    )
    variants = cast("Mapping[str, Object]", raw.get("variants", {}))
    hours = cast("list[tuple[int, int, Object]]", raw.get("hours", ()))
    later = cast("list[tuple[str, Object]]", raw.get("later", ()))
    if not (variants or hours or later):
        return base
    return replace(
        base,
        variants={tier: _row(entry, base) for tier, entry in variants.items()},
        hours=tuple((start, end, _row(entry, base)) for start, end, entry in hours),
        later=tuple((_epoch(date.fromisoformat(day)), replace(_row(entry, base), date=day)) for day, entry in later),
    )


def _rates(raw: object) -> Rates:
    rates = cast("dict[str, int]", raw)
    for name, value in rates.items():
        if name not in RATES or type(value) is not int or value < 0:
            raise ValueError(f"a rate {name}={value!r}")
    return rates


def _epoch(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def write(path: Path, listed: PriceList) -> None:
    """Write a list, a model a line, replacing the file at once."""
    head = {"schema": SCHEMA, "name": listed.name, "date": listed.date, "about": listed.about}
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "providers": {\n'
    providers = list(dict.fromkeys(row.provider for row in listed.rows))
    text += ",\n".join(_provider(listed, provider) for provider in providers) + "\n }\n}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


def _provider(listed: PriceList, provider: str) -> str:
    names = {
        kind: table[provider]
        for kind, table in (("aliases", listed.aliases), ("claims", listed.claims), ("fallback", listed.fallback))
        if table.get(provider)
    }
    head = "".join(f"{json.dumps(kind)}: {json.dumps(values)}, " for kind, values in names.items())
    like = Row(provider=provider, id="", source=listed.name, date=listed.date)
    lines = [json.dumps(_object(row, like), separators=(",", ":")) for row in listed.rows if row.provider == provider]
    return f'  {json.dumps(provider)}: {{{head}"models": [\n   ' + ",\n   ".join(lines) + "\n  ]}"


def _object(row: Row, like: Row) -> dict[str, object]:
    """What a row states beyond `like`, in JSON's types."""
    stated: dict[str, object] = {
        "id": row.id if row.id != like.id else None,
        "match": row.match,
        "source": row.source if row.source != like.source else None,
        "date": row.date if row.date != like.date else None,
        "context": row.context_window if row.context_window != like.context_window else None,
        "max_output": row.max_output_tokens if row.max_output_tokens != like.max_output_tokens else None,
        "rates": row.rates,
        "tiers": row.tiers,
        "variants": {tier: _object(one, row) for tier, one in row.variants.items()},
        "hours": [(start, end, _object(one, row)) for start, end, one in row.hours],
        "later": [(_day(start), _object(replace(one, date=row.date), row)) for start, one in row.later],
    }
    return {name: value for name, value in stated.items() if value}


def _day(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).date().isoformat()
