"""The providers' own SDKs as judges: of one answer they and our adapters read the same content, calls and usage."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anthropic
import openai
import pytest

from apikeyrouter.adapters import AnthropicAdapter, OpenAIAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Adapter, Answer, Call, Chunk
from apikeyrouter.simulator import Organisation, VirtualClock, World, serve
from apikeyrouter.testing import PlainSecret

ASKED: Any = [{"role": "user", "content": "hello there, how is the sea?"}]
CACHED = {"x-sim-cached-tokens": "4"}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
CLAUDE_TOOLS: Any = [{"name": "weather", "input_schema": WEATHER}]
CLAUDE, GPT = "claude-sonnet-4-6", "gpt-4o-mini"


class Court:
    """One world, both SDKs, both adapters."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        keys = {"o": world.secret("o1"), "a": world.secret("a1")}
        self.adapters: dict[str, Adapter] = {"o": OpenAIAdapter(f"{url}/v1"), "a": AnthropicAdapter(f"{url}/anthropic")}
        self.openai = openai.AsyncOpenAI(api_key=keys["o"], base_url=f"{url}/v1", max_retries=0)
        self.anthropic = anthropic.AsyncAnthropic(api_key=keys["a"], base_url=f"{url}/anthropic", max_retries=0)
        self._keys = keys

    def call(self, who: str, body: Mapping[str, object], operation: str, model: str) -> Call:
        secret = PlainSecret(self._keys[who])
        return Call(
            operation=operation, model=model, body=body, secret=secret, timeout=10, request_id="r", headers=CACHED
        )

    async def answer(self, who: str, body: Mapping[str, object], operation: str = "chat", model: str = GPT) -> Answer:
        said = await self.adapters[who].send(self.call(who, body, operation, model))
        assert said.failure is None, said.failure
        return said

    async def by_sdk(self, who: str, model: str) -> object:
        if who == "o":
            return await self.openai.chat.completions.create(model=model, messages=ASKED)
        return await self.anthropic.messages.create(model=model, messages=ASKED, max_tokens=9)

    async def chunks(
        self, who: str, body: Mapping[str, object], operation: str = "chat", model: str = GPT
    ) -> list[Chunk]:
        stream = await self.adapters[who].stream(self.call(who, body, operation, model))
        assert stream.failure is None, stream.failure
        return [chunk async for chunk in stream]


@pytest.fixture
async def court() -> AsyncIterator[Court]:
    organisations = [Organisation(id="o", keys=("o1",)), Organisation(id="a", keys=("a1",), dialect="anthropic")]
    world = World(organisations, clock=VirtualClock())
    async with serve(world) as url:
        sitting = Court(world, url)
        yield sitting
        await sitting.openai.close()
        await sitting.anthropic.close()
        for adapter in sitting.adapters.values():
            await adapter.aclose()


def same(ours: Usage | None, theirs: Any) -> None:
    """Our counts against an OpenAI SDK's."""
    assert ours is not None
    made = getattr(theirs, "prompt_tokens", None), getattr(theirs, "completion_tokens", None)
    details = getattr(theirs, "prompt_tokens_details", None)
    if made == (None, None):
        made, details = (theirs.input_tokens, theirs.output_tokens), theirs.input_tokens_details
    assert (ours.input_tokens, ours.output_tokens) == (made[0], made[1] or 0)
    assert ours.cache_read_tokens == (details.cached_tokens if details is not None else 0)


def same_claude(ours: Usage | None, theirs: Any) -> None:
    """Our counts, whose input includes the caches, against the Anthropic SDK's, whose does not."""
    assert ours is not None
    read, written = theirs.cache_read_input_tokens or 0, theirs.cache_creation_input_tokens or 0
    assert ours.input_tokens == theirs.input_tokens + read + written
    assert (ours.output_tokens, ours.cache_read_tokens, ours.cache_write_tokens) == (
        theirs.output_tokens,
        read,
        written,
    )


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def usage_of(chunks: list[Chunk]) -> Usage | None:
    return [chunk.usage for chunk in chunks if chunk.usage is not None][-1]


async def test_openai_streams(court: Court) -> None:
    chunks = await court.chunks("o", {"messages": ASKED, "max_tokens": 40})
    stream = await court.openai.chat.completions.create(
        model=GPT,
        messages=ASKED,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=CACHED,
    )
    theirs = [chunk async for chunk in stream]
    assert text_of(chunks) == "".join(c.choices[0].delta.content or "" for c in theirs if c.choices)
    same(usage_of(chunks), theirs[-1].usage)


async def test_openai_tools(court: Court) -> None:
    body = {"messages": ASKED, "max_tokens": 100, "tools": OPENAI_TOOLS, "tool_choice": "required"}
    ours = await court.answer("o", body)
    theirs = await court.openai.chat.completions.create(model=GPT, extra_headers=CACHED, **body)  # type: ignore[call-overload]
    found = openai.types.chat.ChatCompletion.model_validate(ours.body).choices[0].message.tool_calls
    (call,), (judged,) = found or [], theirs.choices[0].message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == (
        judged.function.name,
        json.loads(judged.function.arguments),
    )
    same(ours.usage, theirs.usage)


async def test_openai_s_other_operations(court: Court) -> None:
    ours = await court.answer("o", {"prompt": "Say", "max_tokens": 9}, "completion", "gpt-3.5-turbo-instruct")
    said = await court.openai.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Say", max_tokens=9, extra_headers=CACHED
    )
    assert ours.content == said.choices[0].text
    same(ours.usage, said.usage)
    asked = {"input": "Tell me of the sea", "max_output_tokens": 30}
    replied = await court.answer("o", asked, "responses")
    response = await court.openai.responses.create(
        model=GPT, input="Tell me of the sea", max_output_tokens=30, extra_headers=CACHED
    )
    assert replied.content == response.output_text
    same(replied.usage, response.usage)
    streamed = await court.chunks("o", asked, "responses")
    assert text_of(streamed) == response.output_text
    same(usage_of(streamed), response.usage)
    vectors = await court.answer("o", {"input": ["a", "b"]}, "embeddings", "text-embedding-3-small")
    embedded = await court.openai.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], encoding_format="float"
    )
    assert vectors.content == [row.embedding for row in embedded.data]
    assert vectors.usage is not None
    assert vectors.usage.input_tokens == embedded.usage.prompt_tokens
    listed = await court.answer("o", {}, "models")
    assert listed.content == [model.id async for model in court.openai.models.list()]


@pytest.mark.parametrize("operation", ["chat", "messages"])
async def test_anthropic_streams_and_answers(court: Court, operation: str) -> None:
    body = {"messages": ASKED, "max_tokens": 40}
    ours = await court.answer("a", body, operation, CLAUDE)
    chunks = await court.chunks("a", body, operation, CLAUDE)
    async with court.anthropic.messages.stream(
        model=CLAUDE, messages=ASKED, max_tokens=40, extra_headers=CACHED
    ) as stream:
        theirs = await stream.get_final_message()
    said = "".join(block.text for block in theirs.content if block.type == "text")
    assert ours.content == text_of(chunks) == said
    same_claude(ours.usage, theirs.usage)
    same_claude(usage_of(chunks), theirs.usage)


async def test_anthropic_tools(court: Court) -> None:
    body = {"messages": ASKED, "max_tokens": 100, "tools": OPENAI_TOOLS, "tool_choice": "required"}
    ours = await court.answer("a", body, "chat", CLAUDE)
    theirs = await court.anthropic.messages.create(
        model=CLAUDE,
        messages=ASKED,
        max_tokens=100,
        tools=CLAUDE_TOOLS,
        tool_choice={"type": "any"},
        extra_headers=CACHED,
    )
    found = openai.types.chat.ChatCompletion.model_validate(ours.body).choices[0].message.tool_calls
    (call,), (judged,) = found or [], [block for block in theirs.content if block.type == "tool_use"]
    assert call.type == "function"
    assert (call.id[:6], call.function.name) == (judged.id[:6], judged.name)
    assert json.loads(call.function.arguments) == judged.input
    same_claude(ours.usage, theirs.usage)


RAISED = {
    "invalid_key": (Kind.UNAUTHENTICATED, "AuthenticationError"),
    "permission": (Kind.FORBIDDEN, "PermissionDeniedError"),
    "model_not_found": (Kind.MODEL_NOT_FOUND, "NotFoundError"),
    "bad_request": (Kind.INVALID, "BadRequestError"),
    "server_error": (Kind.SERVER_ERROR, "InternalServerError"),
}


@pytest.mark.parametrize("error", RAISED)
async def test_what_the_sdks_raise_is_what_we_classify(court: Court, error: str) -> None:
    kind, name = RAISED[error]
    court.world.faults.fail_next(4, error=error)
    for who, sdk, model in (("o", openai, GPT), ("a", anthropic, CLAUDE)):
        said = await court.adapters[who].send(court.call(who, {"messages": ASKED}, "chat", model))
        assert said.failure is not None
        assert said.failure.kind is kind
        with pytest.raises(getattr(sdk, name)) as raised:
            await court.by_sdk(who, model)
        assert raised.value.status_code == said.failure.status
