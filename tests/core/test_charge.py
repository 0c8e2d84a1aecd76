"""What is charged at the end: the price in force then, an hour's cache at its own price, opinions beside the rest."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from rig import MODEL, Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.model import Usage
from apikeyrouter.core.price import Price
from apikeyrouter.core.rates import Row
from apikeyrouter.core.stats import Opinion


def test_an_hours_cache_has_its_own_price() -> None:
    price = Price.of("m", input="3", output="15", cache_read="0.30", cache_write="3.75", cache_write_1h="6")
    written = Usage(input_tokens=1_000, cache_write_tokens=1_000)
    assert price.cost(written) == 3_750_000
    assert price.cost(replace(written, cache_write_1h_tokens=400)) == 600 * 3_750 + 400 * 6_000
    assert price.cost(replace(written, cache_write_1h_tokens=1_000)) <= price.hold(1_000, 0)


def test_without_a_price_of_its_own_it_costs_what_writing_costs() -> None:
    for rates in ({"input": "3"}, {"input": "3", "cache_write": "3.75"}):
        price = Price.of("m", **rates)
        written = Usage(input_tokens=10, cache_write_tokens=10)
        assert price.cost(replace(written, cache_write_1h_tokens=10)) == price.cost(written)


@pytest.mark.parametrize(("waits", "cost"), [(0.0, 1_000_000), (3_600.0, 2_000_000)])
def test_the_price_in_force_at_the_end_is_charged(waits: float, cost: int) -> None:
    rig = Rig()
    row = Row(provider="p", id=MODEL, rates={"input": 1_000_000})
    dearer = replace(row, rates={"input": 2_000_000})
    rig.prices.override("p", MODEL, Price(replace(row, later=((rig.clock.time + 1_800, dearer),))))
    rig.key("k")
    lease = rig.router.acquire(ask(1_000), timeout_s=7_200)
    assert lease.decision.cost == 2_000_000  # it may end after the dearer price has begun
    rig.clock.advance(waits)
    rig.router.settle(lease, Usage(input_tokens=1_000))
    assert lease.decision.actual_cost == cost
    assert rig.router.preview(ask(1_000)).cost == 2_000_000


def test_an_opinion_moves_the_configured_quality_and_fades() -> None:
    opinion = Opinion()
    assert opinion.of(0.7) == 0.7
    for _ in range(10):
        opinion.record(0.0)
    assert 0.3 < opinion.of(0.7) < 0.4
    for _ in range(1_000):
        opinion.record(1.0)
    assert 0.95 < opinion.of(0.7) < 1.0


@pytest.mark.parametrize("reported", ["0.0004", "0", "0.5"])
def test_what_the_provider_reports_wins_over_what_is_computed(reported: str) -> None:
    """In the bill, the budget and the report alike; beyond its hold it is an overrun."""
    rig = Rig(budgets=[Budget(scope="global", limit=1)])
    rig.price("1")
    rig.key("k")
    lease = rig.router.acquire(ask(1_000, 500))
    rig.router.settle(lease, Usage(input_tokens=1_000, output_tokens=500, cost_reported=Decimal(reported)))
    (status,), (row,) = rig.router.budgets.status(), rig.router.spending.report("model")
    assert status.spent == row.cost == Decimal(reported)
    assert row.estimated == Decimal("0.0015")
    assert status.overrun == max(Decimal(0), Decimal(reported) - Decimal("0.0015"))
