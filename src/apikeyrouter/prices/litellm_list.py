"""The price file inside an installed litellm, read as data: importing litellm takes seconds and fetches it anew.

It knows four thousand models and disagrees with other lists on some (grok-code-fast-1 cost 1.0 and 2.0 dollars a
million there, 0.2 and 1.5 elsewhere, 2026-11). So it is a witness: it may raise what is held for a model, and it
prices what no other list knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, cast

from apikeyrouter.core.rates import Rates, Row, pico_each

FILE: Final = "model_prices_and_context_window_backup.json"
RATE_OF: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_image": "image",
    "input_cost_per_request": "request",
}
VARIANTS: Final = {"batches": "batch", "flex": "flex", "priority": "priority"}
PROVIDERS: Final = {
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "moonshot": "moonshotai",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "voyage": "voyageai",
    "xai": "x-ai",
}
"""litellm's names of providers, where other lists name them otherwise; every `vertex_ai...` is google."""
_KEY: Final = re.compile(r"(?P<name>.+?)(?:_above_(?P<tier>\d+)k_tokens)?(?:_(?P<variant>batches|flex|priority))?$")


def find() -> Path | None:
    """The file of the installed litellm, or None. Does not import it."""
    spec = find_spec("litellm")
    places = spec.submodule_search_locations if spec else None
    return next((path for place in places or () if (path := Path(place) / FILE).is_file()), None)


def dated(path: Path) -> str:
    """When the file was written (ISO), as far as the file system tells."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def read(path: Path) -> tuple[Row, ...]:
    """The rows of the file; entries without a price of ours give none."""
    entries = cast("dict[str, dict[str, object]]", json.loads(path.read_text("utf-8"), parse_float=Decimal))
    source, date = f"litellm {_release()}".strip(), dated(path)
    return tuple(
        row for name, entry in entries.items() if name != "sample_spec" for row in _row(name, entry, source, date)
    )


def _release() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("litellm")
    except PackageNotFoundError:
        return ""


def _row(name: str, entry: Mapping[str, object], source: str, date: str) -> Iterator[Row]:
    prices = _sorted_prices(entry)
    plain = prices.get(("", 0))
    if not plain:
        return
    provider = str(entry.get("litellm_provider", ""))
    row = Row(
        provider="google" if provider.startswith("vertex_ai") else PROVIDERS.get(provider, provider),
        id=_bare(name, provider),
        rates=plain,
        tiers=_tiers(prices, ""),
        source=source,
        date=date,
        context_window=_count(entry.get("max_input_tokens")),
        max_output_tokens=_count(entry.get("max_output_tokens")),
    )
    variants = {
        variant: replace(row, rates={**plain, **prices.get((variant, 0), {})}, tiers=_tiers(prices, variant))
        for variant in VARIANTS.values()
        if (variant, 0) in prices
    }
    yield replace(row, variants=variants) if variants else row


def _sorted_prices(entry: Mapping[str, object]) -> dict[tuple[str, int], dict[str, int]]:
    """Rates by variant and number of input tokens above which they hold."""
    prices: dict[tuple[str, int], dict[str, int]] = {}
    for key, value in entry.items():
        rate, tier, variant = _meaning(key)
        if rate and isinstance(value, Decimal | int) and not isinstance(value, bool) and value >= 0:
            prices.setdefault((variant, tier), {})[rate] = pico_each(value)
    return prices


@cache
def _meaning(key: str) -> tuple[str, int, str]:
    found = _KEY.match(key)
    if "cost" not in key or found is None:
        return "", 0, ""
    name = RATE_OF.get(found["name"], "")
    return name, int(found["tier"] or 0) * 1000, VARIANTS.get(found["variant"] or "", "")


def _tiers(prices: Mapping[tuple[str, int], Rates], variant: str) -> tuple[tuple[int, Rates], ...]:
    return tuple((tier, rates) for (name, tier), rates in sorted(prices.items()) if name == variant and tier)


def _bare(name: str, provider: str) -> str:
    """A name without its provider in front: "gemini/gemini-2.5-pro" and the like."""
    head, slash, rest = name.lower().partition("/")
    return rest if slash and (head == provider or provider.startswith(head)) else name.lower()


def _count(value: object) -> int | None:
    return value if type(value) is int else None
