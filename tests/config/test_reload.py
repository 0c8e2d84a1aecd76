"""A running router moves to another configuration in place; a bad one changes nothing."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from decimal import Decimal

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    Budget,
    BudgetExceededError,
    InvalidConfigurationError,
    KeyNotFoundError,
    NoEligibleKeysError,
    Policy,
    PolicyViolationError,
    QuotaExhaustedError,
    Request,
    RoutingError,
    Settings,
    Usage,
)
from apikeyrouter.core.key import Trigger
from apikeyrouter.core.model import OUTPUT
from apikeyrouter.core.score import Objective
from apikeyrouter.reload import reload

BASE: dict[str, dict[str, object]] = {
    "providers": {"openai": {"adapter": "openai"}},
    "pools": {"a": {"limits": {"rpm": 4}, "shared_by": ["k1", "k2"]}},
    "keys": {
        "k1": {"provider": "openai", "secret": "material-of-key-1"},
        "k2": {"provider": "openai", "secret": "material-of-key-2"},
    },
    "budgets": {"d": {"scope": "global", "limit": 1}},
    "models": {"fast": ["openai/gpt-4o-mini"]},
}
REQUEST = Request(model="gpt-4o-mini", input_tokens=10, max_output_tokens=10)


class StillClock:
    """Time that does not pass."""

    def now(self) -> float:
        return 1_700_000_000.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@pytest.fixture
def router() -> ApiKeyRouter:
    return ApiKeyRouter.from_config(BASE, environ={}, clock=StillClock())


def changed(change: Callable[[dict[str, dict[str, dict[str, object]]]], object]) -> dict[str, dict[str, object]]:
    source = copy.deepcopy(BASE)
    change(source)  # type: ignore[arg-type]
    return source


def free(router: ApiKeyRouter, name: str = "a") -> float:
    (pool,) = (pool for pool in router.get_state_summary().pools if pool.id == name)
    return pool.windows[0].remaining


def test_the_same_again_changes_nothing(router: ApiKeyRouter) -> None:
    lease = router.acquire(REQUEST)
    assert not reload(router, BASE)
    assert free(router) == 3
    router.settle(lease, Usage(input_tokens=1, output_tokens=1))
    assert router.get_key("k1").usage_count + router.get_key("k2").usage_count == 1


def test_what_changed_is_told(router: ApiKeyRouter) -> None:
    def change(c: dict[str, dict[str, dict[str, object]]]) -> None:
        del c["keys"]["k2"]
        c["pools"]["a"] = {"limits": {"rpm": 5}, "shared_by": ["k1"]}
        c["keys"]["k3"] = {"provider": "openai", "secret": "material-of-key-3"}
        c["budgets"]["m"] = {"scope": "global", "limit": 9, "period": "month"}

    done = reload(router, changed(change))
    assert (done.added, done.changed, done.removed) == (("keys.k3", "budgets.m"), ("pools.a",), ("keys.k2",))


def test_a_removed_key_drains(router: ApiKeyRouter) -> None:
    open_lease = router.acquire(REQUEST)
    gone = open_lease.key_id
    material, (stays,) = f"material-of-key-{gone[1]}", {"k1", "k2"} - {gone}

    def change(c: dict[str, dict[str, dict[str, object]]]) -> None:
        del c["keys"][gone]
        c["pools"]["a"]["shared_by"] = [stays]

    reload(router, changed(change))
    assert open_lease.secret() == material
    router.settle(open_lease, Usage(input_tokens=1, output_tokens=1))
    assert {router.acquire(REQUEST).key_id for _ in range(3)} == {stays}
    with pytest.raises(KeyNotFoundError):
        router.get_key(gone)
    assert set(router.enrolment.router.secrets) == {stays}


def test_a_pool_keeps_count_when_its_limit_changes(router: ApiKeyRouter) -> None:
    for _ in range(3):
        router.acquire(REQUEST)
    reload(router, changed(lambda c: c["pools"]["a"].update(limits={"rpm": 10})))
    assert free(router) == 7
    reload(router, changed(lambda c: c["pools"]["a"].update(limits={"rpm": 2})))
    assert free(router) == 0
    with pytest.raises(QuotaExhaustedError):
        router.acquire(REQUEST)


def test_a_window_more_and_a_window_less(router: ApiKeyRouter) -> None:
    lease = router.acquire(REQUEST)
    reload(router, changed(lambda c: c["pools"]["a"].update(limits={"rpm": 4, "concurrency": 1})))
    second = router.acquire(REQUEST)
    with pytest.raises(QuotaExhaustedError):
        router.acquire(REQUEST)
    reload(router, changed(lambda c: c["pools"]["a"].update(limits={"rpm": 4})))
    (pool,) = (pool for pool in router.get_state_summary().pools if pool.id == "a")
    assert [window.name for window in pool.windows] == ["requests/minute"]
    third = router.acquire(REQUEST)
    for each in (lease, second, third):
        router.settle(each, Usage(input_tokens=1, output_tokens=1))
    reload(router, changed(lambda c: c["pools"]["a"].update(limits={"rpm": 4, "concurrency": 1})))
    (pool,) = (pool for pool in router.get_state_summary().pools if pool.id == "a")
    assert {window.name: window.remaining for window in pool.windows} == {"requests/minute": 1.0, "concurrency": 1.0}


def test_a_key_changes_in_place(router: ApiKeyRouter) -> None:
    lease = router.acquire(REQUEST)
    key = router.get_key(lease.key_id)
    reload(
        router,
        changed(
            lambda c: c["keys"][lease.key_id].update(
                secret="material-of-key-9", tier=3, tags={"tenant": "acme"}, models=["gpt-4o*"], limits={"rpm": 1}
            )
        ),
    )
    assert router.get_key(lease.key_id) is key
    assert (key.version, key.tier, key.tenant, key.models) == (2, 3, "acme", ("gpt-4o*",))
    assert key.pools == (f"{key.id}/caps", "a")
    assert lease.secret() != "material-of-key-9"
    mine = Request(model="gpt-4o-mini", input_tokens=1, max_output_tokens=1, tenant="acme")
    found = [router.acquire(mine) for _ in range(3)]
    assert [each.key_id for each in found].count(key.id) <= 1


def test_budgets_keep_what_is_spent(router: ApiKeyRouter) -> None:
    lease = router.acquire(REQUEST)
    router.settle(lease, Usage(cost_reported=Decimal("0.75")))
    reload(router, changed(lambda c: c["budgets"]["d"].update(limit="0.7")))
    (status,) = router.budget_status()
    assert (status.limit, status.spent) == (Decimal("0.7"), Decimal("0.75"))
    with pytest.raises(BudgetExceededError):
        router.acquire(REQUEST)


NEW_BUDGETS: list[dict[str, dict[str, object]]] = [
    {"d": {"scope": "global", "limit": 1}, "m": {"scope": "model:gpt-4o-mini", "limit": "0.00001"}},
    {"d": {"scope": "global", "limit": "0.00001"}},
    {"other": {"scope": "global", "limit": "0.00001"}},
    {"t": {"scope": "tenant:*", "limit": "0.00001"}, "d": {"scope": "global", "limit": 1, "mode": "soft"}},
]


@pytest.mark.parametrize("before", [{}, BASE["budgets"]], ids=["none before", "one before"])
@pytest.mark.parametrize("budgets", NEW_BUDGETS, ids=["another", "smaller", "renamed", "of a tenant"])
def test_what_is_in_flight_counts_in_budgets_that_come(
    before: dict[str, object], budgets: dict[str, dict[str, object]]
) -> None:
    """A reload in mid-flight must not let the new limit be spent beside what was promised before."""
    router = ApiKeyRouter.from_config({**BASE, "budgets": before}, environ={}, clock=StillClock())
    cost = router.preview(REQUEST).cost
    assert cost == 7_500
    leases = [router.acquire(dataclasses.replace(REQUEST, tenant="t")) for _ in range(2)]
    reload(router, {**BASE, "budgets": budgets}, environ={})
    with pytest.raises(BudgetExceededError):
        router.acquire(dataclasses.replace(REQUEST, tenant="t"))
    for lease in leases:
        router.settle(lease, Usage(input_tokens=10, output_tokens=10))
    for status in router.budget_status():
        assert (status.held, status.spent) == (0, Decimal("0.000015"))
    with pytest.raises(BudgetExceededError):
        router.acquire(dataclasses.replace(REQUEST, tenant="t"))


def test_what_was_made_by_hand_stays() -> None:
    router = ApiKeyRouter.from_config(BASE, environ={}, budgets=[Budget(scope="global", limit="7", id="mine")])
    router.enrolment.add_key("material-by-hand", "openai", {"id": "hand"})
    router.enrolment.add_alias("by-hand", ["openai/gpt-4o"])
    reload(router, changed(lambda c: c.pop("models")))
    assert [key.id for key in router.list_keys()] == ["k1", "k2", "hand"]
    assert router.preview(Request(model="by-hand", input_tokens=1, max_output_tokens=1)).model == "gpt-4o"
    router.acquire(REQUEST)
    assert [status.id for status in router.budget_status()] == ["mine"]


async def test_policies_of_the_file_come_and_go_and_those_by_hand_stay(router: ApiKeyRouter) -> None:
    await router.configure_policy(Policy(id="hand", deny={"id": "k1"}))
    reload(router, {**BASE, "policies": {"file": {"deny": {"id": "k2"}}}})
    assert {policy.id for policy in router.policing.policies} == {"hand", "file"}
    with pytest.raises(PolicyViolationError):
        router.acquire(REQUEST)
    reload(router, BASE)
    assert router.acquire(REQUEST).key_id == "k2"


def test_prices_by_hand_come_and_go(router: ApiKeyRouter) -> None:
    listed = router.preview(REQUEST).cost
    reload(router, {**BASE, "prices": {"gpt-4o-mini": {"input": "100000"}}})
    assert router.preview(REQUEST).cost == 1_000_000_000
    reload(router, {**BASE, "prices": {"gpt-4o-mini": "free"}})
    assert router.preview(REQUEST).cost == 0
    reload(router, BASE)
    assert router.preview(REQUEST).cost == listed


def test_providers_come_and_go(router: ApiKeyRouter) -> None:
    def change(c: dict[str, dict[str, dict[str, object]]]) -> None:
        c["providers"]["openai"] = {"adapter": "openai", "base_url": "http://127.0.0.1:1/v1"}
        c["providers"]["groq"] = {"adapter": "groq"}
        c["keys"]["k3"] = {"provider": "groq", "secret": "material-of-key-3"}

    before = router.enrolment.adapters["openai"]
    reload(router, changed(change))
    assert router.enrolment.adapters["openai"] is not before
    assert router.enrolment.retired == [before]
    assert (
        router.acquire(Request(model="groq/llama-3.1-8b-instant", input_tokens=1, max_output_tokens=1)).key_id == "k3"
    )
    reload(router, BASE)
    assert list(router.enrolment.router.registry.providers) == ["openai"]


@pytest.mark.parametrize(
    "source",
    [
        {**BASE, "keys": {"k1": {"provider": "nobody", "secret": "material-of-key-1"}}},
        {**BASE, "state": "redis://h"},
        {**BASE, "keys": {**BASE["keys"], "hand": {"provider": "openai", "secret": "material-of-key-3"}}},
        {**BASE, "keys": {**BASE["keys"], "k3": {"provider": "openai", "secret": "material-by-hand"}}},
    ],
    ids=["wrong", "state", "taken id", "taken material"],
)
def test_a_bad_configuration_changes_nothing(source: dict[str, object]) -> None:
    router = ApiKeyRouter.from_config(BASE, environ={})
    router.enrolment.add_key("material-by-hand", "openai", {"id": "hand"})
    before, filled = repr(router.get_state_summary().keys), router.filled
    with pytest.raises(InvalidConfigurationError):
        reload(router, source)
    assert (repr(router.get_state_summary().keys), router.filled) == (before, filled)


async def test_everything_that_an_entry_says_of_a_key_changes(router: ApiKeyRouter) -> None:
    said: dict[str, object] = {"weight": 3, "quality": 0.25, "label": "spare", "metadata": {"team": "b"}}
    reload(router, changed(lambda c: c["keys"]["k1"].update(said)))
    key = router.get_key("k1")
    assert (key.weight, key.quality, key.label, dict(key.metadata)) == (3.0, 0.25, "spare", {"team": "b"})
    reload(router, BASE)
    assert (key.weight, key.quality, key.label, dict(key.metadata)) != (3.0, 0.25, "spare", {"team": "b"})
    assert key == router.get_key("k1")


def test_a_tenants_key_is_nobody_elses_as_soon_as_the_file_says_so(router: ApiKeyRouter) -> None:
    """Candidates are remembered for all tenants together while no key is one tenant's own."""
    acme, other = (dataclasses.replace(REQUEST, tenant=name) for name in ("acme", "other"))
    for request in (acme, other):
        router.release(router.acquire(request))
    reload(router, changed(lambda c: c["keys"]["k1"].update(tags={"tenant": "acme"})))
    for _ in range(4):
        router.release(router.acquire(acme))
        lease = router.acquire(other)
        assert lease.key_id == "k2"
        router.release(lease)
    reload(router, BASE)
    assert router.enrolment.router.registry.tenants == 0


def test_another_material_serves_from_then_on_and_mends_a_key_that_was_refused(router: ApiKeyRouter) -> None:
    router.enrolment.move("k1", Trigger.AUTHENTICATION_FAILED, "401")
    router.enrolment.move("k2", Trigger.AUTHENTICATION_FAILED, "401")
    with pytest.raises(NoEligibleKeysError):
        router.acquire(REQUEST)
    reload(router, changed(lambda c: c["keys"]["k1"].update(secret="material-of-key-9")))
    lease = router.acquire(REQUEST)
    assert (lease.key_id, lease.secret()) == ("k1", "material-of-key-9")
    assert str(router.get_key("k2").state) == "invalid"


def test_a_key_of_another_provider_is_another_key(router: ApiKeyRouter) -> None:
    def change(c: dict[str, dict[str, dict[str, object]]]) -> None:
        c["providers"]["groq"] = {"adapter": "groq"}
        c["keys"]["k1"]["provider"] = "groq"

    before = router.get_key("k1")
    reload(router, changed(change))
    assert router.get_key("k1") is not before
    served = router.acquire(Request(model="groq/llama-3.1-8b-instant", input_tokens=1, max_output_tokens=1))
    assert (served.key_id, served.provider) == ("k1", "groq")
    assert {router.acquire(REQUEST).key_id for _ in range(2)} == {"k2"}


def test_budgets_by_hand_stay_when_those_of_the_file_change(router: ApiKeyRouter) -> None:
    def asked() -> set[str]:
        router.release(router.acquire(REQUEST))
        return {status.id for status in router.budget_status()}

    router.enrolment.add_budget(Budget(scope="global", limit="7", id="mine"))
    reload(router, changed(lambda c: c["budgets"].update(m={"scope": "global", "limit": 9, "period": "month"})))
    assert asked() == {"d", "m", "mine"}
    reload(router, changed(lambda c: c["budgets"].clear()))
    assert asked() == {"mine"}


def test_an_alias_that_left_the_file_stands_for_nothing(router: ApiKeyRouter) -> None:
    fast = dataclasses.replace(REQUEST, model="fast")
    assert router.preview(fast).model == "gpt-4o-mini"
    reload(router, changed(lambda c: c.pop("models")))
    assert router.preview(fast).model == "fast"


def test_a_budget_that_comes_may_ask_for_a_cheaper_model(router: ApiKeyRouter) -> None:
    """Whether any budget does is remembered, too."""
    dear = dataclasses.replace(REQUEST, model="gpt-4o")
    assert router.preview(dear).model == "gpt-4o"
    spent = {"scope": "global", "limit": "0.000001", "mode": "soft", "downgrade": {"gpt-4o": "gpt-4o-mini"}}
    reload(router, changed(lambda c: c["budgets"].update(d=spent)))
    assert router.preview(dear).model == "gpt-4o-mini"


def test_the_objective_and_the_settings_change(router: ApiKeyRouter) -> None:
    unbounded = dataclasses.replace(REQUEST, max_output_tokens=None)
    unknown = dataclasses.replace(REQUEST, model="openai/nobody-knows-its-price")
    with pytest.raises(RoutingError):
        router.acquire(unknown)
    settings = {
        "timeout": 7,
        "default_max_output": 33,
        "unknown_price": "assume",
        "assumed_price": {"input": 1, "output": 1},
    }
    reload(router, {**BASE, "objective": {"cost": 1.0}, "settings": settings})
    assert router.settings.timeout_s == 7.0
    assert router.acquire(unbounded).need[OUTPUT] == 33
    assert router.acquire(unknown).cost_held == 20_000
    assert router.preview(REQUEST).objective == Objective.of({"cost": 1.0})


def test_what_the_program_said_is_not_for_the_file_to_change() -> None:
    arguments = {
        "budgets": [Budget(scope="global", limit="7", id="mine")],
        "objective": "cost",
        "settings": Settings(timeout_s=9.0, default_max_output=44),
        "policies": [Policy(id="mine", deny={"id": "k1"})],
    }
    router = ApiKeyRouter.from_config(BASE, environ={}, clock=StillClock(), **arguments)
    more = {
        "budgets": {"other": {"scope": "global", "limit": 3}},
        "objective": "reliability",
        "settings": {"timeout": 5, "default_max_output": 55},
        "policies": {"file": {"deny": {"id": "k2"}}},
    }
    reload(router, {**BASE, **more})
    assert router.settings.timeout_s == 9.0
    lease = router.acquire(dataclasses.replace(REQUEST, max_output_tokens=None))
    assert (lease.key_id, lease.need[OUTPUT]) == ("k2", 44)
    assert lease.decision.objective == Objective.of("cost")
    assert [status.id for status in router.budget_status()] == ["mine"]


def test_who_may_serve_is_looked_up_anew() -> None:
    router = ApiKeyRouter.from_config(BASE, environ={}, clock=StillClock(), settings=Settings())
    router.release(router.acquire(REQUEST))
    reload(router, changed(lambda c: c["keys"]["k1"].update(models=["gpt-4o"])))
    assert {router.acquire(REQUEST).key_id for _ in range(4)} == {"k2"}


def test_limits_of_an_operation_move_for_a_key_that_shares_with_nobody() -> None:
    def limited(rpm: int) -> dict[str, object]:
        find = {"path": "/find", "limits": {"rpm": rpm}}
        geo = {"adapter": "http", "base_url": "http://127.0.0.1:9", "operations": {"find": find}, "price": "free"}
        return {"providers": {"geo": geo}, "keys": {"k": {"provider": "geo", "secret": "material-of-key-1"}}}

    router = ApiKeyRouter.from_config(limited(3), environ={}, clock=StillClock())
    router.acquire(Request(model="find", operation="find", provider="geo"))
    reload(router, limited(6))
    (window,) = (window for pool in router.quota("k") for window in pool.windows)
    assert (window.limit, window.remaining) == (6, 5)
