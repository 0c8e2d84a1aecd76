"""Money is held before anything is sent, so a hard budget stops a request instead of counting it afterwards."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from stage import Opener, Stage, chat

from apikeyrouter import BudgetExceededError, Reply
from apikeyrouter.core.budget import BudgetStatus
from apikeyrouter.events import BudgetCrossed, Refused
from apikeyrouter.simulator import Organisation, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=6000, tpm=40_000_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=6000, tpm=40_000_000)),
)


def costly(**more: object) -> dict[str, object]:
    """At most ten cents and a little: 10,000 tokens of output at 10 dollars a million."""
    return chat(model="gpt-4o", max_tokens=10_000, **more)  # type: ignore[arg-type]


async def with_budget(opened: Opener, **budget: object) -> Stage:
    given = {"scope": "global", "limit": "1", "period": "day", "mode": "hard", **budget}
    return await opened(WORLD, clock=ManualClock(), budgets={"daily": given})


def status(stage: Stage, scope: str = "global") -> BudgetStatus:
    (found,) = stage.router.budget_status(scope)
    return found


async def test_five_cents_do_not_buy_what_may_cost_ten(opened: Opener) -> None:
    stage = await with_budget(opened, spent="0.95")
    with pytest.raises(BudgetExceededError) as refused:
        await stage.router.route(costly())
    assert stage.count() == 0
    message = str(refused.value)
    assert "$0.1000" in message
    assert "$0.05 left" in message
    assert refused.value.details["left"] == Decimal("0.05")
    cost = refused.value.details["cost"]
    assert isinstance(cost, Decimal)
    assert Decimal("0.1") < cost < Decimal("0.101")
    assert (refused.value.code, refused.value.http_status) == ("BUDGET_EXCEEDED", 429)
    assert status(stage).spent == Decimal("0.95")
    assert len(stage.of(Refused)) == 1
    (reply,) = [await stage.router.route(chat())]  # a request that fits is served
    assert status(stage).spent == Decimal("0.95") + (reply.metadata.cost or 0)


async def test_the_refusal_is_explained(opened: Opener) -> None:
    stage = await with_budget(opened, spent="0.95")
    with pytest.raises(BudgetExceededError) as refused:
        await stage.router.route(costly())
    text = str(refused.value.decision)
    assert "costs up to $0.1000" in text
    assert "budget global has $0.05" in text


async def test_requests_at_the_same_time_never_overspend(opened: Opener) -> None:
    stage = await with_budget(opened, limit="0.55")
    asked = (stage.router.route(costly(output=10_000)) for _ in range(40))
    results = await asyncio.gather(*asked, return_exceptions=True)
    served = [r for r in results if isinstance(r, Reply)]
    assert {type(r) for r in results} == {Reply, BudgetExceededError}
    assert len(served) == stage.count() == 5
    assert status(stage).spent == sum(r.metadata.cost or 0 for r in served)
    assert status(stage).spent <= Decimal("0.55")


async def test_what_was_held_and_not_used_is_there_again(opened: Opener) -> None:
    stage = await with_budget(opened, limit="0.15")
    for _ in range(20):  # one after the other each fits, because an answer of 8 tokens costs next to nothing
        await stage.router.route(costly(output=8))
    assert stage.count() == 20
    assert status(stage).spent < Decimal("0.01")
    assert status(stage).held == 0


async def test_the_period_turns(opened: Opener) -> None:
    stage = await with_budget(opened, spent="0.95")
    with pytest.raises(BudgetExceededError):
        await stage.router.route(costly())
    assert stage.clock is not None
    stage.clock.advance(86_400)
    await stage.router.route(costly())
    assert status(stage).spent < Decimal("0.01")


async def test_a_soft_budget_reports_and_lets_through(opened: Opener) -> None:
    stage = await with_budget(opened, limit="0.1", spent="0.079999", mode="soft")
    await stage.router.route(costly(output=4_000))
    await stage.router.route(costly(output=4_000))
    assert [e.threshold for e in stage.of(BudgetCrossed)] == [1.0]
    assert status(stage).spent > Decimal("0.15")


async def test_thresholds_are_told_once_each(opened: Opener) -> None:
    stage = await with_budget(opened, limit="0.2")
    for _ in range(4):
        await stage.router.route(costly(output=2_600))
    assert [e.threshold for e in stage.of(BudgetCrossed)] == [0.5]
    assert stage.of(BudgetCrossed)[0].scope == "global"


async def test_each_tenant_has_its_own(opened: Opener) -> None:
    stage = await with_budget(opened, scope="tenant:*", limit="0.12")
    await stage.router.route(costly(output=9_000), tenant="acme")
    with pytest.raises(BudgetExceededError, match="tenant:acme"):
        await stage.router.route(costly(), tenant="acme")
    await stage.router.route(costly(), tenant="umbrella")
    await stage.router.route(costly())  # who names no tenant falls under none
    assert status(stage, "tenant:acme").spent > Decimal("0.09")


async def test_a_budget_of_one_pool_sends_the_request_to_another(opened: Opener) -> None:
    stage = await with_budget(opened, scope="pool:org-a", limit="0.05")
    replies = [await stage.router.route(costly()) for _ in range(6)]
    assert {reply.metadata.key_used for reply in replies} == {"b1"}
    text = str(stage.router.explain(replies[-1].metadata.decision_id))
    assert "budget pool:org-a has $0.05" in text


async def test_without_a_bound_on_the_answer_nothing_can_be_held(opened: Opener) -> None:
    stage = await with_budget(opened)
    body = chat()
    del body["max_tokens"]
    with pytest.raises(BudgetExceededError, match=r"without max_tokens.*set max_tokens, or default_max_output"):
        await stage.router.route(body)
    assert stage.count() == 0


async def test_a_request_of_unknown_price_is_refused_under_a_hard_budget(opened: Opener) -> None:
    stage = await with_budget(opened)
    with pytest.raises(BudgetExceededError, match=r"price of 'openai/house-model' is unknown.*`price: free`"):
        await stage.router.route(chat(model="house-model"))
    assert stage.count() == 0


async def test_a_stream_is_held_and_settled_like_a_request(opened: Opener) -> None:
    stage = await with_budget(opened, limit="0.15")
    stream = stage.router.stream(costly(output=5_000))
    async for _ in stream:
        if stream.metadata is not None:
            assert status(stage).held > Decimal("0.1")
            with pytest.raises(BudgetExceededError):
                await stage.router.route(costly())
            break
    async for _ in stream:
        pass
    assert status(stage).held == 0
    assert stream.metadata is not None
    assert status(stage).spent == stream.metadata.cost


async def test_a_reply_tells_how_its_budgets_stand(opened: Opener) -> None:
    stage = await with_budget(opened, limit="0.15")
    reply = await stage.router.route(costly(output=5_000))
    (told,) = reply.metadata.budget_status
    assert (told.scope, told.limit, told.held) == ("global", Decimal("0.15"), Decimal(0))
    assert told.spent == reply.metadata.cost
