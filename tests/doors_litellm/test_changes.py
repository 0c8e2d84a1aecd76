"""LiteLLM's list changes while it serves: the next pick knows, who waits is told, nothing counted is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from litellm.types.router import Deployment
from litellm_stage import HELLO, Opener, Stage, deployment, until

from apikeyrouter import ApiKeyRouter, Budget
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.simulator import World


def each_minute(amount: int, **more: Any) -> dict[str, Any]:
    """A limit that does not refill while a test runs."""
    return {"limits": [{"of": "requests", "amount": amount, "per": "minute", "window": "rolling"}], **more}


def only(key: str, **ours: Any) -> Callable[[World, str], list[Any]]:
    return lambda world, url: [deployment(world, url, key, **ours)]


def upsert(stage: Stage, key: str, **ours: Any) -> None:
    """What the Proxy does with a deployment that its database has changed."""
    stage.router.upsert_deployment(Deployment(**deployment(stage.world, stage.url, key, **ours)))


async def waiting(stage: Stage) -> asyncio.Task[Any]:
    """A call that waits for room, after the one place there is has been taken."""
    task = asyncio.ensure_future(stage.chat())
    await until(lambda: stage.in_line > 0)
    assert not task.done()
    return task


async def refused(stage: Stage) -> None:
    with pytest.raises(litellm.RateLimitError):
        await stage.chat(metadata={"apikeyrouter": {"max_wait": 0}})


def settings_in_place(stage: Stage, **ours: Any) -> None:
    stage.router.model_list[0]["model_info"]["apikeyrouter"] = ours


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [settings_in_place, lambda stage, **ours: upsert(stage, "a1", **ours)])
async def test_other_limits_hold_at_the_next_pick_and_what_was_used_stays_used(
    opened: Opener, change: Callable[..., None]
) -> None:
    stage = await opened(models=only("a1", **each_minute(9)))
    await stage.chat()
    change(stage, **each_minute(2))
    await stage.chat()
    await refused(stage)
    change(stage, **each_minute(4))
    await stage.chat()
    await stage.chat()
    await refused(stage)
    assert [pool.id for pool in stage.engine.get_state_summary().pools] == ["a1"]


async def test_a_pool_of_several_takes_the_limits_that_are_stated_last(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [deployment(world, url, key, **each_minute(2, pool="org")) for key in ("a1", "b1")]
    )
    await stage.chat()
    for key in ("a1", "b1"):
        upsert(stage, key, **each_minute(3, pool="org"))
    await stage.chat()
    await stage.chat()
    await refused(stage)


async def test_settings_that_cannot_be_read_leave_those_that_could_be(
    opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    stage = await opened(models=only("a1", **each_minute(2)))
    await stage.chat()
    with caplog.at_level(logging.ERROR, "apikeyrouter"):
        upsert(stage, "a1", rpn=5)
        await stage.chat()
    await refused(stage)
    assert "rpn" in caplog.text
    assert "goes on as it was" in caplog.text


# --- keys -----------------------------------------------------------------------------------------------------------


async def test_a_dead_key_stays_dead_until_it_has_another_credential(opened: Opener) -> None:
    stage = await opened(models=only("a1", rpm=600))
    stage.world.revoke("a1")
    with pytest.raises(litellm.AuthenticationError):
        await stage.chat()
    upsert(stage, "a1", rpm=700)
    with pytest.raises(litellm.ServiceUnavailableError, match="a1 is invalid"):
        await stage.chat()
    upsert(stage, "b1", id="a1", rpm=700)
    await stage.chat()
    assert len(stage.world.record.all(key="a1")) == 1


async def test_tags_and_tiers_change_without_a_new_key(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", rpm=600, tier=0),
            deployment(world, url, "b1", rpm=600, tier=1),
        ]
    )
    await stage.chat()
    upsert(stage, "a1", rpm=600, tier=2, tags={"region": "eu"})
    await stage.chat()
    (first,) = [key for key in stage.engine.list_keys() if key.id == "a1"]
    assert stage.keys_used == {"a1": 1, "b1": 1}
    assert (first.usage_count, dict(first.tags)) == (1, {"region": "eu"})


async def test_a_list_put_in_place_of_another_is_the_one_that_counts(opened: Opener) -> None:
    stage = await opened(models=only("a1", **each_minute(2)))
    await stage.chat()
    stage.router.set_model_list([deployment(stage.world, stage.url, "b1", **each_minute(1))])
    await stage.chat()
    assert [key.id for key in stage.engine.list_keys()] == ["b1"]
    stage.router.set_model_list([deployment(stage.world, stage.url, "a1", **each_minute(2))])
    await stage.chat()
    await refused(stage)
    assert stage.keys_used == {"a1": 2, "b1": 1}, "what a1 had used was not forgotten with it"


# --- money ----------------------------------------------------------------------------------------------------------


async def test_a_budget_changes_keeps_its_spend_and_goes(opened: Opener) -> None:
    paid: dict[str, Any] = {"rpm": 600, "price": {"request": 1}}
    stage = await opened(models=only("a1", **paid, budget={"usd": 1, "per": "day"}))
    await stage.chat()
    await refused(stage)
    upsert(stage, "a1", **paid, budget={"usd": 2, "per": "day"})
    await stage.chat()
    await refused(stage)
    assert [str(each.spent) for each in stage.engine.budget_status()] == ["2"]
    upsert(stage, "a1", **paid)
    await stage.chat()
    assert stage.engine.budget_status() == ()


# --- who waits ------------------------------------------------------------------------------------------------------


async def test_who_waits_is_served_by_a_deployment_added_meanwhile(opened: Opener) -> None:
    stage = await opened(models=only("a1", **each_minute(1)), max_wait=90.0)
    await stage.chat()
    task = await waiting(stage)
    stage.router.add_deployment(Deployment(**deployment(stage.world, stage.url, "b1", rpm=600)))
    answer = await asyncio.wait_for(task, 20)
    assert answer._hidden_params["apikeyrouter"]["key"] == "b1"
    assert answer._hidden_params["apikeyrouter"]["waited_s"] >= 0


async def test_a_thread_that_waits_is_served_by_a_deployment_added_meanwhile(opened: Opener) -> None:
    stage = await opened(models=only("a1", **each_minute(1)), max_wait=90.0)
    await stage.chat()
    thread = asyncio.ensure_future(asyncio.to_thread(stage.chat_now))
    await until(lambda: stage.in_line > 0)
    stage.router.add_deployment(Deployment(**deployment(stage.world, stage.url, "b1", rpm=600)))
    await asyncio.wait_for(thread, 20)
    assert stage.keys_used == {"a1": 1, "b1": 1}


async def test_who_waits_is_not_served_by_a_deployment_that_was_taken_out(opened: Opener) -> None:
    stage = await opened(models=only("a1", concurrency=1))
    stream = await stage.chat(stream=True)
    task = await waiting(stage)
    stage.router.set_model_list([deployment(stage.world, stage.url, "b1", rpm=600)])
    async for _ in stream:
        pass
    answer = await asyncio.wait_for(task, 20)
    assert answer._hidden_params["apikeyrouter"]["key"] == "b1"
    await stage.quiet()
    assert len(stage.world.record.all(key="a1")) == len(stage.world.record.all(key="b1")) == 1


async def test_who_waits_is_sent_with_the_credential_of_now(opened: Opener) -> None:
    stage = await opened(models=only("a1", concurrency=1))
    stream = await stage.chat(stream=True)
    task = await waiting(stage)
    upsert(stage, "b1", id="a1", concurrency=1)
    await asyncio.wait_for(task, 20)
    async for _ in stream:
        pass
    await stage.quiet()
    assert len(stage.world.record.all(key="a1")) == len(stage.world.record.all(key="b1")) == 1


async def test_who_waits_for_nothing_any_more_is_told(opened: Opener) -> None:
    stage = await opened(models=only("a1", **each_minute(1)), max_wait=90.0)
    await stage.chat()
    task = await waiting(stage)
    stage.router.delete_deployment("a1")
    with pytest.raises(Exception, match=r"(?i)no .*(deployments|endpoints|models)|not found|invalid"):
        await asyncio.wait_for(task, 20)


async def test_who_gives_up_while_the_list_changes_takes_nothing(opened: Opener) -> None:
    stage = await opened(models=only("a1", **each_minute(1)), max_wait=90.0)
    await stage.chat()
    task = await waiting(stage)
    upsert(stage, "a1", **each_minute(1), tier=3)
    await asyncio.sleep(1.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: stage.engine.get_state_summary().open_leases == 0)
    assert stage.seen() == 1


# --- several Routers, and the engine's own configuration ----------------------------------------------------------


def second_router(stage: Stage, *models: Any) -> litellm.Router:
    made = litellm.Router(model_list=list(models), num_retries=0)
    ApiKeyRoutingStrategy.install(made, stage.engine)
    return made


async def test_routers_of_one_engine_count_one_account_once(opened: Opener) -> None:
    stage = await opened(models=only("a1", **each_minute(2)))
    other = second_router(stage, deployment(stage.world, stage.url, "a1", **each_minute(2)))
    await stage.chat()
    await other.acompletion(model="chat", messages=HELLO, max_tokens=9)
    await refused(stage)


async def test_routers_of_one_engine_tell_accounts_of_one_name_apart(opened: Opener) -> None:
    stage = await opened(models=only("a1", id="mine", **each_minute(1)))
    other = second_router(stage, deployment(stage.world, stage.url, "b1", id="mine", **each_minute(1)))
    await stage.chat()
    await other.acompletion(model="chat", messages=HELLO, max_tokens=9)
    await stage.quiet()
    assert len(stage.world.record.all(key="b1")) == 1
    assert len(stage.keys_used) == 2


async def test_pools_of_the_configuration_are_shared_by_deployments_that_name_them(opened: Opener) -> None:
    config = {"pools": {"org": {"limits": each_minute(3)["limits"]}}}
    stage = await opened(
        config=config,
        models=lambda world, url: [deployment(world, url, key, pool="org") for key in ("a1", "b1")],
    )
    for _ in range(3):
        await stage.chat()
    await refused(stage)


async def test_limits_of_a_pool_of_the_configuration_stand(opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "apikeyrouter"):
        stage = await opened(
            config={"pools": {"org": {"limits": each_minute(1)["limits"]}}},
            models=only("a1", pool="org", rpm=500),
        )
    await stage.chat()
    await refused(stage)
    assert "Pool 'org' has limits of its own" in caplog.text


async def test_a_key_of_the_configuration_is_the_deployment_of_its_id(opened: Opener) -> None:
    config = {
        "providers": {"openai": {"adapter": "openai"}},
        "keys": {"key-a": {"provider": "openai", "secret": "sk-of-the-file-0123456789", **each_minute(1)}},
        "budgets": {"mine": {"scope": "key:key-a", "limit": "5 USD"}},
    }
    stage = await opened(config=config, models=only("a1", id="key-a"))
    answer = await stage.chat()
    assert answer._hidden_params["apikeyrouter"]["key"] == "key-a"
    await refused(stage)
    await stage.settled()
    (status,) = stage.engine.budget_status()
    assert status.spent > 0
    stage.router.delete_deployment("key-a")
    stage.strategy.refresh(stage.router)
    assert [key.id for key in stage.engine.list_keys()] == ["key-a"], "the file's keys are the file's"


async def test_pools_that_contradict_each_other_are_told_at_once(opened: Opener) -> None:
    with pytest.raises(Exception, match=r"Pool 'org' has other limits at deployment 'b1' than at 'a1'"):
        await opened(
            models=lambda world, url: [
                deployment(world, url, key, pool="org", rpm=rpm) for key, rpm in (("a1", 5), ("b1", 6))
            ]
        )


async def test_a_tenants_key_changes_hands(opened: Opener) -> None:
    engine = ApiKeyRouter(budgets=[Budget(scope="tenant:*", limit="9", mode="soft")])
    stage = await opened(config=engine, models=only("a1", rpm=600, tags={"tenant": "acme"}))
    await stage.chat(metadata={"apikeyrouter": {"tenant": "acme"}})
    upsert(stage, "a1", rpm=600, tags={"tenant": "other"})
    with pytest.raises(litellm.ServiceUnavailableError, match="another tenant"):
        await stage.chat(metadata={"apikeyrouter": {"tenant": "acme"}})
    await stage.chat(metadata={"apikeyrouter": {"tenant": "other"}})
