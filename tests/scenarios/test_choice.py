"""Who is chosen, and what may keep a key out: caps, limits of a model, tiers, weights, tenants, objectives, prices."""

from __future__ import annotations

from collections import Counter

import pytest
from stage import MODEL, Config, Opener, Stage, chat, described, two_providers

from apikeyrouter import Limit, NoEligibleKeysError, QuotaExhaustedError, Request, Usage
from apikeyrouter.simulator import Fault, LimitGroup, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=600, tpm=400_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=600, tpm=400_000)),
)
ASKED = Request(model=MODEL, input_tokens=10, max_output_tokens=10)


def with_keys(**keys: Config) -> object:
    """The described world, with more said about some keys."""

    def config(world: World, url: str) -> Config:
        whole = described(world, url)
        for name, more in keys.items():
            whole["keys"][name] |= more
        return whole

    return config


async def used(stage: Stage, count: int, **options: object) -> Counter[str]:
    return Counter([(await stage.router.route(chat(), **options)).metadata.key_used for _ in range(count)])  # type: ignore[arg-type]


async def test_a_cap_binds_one_key_inside_its_pool(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened([WORLD[0]], config=with_keys(a1={"limits": {"rpm": 2}}), clock=clock)  # type: ignore[arg-type]
    assert (await used(stage, 20))["a1"] <= 2
    await stage.router.disable_key("a2")
    with pytest.raises(QuotaExhaustedError, match=r"a1/caps requests/minute has 0 free of the 1 needed"):
        await used(stage, 3, wait=False)
    assert stage.count(key="a1") == 2


async def test_a_key_with_a_cap_shows_what_its_pool_suffers(opened: Opener) -> None:
    stage = await opened(WORLD, config=with_keys(a1={"limits": {"rpm": 20}}), clock=ManualClock())  # type: ignore[arg-type]
    stage.world.faults.add(Fault(kind="error", status=429, headers={"retry-after": "9"}, organisation="org-a"))
    await used(stage, 6)
    assert (stage.state("a1"), stage.state("a2"), stage.state("b1")) == ("throttled", "throttled", "available")
    assert {key.id for key in stage.router.list_keys(state="throttled")} == {"a1", "a2"}


async def test_a_limit_of_one_model_leaves_the_others_alone(opened: Opener) -> None:
    world = (
        Organisation(
            id="org-a",
            keys=("a1",),
            groups=(LimitGroup(models=("gpt-4o",), limits=limits(rpm=2)), LimitGroup(limits=limits(rpm=600))),
        ),
    )
    pools = {
        "org-a": {
            "limits": [
                {"of": "requests", "amount": 2, "models": ["gpt-4o"]},
                {"of": "requests", "amount": 600, "models": ["gpt-4o-mini"]},
            ],
            "shared_by": ["a1"],
        }
    }
    stage = await opened(world, clock=ManualClock(), pools=pools)
    for _ in range(2):
        await stage.router.route(chat(model="gpt-4o"))
    with pytest.raises(QuotaExhaustedError):
        await stage.router.route(chat(model="gpt-4o"), wait=False)
    assert await used(stage, 5) == {"a1": 5}
    assert stage.count(outcome="throttled") == 0


async def test_a_refusal_for_one_model_stops_that_model_only(opened: Opener) -> None:
    clock = ManualClock()
    pools = {
        "org-a": {"limits": [{"of": "requests", "amount": 60, "models": ["gpt-4o"]}], "shared_by": ["a1", "a2"]},
        "org-b": {"limits": {"rpm": 600}, "shared_by": ["b1"]},
    }
    stage = await opened(World(WORLD, clock=clock), clock=clock, pools=pools)
    stage.world.faults.add(Fault(kind="error", status=429, headers={"retry-after": "9"}, model="gpt-4o", key="a*"))
    reply = await stage.router.route(chat(model="gpt-4o"))
    again = await stage.router.route(chat(model="gpt-4o"))
    assert (reply.metadata.key_used, again.metadata.key_used) == ("b1", "b1")
    assert stage.count(model="gpt-4o", organisation="org-a") <= 1
    assert {"a1", "a2"} & set(await used(stage, 12))


async def test_refusals_without_a_time_double_the_pause(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World([WORLD[1]], clock=clock), clock=clock)
    stage.world.faults.add(Fault(kind="error", status=429, body=b"{}", times=2))
    reply = await stage.while_time_passes(stage.router.route(chat(), timeout=60))
    first, second, third = (seen.at / 1e9 for seen in stage.world.record.all())
    assert 1.0 <= second - first < 1.2
    assert 2.0 <= third - second < 2.2
    assert reply.metadata.attempts == 3


async def test_lower_tiers_first(opened: Opener) -> None:
    stage = await opened(WORLD, config=with_keys(a1={"tier": 1}, a2={"tier": 1}, b1={"tier": 2}))  # type: ignore[arg-type]
    assert "b1" not in await used(stage, 20)
    await stage.router.disable_key("a1")
    await stage.router.disable_key("a2")
    assert await used(stage, 2) == {"b1": 2}


async def test_weights_share_what_is_equal(opened: Opener) -> None:
    world = [Organisation(id=f"org-{n}", keys=(f"k{n}",)) for n in range(2)]
    stage = await opened(world, config=with_keys(k0={"weight": 3}), objective="fairness", clock=ManualClock())  # type: ignore[arg-type]
    found = await used(stage, 80)
    assert 50 <= found["k0"] <= 70


async def test_a_tenant_s_key_serves_nobody_else(opened: Opener) -> None:
    stage = await opened(WORLD, config=with_keys(b1={"tags": {"tenant": "acme"}}))  # type: ignore[arg-type]
    assert "b1" not in await used(stage, 12)
    assert "b1" not in await used(stage, 12, tenant="umbrella")
    assert "b1" in await used(stage, 24, tenant="acme")
    await stage.router.disable_key("a1")
    await stage.router.disable_key("a2")
    with pytest.raises(NoEligibleKeysError, match="b1 belongs to another tenant"):
        await stage.router.route(chat(), tenant="umbrella")


async def test_cost_decides_between_models_of_an_alias(opened: Opener) -> None:
    stage = await opened(WORLD, config=lambda w, u: two_providers(w, u, any=["first/gpt-4o", f"second/{MODEL}"]))
    cheap = await stage.router.route(chat(model="any"), objective="cost")
    assert (cheap.metadata.provider, cheap.metadata.model) == ("second", MODEL)
    assert "objective cost" in str(stage.router.explain(cheap.metadata.decision_id))
    strict = {"quality": 1, "constraints": {"max_cost": "0.00005 USD"}}
    bounded = await stage.router.route(chat(model="any"), objective=strict)
    assert bounded.metadata.model == MODEL
    assert "max_cost" in str(stage.router.explain(bounded.metadata.decision_id))


async def test_a_name_with_its_provider_pins(opened: Opener) -> None:
    stage = await opened(WORLD, config=two_providers)
    for provider in ("first", "second"):
        replies = [await stage.router.route(chat(model=f"{provider}/{MODEL}")) for _ in range(4)]
        assert {reply.metadata.provider for reply in replies} == {provider}
        again = await stage.router.route(chat(), provider=provider)
        assert again.metadata.provider == provider


async def test_previews_hold_nothing(opened: Opener) -> None:
    stage = await opened(WORLD)
    decision = stage.router.preview(ASKED)
    assert decision.key in ("a1", "a2", "b1")
    assert "score" in str(decision)
    assert stage.router.get_state_summary().open_leases == 0


async def test_a_caller_that_sends_by_itself(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(WORLD, clock=clock), clock=clock)
    first = stage.router.acquire(ASKED)
    assert first.secret() == stage.world.secret(first.key_id)
    stage.router.settle(first, Usage(input_tokens=10, output_tokens=5), headers={"x-ratelimit-remaining-requests": "3"})
    stage.router.settle(first, Usage(input_tokens=99, output_tokens=99))  # a second time changes nothing
    second = stage.router.acquire(ASKED)
    failure = stage.router.fail(second, 429, {"retry-after": "7"}, {"error": {"code": "rate_limit_exceeded"}})
    assert (str(failure.kind), failure.retry_after) == ("rate_limited", 7.0)
    assert stage.state(second.key_id) == "throttled"
    third = stage.router.acquire(ASKED)
    stage.router.fail(third, 401, {}, {"error": {"code": "invalid_api_key"}})
    assert stage.state(third.key_id) == "invalid"
    assert stage.count() == 0


async def test_a_key_that_was_revoked_may_return_with_other_limits(opened: Opener) -> None:
    stage = await opened([WORLD[1]], pools={"org-b": {"shared_by": []}})
    await stage.router.revoke_key("b1")
    secret = stage.world.secret("b1")
    await stage.router.register_key(secret, "openai", id="mine", limits=[Limit.rpm(5)])
    await stage.router.revoke_key("mine")
    await stage.router.register_key(secret, "openai", id="mine", limits=[Limit.rpm(50)], caps=[Limit.rpd(9)])
    pools = {pool.id: pool for pool in stage.router.get_state_summary().pools}
    assert [window.limit for window in pools["mine"].windows] == [50]
    assert await used(stage, 1) == {"mine": 1}
