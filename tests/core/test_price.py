"""Money of a usage: tables for what each rate does, laws for what a hold must cover, naming for the book."""

from __future__ import annotations

import timeit
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.model import Usage
from apikeyrouter.core.price import FREE, Price, PriceBook
from apikeyrouter.core.quote import cost_of
from apikeyrouter.core.rates import RATES, Row, pico, pico_each
from apikeyrouter.core.shelf import MAX_NAME, Shelf, matches

PLAIN = {"input": "2.5", "output": "10"}
FULL = {
    **PLAIN,
    "cache_read": "1.25",
    "cache_write": "3.125",
    "audio_input": "40",
    "audio_output": "80",
    "reasoning": 12,
}


@pytest.mark.parametrize(
    ("dollars", "usage", "nano"),
    [
        (PLAIN, Usage(), 0),
        (PLAIN, Usage(input_tokens=1), 2_500),
        (PLAIN, Usage(input_tokens=1000, output_tokens=500), 7_500_000),
        (PLAIN, Usage(input_tokens=1000, cache_read_tokens=400), 2_500_000),
        (FULL, Usage(input_tokens=1000, cache_read_tokens=400), 2_000_000),
        (FULL, Usage(input_tokens=1000, cache_write_tokens=400), 2_750_000),
        (FULL, Usage(input_tokens=1000, audio_input_tokens=100), 6_250_000),
        (FULL, Usage(output_tokens=1000, audio_output_tokens=100), 17_000_000),
        (FULL, Usage(output_tokens=1000, reasoning_tokens=100), 10_200_000),
        ({"image": "0.04"}, Usage(images=3), 120_000_000),
        ({"request": "0.005"}, Usage(), 5_000_000),
        ({"request": "0.005"}, Usage(requests=4), 20_000_000),
        ({"input": "0.0375"}, Usage(input_tokens=1), 38),
        ({"input": "0.0375"}, Usage(input_tokens=2), 75),
        (PLAIN, Usage(input_tokens=10**6, cost_reported=Decimal("0.0000000005")), 1),
        (PLAIN, Usage(input_tokens=10**6, cost_reported=Decimal(0)), 0),
        (PLAIN, Usage(input_tokens=10**6, cost_reported=Decimal(-5)), 0),
    ],
)
def test_cost(dollars: dict[str, str], usage: Usage, nano: int) -> None:
    assert Price.of("m", **dollars).cost(usage) == nano


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (Usage(input_tokens=100, cache_read_tokens=400), 100 * 2500 + 400 * 1250),
        (Usage(input_tokens=100, cache_read_tokens=200, cache_write_tokens=400), 100 * 2500 + 200 * 1250 + 400 * 3125),
        (Usage(output_tokens=10, reasoning_tokens=50), 10 * 10_000 + 50 * 12_000),
    ],
)
def test_parts_that_exceed_their_whole_are_charged_beside_it(usage: Usage, nano: int) -> None:
    assert Price.of("m", **FULL).cost(usage) == nano


def tiered() -> Row:
    return Row(
        provider="p",
        id="m",
        rates={"input": 1000, "output": 4000, "cache_read": 100},
        tiers=((200_000, {"input": 2000, "output": 6000}), (500_000, {"input": 1500})),
    )


@pytest.mark.parametrize(
    ("tokens", "cost", "hold"),
    [
        (200_000, 200_000, 200_000),
        (200_001, 400_002, 400_002),
        (500_000, 1_000_000, 1_000_000),
        (500_001, 750_002, 1_000_002),  # a tier may be cheaper: cost follows it, a hold keeps the dearest
    ],
)
def test_a_tier_begins_above_its_tokens_and_prices_them_all(tokens: int, cost: int, hold: int) -> None:
    price = Price(tiered())
    assert price.cost(Usage(input_tokens=tokens)) == cost
    assert price.hold(tokens, 0) == hold


def test_a_tier_inherits_what_it_does_not_state() -> None:
    usage = Usage(input_tokens=300_000, cache_read_tokens=300_000)
    assert Price(tiered()).cost(usage) == 30_000


def test_hold_follows_the_dearest_list_and_cost_the_first() -> None:
    row = Row(provider="p", id="m", rates={"input": 1000, "output": 9000})
    other = Row(provider="p", id="m", rates={"input": 3000, "output": 2000})
    price = Price(row, [other])
    assert price.hold(10, 10) == 10 * 3 + 10 * 9
    assert price.cost(Usage(input_tokens=10, output_tokens=10)) == 10 * 1 + 10 * 9


def test_audio_is_held_only_where_it_is_asked_for() -> None:
    price = Price.of("m", **FULL)
    assert price.hold(1000, 0) == 40_000_000
    assert price.hold(1000, 0, frozenset({"audio"})) == 40_000_000
    assert price.hold(1000, 0, frozenset({"tools"})) == 3_125_000


HOUR = 3600
DAY = 86_400


def varying() -> Row:
    night = Row(provider="p", id="m", rates={"input": 500})
    raised = Row(provider="p", id="m", rates={"input": 7000}, date="2026-12-01", hours=((22 * HOUR, 2 * HOUR, night),))
    return Row(
        provider="p", id="m", rates={"input": 1000}, hours=((6 * HOUR, 8 * HOUR, night),), later=((10 * DAY, raised),)
    )


@pytest.mark.parametrize(
    ("now", "cost"),
    [
        (0.0, 1),
        (6 * HOUR, 1),
        (6 * HOUR - 1, 1),
        (8 * HOUR, 1),
        (9 * DAY + 23 * HOUR, 1),
        (10 * DAY + 3 * HOUR, 7),
        (10 * DAY + 23 * HOUR, 1),
        (10 * DAY + 1 * HOUR, 1),
        (10 * DAY + 2 * HOUR, 7),
        (11 * DAY + 22 * HOUR - 1, 7),
    ],
)
def test_price_at_a_time(now: float, cost: int) -> None:
    price = Price(varying())
    assert price.at(now).cost(Usage(input_tokens=1)) == cost
    assert price.at(now) is price.at(now)


def test_half_price_hours_halve_the_cost_but_not_the_hold() -> None:
    price = Price(varying())
    assert price.at(7 * HOUR).cost(Usage(input_tokens=1000)) == 500
    assert price.at(7 * HOUR).hold(1000, 0) == 1000
    assert price.at(10 * DAY + 23 * HOUR).hold(1000, 0) == 7000


def test_a_price_that_never_changes_is_itself_at_any_time() -> None:
    price = Price.of("m", **PLAIN)
    assert price.at(1e9) is price


def test_a_service_tier_has_its_own_price() -> None:
    row = Row(
        provider="p",
        id="m",
        rates={"input": 10**6},
        variants={"batch": Row(provider="p", id="m", rates={"input": 5 * 10**5})},
    )
    price = Price(row)
    assert price.variant("batch").cost(Usage(input_tokens=10)) == 5_000
    assert price.variant("nosuch") is price


def test_free() -> None:
    assert FREE.free
    assert FREE.cost(Usage(input_tokens=10**9, output_tokens=10**9)) == FREE.hold(10**9, 10**9) == 0
    assert Price.of("m", input=0).free
    assert not Price.of("m", output="0.0000001").free
    assert not Price(Row(provider="", id="m", tiers=((1000, {"input": 1}),))).free


@pytest.mark.parametrize("dollars", [{"inputs": 1}, {"input": "-1"}, {"request": "-0.1"}])
def test_a_price_by_hand_refuses_what_it_does_not_know(dollars: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"price"):
        Price.of("m", **dollars)


@pytest.mark.parametrize(
    ("dollars", "rate"), [("0.0375", 37_500), ("2.5", 2_500_000), (15, 15_000_000), ("0.0000001", 1), (0, 0)]
)
def test_pico_is_exact_or_rounded_up(dollars: str, rate: int) -> None:
    assert pico(dollars) == rate


def test_pico_each() -> None:
    assert pico_each("0.04") == 40_000_000_000


rates = st.dictionaries(st.sampled_from(RATES), st.integers(0, 10**8))
rows = st.builds(
    lambda base, tiers, hours: Row(
        provider="p",
        id="m",
        rates=base,
        tiers=tuple(tiers),
        hours=tuple((at * HOUR, (at + 6) * HOUR, Row(provider="p", id="m", rates=rate)) for at, rate in hours),
    ),
    rates,
    st.lists(st.tuples(st.integers(0, 3000), rates), max_size=3, unique_by=lambda tier: tier[0]),
    st.lists(st.tuples(st.integers(0, 18), rates), max_size=2),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    given_in, given_out = draw(st.integers(0, 4000)), draw(st.integers(0, 4000))
    read = draw(st.integers(0, given_in))
    write = draw(st.integers(0, given_in - read))
    reasoning = draw(st.integers(0, given_out))
    return Usage(
        input_tokens=given_in,
        output_tokens=given_out,
        cache_read_tokens=read,
        cache_write_tokens=write,
        audio_input_tokens=draw(st.integers(0, given_in - read - write)),
        reasoning_tokens=reasoning,
        audio_output_tokens=draw(st.integers(0, given_out - reasoning)),
        images=draw(st.integers(0, 3)),
    )


@given(row=rows, others=st.lists(rows, max_size=2), usage=usages(), more=st.integers(0, 500), now=st.floats(0, DAY * 3))
def test_no_usage_within_a_hold_costs_more(row: Row, others: list[Row], usage: Usage, more: int, now: float) -> None:
    price = Price(row, others)
    held = price.hold(usage.input_tokens + more, usage.output_tokens, images=3)
    assert price.at(now).cost(usage) <= held
    assert price.cost(usage) <= held


@given(row=rows, usage=usages())
def test_cost_is_never_negative_and_rounds_up_less_than_one(row: Row, usage: Usage) -> None:
    base = Row(provider="p", id="m", rates=row.rates)
    plain_in = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens - usage.audio_input_tokens
    plain_out = usage.output_tokens - usage.reasoning_tokens - usage.audio_output_tokens
    rate_in, rate_out = row.rates.get("input", 0), row.rates.get("output", 0)
    exact = (
        plain_in * rate_in
        + usage.cache_read_tokens * row.rates.get("cache_read", rate_in)
        + usage.cache_write_tokens * row.rates.get("cache_write", rate_in)
        + usage.audio_input_tokens * row.rates.get("audio_input", rate_in)
        + plain_out * rate_out
        + usage.reasoning_tokens * row.rates.get("reasoning", rate_out)
        + usage.audio_output_tokens * row.rates.get("audio_output", rate_out)
        + usage.images * row.rates.get("image", 0)
        + row.rates.get("request", 0)
    )
    assert exact <= Price(base).cost(usage) * 1000 < exact + 1000


@given(row=rows, first=usages(), second=usages())
def test_hold_never_falls_when_a_request_grows(row: Row, first: Usage, second: Usage) -> None:
    price = Price(row)
    small = min(first.input_tokens, second.input_tokens), min(first.output_tokens, second.output_tokens)
    large = max(first.input_tokens, second.input_tokens), max(first.output_tokens, second.output_tokens)
    assert price.hold(*small) <= price.hold(*large)


def names(*rows: Row, **tables: dict[str, list[str]]) -> PriceBook:
    return PriceBook([Shelf(rows, **tables)])


def row(provider: str, name: str, *match: str, rate: int = 1000) -> Row:
    return Row(provider=provider, id=name, match=(name, *match) if match else (), rates={"input": rate})


BOOK = names(
    row("maker", "big-2", "big-2-2026-01-31", "big-2*"),
    row("maker", "big-1", "*big-1*", "~^b1(?!-tts)"),
    row("maker", "big-2-mini"),
    row("shop", "maker/big-2", rate=3000),
    row("shop", "small", rate=5000),
    row("other", "small", rate=7000),
    row("cloud", "cloudy"),
    aliases={"maker": ["*makers*", "mk"]},
    claims={"other": ["smaller*"]},
    fallback={"cloud": ["maker"]},
)


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("maker", "big-2", "maker:big-2"),
        ("maker", "BIG-2", "maker:big-2"),
        ("maker", "big-2-mini", "maker:big-2"),  # the first row that matches, as the list has it
        ("maker", "x-big-1-y", "maker:big-1"),
        ("maker", "b1-pro", "maker:big-1"),
        ("maker", "b1-tts", None),
        ("maker", "big-2-20260131", "maker:big-2"),
        ("MK", "big-2", "maker:big-2"),
        ("the-makers", "big-2", "maker:big-2"),
        ("shop", "maker/big-2", "shop:maker/big-2"),
        ("cloud", "big-2", "maker:big-2"),
        ("cloud", "cloudy", "cloud:cloudy"),
        ("maker", "small", None),  # the provider is known and has no such model
        ("nobody", "small", "other:small"),  # nobody's list: the dearest of that name
        ("", "small", "other:small"),
        ("nobody", "maker/big-1", "maker:big-1"),
        ("nobody", "big-2", "maker:big-2"),
        ("nobody", "unheard-of", None),
        ("maker", "big-2" + "x" * MAX_NAME, None),
    ],
)
def test_names(provider: str, model: str, found: str | None) -> None:
    price = BOOK.find(provider, model)
    assert (price and f"{price.row.provider}:{price.id}") == found
    assert BOOK.find(provider, model) is price


def test_a_claimed_name_goes_to_its_own_provider_even_where_dearer_ones_exist() -> None:
    book = names(row("own", "small", rate=1), row("other", "small", rate=9), claims={"own": ["sm*"]})
    price = book.find("", "small")
    assert price is not None
    assert price.row.provider == "own"


def test_shelves_are_read_when_reached_and_only_once() -> None:
    reads: list[str] = []

    def lazy() -> Shelf:
        reads.append("second")
        return Shelf([row("p", "two")], name="second")

    book = PriceBook([Shelf([row("p", "one")]), lazy])
    assert book.find("p", "one")
    assert reads == []
    assert book.find("p", "two")
    assert book.find("p", "three") is None
    assert reads == ["second"]
    assert len(book) == 2


def test_a_witness_raises_the_hold_and_prices_what_nobody_else_knows() -> None:
    witness = Shelf([row("p", "m", rate=9000), row("p", "only", rate=4000)])
    book = PriceBook([Shelf([row("p", "m", rate=1000)])], [witness])
    both, only = book.find("p", "m"), book.find("p", "only")
    assert both is not None
    assert only is not None
    assert (both.cost(Usage(input_tokens=1)), both.hold(1, 0)) == (1, 9)
    assert (only.cost(Usage(input_tokens=1)), only.hold(1, 0)) == (4, 4)


def test_overrides_win_over_rows_and_the_last_over_the_first() -> None:
    book = names(row("p", "m"))
    assert book.find("p", "m") is not None
    mine, general = Price.of("mine", input=1), Price.of("general", input=2)
    book.override(None, "*", general)
    book.override("p", "M*", mine)
    assert book.find("p", "m") is mine
    assert book.find("q", "m") is general
    book.override("p", "m", FREE)
    assert book.find("p", "m") is FREE


def test_a_book_forgets_names_rather_than_grow() -> None:
    book = names(row("p", "m"))
    for at in range(10_000):
        book.find("p", f"invented-{at}")
    assert len(book._cache) <= 4096
    assert book.find("p", "m") is not None


@pytest.mark.parametrize(
    ("pattern", "name", "hit"),
    [
        ("abc", "abc", True),
        ("abc", "abcd", False),
        ("abc*", "abcd", True),
        ("*abc", "xabc", True),
        ("*abc", "abcx", False),
        ("*abc*", "xabcx", True),
        ("a*c", "abbc", True),
        ("a*c", "abbd", False),
        ("gpt-?", "gpt-4", True),
        ("~^a(?!b)", "ac", True),
        ("~^a(?!b)", "ab", False),
        ("*", "anything", True),
    ],
)
def test_patterns(pattern: str, name: str, hit: bool) -> None:
    assert matches(pattern, name) is hit


def test_pricing_takes_under_a_microsecond_or_three_on_a_busy_machine() -> None:
    price = Price.of("m", **FULL)
    usage = Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=300, reasoning_tokens=20)
    best = min(timeit.repeat(lambda: price.cost(usage), number=2000, repeat=10)) / 2000
    held = min(timeit.repeat(lambda: price.hold(1000, 500), number=2000, repeat=10)) / 2000
    assert best < 3e-6
    assert held < 3e-6


@pytest.mark.parametrize("tokens", [1, 1_000_000])
def test_sound_that_is_cheaper_than_text_gives_no_money_back(tokens: int) -> None:
    """A usage that counts more sound than tokens must not lower what is spent."""
    price = Price.of("m", input="10", output="20", audio_input="1", audio_output="2")
    assert price.cost(Usage(audio_input_tokens=tokens)) == tokens * 1_000
    assert price.cost(Usage(audio_output_tokens=tokens)) == tokens * 2_000
    assert price.cost(Usage(input_tokens=tokens, audio_input_tokens=tokens, cache_read_tokens=tokens)) >= 0


def test_a_tier_that_is_asked_for_is_held_and_one_that_served_is_charged() -> None:
    base = Row(provider="p", id="m", rates={"input": 1_000})
    price = Price(replace(base, variants={"priority": replace(base, rates={"input": 2_000}),
                                          "flex": replace(base, rates={"input": 500})}))  # fmt: skip
    assert [price.most(10, 0, None, 0.0, tier) for tier in ("", "priority", "flex", "scale")] == [10, 20, 10, 10]
    used = Usage(input_tokens=10)
    assert [cost_of(replace(used, service_tier=t), price, 0.0) for t in ("", "default", "priority", "flex")] == [
        10, 10, 20, 5,
    ]  # fmt: skip


def test_repr_shows_the_rates_and_where_they_come_from() -> None:
    assert (
        repr(Price.of("m", source="contract", date="2026-11-01", **PLAIN)) == "<Price m 2.5/10 $/M contract 2026-11-01>"
    )
    assert "free" in repr(FREE)
