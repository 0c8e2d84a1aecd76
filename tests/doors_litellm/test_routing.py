"""LiteLLM's Router by the engine: who is picked, what the caller is told, what happens to keys that fail."""

from __future__ import annotations

import asyncio

import pytest
from litellm_stage import HELLO, Opener, deployment

from apikeyrouter import ApiKeyRouter, Budget

EXACT = [{"of": "requests", "amount": 500, "per": "minute", "window": "rolling"}]
"""Nothing refills while a test runs."""


async def test_a_chat_is_served_counted_and_explained(opened: Opener) -> None:
    stage = await opened()
    reply = await stage.chat()
    told = reply._hidden_params["apikeyrouter"]
    assert reply.choices[0].message.content
    assert told["key"] in ("a1", "b1")
    assert stage.outcomes == ["settled"]
    assert f"{told['key']} chosen" in str(stage.engine.explain(told["decision_id"]))
    usage = reply.usage
    await stage.quiet()
    (seen,) = stage.world.record.all(outcome="admitted")
    assert (usage.prompt_tokens, usage.completion_tokens) == (seen.taken["tokens"] - 16, seen.output_tokens)


async def test_load_follows_the_room_that_is_left(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", rpm=300, tpm=300_000),
            deployment(world, url, "b1", rpm=100, tpm=100_000),
        ]
    )
    await asyncio.gather(*(stage.chat() for _ in range(40)))
    assert 30 <= stage.keys_used["a1"] <= 38


async def test_a_dead_key_is_found_once_and_left_alone(opened: Opener) -> None:
    stage = await opened(num_retries=2)
    stage.world.revoke("a1")
    for _ in range(6):
        await stage.chat()
    await stage.quiet()
    refused = stage.world.record.all(key="a1")
    assert len(refused) <= 1
    assert stage.world.record.all(key="b1", outcome="admitted")
    assert {k.id: str(k.state) for k in stage.engine.list_keys()}["b1"] == "available"


async def test_deployments_of_the_same_credential_fall_together(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", id="one", rpm=600),
            deployment(world, url, "a1", id="two", rpm=600),
            deployment(world, url, "b1", rpm=600),
        ],
        num_retries=2,
    )
    stage.world.revoke("a1")
    for _ in range(12):
        await stage.chat()
    await stage.quiet()
    assert len(stage.world.record.all(key="a1")) == 1
    assert {k.id: str(k.state) for k in stage.engine.list_keys()} == {
        "one": "invalid",
        "two": "invalid",
        "b1": "available",
    }


async def test_equal_limits_of_one_credential_are_one_pool(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", id="one", group="chat", limits=EXACT),
            deployment(world, url, "a1", id="two", group="also-chat", limits=EXACT),
        ]
    )
    await stage.chat()
    await stage.chat(model="also-chat")
    assert stage.used("one") == 2


async def test_further_keys_behind_one_deployment(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(
                world,
                url,
                "a1",
                id="shared",
                limits=EXACT,
                keys=[{"id": "b", "api_key": world.secret("b1"), "limits": EXACT}],
            )
        ]
    )
    await asyncio.gather(*(stage.chat() for _ in range(10)))
    await stage.quiet()
    assert len(stage.world.record.all(key="a1")) == len(stage.world.record.all(key="b1")) == 5
    assert stage.router.model_list[0]["litellm_params"]["api_key"] == stage.world.secret("a1")


async def test_a_further_key_that_died_is_not_tried_twice_by_one_request(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(
                world, url, "a1", id="shared", rpm=600, keys=[{"id": "b", "api_key": world.secret("b1"), "rpm": 600}]
            )
        ],
        num_retries=1,
    )
    stage.world.faults.fail_next(1, key="a1")
    stage.world.faults.fail_next(1, key="b1")
    first = await asyncio.gather(*(stage.chat() for _ in range(1)), return_exceptions=True)
    assert isinstance(first[0], Exception)
    assert stage.keys_used == {"shared": 1, "shared.b": 1}


@pytest.mark.parametrize("name", ["nickname", "a1", "wild/gpt-4o-mini"])
async def test_names_that_litellm_resolves_reach_us_resolved(opened: Opener, name: str) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", rpm=600),
            deployment(world, url, "b1", group="wild/*", model="openai/*", rpm=600),
        ],
        model_group_alias={"nickname": "chat"},
    )
    await stage.chat(model=name)
    assert stage.outcomes == ["settled"]


async def test_tags_and_order_of_litellm_hold(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", rpm=600, params={"tags": ["eu"]}),
            deployment(world, url, "b1", rpm=600, params={"tags": ["us"]}),
        ],
        enable_tag_filtering=True,
    )
    for _ in range(4):
        await stage.chat(metadata={"tags": ["us"]})
    assert stage.keys_used == {"b1": 4}


async def test_a_caller_with_a_key_of_its_own_takes_none_of_our_quota(opened: Opener) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", rpm=600)])
    await stage.chat(api_key=stage.world.secret("b1"))
    assert stage.outcomes == []
    await stage.quiet()
    assert len(stage.world.record.all(key="b1")) == 1


@pytest.mark.parametrize("word", ["api_base", "base_url"])
async def test_a_caller_with_an_address_of_its_own_takes_none_of_our_quota(opened: Opener, word: str) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", rpm=600)])
    await stage.chat(**{word: f"{stage.url}/v1"})
    assert stage.outcomes == []


async def test_without_a_loop_a_retry_goes_to_another_key(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, key, rpm=600, tier=tier) for tier, key in enumerate(("a1", "b1"))
        ],
        num_retries=1,
        retry_after=0,
    )
    stage.world.faults.fail_next(1, key="a1")
    await asyncio.to_thread(stage.chat_now)
    assert stage.keys_used == {"a1": 1, "b1": 1}


async def test_a_retry_goes_to_the_same_key_where_no_other_has_room(opened: Opener) -> None:
    one = {"limits": [{"of": "requests", "amount": 1, "per": "minute", "window": "rolling"}]}
    stage = await opened(
        models=lambda world, url: [deployment(world, url, "b1", **one), deployment(world, url, "a1", rpm=600, tier=1)],
        num_retries=1,
        retry_after=0,
    )
    await stage.chat()
    stage.world.faults.fail_next(1, key="a1")
    await stage.chat(metadata={"apikeyrouter": {"max_wait": 0}})
    assert stage.keys_used == {"b1": 1, "a1": 2}


async def test_the_providers_headers_correct_what_we_believe(opened: Opener) -> None:
    stage = await opened()
    await stage.chat()
    key = next(iter(stage.keys_used))
    quota = stage.world.quota("org-a" if key == "a1" else "org-b", "gpt-4o-mini")
    told = next(reading.remaining for reading in quota if reading.counts == "requests")
    status = next(p for p in stage.engine.get_state_summary().pools if p.id == key)
    assert abs(status.windows[0].remaining - told) <= 1


async def test_tenant_and_tags_of_a_call_are_budgeted(opened: Opener) -> None:
    engine = ApiKeyRouter(
        budgets=[Budget(scope="tenant:*", limit="1", mode="soft"), Budget(scope="tag:team=red", limit="1", mode="soft")]
    )
    stage = await opened(config=engine)
    await stage.chat(metadata={"tags": ["team=red"], "apikeyrouter": {"tenant": "acme"}})
    spent = {status.scope: status.spent for status in engine.budget_status()}
    assert set(spent) == {"tenant:acme", "tag:team=red"}
    assert all(amount > 0 for amount in spent.values())


async def test_a_tenant_that_litellm_authenticated_is_not_overruled(opened: Opener) -> None:
    engine = ApiKeyRouter(budgets=[Budget(scope="tenant:*", limit="1", mode="soft")])
    stage = await opened(config=engine)
    await stage.chat(
        metadata={"user_api_key_hash": "h", "user_api_key_team_id": "team-1", "apikeyrouter": {"tenant": "forged"}}
    )
    assert [status.scope for status in engine.budget_status()] == ["tenant:team-1"]


async def test_an_objective_can_be_chosen_for_one_request(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", rpm=600, price={"input": 10, "output": 10}),
            deployment(world, url, "b1", rpm=600, price={"input": 1, "output": 1}),
        ]
    )
    for _ in range(5):
        await stage.chat(metadata={"apikeyrouter": {"objective": "cost"}})
    assert stage.keys_used == {"b1": 5}


async def test_settings_that_cannot_be_read_are_all_told_at_once(opened: Opener) -> None:
    with pytest.raises(Exception, match=r"(?s)rpn.*weight") as caught:
        await opened(models=lambda world, url: [deployment(world, url, "a1", rpn=3, weight=-1)])
    assert type(caught.value).__name__ == "InvalidConfigurationError"


async def test_the_callers_metadata_stays_its_own(opened: Opener) -> None:
    stage = await opened()
    mine = {"mine": 1}
    await asyncio.gather(*(stage.chat(metadata=mine) for _ in range(5)))
    assert not any("lease" in name for name in mine)
    assert stage.outcomes == ["settled"] * 5


async def test_a_call_without_metadata_and_options(opened: Opener) -> None:
    stage = await opened()
    reply = await stage.router.acompletion(model="chat", messages=HELLO)
    assert reply.usage.total_tokens


async def test_two_engines_in_one_process_settle_their_own(opened: Opener) -> None:
    first, second = await opened(), await opened()
    await asyncio.gather(*(stage.chat() for stage in (first, second) for _ in range(4)))
    for stage in (first, second):
        await stage.settled()
        assert stage.outcomes == ["settled"] * 4
        assert len(stage.bills) == 4
