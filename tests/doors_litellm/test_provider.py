"""`apikeyrouter/...` as a LiteLLM model: our own adapters and engine behind LiteLLM's face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import litellm
import pytest
from litellm_stage import HELLO

from apikeyrouter import ApiKeyRouter, Budget, Limit, OpenAIAdapter, Request
from apikeyrouter.core.ledger import idle
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.litellm.provider import ApiKeyRouterLLM, register
from apikeyrouter.litellm.shared import SHARED
from apikeyrouter.simulator import Organisation, World, limits, serve

MODEL = "apikeyrouter/openai/gpt-4o-mini"
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
}


@pytest.fixture
def world() -> World:
    plenty = limits(rpm=600, tpm=600_000)
    return World([Organisation(id=f"org-{name}", keys=(f"{name}1",), limits=plenty) for name in "ab"])


@pytest.fixture
async def engine(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiKeyRouter]:
    async with serve(world, thread=True) as url:
        router = ApiKeyRouter()
        router.enrolment.add_provider("openai", OpenAIAdapter(f"{url}/v1"), price_name="openai")
        for name in world.keys:
            router.enrolment.add_key(world.secret(name), "openai", {"id": name, "limits": [Limit.rpm(600)]})
        monkeypatch.setattr(litellm, "custom_provider_map", [])
        register(router)
        yield router
        assert idle(list(router._router.registry.pools.values()), router._router.budgets)
        await router.aclose()
        router.sync.close()


@pytest.fixture(autouse=True)
def known_providers() -> Iterator[None]:
    kept = list(litellm.provider_list), list(litellm._custom_providers)
    yield
    litellm.provider_list[:], litellm._custom_providers[:] = kept


async def test_a_chat(engine: ApiKeyRouter, world: World) -> None:
    reply = await litellm.acompletion(model=MODEL, messages=HELLO, max_tokens=16)
    told = reply._hidden_params["apikeyrouter"]
    assert reply.choices[0].message.content
    assert reply.usage.completion_tokens == world.record.all()[0].output_tokens
    assert engine.explain(told["decision_id"]).key == told["key"]
    assert reply._hidden_params["response_cost"] > 0


async def test_a_stream_ends_with_reason_and_usage(engine: ApiKeyRouter, world: World) -> None:
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    stream = await litellm.acompletion(model=MODEL, messages=HELLO, max_tokens=16, **more)
    pieces = [piece async for piece in stream]
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    reasons = [piece.choices[0].finish_reason for piece in pieces if piece.choices]
    usages = [piece.usage for piece in pieces if getattr(piece, "usage", None)]
    assert len(text) > 20
    assert [reason for reason in reasons if reason] == ["length"]
    assert [usage.completion_tokens for usage in usages] == [world.record.all()[0].output_tokens]


async def test_a_tool_is_called_whole_and_in_a_stream(engine: ApiKeyRouter) -> None:
    asked: dict[str, Any] = {"messages": HELLO, "tools": [TOOL], "tool_choice": "required"}
    reply = await litellm.acompletion(model=MODEL, **asked)
    (call,) = reply.choices[0].message.tool_calls
    assert call.function.name == "look_up"
    pieces = [piece async for piece in await litellm.acompletion(model=MODEL, stream=True, **asked)]
    built = litellm.stream_chunk_builder(pieces)
    assert built.choices[0].message.tool_calls[0].function.name == "look_up"
    assert built.choices[0].finish_reason == "tool_calls"


async def test_embeddings(engine: ApiKeyRouter) -> None:
    reply = await litellm.aembedding(model="apikeyrouter/openai/text-embedding-3-small", input=["the sea", "the sky"])
    assert len(reply.data) == 2
    assert reply.usage.prompt_tokens > 0


async def test_without_a_loop(engine: ApiKeyRouter) -> None:
    reply = await asyncio.to_thread(litellm.completion, model=MODEL, messages=HELLO, max_tokens=9)
    stream = await asyncio.to_thread(lambda: [*litellm.completion(model=MODEL, messages=HELLO, stream=True)])
    vectors = await asyncio.to_thread(
        litellm.embedding, model="apikeyrouter/openai/text-embedding-3-small", input="sea"
    )
    assert reply.choices[0].message.content
    assert len(stream) > 2
    assert len(vectors.data) == 1


async def test_a_dead_key_is_not_the_callers_concern(engine: ApiKeyRouter, world: World) -> None:
    world.revoke("a1")
    for _ in range(4):
        await litellm.acompletion(model=MODEL, messages=HELLO, max_tokens=9)
    assert str(engine.get_key("a1").state) == "invalid"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("bad_request", litellm.BadRequestError), ("context_length", litellm.BadRequestError)],
)
async def test_faults_of_the_request_keep_their_kind(
    engine: ApiKeyRouter, world: World, fault: str, kind: type[Exception]
) -> None:
    world.faults.fail_next(1, error=fault)
    with pytest.raises(kind):
        await litellm.acompletion(model=MODEL, messages=HELLO, max_tokens=9)


async def test_refused_keys_are_an_authentication_error(engine: ApiKeyRouter, world: World) -> None:
    world.revoke("a1")
    world.revoke("b1")
    with pytest.raises(litellm.AuthenticationError):
        await litellm.acompletion(model=MODEL, messages=HELLO, max_tokens=9)


async def test_no_room_in_time_is_a_rate_limit_with_its_time(engine: ApiKeyRouter) -> None:
    engine.enrolment.add_key("sk-0123456789", "openai", {"id": "tiny", "limits": [Limit.rpm(1)], "models": ["gpt-4o"]})
    for name in ("a1", "b1"):
        await engine.disable_key(name)
    lease = engine.acquire(Request(model="gpt-4o", input_tokens=1, max_output_tokens=1))
    engine.settle(lease)
    with pytest.raises(litellm.RateLimitError) as caught:
        await litellm.acompletion(model="apikeyrouter/openai/gpt-4o", messages=HELLO, timeout=2)
    assert 50 <= int(caught.value.response.headers["retry-after"]) <= 60


async def test_a_tenant_in_the_metadata_pays(engine: ApiKeyRouter) -> None:
    engine.enrolment.add_budget(Budget(scope="tenant:acme", limit="1"))
    await litellm.acompletion(model=MODEL, messages=HELLO, max_tokens=9, metadata={"apikeyrouter": {"tenant": "acme"}})
    assert engine.budget_status("tenant:acme")[0].spent > 0


def test_without_an_engine_of_its_own_it_is_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    section = {"providers": {"openai": {"adapter": "openai"}}, "objective": "cost"}
    monkeypatch.setattr(litellm, "apikeyrouter", section, raising=False)
    monkeypatch.setattr(SHARED, "engine", None)
    first = ApiKeyRouterLLM().engine
    assert first is ApiKeyRouterLLM().engine is SHARED.get()


async def test_behind_the_strategy_a_models_own_decision_is_told(engine: ApiKeyRouter) -> None:
    router = litellm.Router(model_list=[{"model_name": "native", "litellm_params": {"model": MODEL}}])
    strategy = ApiKeyRoutingStrategy.install(router)
    reply = await router.acompletion(model="native", messages=HELLO, max_tokens=9)
    assert reply._hidden_params["apikeyrouter"]["key"] in ("a1", "b1")
    (pool,) = strategy.engine.get_state_summary().pools
    assert pool.windows == (), "whatever the chosen key's headers said is not about the deployment"
