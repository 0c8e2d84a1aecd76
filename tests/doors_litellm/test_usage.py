"""What is settled is what the provider counted, for every kind of call, and no caller sees what it did not ask for."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from litellm_stage import HELLO, Opener, Stage, deployment, litellm

from apikeyrouter import ApiKeyRouter, Budget, Settings
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.litellm.handover import ask_usage
from apikeyrouter.testing import RawProvider, response

EXACT = {
    "limits": [
        {"of": of, "amount": amount, "per": "minute", "window": "rolling"}
        for of, amount in (("requests", 5), ("tokens", 5_000))
    ]
}
"""Nothing refills while a test runs."""

Call = Callable[[Stage], Awaitable[None]]


async def read(stream: Any) -> list[Any]:
    return [piece async for piece in stream]


async def chat(stage: Stage) -> None:
    await stage.chat()


async def chat_stream(stage: Stage) -> None:
    await read(await stage.chat(stream=True))


async def text(stage: Stage) -> None:
    await stage.router.atext_completion(model="chat", prompt="The sea", max_tokens=16)


async def text_stream(stage: Stage) -> None:
    await read(await stage.router.atext_completion(model="chat", prompt="The sea", max_tokens=16, stream=True))


async def embedding(stage: Stage) -> None:
    await stage.router.aembedding(model="chat", input=["the sea", "the sky"])


async def responses(stage: Stage) -> None:
    await stage.router.aresponses(model="chat", input="The sea", max_output_tokens=16)


async def responses_stream(stage: Stage) -> None:
    await read(await stage.router.aresponses(model="chat", input="The sea", max_output_tokens=16, stream=True))


async def messages(stage: Stage) -> None:
    await stage.router.aanthropic_messages(model="chat", messages=HELLO, max_tokens=16)


async def messages_stream(stage: Stage) -> None:
    await read(await stage.router.aanthropic_messages(model="chat", messages=HELLO, max_tokens=16, stream=True))


KINDS: list[Call] = [
    chat, chat_stream, text, text_stream, embedding, responses, responses_stream, messages, messages_stream,
]  # fmt: skip


@pytest.mark.parametrize("call", KINDS, ids=lambda call: call.__name__)
async def test_what_is_settled_is_what_the_provider_counted(opened: Opener, call: Call) -> None:
    stage = await opened()
    await call(stage)
    await stage.settled()
    await stage.quiet()
    (seen,), (bill,) = stage.world.record.all(), stage.bills
    assert (bill.input_tokens, bill.output_tokens) == (seen.input_tokens, seen.output_tokens)
    assert bill.input_tokens > 0


async def image(stage: Stage) -> None:
    await stage.router.aimage_generation(model="chat", prompt="the sea")


async def speech(stage: Stage) -> None:
    await stage.router.aspeech(model="chat", input="the sea", voice="alloy")


async def transcription(stage: Stage) -> None:
    await stage.router.atranscription(model="chat", file=("sea.wav", b"RIFF....", "audio/wav"))


ANSWERS: dict[Call, tuple[bytes, str]] = {
    image: (b'{"created": 1, "data": [{"url": "http://127.0.0.1:9/sea.png"}]}', "application/json"),
    speech: (b"RIFF....", "audio/wav"),
    transcription: (b'{"text": "the sea"}', "application/json"),
}


@pytest.mark.parametrize("call", ANSWERS, ids=lambda call: call.__name__)
async def test_images_and_sounds_are_counted_as_requests(opened: Opener, call: Call) -> None:
    body, kind = ANSWERS[call]
    async with RawProvider([response(body, kind=kind)]) as provider:
        stage = await opened(models=lambda world, url: [deployment(world, provider.base_url, "a1", **EXACT)])
        await call(stage)
        await stage.settled()
        assert len(provider.requests) == 1
    assert stage.outcomes == ["settled"]
    assert (stage.used("a1"), stage.used("a1", "tokens/minute")) == (1, 0)


async def test_a_stream_shows_its_usage_only_to_who_asked(opened: Opener) -> None:
    stage = await opened()
    silent = await read(await stage.chat(stream=True))
    told = await read(await stage.chat(stream=True, stream_options={"include_usage": True}))
    assert not any(getattr(piece, "usage", None) for piece in silent)
    assert sum(1 for piece in told if getattr(piece, "usage", None)) == 1
    assert all(piece.choices for piece in silent)


async def test_a_callers_own_extra_body_stays(opened: Opener) -> None:
    stage = await opened()
    mine = {"metadata": {"sim_output_tokens": 3}}
    await read(await stage.chat(stream=True, extra_body=mine))
    await stage.settled()
    assert stage.bills[0].output_tokens == 3
    assert mine == {"metadata": {"sim_output_tokens": 3}}


async def test_tools_are_part_of_what_is_held(opened: Opener) -> None:
    stage = await opened()
    schema = {"type": "object", "properties": {f"field{n}": {"type": "string"} for n in range(50)}}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    await stage.chat()
    await stage.chat(tools=[tool])
    plain, with_tools = stage.engine._router.decisions.values()
    assert with_tools.need[2] > plain.need[2] + 200


async def test_a_limit_on_the_deployments_answers_is_what_is_held(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [deployment(world, url, "a1", rpm=600, params={"max_tokens": 77})],
    )
    await stage.router.acompletion(model="chat", messages=HELLO)
    (decision,) = stage.engine._router.decisions.values()
    assert decision.need[3] == 77


LONG: dict[str, Any] = {"model": "chat", "extra_headers": {"x-sim-output-tokens": "400"}}


async def long_chat(stage: Stage) -> None:
    await stage.router.acompletion(**LONG, messages=HELLO)


async def long_chat_in_a_thread(stage: Stage) -> None:
    await asyncio.to_thread(stage.router.completion, **LONG, messages=HELLO)


async def long_response(stage: Stage) -> None:
    await stage.router.aresponses(**LONG, input="The sea")


@pytest.mark.parametrize("call", [long_chat, long_chat_in_a_thread, long_response], ids=lambda call: call.__name__)
async def test_under_a_hard_budget_every_kind_of_answer_is_bounded(opened: Opener, call: Call) -> None:
    budget = Budget(scope="global", limit="1", mode="hard")
    stage = await opened(config=ApiKeyRouter(budgets=[budget], settings=Settings(default_max_output=20)))
    await call(stage)
    await stage.settled()
    await stage.quiet()
    (seen,) = stage.world.record.all()
    assert seen.output_tokens == 20


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": {"include_obfuscation": False}}, {"include_usage": True, "include_obfuscation": False}),
        ({"extra_body": {"stream_options": {"a": 1}, "b": 2}}, {"include_usage": True, "a": 1}),
        ({"stream_options": {"include_usage": True}}, None),
    ],
)
def test_the_wish_for_a_streams_usage_leaves_its_callers_own(
    given: dict[str, Any], asked: dict[str, Any] | None
) -> None:
    kwargs, before = {**given}, copy.deepcopy(given)
    ask_usage(kwargs)
    assert kwargs.get("stream_options") == before.get("stream_options")
    assert kwargs.get("extra_body", {}).get("stream_options") == asked
    assert kwargs.get("extra_body", {}).get("b") == before.get("extra_body", {}).get("b")
    assert given == before


@pytest.mark.parametrize(
    ("model", "asks"),
    [
        ("openai/gpt-4o-mini", True),
        ("groq/llama-3.1-8b-instant", True),
        ("anthropic/claude-haiku-4-5", False),
        ("cerebras/llama3.1-8b", False),  # of OpenAI's shape, without the option
        ("bedrock_mantle/openai.gpt-oss-20b", False),  # with it, of another shape
    ],
)
async def test_only_who_tells_usage_on_demand_is_asked_for_it(model: str, asks: bool) -> None:
    one = {"model_name": "chat", "litellm_params": {"model": model, "api_key": "sk-0123456789"}}
    router = litellm.Router(model_list=[one])
    strategy = ApiKeyRoutingStrategy.install(router)
    kwargs: dict[str, Any] = {"stream": True, "metadata": {}}
    await strategy.async_get_available_deployment("chat", messages=HELLO, request_kwargs=kwargs)
    assert ("extra_body" in kwargs) is asks
