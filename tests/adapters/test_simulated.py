"""The adapters against providers that enforce their limits, over HTTP, with the providers' own SDKs as judges."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import anthropic
import openai
import pytest

from apikeyrouter.adapters import AnthropicAdapter, DeclarativeAdapter, GeminiAdapter, OpenAIAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import INPUT, OUTPUT, REQUESTS, TOKENS
from apikeyrouter.ports import Adapter, Answer, Call, Chunk
from apikeyrouter.simulator import Fault, Organisation, VirtualClock, World, limits, serve
from apikeyrouter.testing import PlainSecret

ASKED = [{"role": "user", "content": "hello there"}]
CHAT = {"messages": ASKED, "max_tokens": 20}


@dataclass
class Bench:
    """A world, its address, and an adapter for each of its keys."""

    world: World
    url: str
    adapters: dict[str, tuple[Adapter, str]]

    def call(self, key: str, body: Mapping[str, object] = CHAT, operation: str = "chat") -> Call:
        secret = PlainSecret(self.world.secret(key))
        return Call(
            operation=operation,
            model=self.adapters[key][1],
            body=body,
            secret=secret,
            timeout=10,
            request_id="r",
        )

    async def send(self, key: str, body: Mapping[str, object] = CHAT, operation: str = "chat") -> Answer:
        return await self.adapters[key][0].send(self.call(key, body, operation))

    async def stream(self, key: str, body: Mapping[str, object] = CHAT) -> list[Chunk]:
        opened = await self.adapters[key][0].stream(self.call(key, body))
        assert opened.failure is None, opened.failure
        return [chunk async for chunk in opened]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = VirtualClock()
    world = World(
        [
            Organisation(id="o", keys=("openai",), limits=limits(rpm=500, tpm=20_000)),
            Organisation(
                id="a", keys=("anthropic",), dialect="anthropic", limits=limits(rpm=500, itpm=10_000, otpm=10_000)
            ),
            Organisation(id="g", keys=("gemini",), dialect="gemini", limits=limits(rpm=500, tpm=10_000)),
            Organisation(id="p", keys=("plain",), dialect="plain", limits=limits(rpm=2, shape="fixed")),
        ],
        clock=clock,
    )
    geocode = {"geocode": {"path": "/geo/v1/geocode", "params": ["q"], "content": "$.results[0].formatted"}}
    async with serve(world) as url:
        adapters: dict[str, tuple[Adapter, str]] = {
            "openai": (OpenAIAdapter(f"{url}/v1", clock=clock.now), "gpt-4o-mini"),
            "anthropic": (AnthropicAdapter(f"{url}/anthropic", clock=clock.now), "claude-sonnet-4-6"),
            "gemini": (GeminiAdapter(f"{url}/v1beta", clock=clock.now), "gemini-2.5-flash"),
            "plain": (DeclarativeAdapter(base_url=url, auth={"header": "X-Api-Key"}, operations=geocode), ""),
        }
        yield Bench(world, url, adapters)
        for adapter, _ in adapters.values():
            await adapter.aclose()


async def test_the_openai_sdk_and_the_adapter_agree(bench: Bench) -> None:
    answer = await bench.send("openai")
    async with openai.AsyncOpenAI(api_key=bench.world.secret("openai"), base_url=f"{bench.url}/v1") as client:
        said = await client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, max_tokens=20)  # type: ignore[arg-type]
    assert answer.content == said.choices[0].message.content
    assert answer.usage is not None
    assert said.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        said.usage.prompt_tokens,
        said.usage.completion_tokens,
    )
    openai.types.chat.ChatCompletion.model_validate(answer.body, strict=True)


async def test_the_anthropic_sdk_and_the_adapter_agree(bench: Bench) -> None:
    answer = await bench.send("anthropic")
    key, url = bench.world.secret("anthropic"), f"{bench.url}/anthropic"
    async with anthropic.AsyncAnthropic(api_key=key, base_url=url) as client:
        said = await client.messages.create(model="claude-sonnet-4-6", messages=ASKED, max_tokens=20)  # type: ignore[arg-type]
    assert answer.content == "".join(block.text for block in said.content if block.type == "text")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        said.usage.input_tokens,
        said.usage.output_tokens,
    )


@pytest.mark.parametrize("key", ["openai", "anthropic", "gemini"])
async def test_every_answer_has_the_canonical_shape(bench: Bench, key: str) -> None:
    answer = await bench.send(key)
    found = openai.types.chat.ChatCompletion.model_validate(answer.body)
    assert found.choices[0].message.content == answer.content
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert answer.usage is not None
    assert found.usage.total_tokens == answer.usage.total_tokens


@pytest.mark.parametrize("key", ["openai", "anthropic", "gemini"])
async def test_a_stream_says_what_the_answer_says(bench: Bench, key: str) -> None:
    answer = await bench.send(key)
    chunks = await bench.stream(key, {**CHAT, "stream_options": {"include_usage": True}})
    shown = [openai.types.chat.ChatCompletionChunk.model_validate(chunk.data) for chunk in chunks]
    said = "".join(choice.delta.content or "" for chunk in shown for choice in chunk.choices)
    assert said == answer.content == "".join(chunk.text for chunk in chunks)
    assert [choice.finish_reason for chunk in shown for choice in chunk.choices][-1] == "length"
    assert [chunk.usage for chunk in chunks if chunk.usage][-1] == answer.usage
    assert shown[-1].usage is not None


TOOLS = {
    **CHAT,
    "max_tokens": 200,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "d",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
        }
    ],
    "tool_choice": "required",
}


@pytest.mark.parametrize("key", ["openai", "anthropic", "gemini"])
async def test_tools_go_round(bench: Bench, key: str) -> None:
    answer = await bench.send(key, TOOLS)
    assert answer.failure is None
    found = openai.types.chat.ChatCompletion.model_validate(answer.body).choices[0]
    assert found.finish_reason == "tool_calls"
    assert found.message.tool_calls
    call = found.message.tool_calls[0]
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "text"})
    streamed: dict[str, str] = {}
    for chunk in await bench.stream(key, TOOLS):
        for choice in openai.types.chat.ChatCompletionChunk.model_validate(chunk.data or EMPTY).choices:
            for part in choice.delta.tool_calls or ():
                assert part.function is not None
                name = streamed.setdefault("name", part.function.name or "")
                streamed["name"], streamed["arguments"] = (
                    name,
                    streamed.get("arguments", "") + (part.function.arguments or ""),
                )
    assert streamed["name"] == "weather"
    assert json.loads(streamed["arguments"]) == {"city": "text"}
    replied = [
        *ASKED,
        found.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": '{"sun": true}'},
    ]
    assert (await bench.send(key, {**CHAT, "messages": replied})).content


EMPTY = {"id": "", "choices": [], "created": 0, "model": "", "object": "chat.completion.chunk"}

SAID_BY_ALL = {
    "server_error": Kind.SERVER_ERROR,
    "overloaded": Kind.OVERLOADED,
    "timeout": Kind.TIMEOUT,
    "permission": Kind.FORBIDDEN,
    "unpaid": Kind.NO_MONEY,
    "spend_limit": Kind.NO_MONEY,
    "bad_request": Kind.INVALID,
    "model_not_found": Kind.MODEL_NOT_FOUND,
    "context_length": Kind.TOO_LONG,
    "invalid_key": Kind.UNAUTHENTICATED,
}
SAID_BY_ONE = {
    ("openai", "slow_down"): Kind.SLOW_DOWN,
    ("openai", "content_filter"): Kind.CONTENT,
    ("anthropic", "workspace_spend_limit"): Kind.NO_MONEY,
    ("anthropic", "tier_spend_cap"): Kind.NO_MONEY,
    ("anthropic", "acceleration"): Kind.SLOW_DOWN,
    ("anthropic", "billing"): Kind.NO_MONEY,
    ("anthropic", "too_large"): Kind.TOO_LONG,
    ("gemini", "precondition"): Kind.FORBIDDEN,
}


@pytest.mark.parametrize("key", ["openai", "anthropic", "gemini"])
async def test_every_error_is_understood(bench: Bench, key: str) -> None:
    expected = SAID_BY_ALL | {name: kind for (who, name), kind in SAID_BY_ONE.items() if who == key}
    for name, kind in expected.items():
        bench.world.faults.fail_next(1, error=name, key=key)
        failure = (await bench.send(key)).failure
        assert failure is not None
        assert failure.kind is kind, (name, failure)


@pytest.mark.parametrize("key", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind="drop", after=1), Kind.NETWORK),
        (Fault(kind="stream_error", after=1), None),
        (Fault(kind="empty_stream"), Kind.EMPTY),
        (Fault(kind="malformed", after=1), Kind.MALFORMED),
    ],
)
async def test_every_way_to_break_a_stream(bench: Bench, key: str, fault: Fault, kind: Kind | None) -> None:
    bench.world.faults.add(fault)
    opened = await bench.adapters[key][0].stream(bench.call(key, {**CHAT, "max_tokens": 100}))
    chunks = [chunk async for chunk in opened]
    assert chunks[-1].failure is not None
    assert kind in (None, chunks[-1].failure.kind)
    assert all(chunk.failure is None for chunk in chunks[:-1])


async def test_readings_are_what_is_left(bench: Bench) -> None:
    answer = await bench.send("openai")
    found = {reading.of: reading for reading in bench.adapters["openai"][0].limits(answer.headers)}
    assert (found[REQUESTS].limit, found[REQUESTS].remaining) == (500, 499)
    assert found[TOKENS].limit == 20_000
    assert found[TOKENS].remaining == 20_000 - 20 - 10
    assert found[TOKENS].reset_s == pytest.approx(30 / (20_000 / 60), abs=0.01)
    answer = await bench.send("anthropic")
    found = {reading.of: reading for reading in bench.adapters["anthropic"][0].limits(answer.headers)}
    assert {of: found[of].limit for of in found} == {REQUESTS: 500, INPUT: 10_000, OUTPUT: 10_000}


async def test_a_full_bucket_says_when(bench: Bench) -> None:
    failure = (await bench.send("openai", {**CHAT, "max_tokens": 19_000})).failure
    assert failure is None
    failure = (await bench.send("openai", {**CHAT, "max_tokens": 19_000})).failure
    assert failure is not None
    assert failure.kind is Kind.RATE_LIMITED
    assert failure.retry_after == pytest.approx((19_010 * 2 - 20_000) / (20_000 / 60), abs=0.1)


async def test_a_plain_api_runs_out_and_says_when(bench: Bench) -> None:
    for _ in range(2):
        answer = await bench.send("plain", {"q": "Bern"}, "geocode")
        assert answer.content == "Bern"
    (reading,) = bench.adapters["plain"][0].limits(answer.headers)
    assert (reading.of, reading.limit, reading.remaining, reading.period_s) == (REQUESTS, 2, 0, 60.0)
    failure = (await bench.send("plain", {"q": "Bern"}, "geocode")).failure
    assert failure is not None
    assert failure.kind is Kind.RATE_LIMITED
    assert failure.retry_after is not None
    assert 0 < failure.retry_after <= 60


@pytest.mark.parametrize("key", ["openai", "gemini"])
async def test_embeddings_and_models(bench: Bench, key: str) -> None:
    adapter, _ = bench.adapters[key]
    model = {"openai": "text-embedding-3-small", "gemini": "gemini-embedding-001"}[key]
    bench.adapters[key] = (adapter, model)
    answer = await bench.send(key, {"input": ["a", "b"]}, "embeddings")
    assert answer.failure is None
    assert isinstance(answer.content, list)
    assert len(answer.content) == 2
    names = (await bench.send(key, {}, "models")).content
    assert isinstance(names, list)
    assert names


@pytest.mark.parametrize("key", ["openai", "anthropic", "gemini"])
async def test_health_follows_the_key(bench: Bench, key: str) -> None:
    adapter, _ = bench.adapters[key]
    secret = PlainSecret(bench.world.secret(key))
    assert await adapter.health(secret)
    bench.world.revoke(key)
    assert not await adapter.health(secret)
