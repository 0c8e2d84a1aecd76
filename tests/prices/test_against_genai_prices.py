"""The library the rows come from is the judge: 360 usages cost the same to the nano-dollar, models are found alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING
from importlib.metadata import version

import pytest

from apikeyrouter import prices
from apikeyrouter.core.model import Usage
from apikeyrouter.core.price import Price
from apikeyrouter.core.quote import cost_of
from apikeyrouter.core.shelf import Shelf
from apikeyrouter.prices import genai_list, listfile

genai = pytest.importorskip("genai_prices", reason="genai-prices is not installed: pip install 'apikeyrouter[prices]'")

TODAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4.1"),
    ("openai", "o3"),
    ("openai", "gpt-5.2"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-haiku-4-5-20251001"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-5"),
    ("google", "gemini-2.5-flash"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.0-flash"),
    ("azure", "gpt-4o"),
    ("mistral", "mistral-large-latest"),
    ("groq", "llama-3.3-70b-versatile"),
    ("deepseek", "deepseek-chat"),
    ("deepseek", "deepseek-v4-flash"),
    ("x-ai", "grok-4"),
    ("cohere", "command-r-plus"),
    ("perplexity", "sonar-pro"),
]
USAGES = {
    "OpenAI: chat completion object": Usage(input_tokens=19, output_tokens=10),
    "OpenAI: prompt caching guide": Usage(input_tokens=2006, output_tokens=300, cache_read_tokens=1920),
    "OpenAI: reasoning guide": Usage(input_tokens=75, output_tokens=1186, reasoning_tokens=1024),
    "OpenAI: embeddings object": Usage(input_tokens=8),
    "Anthropic: messages example": Usage(input_tokens=2095, output_tokens=503),
    "Anthropic: a call that writes the cache": Usage(
        input_tokens=188_107, output_tokens=393, cache_write_tokens=188_086
    ),
    "Anthropic: one that reads it": Usage(input_tokens=188_107, output_tokens=393, cache_read_tokens=188_086),
    "Anthropic: caching guide, both": Usage(
        input_tokens=100_298, output_tokens=503, cache_read_tokens=100_000, cache_write_tokens=248
    ),
    "Gemini: count tokens guide": Usage(input_tokens=11, output_tokens=73),
    "Gemini: above 200,000 tokens": Usage(input_tokens=250_001, output_tokens=4_000, cache_read_tokens=100_000),
    "Gemini: at 200,000 tokens": Usage(input_tokens=200_000, output_tokens=1),
    "a million in and out": Usage(input_tokens=1_000_000, output_tokens=1_000_000),
}


def theirs(
    provider: str, model: str, usage: Usage, at: datetime = NOON, context: dict[str, str] | None = None
) -> int | None:
    """What genai-prices says, in nano-dollars rounded up; None where it does not know the model."""
    said = genai.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    try:
        priced = genai.calc_price(said, model, provider_id=provider, genai_request_timestamp=at, price_context=context)
    except LookupError:
        return None
    return int((priced.total_price * 10**9).to_integral_value(ROUND_CEILING))


def ours(shelf: Shelf, provider: str, model: str, usage: Usage, at: datetime = NOON) -> int | None:
    row = shelf.find(provider, model.lower())
    return Price(row).at(at.timestamp()).cost(usage) if row else None


SHIPPED = prices.shipped(TODAY)
RELEASE = version("genai-prices")
same_release = pytest.mark.skipif(
    SHIPPED.name != f"genai-prices {RELEASE}",
    reason=f"genai-prices {RELEASE} is installed, the shipped list is of {SHIPPED.name}",
)


@same_release
@pytest.mark.parametrize("example", USAGES)
@pytest.mark.parametrize(("provider", "model"), MODELS, ids=[f"{p}/{m}" for p, m in MODELS])
def test_a_documented_usage_costs_the_same(provider: str, model: str, example: str) -> None:
    cost = ours(SHIPPED, provider, model, USAGES[example])
    assert cost is not None
    assert cost == theirs(provider, model, USAGES[example])


TIERED = [
    ("openai", "gpt-4o", "batch"),
    ("openai", "gpt-4o-mini", "batch"),
    ("openai", "gpt-4.1", "priority"),
    ("openai", "gpt-5.2", "flex"),
    ("anthropic", "claude-haiku-4-5-20251001", "batch"),
    ("anthropic", "claude-opus-5", "fast"),
    ("google", "gemini-2.5-flash", "batch"),
    ("google", "gemini-2.5-pro", "batch"),
    ("mistral", "codestral-2508", "batch"),
    ("groq", "openai/gpt-oss-120b", "batch"),
]


@same_release
@pytest.mark.parametrize("example", USAGES)
@pytest.mark.parametrize(("provider", "model", "tier"), TIERED, ids=["/".join(each) for each in TIERED])
def test_a_documented_usage_costs_the_same_at_another_service_tier(
    provider: str, model: str, tier: str, example: str
) -> None:
    """Asked for by name in the usage, as an answer tells it."""
    row = SHIPPED.find(provider, model)
    assert row is not None
    assert tier in row.variants
    cost = cost_of(replace(USAGES[example], service_tier=tier), Price(row), NOON.timestamp())
    assert cost == theirs(provider, model, USAGES[example], context=genai_list.CONTEXTS[tier])


def test_there_are_at_least_two_hundred_of_them() -> None:
    assert len(MODELS) * len(USAGES) == 240
    assert len(TIERED) * len(USAGES) == 120


@pytest.fixture(scope="module")
def everything() -> Shelf:
    return listfile.shelf(genai_list.read(TODAY), TODAY)


def test_every_model_is_found_and_costs_the_same(everything: Shelf) -> None:
    """All rows of all providers by their own names: what the list and the library say of one usage."""
    usage = Usage(input_tokens=123_457, output_tokens=4_321, cache_read_tokens=100_001, cache_write_tokens=1_003)
    names = {(row.provider, row.id) for row in everything}
    said = {name: (ours(everything, *name, usage), theirs(*name, usage)) for name in names}
    exact = {name: pair for name, pair in said.items() if name[0] not in FINER}
    assert {name: pair for name, pair in exact.items() if pair[0] != pair[1]} == {}
    rounded = [(mine or 0) - (other or 0) for name, (mine, other) in said.items() if name[0] in FINER]
    assert 0 <= min(rounded) <= max(rounded) <= 130  # a rate is rounded up to a pico-dollar, times 123,457 tokens
    assert len(said) > 2000


FINER = {"openrouter", "huggingface_together"}
"""Providers with prices of more than six decimals in dollars per million tokens."""


HOURLY = [(model, hour) for model in ("deepseek-chat", "deepseek-v4-pro") for hour in range(24)]


@pytest.mark.parametrize(("model", "hour"), HOURLY)
def test_hours_of_the_day(everything: Shelf, model: str, hour: int) -> None:
    usage, at = Usage(input_tokens=1000, output_tokens=100), NOON.replace(hour=hour)
    assert ours(everything, "deepseek", model, usage, at) == theirs("deepseek", model, usage, at)


def test_prices_announced_for_later_begin_on_their_day(everything: Shelf) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    announced = [(row, start) for row in everything for start, _ in row.later]
    assert announced
    for row, start in announced:
        for moment in (datetime.fromtimestamp(start - 1, UTC), datetime.fromtimestamp(start + 1, UTC)):
            same = Price(row).at(moment.timestamp()).cost(usage) == theirs(row.provider, row.id, usage, moment)
            assert same, (row.id, moment)


TIERS = {"batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}, "priority": {"service_tier": "priority"}}


@pytest.mark.parametrize("tier", TIERS)
def test_service_tiers(everything: Shelf, tier: str) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=10)
    rows = [row for row in everything if tier in row.variants and theirs(row.provider, row.id, usage)]
    assert len(rows) > 10
    for row in rows:
        said = theirs(row.provider, row.id, usage, context=TIERS[tier])
        assert Price(row).variant(tier).cost(usage) == said, (row.provider, row.id)
