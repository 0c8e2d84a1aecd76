"""Money end to end, from a configuration file alone: refused before it is spent, saved where asked, and told."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from stage import MODEL, Opener, Stage, chat, two_providers

from apikeyrouter import BudgetExceededError, InvalidRequestError, Request, Usage
from apikeyrouter.errors import DecisionNotFoundError
from apikeyrouter.events import BudgetCrossed
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1",), limits=limits(rpm=60_000, tpm=400_000_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=60_000, tpm=400_000_000)),
)
DEAR = "gpt-4o"
PRICES = {
    DEAR: {"input": "2.50", "output": "10.00"},
    MODEL: {"input": "0.15", "output": "0.60"},
}


def two_prices(world: World, url: str) -> dict[str, Any]:
    """`fast` is on both providers; the second costs twice the first."""
    config = two_providers(world, url)
    config["prices"] = {
        f"first/{MODEL}": PRICES[MODEL],
        f"second/{MODEL}": {"input": "0.30", "output": "1.20"},
    }
    return config


def costly(**more: object) -> dict[str, object]:
    """Ten cents and a little at most."""
    return chat(model=DEAR, max_tokens=10_000, **more)  # type: ignore[arg-type]


async def with_budget(opened: Opener, **budget: object) -> Stage:
    given = {"scope": "global", "limit": "1 USD", "period": "day", "mode": "hard", **budget}
    return await opened(WORLD, clock=ManualClock(), prices=PRICES, budgets={"daily": given})


# -- a budget that refuses, and one that saves ------------------------------------------------------------------------


async def test_a_hard_budget_refuses_before_anything_is_sent_with_both_numbers(opened: Opener) -> None:
    stage = await with_budget(opened, spent="0.95")
    with pytest.raises(
        BudgetExceededError, match=r"may cost \$0\.1000\d+ and budget global has \$0\.05 left"
    ) as refused:
        await stage.router.route(costly())
    assert stage.count() == 0
    assert refused.value.details["left"] == Decimal("0.05")
    assert refused.value.decision is not None
    assert refused.value.decision.cost is None


async def test_a_soft_budget_sends_the_same_request_to_the_cheaper_model_and_tells_the_saving(opened: Opener) -> None:
    stage = await with_budget(opened, spent="0.95", mode="soft", downgrade={DEAR: MODEL})
    reply = await stage.router.route(costly())
    (seen,) = stage.world.record.all()
    assert (reply.metadata.model, seen.model) == (MODEL, MODEL)
    decision = stage.router.explain(reply.metadata.decision_id)
    assert decision.lowered is not None
    assert decision.cost is not None
    assert decision.lowered.cost is not None
    saved = Decimal(decision.lowered.cost - decision.cost) / 10**9
    assert Decimal("0.09") < saved < Decimal("0.1")
    assert f"{MODEL} instead of {DEAR} by budget global, which saves up to ${saved.normalize():f}" in str(decision)
    (budget,) = stage.router.budget_status()
    assert budget.spent == Decimal("0.95") + (reply.metadata.cost or 0)


async def test_a_soft_budget_with_room_changes_nothing(opened: Opener) -> None:
    stage = await with_budget(opened, spent="0.80", mode="soft", downgrade={DEAR: MODEL})
    reply = await stage.router.route(costly())
    assert reply.metadata.model == DEAR
    assert stage.router.explain(reply.metadata.decision_id).lowered is None


@pytest.mark.parametrize("scope", [f"model:{DEAR}", "provider:openai", "key:a1", "tenant:acme", "tag:feature=chat"])
async def test_a_soft_budget_of_any_scope_may_save(opened: Opener, scope: str) -> None:
    world = WORLD[:1]
    budget = {"scope": scope, "limit": "1", "spent": "0.95", "mode": "soft", "downgrade": {DEAR: MODEL}}
    stage = await opened(world, clock=ManualClock(), prices=PRICES, budgets={"save": budget})
    reply = await stage.router.route(costly(), tenant="acme", tags={"feature": "chat"})
    assert reply.metadata.model == MODEL
    assert f"by budget {scope}" in str(stage.router.explain(reply.metadata.decision_id))


async def test_a_hard_and_a_soft_budget_together_are_both_kept(opened: Opener) -> None:
    budgets = {
        "most": {"scope": "global", "limit": "1", "spent": "0.95"},
        "save": {"scope": "global", "limit": "0.9", "spent": "0.9", "mode": "soft", "downgrade": {DEAR: MODEL}},
    }
    stage = await opened(WORLD, clock=ManualClock(), prices=PRICES, budgets=budgets)
    assert (await stage.router.route(costly())).metadata.model == MODEL  # what would be refused goes out cheaper
    with pytest.raises(BudgetExceededError):
        await stage.router.route(chat(model=DEAR, max_tokens=10_000 * 20))


# -- cost and reliability together ------------------------------------------------------------------------------------


async def test_the_cheapest_that_is_reliable_enough_wins_and_the_text_says_why(opened: Opener) -> None:
    objective = {"cost": 0.7, "reliability": 0.3, "constraints": {"min_reliability": 0.95}}
    settings = {"failover": "any", "backoff": 0.001, "attempts": 2}
    stage = await opened(WORLD, config=two_prices, clock=ManualClock(), objective=objective, settings=settings)
    first = await stage.router.route(chat(model="fast"))
    assert first.metadata.key_used == "a1"  # cheaper, and as reliable as anybody
    text = str(stage.router.explain(first.metadata.decision_id))
    assert "a1 chosen for first/gpt-4o-mini" in text
    assert "best of 2 that could serve" in text
    assert "b1: score 0." in text
    assert "b1 lost by 0.35 on cost; with a 50 % lower price it would have won." in text
    stage.world.faults.add(Fault(kind="error", key="a1", times=3))
    for _ in range(4):
        await stage.while_time_passes(stage.router.route(chat(model="fast")))
    assert stage.clock is not None
    stage.clock.advance(60)  # the breaker has closed; what was experienced stays
    reply = await stage.while_time_passes(stage.router.route(chat(model="fast")))
    assert reply.metadata.key_used == "b1"
    text = str(stage.router.explain(reply.metadata.decision_id))
    assert "b1 chosen for second/gpt-4o-mini" in text
    assert "first/gpt-4o-mini: reliability 0." in text
    assert "is below the minimum of 0.950" in text


async def test_a_cost_policy_and_a_reliability_minimum_hold_together(opened: Opener) -> None:
    """The policy takes the dear key away, experience the unreliable one: nobody is left, and both are named."""
    stage = await opened(
        WORLD,
        config=two_prices,
        clock=ManualClock(),
        policies={"thrift": {"type": "cost", "deny": "key.cost > 0.00003"}},
        objective={"cost": 1.0, "constraints": {"min_reliability": 0.95}},
    )
    reply = await stage.router.route(chat(model="fast"))
    assert reply.metadata.key_used == "a1"
    text = str(stage.router.explain(reply.metadata.decision_id))
    assert "second/gpt-4o-mini: policy thrift v1, deny: key.cost > 0.00003" in text
    for _ in range(3):
        stage.router.feedback(reply.metadata.decision_id, success=False)
    decision = stage.router.preview(Request(model="fast", input_tokens=10, max_output_tokens=32))
    assert decision.key is None
    assert "below the minimum of 0.950" in str(decision)
    assert "policy thrift" in str(decision)


# -- what it cost -----------------------------------------------------------------------------------------------------


async def test_costs_are_told_by_anything_and_agree_with_the_bills(opened: Opener) -> None:
    stage = await opened(WORLD, config=two_prices, clock=ManualClock())
    bills: dict[tuple[str, str], Decimal] = {}
    for n in range(30):
        tags = {"feature": ("chat", "search", "batch")[n % 3], "team": "a" if n % 2 else "b"} if n < 24 else {}
        reply = await stage.router.route(chat(model="fast", output=n), tenant=f"t{n % 2}", tags=tags)
        cost, meta = reply.metadata.cost or Decimal(0), reply.metadata
        named = {"tag:feature": tags.get("feature", ""), "tag:team": tags.get("team", ""), "tenant": f"t{n % 2}"}
        named |= {"key": meta.key_used, "provider": meta.provider, "model": meta.model, "route": "fast"}
        for at in named.items():
            bills[at] = bills.get(at, Decimal(0)) + cost
    groupings = {kind for kind, _ in bills}
    assert groupings == {"tag:feature", "tag:team", "tenant", "key", "provider", "model", "route"}
    for kind in groupings:
        rows = stage.router.costs(kind)
        assert {row.group: row.cost for row in rows} == {name: c for (k, name), c in bills.items() if k == kind}
        assert [row.cost for row in rows] == sorted((row.cost for row in rows), reverse=True)
        assert sum(row.requests for row in rows) == 30
    (total,) = stage.router.costs()
    assert total.cost <= total.estimated
    assert total.output_tokens == sum(range(30))
    with pytest.raises(InvalidRequestError, match="cannot be grouped by 'colour'"):
        stage.router.costs("colour")


async def test_an_estimate_is_compared_with_its_bill(opened: Opener) -> None:
    stage = await opened(WORLD, config=two_prices, clock=ManualClock(), objective="cost")
    for _ in range(5):
        await stage.router.route(chat(model="fast", output=8, max_tokens=32))
    (row,) = stage.router.reconciliation()
    assert (row.model, row.requests, row.over, row.overrun) == (f"first/{MODEL}", 5, 0.0, 0)
    assert row.billed == sum(d.actual_cost or 0 for d in stage.decisions()) / Decimal(10**9)
    assert 0.2 < row.used < 0.9


async def test_what_was_abandoned_is_counted_at_what_was_held(opened: Opener) -> None:
    stage = await opened(WORLD, config=two_prices, clock=ManualClock())
    lease = stage.router.acquire(Request(model="fast", input_tokens=1_000, max_output_tokens=1_000, tenant="acme"))
    stage.router.abandon(lease.id)
    (row,) = stage.router.costs("tenant")
    assert (row.group, row.requests, row.cost) == ("acme", 1, row.estimated)
    assert row.cost > 0


# -- alerts -----------------------------------------------------------------------------------------------------------


async def test_a_threshold_is_told_however_the_money_was_spent(opened: Opener) -> None:
    """A bill, a lease that nobody settled, and a failure that may have been billed are all spend."""
    stage = await with_budget(opened, limit="0.25", thresholds=[0.3, 0.6, 0.9])
    router = stage.router
    await router.route(costly(output=10_000))
    big = Request(model=DEAR, input_tokens=100, max_output_tokens=7_000)
    lease = router.acquire(big)
    router.abandon(lease.id)
    router.get_state_summary()
    lease = router.acquire(Request(model=DEAR, input_tokens=100, max_output_tokens=6_000))
    router.fail(lease, 504, {}, None)
    assert [e.threshold for e in stage.of(BudgetCrossed)] == [0.3, 0.6, 0.9]


async def test_a_bill_beyond_its_hold_is_told_counted_and_blocks(opened: Opener) -> None:
    stage = await with_budget(opened, limit="0.11")
    lease = stage.router.acquire(Request(model=DEAR, input_tokens=0, max_output_tokens=10_000))
    stage.router.settle(lease, Usage(output_tokens=100_000))
    (told,) = stage.of(BudgetCrossed)
    assert told.overrun == 900_000_000
    assert told.threshold == 1.0
    (budget,) = stage.router.budget_status()
    assert (budget.overrun, budget.spent) == (Decimal("0.9"), Decimal(1))
    with pytest.raises(BudgetExceededError):
        await stage.router.route(chat(model=DEAR))
    assert stage.count() == 0


async def test_a_budget_says_when_it_will_be_used_up(opened: Opener) -> None:
    stage = await with_budget(opened, limit="10", period="month")
    assert stage.clock is not None
    for _ in range(24):
        stage.clock.advance(3_600)
        await stage.router.route(costly(output=10_000))
    (budget,) = stage.router.budget_status()
    assert budget.exhausted_at is not None
    hours = (budget.exhausted_at - stage.clock.now()) / 3_600
    assert hours == pytest.approx(float(budget.remaining / (budget.spent / 24)), rel=0.15)


# -- prices -----------------------------------------------------------------------------------------------------------


async def test_a_price_of_the_file_wins_over_the_lists(opened: Opener) -> None:
    stage = await opened(WORLD, clock=ManualClock(), prices={"gpt-4o*": {"input": "1", "output": "1"}})
    reply = await stage.router.route(chat(output=8))
    assert reply.usage is not None
    assert reply.metadata.cost == Decimal(reply.usage.input_tokens + 8) / 1_000_000


@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ({"unknown_price": "allow"}, None),
        ({"unknown_price": "assume", "assumed_price": {"input": "5", "output": "1000"}}, Decimal("0.008")),
    ],
    ids=["allow", "assume"],
)
async def test_an_unknown_price_may_be_let_through_or_assumed(
    opened: Opener, settings: dict[str, object], cost: Decimal | None
) -> None:
    budgets = {"daily": {"scope": "global", "limit": "1"}, "key": {"scope": "key:*", "limit": "1"}}
    stage = await opened(WORLD, clock=ManualClock(), budgets=budgets, settings=settings)
    request = Request(model="openai/house-model", input_tokens=10, max_output_tokens=32)
    lease = stage.router.acquire(request)
    stage.router.settle(lease, Usage(input_tokens=10, output_tokens=8))
    spent = max(budget.spent for budget in stage.router.budget_status())
    (row,) = stage.router.costs("model")
    if cost is None:
        assert (lease.decision.actual_cost, spent, row.unpriced) == (None, 0, 1)
        assert "at an unknown price" in str(lease.decision)
    else:
        assert cost < spent == row.cost < cost + Decimal("0.001")
        with pytest.raises(BudgetExceededError):
            stage.router.acquire(Request(model="openai/house-model", input_tokens=10, max_output_tokens=1_001))


async def test_feedback_moves_what_is_chosen_by_quality(opened: Opener) -> None:
    stage = await opened(WORLD, config=two_prices, clock=ManualClock(), objective="quality")
    replies = [await stage.router.route(chat(model="fast")) for _ in range(20)]
    disliked = replies[0].metadata
    for _ in range(3):
        stage.router.feedback(disliked.decision_id, quality=0.0)
    after = {(await stage.router.route(chat(model="fast"))).metadata.provider for _ in range(10)}
    assert after == {"first", "second"} - {disliked.provider}
    with pytest.raises(InvalidRequestError, match="quality is 2"):
        stage.router.feedback(disliked.decision_id, quality=2)
    with pytest.raises(DecisionNotFoundError):
        stage.router.feedback("dec_nobody", success=True)


# -- together ---------------------------------------------------------------------------------------------------------


async def test_many_at_once_spend_no_cent_too_much_in_any_of_their_budgets(opened: Opener) -> None:
    budgets = {
        "all": {"scope": "global", "limit": "0.9"},
        "each": {"scope": "tenant:*", "limit": "0.35"},
        "chat": {"scope": "tag:feature=chat", "limit": "0.55"},
        "a": {"scope": "pool:org-a", "limit": "0.45"},
    }
    stage = await opened(WORLD, clock=ManualClock(), prices=PRICES, budgets=budgets)
    tasks = (
        stage.router.route(
            costly(output=10_000 if n % 3 else 100), tenant=f"t{n % 4}", tags={"feature": "chat" if n % 2 else "batch"}
        )
        for n in range(120)
    )
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [r for r in results if isinstance(r, BaseException)]
    assert {type(r) for r in refused} == {BudgetExceededError}
    assert 120 - len(refused) == stage.count() > 5
    for budget in stage.router.budget_status():
        assert budget.spent <= budget.limit
        assert (budget.held, budget.overrun) == (0, 0)
    (total,) = stage.router.costs()
    (everything,) = stage.router.budget_status("all")
    assert everything.spent == total.cost
