"""What a user reaches of each provider through the router: every operation, and what it cannot do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from stage import MODEL, Config, Opener, Stage, chat

from apikeyrouter import ApiKeyRouterError, InvalidRequestError, NoEligibleKeysError, RoutingError
from apikeyrouter.adapters import token_source
from apikeyrouter.events import Failed
from apikeyrouter.ports import SecretSource
from apikeyrouter.simulator import Latency, Organisation, World, WorldSpec
from apikeyrouter.testing import ManualClock, PlainSecret

WORLD = (
    Organisation(id="o", keys=("o1",)),
    Organisation(id="a", keys=("a1",), dialect="anthropic"),
    Organisation(id="g", keys=("g1",), dialect="gemini"),
)
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
MODELS = {"openai": MODEL, "claude": "claude-sonnet-4-6", "gemini": "gemini-2.5-flash"}


def three(world: World, url: str) -> Config:
    """One provider of each dialect, one key each; hard money over all."""
    return {
        "providers": {
            "openai": {"adapter": "openai", "base_url": f"{url}/v1", "dialect": "openai"},
            "claude": {"adapter": "anthropic", "base_url": f"{url}/anthropic"},
            "gemini": {"adapter": "gemini", "base_url": f"{url}/v1beta"},
        },
        "keys": {
            "o1": {"provider": "openai", "secret": world.secret("o1"), "models": ["gpt-*", "text-*"]},
            "a1": {"provider": "claude", "secret": world.secret("a1"), "models": ["claude-*"]},
            "g1": {"provider": "gemini", "secret": world.secret("g1"), "models": ["gemini-*"]},
        },
        "budgets": {"all": {"scope": "global", "limit": "10", "period": "day", "mode": "hard"}},
        "models": {"any": [f"{provider}/{model}" for provider, model in MODELS.items()]},
    }


async def route(stage: Stage, operation: str, body: dict[str, Any], **options: Any) -> Any:
    return (await stage.router.route(body, operation=operation, **options)).content


async def test_every_operation_of_every_dialect(opened: Opener) -> None:
    stage = await opened(WORLD, config=three)
    for provider, model in MODELS.items():
        assert await route(stage, "chat", chat(model=model))
        names = await route(stage, "models", {}, provider=provider)
        assert model in names
    assert await route(stage, "completion", {"model": "gpt-3.5-turbo-instruct", "prompt": "Say", "max_tokens": 5})
    assert await route(stage, "responses", {"model": MODEL, "input": "Say", "max_output_tokens": 16})
    message = {"model": MODELS["claude"], "messages": [{"role": "user", "content": "Say"}], "max_tokens": 5}
    assert await route(stage, "messages", message)
    for model in ("text-embedding-3-small", "gemini-embedding-001"):
        assert len(await route(stage, "embeddings", {"model": model, "input": ["a", "b"]})) == 2


async def test_a_list_of_models_is_free_and_needs_its_provider(opened: Opener) -> None:
    stage = await opened(WORLD, config=three)
    reply = await stage.router.route({}, operation="models", provider="claude")
    assert reply.metadata.cost == Decimal(0)
    with pytest.raises(InvalidRequestError, match="provider="):
        await route(stage, "models", {})


@pytest.mark.parametrize(
    ("body", "served_by"),
    [
        ({"logit_bias": {"50256": -100}}, {"openai"}),
        ({"n": 2}, {"openai", "gemini"}),
        ({"parallel_tool_calls": False, "tools": TOOLS}, {"openai", "claude"}),
        ({}, {"openai", "claude", "gemini"}),
    ],
)
async def test_what_a_dialect_cannot_say_is_refused_before_it_is_sent(
    opened: Opener, body: dict[str, Any], served_by: set[str]
) -> None:
    stage = await opened(WORLD, config=three)
    for provider in served_by:
        await route(stage, "chat", {**chat(model=MODELS[provider]), **body}, provider=provider)
    before = stage.count()
    for provider in MODELS.keys() - served_by:
        with pytest.raises(InvalidRequestError, match="cannot be expressed"):
            await route(stage, "chat", {**chat(model=MODELS[provider]), **body}, provider=provider)
    assert stage.count() == before


def less(world: World, url: str) -> Config:
    """A self-hosted server of the OpenAI shape that can less, beside one that can all."""
    large = {"adapter": "openai", "base_url": f"{url}/v1", "dialect": "openai"}
    return {
        "providers": {"small": {**large, "features": ["streaming"], "max_output_tokens": 20}, "large": large},
        "keys": {
            "o1": {"provider": "small", "secret": world.secret("o1")},
            "o2": {"provider": "large", "secret": world.secret("o2"), "tier": 1},
        },
        "models": {"fast": [f"small/{MODEL}", f"large/{MODEL}"]},
    }


async def test_a_server_that_can_less_gets_what_it_can(opened: Opener) -> None:
    stage = await opened((Organisation(id="o", keys=("o1",)), Organisation(id="p", keys=("o2",))), config=less)
    for body, used in [
        (chat(model="fast", max_tokens=16), "o1"),
        (chat(model="fast", max_tokens=32), "o2"),
        (chat(model="fast", max_tokens=16, tools=TOOLS), "o2"),
    ]:
        assert (await stage.router.route(body)).metadata.key_used == used
    with pytest.raises(NoEligibleKeysError, match="tools"):
        await stage.router.route(chat(max_tokens=16, tools=TOOLS), provider="small")
    with pytest.raises(RoutingError):
        await stage.router.route(chat(max_tokens=32), provider="small", wait=False)


async def test_vertex_takes_tokens_from_a_source_that_the_file_names(opened: Opener) -> None:
    asked: list[str] = []
    tokens: dict[str, str] = {}

    @token_source("by-the-scenario")
    async def token(key: SecretSource) -> SecretSource:
        asked.append(key.reveal())
        return PlainSecret(tokens["g1"])

    def vertex(world: World, url: str) -> Config:
        tokens["g1"] = world.secret("g1")
        place = {"project": "p", "location": "europe-west4", "token_source": "by-the-scenario"}
        return {
            "providers": {"vertex": {"adapter": "vertex", "base_url": f"{url}/v1beta", **place}},
            "keys": {"g1": {"provider": "vertex", "secret": "service-account-7"}},
        }

    stage = await opened(WORLD, config=vertex)
    with pytest.raises(ApiKeyRouterError):  # the simulator has no Vertex paths; what counts is who was asked
        await stage.router.route(chat(model="gemini-2.5-flash"))
    assert asked == ["service-account-7"]


async def test_the_time_to_the_first_token_is_told(opened: Opener) -> None:
    clock = ManualClock()
    spec = WorldSpec(organisations=WORLD[:1], latency=Latency(first_s=3.0, per_token_s=0.5))
    stage = await opened(World(spec, clock=clock), clock=clock)
    stream = stage.router.stream(chat(output=16))
    seen = await stage.while_time_passes(all_of(stream))
    assert seen
    assert stream.metadata is not None
    assert stream.metadata.first_token_s == pytest.approx(3.0 + 8 * 0.5, abs=0.01)  # a piece has eight tokens
    (deployment,) = stage.router._router.registry.deployments.values()
    assert deployment.latency.first_s == stream.metadata.first_token_s
    assert 0.2 <= deployment.latency.per_token_s <= 0.5


async def all_of(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


async def test_a_failure_tells_where_its_wait_was_found(opened: Opener) -> None:
    stage = await opened(WORLD[:1], settings={"attempts": 1})
    said = b'{"error": {"message": "Rate limit reached. Please try again in 20s.", "code": "rate_limit_exceeded"}}'
    stage.world.faults.fail_next(1, status=429, body=said)
    with pytest.raises(ApiKeyRouterError):
        await stage.router.route(chat(), wait=False)
    assert [(event.retry_after, event.wait_from) for event in stage.of(Failed)] == [(20.0, "message")]
