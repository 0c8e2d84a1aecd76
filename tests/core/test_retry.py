"""After each kind of failure: whether to go on, where, and for whose money."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.retry import MOST, NEXT, Attempts, Failover, Next, RetryBudget, RetrySettings, backoff

STOPS = {Kind.TOO_LONG, Kind.CONTENT, Kind.INVALID, Kind.CANCELLED}
POOLS = {
    Kind.RATE_LIMITED, Kind.SLOW_DOWN, Kind.QUOTA_EXHAUSTED, Kind.NOT_ON_PLAN, Kind.TOO_LARGE_FOR_POOL, Kind.NO_MONEY,
    Kind.IN_FLIGHT_MONEY,
}  # fmt: skip
KEYS = {Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.MODEL_NOT_FOUND}
PROVIDERS = set(Kind) - STOPS - POOLS - KEYS
RETURNS = {Kind.RATE_LIMITED, Kind.SLOW_DOWN, Kind.QUOTA_EXHAUSTED, Kind.NO_MONEY, Kind.IN_FLIGHT_MONEY}
"""After these the pool itself stays away until its time, and may serve the same request then."""


def note(
    attempts: Attempts,
    kind: Kind,
    *,
    key: str = "k",
    pool: str = "pool",
    provider: str = "p",
    model: str = "m",
    settings: RetrySettings | None = None,
    retry_after: float | None = None,
    elsewhere: bool = True,
) -> Next:
    return attempts.note(
        Failure(kind=kind, retry_after=retry_after),
        key=key,
        pool=pool,
        provider=provider,
        model=model,
        settings=settings or RetrySettings(),
        elsewhere=elsewhere,
    )


@pytest.mark.parametrize("kind", Kind)
def test_where_the_second_attempt_goes(kind: Kind) -> None:
    attempts = Attempts()
    step = note(attempts, kind)
    groups = [(STOPS, Next.STOP), (POOLS, Next.OTHER_POOL), (KEYS, Next.OTHER_KEY), (PROVIDERS, Next.ANY)]
    [expected] = [where for kinds, where in groups if kind in kinds]
    assert step is expected is NEXT[kind]
    assert (attempts.count, attempts.last) == (1, Failure(kind=kind))
    assert attempts.avoid_keys == ({"k"} if kind in KEYS else set())
    assert attempts.avoid_pools == ({"pool"} if kind in POOLS - RETURNS else set())
    assert attempts.avoid_models == attempts.avoid_providers == set()
    assert attempts.provider_faults == (kind in PROVIDERS)


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_a_providers_faults_move_the_request_away_after_two_and_end_it_after_three(kind: Kind) -> None:
    attempts = Attempts()
    assert note(attempts, kind, key="a") is Next.ANY
    assert not attempts.avoid_models
    assert note(attempts, kind, key="b") is Next.ANY
    assert attempts.avoid_models == {("p", "m")}
    assert note(attempts, kind, key="c", provider="q") is Next.STOP


def test_with_nowhere_else_to_go_the_same_provider_is_asked_again() -> None:
    attempts = Attempts()
    for key in ("a", "b"):
        assert note(attempts, Kind.SERVER_ERROR, key=key, elsewhere=False) is Next.ANY
    assert not attempts.avoid_models


def test_a_provider_that_names_a_time_is_left_at_once() -> None:
    attempts = Attempts()
    note(attempts, Kind.OVERLOADED, retry_after=20.0)
    assert attempts.avoid_models == {("p", "m")}


def test_a_key_serves_two_attempts() -> None:
    attempts = Attempts()
    note(attempts, Kind.TIMEOUT)
    assert not attempts.avoid_keys
    note(attempts, Kind.TIMEOUT)
    assert attempts.avoid_keys == {"k"}


@pytest.mark.parametrize("kind", sorted(RETURNS))
def test_a_pool_that_refuses_again_and_again_is_given_up(kind: Kind) -> None:
    attempts = Attempts()
    for _ in range(2):
        note(attempts, kind)
    assert not attempts.avoid_pools
    note(attempts, kind)
    assert attempts.avoid_pools == {"pool"}


def test_refusals_of_keys_and_pools_are_bounded_only_by_the_most() -> None:
    attempts = Attempts()
    steps = [note(attempts, Kind.UNAUTHENTICATED, key=f"k{i}", pool=f"p{i}") for i in range(MOST)]
    assert steps == [Next.OTHER_KEY] * (MOST - 1) + [Next.STOP]
    assert len(attempts.avoid_keys) == MOST


def test_a_model_unknown_under_two_keys_is_unknown_there() -> None:
    attempts = Attempts()
    note(attempts, Kind.MODEL_NOT_FOUND, key="a")
    assert not attempts.same_fault("p", Kind.MODEL_NOT_FOUND)
    note(attempts, Kind.MODEL_NOT_FOUND, key="b")
    assert attempts.same_fault("p", Kind.MODEL_NOT_FOUND)
    assert attempts.avoid_models == {("p", "m")}


def test_the_same_fault_under_one_key_is_the_keys() -> None:
    attempts = Attempts()
    for _ in range(3):
        note(attempts, Kind.UNAUTHENTICATED)
    assert not attempts.same_fault("p", Kind.UNAUTHENTICATED)


@pytest.mark.parametrize(
    ("failover", "step", "only", "left"),
    [("never", Next.STOP, None, set()), ("same_provider", Next.ANY, "p", set()), ("any", Next.ANY, None, {("p", "m")})],
)
def test_how_far_a_request_may_go(failover: Failover, step: Next, only: str | None, left: set[object]) -> None:
    attempts, settings = Attempts(), RetrySettings(failover=failover, per_provider=1)
    assert note(attempts, Kind.SERVER_ERROR, settings=settings) is step
    assert attempts.only_provider == only
    assert attempts.avoid_models == left or failover == "never"


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(0, 4), st.integers(0, 2)), max_size=60))
def test_every_request_ends(failures: list[tuple[Kind, int, int]]) -> None:
    attempts, faults = Attempts(), 0
    for kind, key, provider in failures:
        step = note(attempts, kind, key=f"k{key}", pool=f"pool{key}", provider=f"p{provider}")
        faults += kind in PROVIDERS
        assert (step is Next.STOP) == (kind in STOPS or attempts.count >= MOST or faults >= 3)
        if step is Next.STOP:
            break
    assert attempts.count <= MOST


# -- the budget ------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=400))
def test_retries_never_exceed_a_tenth_of_the_requests_and_three(actions: list[bool]) -> None:
    budget, requests, retries = RetryBudget(), 0, 0
    for retry in actions:
        if retry:
            retries += budget.spend()
        else:
            budget.earn()
            requests += 1
    assert retries <= 3 + 0.1 * requests + 1e-9
    assert 0 <= budget.tokens <= budget.most


def test_a_budget_saves_no_more_than_a_hundred() -> None:
    budget = RetryBudget()
    for _ in range(5_000):
        budget.earn()
    assert 100 <= budget.tokens < 101
    budget.refund()
    assert budget.tokens == 100


def test_a_retry_that_was_not_made_is_paid_back() -> None:
    budget = RetryBudget(floor=1.0)
    assert budget.spend()
    assert not budget.spend()
    budget.refund()
    assert budget.spend()


# -- pauses ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_jittered_and_bounded(attempt: int, chance: float) -> None:
    assert 0 <= backoff(attempt, chance, RetrySettings()) <= 5.0


@pytest.mark.parametrize(("attempt", "most"), [(0, 0.1), (1, 0.2), (2, 0.4), (5, 3.2), (6, 5.0), (60, 5.0)])
def test_a_pause_doubles(attempt: int, most: float) -> None:
    assert backoff(attempt, 0.5, RetrySettings()) == pytest.approx(most / 2)
