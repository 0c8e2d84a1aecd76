"""From a file to a router that routes: pools shared, caps, prices, names."""

from __future__ import annotations

from decimal import Decimal

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    BudgetExceededError,
    InvalidConfigurationError,
    NoEligibleKeysError,
    QuotaExhaustedError,
    Request,
)

SECRETS = {f"k{n}": f"material-of-key-{n}-0000" for n in range(1, 6)}


def routed(**sections: object) -> ApiKeyRouter:
    keys = sections.get("keys", {})
    assert isinstance(keys, dict)
    filled = {name: {"secret": SECRETS[name], "provider": "openai", **entry} for name, entry in keys.items()}
    return ApiKeyRouter.from_config(
        {"providers": {"openai": {"adapter": "openai"}}, **sections, "keys": filled}, environ={}
    )


def request(model: str = "gpt-4o-mini", tokens: int = 10) -> Request:
    return Request(model=model, input_tokens=tokens, max_output_tokens=10)


def test_keys_of_one_pool_share_its_limit() -> None:
    router = routed(pools={"a": {"limits": {"rpm": 2}, "shared_by": ["k1", "k2"]}}, keys={"k1": {}, "k2": {}})
    assert {router.acquire(request()).key_id for _ in range(2)} <= {"k1", "k2"}
    with pytest.raises(QuotaExhaustedError):
        router.acquire(request())


def test_limits_of_a_key_in_a_pool_are_its_caps() -> None:
    router = routed(
        pools={"a": {"limits": {"rpm": 3}, "shared_by": ["k1", "k2"]}}, keys={"k1": {"limits": {"rpm": 1}}, "k2": {}}
    )
    assert [router.acquire(request()).key_id for _ in range(3)].count("k1") <= 1


def test_limits_of_a_key_without_a_pool_are_its_own() -> None:
    router = routed(keys={"k1": {"limits": {"rpm": 1}}, "k2": {"limits": {"rpm": 1}}})
    assert sorted(router.acquire(request()).key_id for _ in range(2)) == ["k1", "k2"]
    with pytest.raises(QuotaExhaustedError):
        router.acquire(request())


def test_a_listed_price_a_price_by_hand_and_one_that_is_free() -> None:
    prices = {
        "gpt-4o-mini": {"input": "1000", "output": "0"},
        "openai/gpt-4.1*": {"input": "2000", "output": 0},
        "own*": "free",
    }
    router = routed(keys={"k1": {}}, prices=prices)
    costs = {m: router.preview(request(m, 1000)).cost for m in ("gpt-4o-mini", "gpt-4.1", "own-model")}
    assert costs == {"gpt-4o-mini": 1_000_000_000, "gpt-4.1": 2_000_000_000, "own-model": 0}
    assert 0 < (router.preview(request("gpt-4o", 1000)).cost or 0) < 100_000_000


def test_a_free_provider_passes_a_hard_budget_for_a_model_nobody_knows() -> None:
    sections: dict[str, object] = {
        "budgets": {"none": {"scope": "global", "limit": 0, "mode": "hard"}},
        "keys": {"k1": {"provider": "local"}},
    }
    local = {"adapter": "openai", "base_url": "http://127.0.0.1:1/v1"}
    paid = routed(providers={"local": local}, **sections)
    with pytest.raises(BudgetExceededError):
        paid.acquire(request("my-own-model"))
    free = routed(providers={"local": {**local, "price": "free"}}, **sections)
    assert free.acquire(request("my-own-model")).key_id == "k1"


def test_a_free_key_is_free_for_its_models_only() -> None:
    router = routed(keys={"k1": {"models": ["gpt-4o-mini"], "price": "free"}, "k2": {"models": ["gpt-4o"]}})
    assert router.preview(request("gpt-4o-mini")).cost == 0
    assert router.preview(request("gpt-4o")).cost


def test_an_alias_compares_providers() -> None:
    router = ApiKeyRouter.from_config(
        {
            "providers": {"openai": {"adapter": "openai"}, "claude": {"adapter": "anthropic"}},
            "keys": {
                "o": {"provider": "openai", "secret": SECRETS["k1"]},
                "c": {"provider": "claude", "secret": SECRETS["k2"]},
            },
            "models": {"fast": ["openai/gpt-4o-mini", "claude/claude-haiku-4-5"]},
            "objective": "cost",
        },
        environ={},
    )
    decision = router.preview(request("fast", 1000))
    assert (decision.key, decision.model, decision.total) == ("o", "gpt-4o-mini", 2)


def test_price_names_follow_the_address_where_it_proves_the_provider() -> None:
    router = ApiKeyRouter.from_config(
        {
            "providers": {
                "mine": {"adapter": "openai"},
                "groq1": {"adapter": "groq"},
                "here": {"adapter": "openai", "base_url": "http://127.0.0.1:1/v1"},
                "said": {"adapter": "openai", "base_url": "http://127.0.0.1:1/v1", "price_name": "azure"},
                "claude": {"adapter": "anthropic"},
            }
        },
        environ={},
    )
    names = {name: entry.price_name for name, entry in router.enrolment.router.registry.providers.items()}
    assert names == {"mine": "openai", "groq1": "groq", "here": "here", "said": "azure", "claude": "anthropic"}


def test_tags_tiers_and_models_reach_the_router() -> None:
    router = routed(keys={"k1": {"tags": {"tenant": "acme"}, "models": ["gpt-4o*"], "tier": 2, "label": "x"}})
    key = router.get_key("k1")
    assert (dict(key.tags), key.tenant, key.tier, list(key.models), key.label) == (
        {"tenant": "acme"},
        "acme",
        2,
        ["gpt-4o*"],
        "x",
    )
    with pytest.raises(NoEligibleKeysError):
        router.acquire(request())


def test_budgets_settings_and_objective_reach_the_router() -> None:
    router = routed(
        budgets={"d": {"scope": "global", "limit": 5, "spent": 2}},
        objective="cost",
        settings={"timeout": 9},
        keys={"k1": {}},
    )
    engine = router.enrolment.router
    router.acquire(request())
    (status,) = router.budget_status("global")
    assert (status.limit, status.spent) == (Decimal(5), Decimal(2))
    assert (engine.asking.objective.name, engine.settings.timeout_s) == ("cost", 9.0)


def test_what_this_version_cannot_do_is_said() -> None:
    with pytest.raises(InvalidConfigurationError, match="state 'sqlite"):
        ApiKeyRouter.from_config({"state": "sqlite:///a.db"}, environ={})


def test_arguments_of_the_wrong_kind() -> None:
    with pytest.raises(InvalidConfigurationError, match="`prices` is not a PriceBook"):
        ApiKeyRouter.from_config({}, environ={}, prices={"m": 1})
