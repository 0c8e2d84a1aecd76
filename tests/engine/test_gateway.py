"""What the engine offers to a caller that owns the network, the keys' material and a filter of its own."""

from __future__ import annotations

from decimal import Decimal

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    Budget,
    Failure,
    Limit,
    NoEligibleKeysError,
    OpenAIAdapter,
    Price,
    Request,
    Usage,
)
from apikeyrouter.core.failure import Kind
from apikeyrouter.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def router(clock: ManualClock) -> ApiKeyRouter:
    made = ApiKeyRouter(clock=clock, log=False, budgets=[Budget(scope="global", limit="1", mode="soft")])
    for provider in ("openai", "local"):
        made.enrolment.add_provider(provider, OpenAIAdapter("http://127.0.0.1:9/v1"))
    made.enrolment.add_key(None, "openai", {"id": "a", "limits": [Limit.rpm(2)]})
    made.enrolment.add_key(None, "openai", {"id": "b", "limits": [Limit.rpm(2)]})
    made.enrolment.add_key(None, "local", {"id": "c", "limits": [Limit.rpm(2)]})
    return made


def asking(*pairs: tuple[str, str], **more: object) -> Request:
    return Request(model="chat", input_tokens=10, max_output_tokens=10, among=frozenset(pairs), **more)  # type: ignore[arg-type]


def test_only_the_named_candidates_are_considered(router: ApiKeyRouter) -> None:
    asked = asking(("b", "gpt-4o-mini"), ("c", "llama"))
    chosen = {(lease.key_id, lease.provider, lease.model) for lease in (router.acquire(asked) for _ in range(4))}
    assert chosen == {("b", "openai", "gpt-4o-mini"), ("c", "local", "llama")}


def test_a_candidate_that_is_unknown_or_unusable_is_left_out(router: ApiKeyRouter) -> None:
    router.enrolment.revoke("a")
    with pytest.raises(NoEligibleKeysError):
        router.acquire(asking(("a", "gpt-4o-mini"), ("nobody", "gpt-4o-mini")))


def test_a_key_without_material_serves_but_has_no_secret(router: ApiKeyRouter) -> None:
    lease = router.acquire(asking(("a", "gpt-4o-mini")))
    with pytest.raises(LookupError, match="without one"):
        lease.secret()


def test_what_never_left_returns_and_what_was_sent_is_charged(router: ApiKeyRouter) -> None:
    first = router.acquire(asking(("a", "gpt-4o-mini")))
    router.abandon(first.id, sent=False)
    second = router.acquire(asking(("a", "gpt-4o-mini")))
    router.abandon(second.id)
    pool = next(p for p in router.get_state_summary().pools if p.id == "a")
    assert (pool.in_flight, pool.windows[0].remaining) == (0, 1.0)
    assert [router.explain(lease.decision.id).outcome for lease in (first, second)] == ["released", "abandoned"]


def test_a_lease_lives_as_long_as_sending_may_take(router: ApiKeyRouter, clock: ManualClock) -> None:
    long = router.acquire(asking(("a", "gpt-4o-mini"), sending_s=600.0), timeout=1.0)
    clock.advance(620.0)
    assert router.get_state_summary().open_leases == 1
    clock.advance(11.0)
    assert router.get_state_summary().open_leases == 0
    assert long.state == "expired"


def test_a_reported_cost_counts_where_no_price_is_known(router: ApiKeyRouter) -> None:
    lease = router.acquire(asking(("c", "a-model-nobody-prices")))
    router.settle(lease, Usage(input_tokens=1, output_tokens=1, cost_reported=Decimal("0.25")))
    assert router.budget_status()[0].spent == Decimal("0.25")


def test_a_price_by_hand_reaches_deployments_already_in_use(router: ApiKeyRouter) -> None:
    router.release(router.acquire(asking(("c", "llama"))))
    router.enrolment.price("local", "llama", Price.of("llama", request="0.5"))
    router.settle(router.acquire(asking(("c", "llama"))), Usage(input_tokens=1, output_tokens=1))
    assert router.budget_status()[0].spent == Decimal("0.5")


def test_a_stream_that_broke_is_charged_what_it_had_used(router: ApiKeyRouter) -> None:
    router.enrolment.price("local", "llama", Price.of("llama", output=Decimal(1_000_000)))  # a dollar a token
    lease = router.acquire(asking(("c", "llama")))
    router.fail(lease, Failure(kind=Kind.SERVER_ERROR, status=500), usage=Usage(input_tokens=5, output_tokens=3))
    assert router.budget_status()[0].spent == 3
    assert router.explain(lease.decision.id).outcome == "server_error"
