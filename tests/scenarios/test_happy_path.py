"""The main road: a request goes out by a key, comes back, and is accounted for on both sides to the token."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from stage import MODEL, Opener, Stage, chat

from apikeyrouter.simulator import Organisation, limits
from apikeyrouter.testing import ManualClock

pytestmark = pytest.mark.parametrize("opened", ["file", "by hand"], indirect=True)
WORLD = (
    Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=60, tpm=40_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=60, tpm=40_000)),
)
IN, OUT = Decimal("0.15"), Decimal("0.60")  # dollars for a million tokens of gpt-4o-mini


def price(input_tokens: int, output_tokens: int) -> Decimal:
    return (input_tokens * IN + output_tokens * OUT) / 1_000_000


async def open_world(opened: Opener) -> Stage:
    return await opened(WORLD, clock=ManualClock())


async def test_a_chat_is_served_priced_and_explained(opened: Opener) -> None:
    stage = await open_world(opened)
    reply = await stage.router.route(chat("Hello", output=8), tenant="acme", request_id="r-1", correlation_id="c-1")
    (seen,) = stage.world.record.all()
    assert (seen.key, seen.outcome, seen.status) == (reply.metadata.key_used, "admitted", 200)
    assert isinstance(reply.content, str)
    assert reply.content
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (seen.input_tokens, seen.output_tokens)
    assert seen.output_tokens == 8
    meta = reply.metadata
    assert meta.cost == price(seen.input_tokens, 8)
    assert isinstance(meta.cost, Decimal)
    assert (meta.provider, meta.model, meta.attempts, meta.waited_s) == ("openai", MODEL, 1, 0.0)
    assert (meta.request_id, meta.correlation_id) == ("r-1", "c-1")


async def test_the_decision_is_explained_with_its_losers_and_numbers(opened: Opener) -> None:
    stage = await open_world(opened)
    reply = await stage.router.route(chat())
    text = str(stage.router.explain(reply.metadata.decision_id))
    assert f"{reply.metadata.key_used} chosen for openai/{MODEL}" in text
    for other in {"a1", "a2", "b1"} - {reply.metadata.key_used}:
        assert f"{other}: score " in text
    assert "looked at 3 of 3" in text
    assert "would have won" in text


async def test_our_accounts_agree_with_the_providers(opened: Opener) -> None:
    stage = await open_world(opened)
    for number in range(12):
        await stage.router.route(chat(f"Question {number}", output=10))
    summary = stage.router.get_state_summary()
    assert sum(k.usage_count for k in summary.keys) == stage.count(outcome="admitted") == 12
    for pool in summary.pools:
        ours = next(w for w in pool.windows if w.name == "requests/minute")
        (theirs,) = [r for r in stage.world.quota(pool.id, MODEL) if r.name == "rpm"]
        assert ours.remaining == theirs.remaining
        tokens = next(w for w in pool.windows if w.name == "tokens/minute")
        (charged,) = [r for r in stage.world.quota(pool.id, MODEL) if r.name == "tpm"]
        assert (
            tokens.remaining <= charged.remaining
        )  # what is held for text that is not counted yet is never too little


async def test_equal_pools_share_the_load(opened: Opener) -> None:
    stage = await open_world(opened)
    for _ in range(40):
        await stage.router.route(chat())
    by_pool = [stage.count(organisation=name) for name in ("org-a", "org-b")]
    assert min(by_pool) >= 15


async def test_a_streamed_chat_arrives_whole_and_is_settled_by_its_usage(opened: Opener) -> None:
    stage = await open_world(opened)
    stream = stage.router.stream(chat("Tell me", output=24))
    chunks = [chunk async for chunk in stream]
    (seen,) = stage.world.record.all()
    text = "".join(chunk.text for chunk in chunks)
    assert len(text) == 4 * 24
    assert all(chunk.data.get("choices") for chunk in chunks)  # the usage that we ask for is not shown to who did not
    assert stream.usage is not None
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (seen.input_tokens, 24)
    assert stream.metadata is not None
    assert stream.metadata.cost == price(seen.input_tokens, 24)
    assert stream.metadata.key_used == seen.key


async def test_a_stream_whose_caller_asks_for_usage_gets_it(opened: Opener) -> None:
    stage = await open_world(opened)
    body = chat(stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stage.router.stream(body)]
    assert chunks[-1].usage is not None
    assert chunks[-1].data["usage"]


async def test_a_tool_is_called(opened: Opener) -> None:
    stage = await open_world(opened)
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    reply = await stage.router.route(chat(tools=[tool], tool_choice="required"))
    assert isinstance(reply.body, dict)
    message = reply.body["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["name"] == "weather"
    assert "city" in json.loads(message["tool_calls"][0]["function"]["arguments"])
    assert stage.decisions()[-1].request.needs == frozenset({"tools"})


async def test_embeddings_come_as_vectors(opened: Opener) -> None:
    stage = await open_world(opened)
    body = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    reply = await stage.router.route(body, operation="embeddings")
    assert isinstance(reply.content, list)
    assert [len(vector) for vector in reply.content] == [1536, 1536]
    assert reply.usage is not None
    assert reply.usage.output_tokens == 0
    assert reply.metadata.cost is not None
    assert reply.metadata.cost > 0


async def test_a_plain_http_api_is_routed_like_a_model(opened: Opener) -> None:
    world = (
        Organisation(id="geo-a", keys=("g1",), dialect="plain", limits=limits(rpm=2, shape="fixed")),
        Organisation(id="geo-b", keys=("g2",), dialect="plain", limits=limits(rpm=4, shape="fixed")),
    )
    stage = await opened(world, clock=ManualClock())
    replies = [await stage.router.route({"q": "Oslo"}, operation="geocode", provider="geo") for _ in range(6)]
    assert isinstance(replies[0].content, dict)
    assert replies[0].content["results"][0]["formatted"] == "Oslo"
    assert [reply.metadata.cost for reply in replies] == [Decimal("0.0005")] * 6
    assert sorted(stage.seen(outcome="admitted")) == ["g1"] * 2 + ["g2"] * 4
    assert stage.count() == 6  # both limits were used up, and nobody was asked beyond them
