"""What each failure does to key, pool and model, and what it leaves alone."""

from __future__ import annotations

import pytest
from rig import MODEL, Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.failure import BLAME, Blame, Failure, Kind
from apikeyrouter.core.key import State
from apikeyrouter.core.ledger import UNCHARGED, idle
from apikeyrouter.core.model import Usage
from apikeyrouter.core.verdict import BLOCK_S, LONGEST_THROTTLE_S, PROBE_MONEY_S
from apikeyrouter.core.window import Limit

A, T, E = State.AVAILABLE, State.THROTTLED, State.EXHAUSTED
POOL = {
    Kind.RATE_LIMITED: T,
    Kind.SLOW_DOWN: T,
    Kind.IN_FLIGHT_MONEY: T,
    Kind.QUOTA_EXHAUSTED: E,
    Kind.NO_MONEY: E,
}
"""What a pool becomes; every other kind leaves it alone."""
BLOCKS = {Kind.FORBIDDEN, Kind.MODEL_NOT_FOUND, Kind.NOT_ON_PLAN}
EVIDENCE = {kind for kind, blame in BLAME.items() if blame is Blame.PROVIDER}


def rig() -> Rig:
    made = Rig()
    made.key("a", [Limit.tpm(1_000)], pools=["one"])
    made.key("b", pools=["one"])
    made.key("c", pools=["two"])
    made.registry.remove_key("c")
    return made


def failed(made: Rig, failure: Failure, *, key: str = "a") -> None:
    request = ask(10, among=frozenset({(key, MODEL)}))
    made.router.fail(made.router.acquire(request), failure)


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_moves_what_it_should_and_nothing_else(kind: Kind) -> None:
    made = rig()
    failed(made, Failure(kind=kind, retry_after=20.0))
    key, pool = made.registry.key("a"), made.registry.pools["one"]
    deployment = made.registry.deployment("p", MODEL, made.clock.time)
    assert key.state is (State.INVALID if kind is Kind.UNAUTHENTICATED else A)
    assert made.registry.key("b").state is A
    assert pool.state is POOL.get(kind, A)
    assert (pool.until - made.clock.time if kind in POOL else pool.until) == (20.0 if kind in POOL else 0.0)
    blocked = {name for name, _, model in made.registry.blocked if model == MODEL}
    assert blocked == ({"a", "b"} if kind is Kind.NOT_ON_PLAN else {"a"} if kind in BLOCKS else set())
    assert (deployment.reliability.bad > 0) == (kind in EVIDENCE) == (sum(deployment.breaker.failures) > 0)
    assert key.failure_count == (BLAME[kind] not in (Blame.REQUEST, Blame.CALLER))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("billed", [False, True])
def test_what_a_failure_costs(kind: Kind, billed: bool) -> None:
    made = Rig(budgets=[Budget(scope="global", limit="1", period="total")])
    made.price("1")
    made.key("k", [Limit.rpm(10), Limit.tpm(100), Limit.otpm(100), Limit.concurrency(5)])
    made.router.fail(made.router.acquire(ask(20, 30)), Failure(kind=kind, billed=billed))
    requests, tokens, output, slots = (w.free(made.clock.time) for w in made.registry.pools["k"].windows)
    spent = made.router.budgets.status("global")[0].spent * 1_000_000
    assert (requests, slots) == (9, 5), "a refused request counts as one"
    assert tokens == (100 if kind in UNCHARGED and not billed else 50)
    assert output == (70 if billed else 100)
    assert spent == (50 if billed else 0)
    assert idle(list(made.registry.pools.values()), made.router.budgets)


@pytest.mark.parametrize("kind", Kind)
def test_what_was_never_sent_costs_nothing(kind: Kind) -> None:
    made = Rig(budgets=[Budget(scope="global", limit="1", period="total")])
    made.price("1")
    made.key("k", [Limit.rpm(10), Limit.tpm(100)])
    made.router.fail(made.router.acquire(ask(20, 30)), Failure(kind=kind, sent=False, billed=True))
    assert [w.free(made.clock.time) for w in made.registry.pools["k"].windows] == [10, 100]
    assert made.router.budgets.status("global")[0].spent == 0


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (Failure(kind=Kind.RATE_LIMITED, retry_after=0.0), 0.0),
        (Failure(kind=Kind.RATE_LIMITED, retry_after=-5.0), 0.0),
        (Failure(kind=Kind.RATE_LIMITED, retry_after=12.5), 12.5),
        (Failure(kind=Kind.RATE_LIMITED), 1.0),
        (Failure(kind=Kind.IN_FLIGHT_MONEY), 5.0),
        (Failure(kind=Kind.NO_MONEY), PROBE_MONEY_S),
        (Failure(kind=Kind.QUOTA_EXHAUSTED, retry_after=30.0), 30.0),
    ],
)
def test_how_long_a_pool_is_left_alone(failure: Failure, seconds: float) -> None:
    made = rig()
    failed(made, failure)
    assert max(0.0, made.registry.pools["one"].until - made.clock.time) == pytest.approx(seconds)
    made.clock.advance(seconds)
    assert made.router.acquire(ask(10)).open


def test_a_date_wins_over_a_wait() -> None:
    made = rig()
    midnight = made.clock.time + 86_400
    failed(made, Failure(kind=Kind.QUOTA_EXHAUSTED, retry_after=1.0, until=midnight))
    assert made.registry.pools["one"].until == midnight


def test_a_wait_of_an_hour_means_a_long_window() -> None:
    for seconds, state in ((3_599.0, T), (3_600.0, E)):
        made = rig()
        failed(made, Failure(kind=Kind.RATE_LIMITED, retry_after=seconds))
        assert made.registry.pools["one"].state is state


def test_refusals_without_a_time_double_to_a_minute_until_a_success() -> None:
    made, waits = rig(), list[float]()
    pool = made.registry.pools["one"]
    for _ in range(9):
        failed(made, Failure(kind=Kind.RATE_LIMITED))
        waits.append(round(pool.until - made.clock.time, 3))
        made.clock.advance(waits[-1])
        made.router.refresh()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, LONGEST_THROTTLE_S]
    made.router.settle(made.router.acquire(ask(1)), Usage(input_tokens=1))
    failed(made, Failure(kind=Kind.RATE_LIMITED))
    assert pool.until - made.clock.time == pytest.approx(1.0)


def test_a_key_refused_on_its_old_material_is_not_invalid_on_the_new() -> None:
    made = rig()
    lease = made.router.acquire(ask(1, among=frozenset({("a", MODEL)})))
    made.registry.rename_material(made.registry.key("a"), "new")
    made.router.fail(lease, Failure(kind=Kind.UNAUTHENTICATED))
    assert made.registry.key("a").state is A


def test_two_requests_refused_at_once_invalidate_once() -> None:
    made = rig()
    leases = [made.router.acquire(ask(1, among=frozenset({("a", MODEL)}))) for _ in range(3)]
    for lease in leases:
        made.router.fail(lease, Failure(kind=Kind.UNAUTHENTICATED, status=401, code="invalid_api_key"))
    moves = [t for t in made.router.transitions if t.id == "a"]
    assert [(t.after, t.context) for t in moves] == [(State.INVALID, "401 invalid_api_key")]


def test_a_revoked_key_is_not_moved_any_more() -> None:
    made = rig()
    lease = made.router.acquire(ask(1, among=frozenset({("a", MODEL)})))
    key = made.registry.remove_key("a")
    made.router.fail(lease, Failure(kind=Kind.UNAUTHENTICATED))
    assert key.state is A


def test_a_verdict_may_wait() -> None:
    made = rig()
    lease, failure = made.router.acquire(ask(1)), Failure(kind=Kind.UNAUTHENTICATED)
    made.router.fail(lease, failure, judge=False)
    assert lease.candidate.key.state is A
    assert not made.router.ledger.open_leases
    made.router.judge(lease, failure)
    assert lease.candidate.key.state is State.INVALID


def test_a_model_without_access_is_tried_again_after_an_hour() -> None:
    made = rig()
    failed(made, Failure(kind=Kind.FORBIDDEN))
    made.registry.remove_key("b")
    with pytest.raises(Exception, match="a forbidden: m"):
        made.router.acquire(ask(1))
    assert made.router.acquire(ask(1, model="other")).open
    made.clock.advance(BLOCK_S)
    assert made.router.acquire(ask(1)).open
