"""Which error a refusal is, and what its one sentence tells: the thing, the number, the next step."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from rig import MODEL, Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.key import Trigger
from apikeyrouter.core.model import Capabilities, Request
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import (
    BudgetExceededError,
    NoEligibleKeysError,
    ProviderNotFoundError,
    QuotaExhaustedError,
    RoutingError,
)


@dataclass(frozen=True)
class Case:
    """A situation, the request that is refused in it, the error and what its sentence must contain."""

    make: Callable[[], Rig]
    kind: type[RoutingError]
    told: str
    request: Request
    retry_after: float | None = None


def nobody() -> Rig:
    rig = Rig()
    rig.provider()
    return rig


def keyed(*limits: Limit, models: tuple[str, ...] = (), tags: dict[str, str] | None = None) -> Rig:
    rig = Rig()
    rig.key("k1", limits, models=models, tags=tags)
    return rig


def moved(trigger: Trigger) -> Callable[[], Rig]:
    def make() -> Rig:
        rig = keyed()
        rig.registry.key("k1").apply(trigger, rig.clock.time)
        rig.registry.changed()
        return rig

    return make


def full(*limits: Limit, keys: int = 1) -> Callable[[], Rig]:
    def make() -> Rig:
        rig = Rig()
        for i in range(keys):
            rig.key(f"k{i + 1}", limits)
        for _ in range(keys):
            rig.router.acquire(ask(50))
        return rig

    return make


def stopped(failure: Failure) -> Callable[[], Rig]:
    def make() -> Rig:
        rig = keyed()
        rig.router.fail(rig.router.acquire(ask(1)), failure)
        return rig

    return make


def poor(limit: str = "0.0001", *, price: str | None = "1") -> Callable[[], Rig]:
    def make() -> Rig:
        rig = Rig(budgets=[Budget(scope="global", limit=limit, period="total")])
        if price is not None:
            rig.price(price)
        rig.key("k1")
        return rig

    return make


def broken() -> Rig:
    rig = keyed()
    breaker = rig.registry.deployment("p", MODEL, rig.clock.time).breaker
    for _ in range(8):
        breaker.record(False, rig.clock.time, 0.0)
    return rig


def broken_or_poor() -> Rig:
    rig = Rig(budgets=[Budget(scope="provider:q", limit="0.0001", period="total")])
    for provider in ("p", "q"):
        rig.price("10", provider=provider)
        rig.key(f"{provider}1", provider=provider, models=[MODEL])
    breaker = rig.registry.deployment("p", MODEL, rig.clock.time).breaker
    for _ in range(8):
        breaker.record(False, rig.clock.time, 0.0)
    return rig


def full_or_poor() -> Rig:
    rig = Rig(budgets=[Budget(scope="key:k2", limit="0.0001", period="total")])
    rig.price("10")
    rig.key("k1", [Limit.rpm(1)])
    rig.key("k2")
    rig.router.acquire(ask(1))
    rig.router.acquire(ask(1))
    return rig


def able_only_to(operation: str) -> Rig:
    rig = Rig()
    rig.provider("p", Capabilities(operations=frozenset({operation})))
    rig.key("k1")
    return rig


LATER = 50 / (100 / 60)
CASES = {
    "no key": Case(nobody, NoEligibleKeysError, "No key is registered for 'm'; register_key adds one.", ask()),
    "other models": Case(
        lambda: keyed(models=("gpt-*",)),
        NoEligibleKeysError,
        "1 keys serve other models.* Pin it as provider/model",
        ask(),
    ),
    "disabled": Case(
        moved(Trigger.DISABLED_BY_HAND), NoEligibleKeysError, "k1 is disabled; enable, rotate or add", ask()
    ),
    "invalid": Case(moved(Trigger.AUTHENTICATION_FAILED), NoEligibleKeysError, "k1 is invalid", ask()),
    "another tenant's": Case(
        lambda: keyed(tags={"tenant": "acme"}), NoEligibleKeysError, "k1 belongs to another tenant", ask(tenant="evil")
    ),
    "no such operation": Case(
        lambda: able_only_to("embeddings"), NoEligibleKeysError, "p has no operation 'chat'", ask()
    ),
    "lacks a capability": Case(keyed, NoEligibleKeysError, "p lacks tools", ask(needs=frozenset({"tools"}))),
    "blocked": Case(stopped(Failure(kind=Kind.FORBIDDEN)), NoEligibleKeysError, "k1 forbidden: m", ask()),
    "breaker": Case(broken, NoEligibleKeysError, r"p/m: breaker open, in 0\.5 s", ask(), 0.5),
    "too long": Case(lambda: able_only_to("chat"), NoEligibleKeysError, "lacks x", ask(needs=frozenset({"x"}))),
    "full for now": Case(
        full(Limit.tpm(100)),
        QuotaExhaustedError,
        r"All 1 keys for 'm' are without room; try again in 30\.0 s "
        r"\(k1: k1 tokens/minute has 50 free of the 100 needed, in 30\.0 s\)",
        ask(100),
        LATER,
    ),
    "all full": Case(
        full(Limit.rpm(1), keys=3), QuotaExhaustedError, r"All 3 keys for 'm' .* again in 60\.0 s", ask(), 60.0
    ),
    "many full": Case(
        full(Limit.rpm(1), keys=30), QuotaExhaustedError, r"All 30 keys for 'm' .* again in 60\.0 s", ask(), 60.0
    ),
    "never": Case(
        full(Limit.tpm(100)),
        QuotaExhaustedError,
        "can ever hold this request: k1: .*can never hold 101 at once",
        ask(101),
    ),
    "throttled": Case(
        stopped(Failure(kind=Kind.RATE_LIMITED, status=429, retry_after=7.0)),
        QuotaExhaustedError,
        r"throttled by the provider, in 7\.0 s \(k1 429 rate_limited\)",
        ask(),
        7.0,
    ),
    "exhausted": Case(
        stopped(Failure(kind=Kind.QUOTA_EXHAUSTED, code="monthly", retry_after=7200.0)),
        QuotaExhaustedError,
        r"exhausted, in 2\.0 h \(k1 monthly\)",
        ask(),
        7200.0,
    ),
    "no money": Case(
        poor(),
        BudgetExceededError,
        r"may cost \$0.00015 and budget global has \$0.0001 left; send less, raise it",
        ask(100, 50),
    ),
    "too dear": Case(
        poor("1"),
        BudgetExceededError,
        r"may cost \$0.00015 and max_cost has \$0.00001 left",
        ask(100, 50, max_cost="0.00001"),
    ),
    "unknown price": Case(
        poor(price=None), BudgetExceededError, "price of 'p/m' is unknown.* give it a price", ask(100, 50)
    ),
    "no bound under a hard budget": Case(
        poor(),
        BudgetExceededError,
        "without max_tokens .* hard budget global: set max_tokens",
        ask(10, max_output_tokens=None),
    ),
    "one broken, the other without money": Case(
        broken_or_poor,
        NoEligibleKeysError,
        r"breaker open, in 0\.5 s.*; q1: costs up to \$0.001, budget provider:q",
        ask(100),
        0.5,
    ),
    "one full, the other without money": Case(full_or_poor, QuotaExhaustedError, r"k1 requests/minute", ask(100), 60.0),
}


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_is_the_right_error_in_one_sentence(name: str) -> None:
    case = CASES[name]
    rig = case.make()
    with pytest.raises(RoutingError) as caught:
        rig.router.acquire(case.request)
    error = caught.value
    assert type(error) is case.kind
    assert re.search(case.told, str(error)), str(error)
    assert error.retry_after == (None if case.retry_after is None else pytest.approx(case.retry_after, abs=1e-3))
    assert str(error)[0].isupper()
    assert str(error).endswith(".")
    assert "\n" not in str(error)


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_carries_its_decision_and_can_be_explained(name: str) -> None:
    case = CASES[name]
    rig = case.make()
    with pytest.raises(RoutingError) as caught:
        rig.router.acquire(case.request)
    if name == "no bound under a hard budget":
        assert caught.value.decision is None, "nothing was decided"
        return
    decision = caught.value.decision
    assert decision is rig.router.decisions[decision.id]  # type: ignore[attr-defined]
    text = str(decision)
    assert "no key for m" in text
    for key in (key for key in rig.registry.keys if len(rig.registry.keys) < 10):
        assert key in text or "p/m" in text


def test_a_provider_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ProviderNotFoundError, match="'q' is not registered; known: p"):
        keyed().router.acquire(ask(provider="q"))


def test_quiet_refusals_leave_no_record() -> None:
    rig = nobody()
    with pytest.raises(NoEligibleKeysError):
        rig.router.acquire(ask(), quiet=True)
    assert not rig.router.decisions


def test_the_codes_and_statuses_that_others_rely_on() -> None:
    told = {case.kind: (case.kind.code, case.kind.http_status) for case in CASES.values()}
    assert told == {
        NoEligibleKeysError: ("NO_KEYS_AVAILABLE", 503),
        QuotaExhaustedError: ("QUOTA_EXHAUSTED", 503),
        BudgetExceededError: ("BUDGET_EXCEEDED", 429),
    }
