"""Estimates as a person reads them, and how they compare with bills."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.model import Usage
from apikeyrouter.core.price import FREE, Price
from apikeyrouter.core.quote import MAX_ENTRIES, Reconciliation, quote
from apikeyrouter.core.rates import Row

PRICE = Price.of("m", input="2.5", output="10", request="0.001", source="contract", date="2026-11-01")


def test_an_estimate_has_its_parts_its_source_and_its_confidence() -> None:
    said = quote(PRICE, expected=Usage(input_tokens=1000, output_tokens=100), held=10_000_000, confidence=0.8)
    assert said.amount == Decimal("0.0045")
    assert said.held == Decimal("0.01")
    assert said.breakdown == {"input": Decimal("0.0025"), "output": Decimal("0.001"), "request": Decimal("0.001")}
    assert (said.currency, said.confidence, said.method) == ("USD", 0.8, "price_row")
    assert (said.input_tokens, said.output_tokens, said.source, said.date) == (1000, 100, "contract", "2026-11-01")


def test_an_unknown_price_is_no_zero() -> None:
    said = quote(None, expected=Usage(input_tokens=1000), held=None, confidence=0.9)
    assert (said.amount, said.held, said.confidence, said.method) == (None, None, 0.0, "unknown_price")


def test_free_is_known_for_sure() -> None:
    said = quote(FREE, expected=Usage(input_tokens=1000), held=0, confidence=0.2)
    assert (said.amount, said.breakdown, said.confidence, said.method) == (0, {}, 1.0, "free")


def test_a_long_context_makes_the_answer_dearer_too() -> None:
    price = Price(Row(provider="p", id="m", rates={"input": 1000, "output": 2000}, tiers=((100, {"output": 9000}),)))
    said = quote(price, expected=Usage(input_tokens=200, output_tokens=10), held=None, confidence=1.0)
    assert said.breakdown == {"input": Decimal("2e-7"), "output": Decimal("9e-8")}


@given(given_in=st.integers(0, 10**6), given_out=st.integers(0, 10**6))
def test_the_parts_add_up_to_the_amount_which_is_the_cost_within_rounding(given_in: int, given_out: int) -> None:
    expected = Usage(input_tokens=given_in, output_tokens=given_out)
    said = quote(PRICE, expected=expected, held=None, confidence=1.0)
    assert said.amount is not None
    assert sum(said.breakdown.values()) == said.amount
    assert 0 <= int(said.amount * 10**9) - PRICE.cost(expected) <= 2


def test_bills_are_compared_with_holds() -> None:
    books = Reconciliation()
    for _ in range(100):
        books.record("cheap", held=100, billed=50)
    books.record("dear", held=10**9, billed=3 * 10**9)
    dear, cheap = books.report()
    assert (dear.model, dear.requests, dear.over, dear.overrun) == ("dear", 1, 1.0, Decimal(2))
    assert (cheap.requests, cheap.over, cheap.overrun) == (100, 0.0, 0)
    assert cheap.used == pytest.approx(0.5)
    assert (cheap.billed, cheap.held) == (Decimal("5e-6"), Decimal("1e-5"))


def test_lately_counts_more_than_long_ago() -> None:
    books = Reconciliation()
    for at in range(400):
        books.record("m", held=100, billed=100 if at >= 200 else 10)
    assert books.report()[0].used > 0.95


def test_a_bill_without_a_hold_is_over() -> None:
    books = Reconciliation()
    books.record("m", held=0, billed=5)
    books.record("free", held=0, billed=0)
    assert {each.model: (each.used, each.over) for each in books.report()} == {"m": (1.0, 1.0), "free": (0.0, 0.0)}


def test_the_books_stay_bounded_and_keep_what_is_used() -> None:
    books = Reconciliation()
    for at in range(3 * MAX_ENTRIES):
        books.record(f"invented-{at}", held=1, billed=1)
        books.record("kept", held=1, billed=1)
    books.record("x" * 1000, held=1, billed=1)
    assert len(books.report()) == MAX_ENTRIES
    assert next(each.requests for each in books.report() if each.model == "kept") == 3 * MAX_ENTRIES
