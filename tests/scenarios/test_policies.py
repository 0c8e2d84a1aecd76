"""Policies of a configuration file decide about real requests: effects, scopes, versions, changes under load."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from stage import MODEL, Opener, Stage, chat, two_providers

from apikeyrouter import (
    BudgetExceededError,
    InvalidConfigurationError,
    NoEligibleKeysError,
    Policy,
    PolicyViolationError,
    Request,
    ServiceUnavailableError,
)
from apikeyrouter.reload import reload
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=60_000, tpm=400_000_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=60_000, tpm=400_000_000)),
)
CHEAP = {"input": "0.15", "output": "0.60"}
DEAR = {"input": "0.30", "output": "1.20"}
PRICES = {f"first/{MODEL}": CHEAP, f"second/{MODEL}": DEAR}


def configured(world: World, url: str) -> dict[str, Any]:
    """a1 and a2 belong to the cheap provider `first` and are in the eu, b1 to the dear `second` and is in the us."""
    config = two_providers(world, url)
    config["prices"] = PRICES
    for name, key in config["keys"].items():
        key["tags"] = {"region": "us" if name == "b1" else "eu"}
    return config


async def with_policies(opened: Opener, policies: Mapping[str, Mapping[str, object]], **more: Any) -> Stage:
    clock = more.pop("clock", None) or ManualClock()
    return await opened(WORLD, config=configured, clock=clock, policies=policies, **more)


async def keys_used(stage: Stage, count: int = 12, body: Mapping[str, Any] | None = None, **options: Any) -> set[str]:
    body = body or chat(model="fast")
    return {(await stage.router.route(body, **options)).metadata.key_used for _ in range(count)}


# -- effects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"require": "key.tags.region == 'eu'"}, {"a1", "a2"}),
        ({"require": {"tags.region": "us"}}, {"b1"}),
        ({"deny": "key.provider == 'first'"}, {"b1"}),
        ({"deny": "key.id in ['a1', 'b1']"}, {"a2"}),
        ({"allow": {"id": ["a1", "b1"]}}, {"a1", "b1"}),
        ({"prefer": "key.tags.region == 'us'", "weight": 0.4}, {"b1"}),
        ({"prefer": "key.id == 'a2'", "weight": 1}, {"a2"}),
        ({"max_cost": "0.00003 USD"}, {"a1", "a2"}),
        ({"objective": "cost"}, {"a1", "a2"}),
        ({"deny": "key.cost > 0.00003"}, {"a1", "a2"}),
        ({"require": "pool.used < 0.9", "deny": "pool.risk > 0.5"}, {"a1", "a2", "b1"}),
        ({"when": "time.year < 2000", "deny": "true == true"}, {"a1", "a2", "b1"}),
        ({"enabled": False, "deny": {"id": "*"}}, {"a1", "a2", "b1"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_an_effect_on_keys(opened: Opener, rule: dict[str, object], expected: set[str]) -> None:
    stage = await with_policies(opened, {"rule": rule}, objective={"fairness": 1.0})
    assert await keys_used(stage) == expected


async def test_a_denied_request_is_told_which_policy_denies_it_and_sends_nothing(opened: Opener) -> None:
    stage = await with_policies(opened, {"no-eu": {"deny": "request.tenant == 'acme'", "version": 3}})
    with pytest.raises(PolicyViolationError, match=r"no-eu v3, deny: request.tenant == 'acme'") as refused:
        await stage.router.route(chat(model="fast"), tenant="acme")
    assert (refused.value.code, refused.value.http_status, stage.count()) == ("POLICY_VIOLATION", 400, 0)
    assert await keys_used(stage, 1, tenant="umbrella")


async def test_a_cap_of_a_policy_binds_like_one_of_the_request(opened: Opener) -> None:
    stage = await with_policies(opened, {"small": {"max_cost": "0.00001"}, "smaller": {"max_cost": "0.000002"}})
    with pytest.raises(BudgetExceededError, match=r"max_cost of policy smaller v1 has \$0\.000002 left") as refused:
        await stage.router.route(chat(model="fast"))
    assert refused.value.details["left"] == Decimal("0.000002")
    assert refused.value.details["limit"] == "max_cost of policy smaller v1"
    assert "max_cost of policy smaller v1 has $0.000002" in str(refused.value.decision)
    assert stage.count() == 0
    with pytest.raises(BudgetExceededError, match=r"and max_cost has \$0\.000001 left"):
        await stage.router.route(chat(model="fast"), max_cost="0.000001")


async def test_a_downgrade_sends_the_cheaper_model_and_tells_what_it_saves(opened: Opener) -> None:
    rule = {"when": "request.tags.plan == 'free'", "downgrade": {"gpt-4o": MODEL}, "version": 2}
    other = {"max_cost": "5 USD"}
    prices = {"first/gpt-4o": {"input": "2.50", "output": "10.00"}, **PRICES}
    stage = await with_policies(opened, {"thrift": rule, "cap": other}, prices=prices)
    reply = await stage.router.route(chat(model="first/gpt-4o"), tags={"plan": "paid"})
    assert reply.metadata.model == "gpt-4o"
    stage.router.policing.replace([Policy.of("thrift", {**rule, "downgrade": {"first/gpt-4o": f"first/{MODEL}"}})])
    reply = await stage.router.route(chat(model="first/gpt-4o"), tags={"plan": "free"})
    assert reply.metadata.model == MODEL
    (seen,) = stage.world.record.all(model=MODEL)
    assert seen.status == 200
    text = str(stage.router.explain(reply.metadata.decision_id))
    assert f"first/{MODEL} instead of first/gpt-4o by policy thrift, which saves up to $0.0003" in text


async def test_a_split_is_even_and_the_same_for_the_same_user(opened: Opener) -> None:
    names = {"one": [f"first/{MODEL}"], "two": [f"second/{MODEL}"]}
    stage = await with_policies(opened, {"half": {"split": {"one": 50, "two": 50}}}, models=names)
    router = stage.router
    shares = Counter((router.preview(_request(model="one", user=f"user-{n}")).lowered is None) for n in range(10_000))
    assert abs(shares[True] / 10_000 - 0.5) < 0.02
    for n in range(20):
        answers = {(await router.route(chat(model="one"), user=f"user-{n}")).metadata.provider for _ in range(3)}
        assert len(answers) == 1


def _request(**fields: Any) -> Request:
    return Request(input_tokens=10, max_output_tokens=10, **fields)


async def test_failure_actions_bound_the_attempts(opened: Opener) -> None:
    stage = await with_policies(
        opened,
        {"once": {"type": "failure_handling", "when": "request.priority < 0", "actions": {"max_attempts": 1}}},
        settings={"backoff": 0.001},
        clock=ManualClock(),
    )
    stage.world.faults.add(Fault(kind="error", times=1))
    with pytest.raises(ServiceUnavailableError):
        await stage.router.route(chat(model="fast"), priority=-1)
    assert stage.count() == 1
    stage.world.faults.add(Fault(kind="error", times=1))
    reply = await stage.while_time_passes(stage.router.route(chat(model="fast")))
    assert reply.metadata.attempts == 2


@pytest.mark.parametrize(("failover", "providers"), [("never", 1), ("same_provider", 1), ("any", 2)])
async def test_failure_actions_say_who_may_be_asked_next(opened: Opener, failover: str, providers: int) -> None:
    stage = await with_policies(opened, {"where": {"actions": {"failover": failover, "max_attempts": 6}}})
    stage.world.faults.add(Fault(kind="error"))
    with pytest.raises(ServiceUnavailableError):
        await stage.while_time_passes(stage.router.route(chat(model="fast")))
    asked = {"second" if key == "b1" else "first" for key in stage.seen()}
    assert len(asked) == providers
    assert stage.count() == 1 if failover == "never" else stage.count() >= 2


async def test_a_cooldown_after_a_failure_keeps_the_key_aside(opened: Opener) -> None:
    rule = {"actions": {"cooldown": 30, "max_attempts": 1}}
    stage = await with_policies(opened, {"rest": rule}, objective="cost")
    stage.world.faults.add(Fault(kind="error", times=1))
    with pytest.raises(ServiceUnavailableError):
        await stage.router.route(chat(model="fast"))
    (failed,) = stage.seen()
    assert failed not in await keys_used(stage)
    assert stage.clock is not None
    stage.clock.advance(31)
    assert failed in await keys_used(stage)


# -- scopes, precedence, versions ---------------------------------------------------------------------------------


SCOPES = ("default", "global", "provider:*", "model:gpt*", "route:fast", "tenant:acme", "user:ada", "request")
EARLY = ("default", "global", "route:fast", "tenant:acme", "user:ada", "request")


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_policy_of_any_scope_is_asked(opened: Opener, scope: str) -> None:
    stage = await with_policies(opened, {"rule": {"scope": scope, "deny": {"id": ["a1", "a2"]}}})
    assert await keys_used(stage, tenant="acme", user="ada") == {"b1"}
    if scope.startswith(("tenant", "user")):
        stage.router.policing.replace([Policy.of("rule", {"scope": scope, "deny": {"id": "b1"}})])
        stranger = {(await stage.router.route(chat(model="fast"), tenant="x", user="y")).metadata.key_used}
        assert stranger <= {"a1", "a2", "b1"}
        assert "rule" not in str(stage.decisions()[-1])


@pytest.mark.parametrize("weaker", range(len(EARLY) - 1))
async def test_the_stronger_scope_chooses_the_objective(opened: Opener, weaker: int) -> None:
    """The weaker policy is declared last, so that order in the file cannot be what decides."""
    rules = {
        "strong": {"scope": EARLY[weaker + 1], "objective": "cost"},
        "weak": {"scope": EARLY[weaker], "objective": "quality", "priority": 99},
    }
    stage = await with_policies(opened, rules)
    await stage.router.route(chat(model="fast"), tenant="acme", user="ada")
    decision = stage.decisions()[-1]
    assert decision.objective.name == "cost"
    assert [name for name, _, _ in decision.policies] == ["weak", "strong"]


async def test_a_version_is_stamped_on_every_decision(opened: Opener) -> None:
    stage = await with_policies(opened, {"eu": {"require": {"tags.region": "eu"}, "version": 4}})
    first = await stage.router.route(chat(model="fast"))
    impact = await stage.router.configure_policy(Policy.of("eu", {"require": {"tags.region": ["eu", "us"]}}))
    second = await stage.router.route(chat(model="fast"))
    versions = [stage.router.explain(r.metadata.decision_id).policies for r in (first, second)]
    assert versions == [(("eu", 4, "global"),), (("eu", 5, "global"),)]
    assert "policies in force: eu v5 (global)" in str(stage.router.explain(second.metadata.decision_id))
    assert impact.requests == 1


async def test_a_refusal_carries_its_policies_too(opened: Opener) -> None:
    stage = await with_policies(opened, {"none": {"deny": {"id": "*"}}})
    with pytest.raises(PolicyViolationError) as refused:
        await stage.router.route(chat(model="fast"))
    assert refused.value.decision.policies == (("none", 1, "global"),)


async def test_a_request_brings_its_own_objective_and_it_wins(opened: Opener) -> None:
    stage = await with_policies(opened, {"q": {"scope": "user:ada", "objective": "quality"}})
    await stage.router.route(chat(model="fast"), user="ada", objective="cost")
    assert stage.decisions()[-1].objective.name == "cost"


# -- tenants -----------------------------------------------------------------------------------------------------


async def test_a_tenants_keys_never_serve_another(opened: Opener) -> None:
    keys = {"a1": {"tenant": "acme"}, "a2": {"tenant": "umbrella"}}

    def owned(world: World, url: str) -> dict[str, Any]:
        config = configured(world, url)
        for name, tags in keys.items():
            config["keys"][name]["tags"] = tags
        del config["keys"]["b1"]
        config["pools"]["org-b"]["shared_by"] = []
        return config

    stage = await opened(WORLD, config=owned, clock=ManualClock())
    bodies = [stage.router.route(chat(model="fast"), tenant=t) for t in ("acme", "umbrella") for _ in range(100)]
    replies = await asyncio.gather(*bodies)
    assert [r.metadata.key_used for r in replies] == ["a1"] * 100 + ["a2"] * 100
    for stranger in ("other", None):
        with pytest.raises(NoEligibleKeysError, match="belongs to another tenant"):
            await stage.router.route(chat(model="fast"), tenant=stranger)
    stage.world.faults.add(Fault(kind="error", key="a1"))
    with pytest.raises(ServiceUnavailableError):  # in need, too
        await stage.while_time_passes(stage.router.route(chat(model="fast"), tenant="acme"))
    assert Counter(stage.seen())["a2"] == 100


# -- changes -----------------------------------------------------------------------------------------------------


async def test_policies_change_all_at_once_under_load(opened: Opener) -> None:
    """Two sets, each with two policies that only together leave a key: a mixture would refuse or be seen."""
    sets = [
        {"one": {"deny": {"id": "a1"}, "version": 1}, "two": {"deny": {"id": "a2"}, "version": 1}},
        {"one": {"deny": {"id": "b1"}, "version": 2}, "two": {"deny": {"id": "a1"}, "version": 2}},
    ]
    stage = await with_policies(opened, sets[0])
    assert stage.router.filled is not None
    config = stage.router.filled.config

    async def change() -> None:
        for n in range(40):
            rules = sets[(n + 1) % 2]
            policies = tuple(Policy.of(name, rule) for name, rule in rules.items())
            reload(stage.router, replace(config, policies=policies))
            await asyncio.sleep(0)

    await asyncio.gather(change(), *(stage.router.route(chat(model="fast")) for _ in range(300)))
    for decision in stage.decisions():
        versions = {version for _, version, _ in decision.policies}
        assert len(decision.policies) == 2
        assert len(versions) == 1
        assert decision.key == ("b1" if versions == {1} else "a2")


async def test_a_wrong_policy_changes_nothing(opened: Opener) -> None:
    stage = await with_policies(opened, {"eu": {"require": {"tags.region": "eu"}}})
    before = stage.router.policing.policies
    with pytest.raises(InvalidConfigurationError, match="line 1, column 1: key has no 'teir'"):
        await stage.router.configure_policy(Policy.of("eu", {"deny": "key.teir > 2"}))
    assert stage.router.policing.policies == before
    assert await keys_used(stage) == {"a1", "a2"}


# -- dry run -----------------------------------------------------------------------------------------------------


async def test_a_dry_run_says_how_many_decisions_change_and_what_that_costs(opened: Opener) -> None:
    stage = await with_policies(opened, {}, objective="cost")
    for n in range(40):
        await stage.router.route(chat(model="fast"), tags={"feature": "chat" if n % 4 else "batch"})
    seen = stage.count()
    rule = Policy.of("us", {"when": "request.tags.feature == 'batch'", "require": {"tags.region": "us"}})
    impact = await stage.router.configure_policy(rule, dry_run=True)
    assert (impact.requests, impact.changed, impact.newly_refused) == (40, 10, 0)
    spent = [d.actual_cost for d in stage.decisions() if d.request.tags["feature"] == "batch"]
    assert impact.cost_nano == sum(cost or 0 for cost in spent)  # b1 costs twice as much
    assert str(impact).startswith("would have changed 10 of 40 decisions, +$0.0000")
    assert stage.router.policing.policies == ()
    assert stage.count() == seen


async def test_a_dry_run_of_a_refusal_counts_what_it_saves(opened: Opener) -> None:
    stage = await with_policies(opened, {}, objective="cost")
    for n in range(10):
        await stage.router.route(chat(model="fast"), tenant="acme" if n < 3 else "umbrella")
    impact = await stage.router.configure_policy(
        Policy.of("no", {"scope": "tenant:acme", "deny": {"id": "*"}}), dry_run=True
    )
    assert (impact.changed, impact.newly_refused) == (3, 3)
    assert "would have changed 3 of 10 decisions, -$0.0000" in str(impact)
    assert "3 newly refused" in str(impact)
    assert impact.removed == {"no": 9}


async def test_a_dry_run_knows_the_model_that_was_asked_for(opened: Opener) -> None:
    """What is in force already changes nothing when it is put in force again."""
    prices = {"first/gpt-4o": {"input": "2.50", "output": "10.00"}, **PRICES}
    rule = {"downgrade": {"first/gpt-4o": f"first/{MODEL}"}}
    stage = await with_policies(opened, {"thrift": rule}, prices=prices)
    for _ in range(5):
        await stage.router.route(chat(model="first/gpt-4o"))
    same = await stage.router.configure_policy(Policy.of("thrift", rule), dry_run=True)
    assert (same.changed, same.cost, same.models) == (0, 0, 0)
    off = await stage.router.configure_policy(Policy.of("thrift", {**rule, "enabled": False}), dry_run=True)
    assert (off.changed, off.models) == (5, 5)
    assert off.cost > 0
