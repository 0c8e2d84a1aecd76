"""Reads what a request used out of an answer, by paths that are data: providers agree on the idea, not on the names.

`input_tokens` ends up INCLUDING what was read from and written to caches, `output_tokens` INCLUDING reasoning.
Providers that count those apart say so in their table (`input_excludes_cache`, `output_excludes_reasoning`); elsewhere
reasoning outside the completion is recognised by the total, which then is the sum of all three (xAI, 2026-10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from apikeyrouter.adapters.narrow import integer, mapping, text
from apikeyrouter.adapters.rules import Problems, paths
from apikeyrouter.core.jsonpath import Path, first
from apikeyrouter.core.model import Usage

COUNTS: Final = (
    "input",
    "output",
    "total",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "audio_input",
    "audio_output",
    "images",
)
_WORDS: Final = frozenset(
    {*COUNTS, "at", "cost", "cost_beside", "cost_beside_if", "input_excludes_cache", "output_excludes_reasoning"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePaths:
    """Where each count is, below the first of `at` that exists; several paths for one count are alternatives.

    `cost_beside` is billed beside `cost`, by somebody else, where `cost_beside_if` is true.
    """

    at: tuple[Path, ...] = ((),)
    counts: Mapping[str, tuple[Path, ...]]
    cost: tuple[Path, ...] = ()
    cost_beside: tuple[Path, ...] = ()
    cost_beside_if: tuple[Path, ...] = ()
    input_excludes_cache: bool = False
    output_excludes_reasoning: bool = False


def usage_paths(raw: object, where: str, problems: Problems) -> UsagePaths:
    """The table from data: `{at: [$.usage], input: [prompt_tokens], output: [completion_tokens], cost: [cost]}`."""
    given = mapping(raw)
    problems.unknown(where, given, _WORDS)
    counts = {name: paths(given[name], f"{where}.{name}", problems) for name in COUNTS if name in given}
    return UsagePaths(
        at=paths(given["at"], f"{where}.at", problems) if "at" in given else ((),),
        counts=counts,
        cost=_paths(given, "cost", where, problems),
        cost_beside=_paths(given, "cost_beside", where, problems),
        cost_beside_if=_paths(given, "cost_beside_if", where, problems),
        input_excludes_cache=given.get("input_excludes_cache") is True,
        output_excludes_reasoning=given.get("output_excludes_reasoning") is True,
    )


def _paths(given: Mapping[str, object], name: str, where: str, problems: Problems) -> tuple[Path, ...]:
    return paths(given[name], f"{where}.{name}", problems) if name in given else ()


def read_usage(table: UsagePaths, raw: object) -> Usage | None:
    """The usage an answer states, or None where it states none."""
    found = next((inner for path in table.at if isinstance(inner := first(path, raw), Mapping)), None)
    if found is None:
        return None
    seen = {name: _count(alternatives, found) for name, alternatives in table.counts.items()}
    cost = _cost(table.cost, found)
    if cost is not None and any(first(path, found) is True for path in table.cost_beside_if):
        cost += _cost(table.cost_beside, found) or 0
    if cost is None and not any(seen.values()):
        return None
    return _usage(table, seen, cost, _tier(found, raw))


def _tier(found: Mapping[str, object], raw: object) -> str:
    """The service tier an answer names, beside its usage or in it, whichever dialect it is of."""
    if found.get("speed") == "fast":
        return "fast"
    return text(found.get("service_tier")) or text(mapping(raw).get("service_tier"))


def _usage(table: UsagePaths, seen: Mapping[str, int], cost: Decimal | None, tier: str) -> Usage:
    get = seen.get
    cached = get("cache_read", 0) + get("cache_write", 0)
    given, made, reasoning, total = get("input", 0), get("output", 0), get("reasoning", 0), get("total", 0)
    if table.input_excludes_cache:
        given += cached
    if table.output_excludes_reasoning or (reasoning and total == given + made + reasoning):
        made += reasoning
    return Usage(
        input_tokens=max(given, cached),
        output_tokens=max(made, reasoning),
        cache_read_tokens=get("cache_read", 0),
        cache_write_tokens=get("cache_write", 0),
        cache_write_1h_tokens=min(get("cache_write_1h", 0), get("cache_write", 0)),
        reasoning_tokens=reasoning,
        audio_input_tokens=get("audio_input", 0),
        audio_output_tokens=get("audio_output", 0),
        images=get("images", 0),
        cost_reported=cost,
        service_tier=tier,
    )


def _count(alternatives: tuple[Path, ...], found: object) -> int:
    for path in alternatives:
        value = first(path, found)
        if value:
            amount = integer(value)
            if amount:
                return amount
    return 0


def _cost(alternatives: tuple[Path, ...], found: object) -> Decimal | None:
    for path in alternatives:
        amount = decimal(first(path, found))
        if amount is not None:
            return amount
    return None


def decimal(value: object) -> Decimal | None:
    """A finite, non-negative amount of dollars below a million, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value)[:64])
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < 1_000_000 else None
