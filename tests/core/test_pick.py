"""Who is chosen: filters, scores, tiers, ties, and what each objective is for. Many keys are in test_roster.py."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from rig import MODEL, Rig, ask

from apikeyrouter.core import decision as why
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Capabilities, Usage
from apikeyrouter.core.retry import Attempts, RetrySettings
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import BudgetExceededError, NoEligibleKeysError, QuotaExhaustedError, RoutingError


def winners(rig: Rig, times: int = 1, **more: object) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(times):
        lease = rig.router.acquire(ask(100, 50, **more))
        found[lease.key_id] += 1
        rig.router.settle(lease, Usage(input_tokens=100, output_tokens=50))
    return found


def refused(rig: Rig, **more: object) -> Decision:
    with pytest.raises(RoutingError) as caught:
        rig.router.acquire(ask(100, 50, **more))
    decision = caught.value.decision
    assert isinstance(decision, Decision)
    return decision


def two_providers(objective: object = None, **prices: str) -> Rig:
    rig = Rig(objective=objective)
    for name, price in (prices or {"p": "1", "q": "2"}).items():
        rig.price(price, provider=name)
        rig.key(f"{name}1", provider=name, models=[MODEL])
    return rig


# -- objectives ------------------------------------------------------------------------------------------------------


def test_cost_takes_the_cheapest() -> None:
    assert winners(two_providers("cost"), 20) == {"p1": 20}
    assert winners(two_providers("cost", p="3", q="2"), 20) == {"q1": 20}


def test_an_unknown_price_counts_as_the_dearest() -> None:
    rig = two_providers("cost", p="5")
    rig.key("q1", provider="q", models=[MODEL])
    assert winners(rig, 10) == {"p1": 10}


def test_reliability_leaves_whom_failures_show_to_be_worse() -> None:
    rig = two_providers("reliability", p="1", q="1")
    for _ in range(3):
        bad = rig.router.acquire(ask(1, provider="p"))
        rig.router.fail(bad, Failure(kind=Kind.SERVER_ERROR))
    assert winners(rig, 10) == {"q1": 10}


def test_latency_takes_the_faster() -> None:
    rig = two_providers("latency", p="1", q="1")
    for provider, seconds in (("p", 4.0), ("q", 0.5)):
        rig.router.settle(rig.router.acquire(ask(1, provider=provider)), Usage(output_tokens=1), latency_s=seconds)
    lease = rig.router.acquire(ask(1))
    assert lease.key_id == "q1"


def test_quality_takes_the_better() -> None:
    rig = Rig(objective="quality")
    rig.key("good", quality=0.9)
    rig.key("poor", quality=0.2)
    assert winners(rig, 10) == {"good": 10}


def test_capacity_spreads_by_room() -> None:
    rig = Rig(objective="capacity")
    rig.key("large", [Limit.rpm(300)])
    rig.key("small", [Limit.rpm(100)])
    counts = winners(rig, 390)
    assert counts["large"] >= 3 * counts["small"] > 200, "and all of both is used"


def test_heavy_requests_go_where_tokens_are_slack() -> None:
    rig = Rig(objective="capacity")
    rig.key("tokens", [Limit.rpm(10), Limit.tpm(100_000)])
    rig.key("requests", [Limit.rpm(1_000), Limit.tpm(10_000)])
    for name, share in (("tokens", 0.4), ("requests", 0.4)):
        for window in rig.registry.pools[name].windows:
            window.debit(share * window.cap, rig.clock.time)
    decision = rig.router.acquire(ask(4_000)).decision
    assert decision.key == "tokens"
    assert rig.router.acquire(ask(1)).key_id == "requests"


def test_fairness_evens_out_tokens_by_weight() -> None:
    rig = Rig(objective="fairness")
    rig.key("double", weight=2.0)
    rig.key("single", weight=1.0)
    counts = winners(rig, 300)
    assert counts["double"] == pytest.approx(200, abs=3)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (0.5, 2.0)])
def test_equals_share_by_weight(weights: tuple[float, float]) -> None:
    rig = Rig(seed=5)
    for i, weight in enumerate(weights):
        rig.key(f"k{i}", weight=weight)
    counts = winners(rig, 2_000)
    assert counts["k0"] / 2_000 == pytest.approx(weights[0] / sum(weights), abs=0.04)


# -- tiers -----------------------------------------------------------------------------------------------------------


def test_a_lower_tier_is_used_up_first() -> None:
    rig = Rig()
    rig.key("spare", tier=2)
    rig.key("first", [Limit.rpm(3)], tier=0)
    rig.key("second", [Limit.rpm(2)], tier=1)
    assert [rig.router.acquire(ask(1)).key_id for _ in range(7)] == ["first"] * 3 + ["second"] * 2 + ["spare"] * 2


def test_what_the_tiers_before_lacked_is_told() -> None:
    rig = Rig()
    rig.key("first", [Limit.rpm(1)], tier=0)
    rig.key("spare", tier=1)
    rig.router.acquire(ask(1))
    decision = rig.router.acquire(ask(1)).decision
    assert decision.key == "spare"
    assert [c.id for c, _ in decision.shortfalls] == ["first"]


# -- constraints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraints", "code"),
    [
        ({"min_reliability": 0.999}, why.MIN_RELIABILITY),
        ({"max_cost": "0.0001"}, why.MAX_COST),
        ({"max_latency": 0.5}, why.MAX_LATENCY),
        ({"min_quality": 0.8}, why.MIN_QUALITY),
        ({"capabilities": ["tools"]}, why.CAPABILITY),
        ({"tags": {"region": "eu"}}, why.TAGS),
    ],
)
def test_a_constraint_leaves_out_whom_it_names(constraints: dict[str, object], code: str) -> None:
    rig = Rig(objective={"cost": 1.0, "constraints": constraints})
    rig.provider("p", Capabilities())
    rig.provider("q", Capabilities(features=frozenset({"tools"})))
    rig.price("1", provider="p")
    rig.price("0.5", provider="q")
    rig.key("p1", provider="p", models=[MODEL], quality=0.5)
    rig.key("p2", provider="p", models=[MODEL], quality=0.5)
    slow = rig.registry.deployment("p", MODEL, rig.clock.time)
    slow.latency.record(5.0, 1, rig.clock.time)
    decision = refused(rig)
    assert [(r.who, r.code, r.count) for r in decision.rejected] == [("p/m", code, 2)]
    rig.key("q1", provider="q", models=[MODEL], tags={"region": "eu"}, quality=0.9)
    good = rig.registry.deployment("q", MODEL, rig.clock.time).reliability
    for _ in range(300):
        good.record(True, rig.clock.time)
    assert winners(rig) == {"q1": 1}


def test_an_unknown_price_meets_no_limit_on_cost() -> None:
    rig = Rig(objective={"constraints": {"max_cost": 1}})
    rig.key("k")
    assert refused(rig).rejected[0].code == why.PRICE_UNKNOWN


# -- money -----------------------------------------------------------------------------------------------------------


def test_max_cost_of_a_request_is_kept() -> None:
    rig = two_providers("reliability", p="10", q="1000")
    assert winners(rig, 5, max_cost=Decimal("0.0015")) == {"p1": 5}
    with pytest.raises(BudgetExceededError, match=r"max_cost has \$0.0014"):
        rig.router.acquire(ask(100, 50, max_cost=Decimal("0.0014")))


@pytest.mark.parametrize("scope", ["global", "tenant:acme", "provider:p", "key:p1", "pool:p1", "model:m", "route:m"])
def test_a_hard_budget_of_any_scope_leaves_out_whom_it_covers(scope: str) -> None:
    rig = Rig(objective="cost", budgets=[Budget(scope=scope, limit="0.0002", period="total")])
    rig.price("1", provider="p")
    rig.price("2", provider="q")
    rig.key("p1", provider="p", models=[MODEL])
    rig.key("q1", provider="q", models=[MODEL])
    assert rig.router.acquire(ask(100, 50, tenant="acme")).key_id == "p1"
    if scope in ("provider:p", "key:p1", "pool:p1"):
        assert rig.router.acquire(ask(100, 50, tenant="acme")).key_id == "q1"
    else:
        with pytest.raises(BudgetExceededError):
            rig.router.acquire(ask(100, 50, tenant="acme"))


def test_an_unknown_price_is_refused_under_a_hard_budget_only() -> None:
    for mode, code in (("hard", why.PRICE_UNKNOWN), ("soft", None)):
        rig = Rig(budgets=[Budget(scope="global", limit="1", mode=mode)])
        rig.key("k")
        if code:
            assert refused(rig).rejected[0].code == code
        else:
            assert winners(rig) == {"k": 1}


def test_an_overrun_budget_stops_nobody_who_costs_nothing() -> None:
    rig = Rig(budgets=[Budget(scope="global", limit="0.0001", period="total"), Budget(scope="key:*", limit="0.0001")])
    rig.price("1")
    rig.price("0", provider="own")
    rig.key("paid", models=[MODEL])
    rig.key("free", provider="own", models=[MODEL])
    lease = rig.router.acquire(ask(50, 50))
    rig.router.settle(lease, Usage(input_tokens=10_000))
    for node in rig.router.budgets._nodes.values():
        node.spent = node.limit + 5
    assert winners(rig, 3) == {"free": 3}


# -- state, capability, failures before ------------------------------------------------------------------------------


def test_an_open_breaker_leaves_a_model_out_and_says_until_when() -> None:
    rig = two_providers(None, p="1", q="1")
    broken = rig.registry.deployment("p", MODEL, rig.clock.time).breaker
    for _ in range(8):
        broken.record(False, rig.clock.time, 0.0)
    assert winners(rig, 5) == {"q1": 5}
    rig.registry.remove_key("q1")
    decision = refused(rig)
    assert (decision.rejected[0].code, decision.retry_after) == (why.BREAKER, 0.5)
    rig.clock.advance(0.5)
    assert rig.router.acquire(ask(1)).key_id == "p1"
    assert refused(rig).rejected[0].code == why.BREAKER, "one probe at a time"


def test_an_answer_longer_than_a_model_gives_is_not_asked_of_it() -> None:
    rig = Rig()
    rig.provider("p", Capabilities(max_output_tokens=40))
    rig.key("k")
    rejection = refused(rig).rejected[0]
    assert (rejection.code, rejection.value, rejection.bound) == (why.OUTPUT_TOO_LONG, 50, 40)


@pytest.mark.parametrize(
    ("kind", "avoided"),
    [
        (Kind.UNAUTHENTICATED, {"a"}),
        (Kind.TOO_LARGE_FOR_POOL, {"a", "b"}),
        (Kind.SERVER_ERROR, set()),
    ],
)
def test_what_failed_this_request_before_is_avoided(kind: Kind, avoided: set[str]) -> None:
    rig = Rig()
    for key, pool in (("a", "one"), ("b", "one"), ("c", "two")):
        rig.key(key, pools=[pool])
    attempts = Attempts()
    attempts.note(Failure(kind=kind), key="a", pool="one", provider="p", model=MODEL, settings=RetrySettings())
    decision = rig.router.acquire(ask(1), attempts=attempts).decision
    assert {r.who for r in decision.rejected if r.code == why.AVOIDED} == avoided
    assert decision.attempt == 2
    assert decision.key not in avoided


@pytest.mark.parametrize("keys", [2, 40])
def test_everybody_avoided_is_nobody_left(keys: int) -> None:
    rig = Rig()
    for i in range(keys):
        rig.key(f"k{i}")
    attempts = Attempts(count=1, avoid_providers={"p"}, last=Failure(kind=Kind.SERVER_ERROR))
    with pytest.raises(NoEligibleKeysError):
        rig.router.acquire(ask(1), attempts=attempts)


def test_one_provider_only_when_the_failover_says_so() -> None:
    rig = two_providers("cost")
    attempts = Attempts(count=1, only_provider="q", last=Failure(kind=Kind.SERVER_ERROR))
    assert rig.router.acquire(ask(1), attempts=attempts).key_id == "q1"


# -- what a decision remembers ---------------------------------------------------------------------------------------


def test_a_decision_has_every_number() -> None:
    rig = Rig(objective="cost")
    rig.price("1")
    rig.key("full", [Limit.rpm(1)])
    rig.key("a", [Limit.rpm(10)])
    rig.key("b", [Limit.rpm(10)])
    rig.router.acquire(ask(1))
    rig.router.acquire(ask(1))
    rig.router.acquire(ask(1))
    decision = rig.router.acquire(ask(100, 50)).decision
    assert decision.total == 3
    assert {c.id for c in decision.scanned} == {"a", "b"}
    assert len(decision.loads) == len(decision.scanned)
    assert [(c.id, s.need, int(s.free)) for c, s in decision.shortfalls] == [("full", 1, 0)]
    assert decision.cost == 150_000
    assert (decision.provider, decision.model) == ("p", MODEL)


def test_nothing_is_held_by_a_preview() -> None:
    rig = Rig()
    rig.key("k", [Limit.concurrency(1)])
    assert rig.router.preview(ask(1)).key == "k"
    assert rig.router.preview(ask(1)).key == "k"
    assert not rig.router.ledger.open_leases
    assert not rig.router.decisions


def test_a_preview_knows_what_time_has_freed() -> None:
    rig = Rig()
    rig.key("k", [Limit.concurrency(1)])
    rig.router.acquire(ask(1), timeout_s=1)
    assert rig.router.preview(ask(1)).key is None
    rig.clock.advance(32)
    assert rig.router.preview(ask(1)).key == "k"


def test_a_full_pool_is_no_reason_to_leave_the_order_of_keys() -> None:
    rig = Rig()
    rig.key("k", [Limit.rpm(1)])
    rig.router.acquire(ask(1))
    with pytest.raises(QuotaExhaustedError) as caught:
        rig.router.acquire(ask(1))
    assert caught.value.retry_after == pytest.approx(60, abs=0.01)
