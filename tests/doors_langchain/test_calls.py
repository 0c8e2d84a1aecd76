"""One call is one run, one usage and one settled lease, however many attempts it takes, both ways of sending."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_rig import Told, chat
from langchain_stage import OPENAI, Sim, at_rest

from apikeyrouter.simulator import Fault

FAILING = ["o-429", "o-401", "o-500", "o-ok"]
HELLO = "Tell me about the sea"
WAYS = pytest.mark.parametrize("way", ["native", "delegated"])


@tool
def get_weather(city: str) -> str:
    """The weather."""
    return "sunny"


@WAYS
def test_a_call_is_one_run_with_a_retry_for_each_failure_and_its_usage_once(way: str, sim: Sim) -> None:
    model, told, usage = chat(way, sim, FAILING), Told(), UsageMetadataCallbackHandler()
    message = model.invoke(HELLO, config={"callbacks": [told, usage]})
    assert sorted(told.events) == ["end", "retry", "retry", "retry", "start"]
    assert {name: used["total_tokens"] for name, used in usage.usage_metadata.items()} == {
        OPENAI: message.usage_metadata["total_tokens"]
    }
    routed = message.response_metadata["apikeyrouter"]
    assert [one["status"] for one in routed["failed"]] == [429, 401, 500]
    assert routed["key"] == "o-ok"
    assert "o-ok" in str(model.explain(message))
    assert at_rest(model.engine)


@WAYS
async def test_a_stream_says_usage_and_routing_once(way: str, sim: Sim) -> None:
    model, usage = chat(way, sim, FAILING), UsageMetadataCallbackHandler()
    chunks = [chunk async for chunk in model.astream(HELLO, config={"callbacks": [usage]})]
    whole = sum(chunks[1:], chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert len(chunks) > 3
    assert sum(bool(chunk.usage_metadata) for chunk in chunks) == 1
    assert whole.response_metadata["model_name"] == OPENAI
    assert whole.response_metadata["apikeyrouter"]["key"] == "o-ok"
    assert usage.usage_metadata[OPENAI]["total_tokens"] == whole.usage_metadata["total_tokens"]
    assert at_rest(model.engine)


@WAYS
def test_a_stream_says_what_it_cost_and_its_retries_where_somebody_listens(way: str, sim: Sim) -> None:
    model, told = chat(way, sim, FAILING), Told()
    chunks = list(model.stream(HELLO))
    routed = sum(chunks[1:], chunks[0]).response_metadata["apikeyrouter"]
    assert Decimal(routed["cost"]).scaleb(9) == model.explain(routed["decision_id"]).actual_cost > 0
    assert [one["status"] for one in routed["failed"]][-1:] == [500]
    again = chat(way, sim, FAILING)
    assert list(again.stream_events(HELLO, version="v3", config={"callbacks": [told]}))
    assert told.events.count("retry") == 3
    assert at_rest(model.engine)
    assert at_rest(again.engine)


@WAYS
def test_parallel_tool_calls_come_back_as_they_were_said(way: str, sim: Sim) -> None:
    function = [{"name": "get_weather", "arguments": json.dumps({"city": city})} for city in ("Oslo", "Rome")]
    calls = [{"id": f"c{at}", "type": "function", "function": one} for at, one in enumerate(function)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": OPENAI,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }
    fault = Fault(kind="error", times=1, status=200, body=json.dumps(body).encode(), key="o-ok")
    sim.world.faults.add(fault)
    model = chat(way, sim, ["o-ok"])
    answer = model.bind_tools([get_weather]).invoke(HELLO)
    assert [(call["id"], call["args"]) for call in answer.tool_calls] == [
        ("c0", {"city": "Oslo"}),
        ("c1", {"city": "Rome"}),
    ]
    results = [get_weather.invoke(call) for call in answer.tool_calls]
    assert model.invoke([("human", HELLO), answer, *results]).text


@WAYS
async def test_a_stream_that_is_left_early_settles_at_once(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-ok"])
    stream = model.astream(HELLO)
    await anext(stream)
    await stream.aclose()
    assert at_rest(model.engine)
    for _ in model.stream(HELLO):
        break
    assert at_rest(model.engine)


@WAYS
async def test_a_cancelled_call_leaves_no_lease(way: str, sim: Sim) -> None:
    hang = sim.world.faults.add(Fault(kind="hang", key="o-ok", seconds=30))
    model = chat(way, sim, ["o-ok"])
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.ainvoke(HELLO), timeout=0.2)
    finally:
        hang.stop()
    assert at_rest(model.engine)


@WAYS
def test_one_model_serves_several_event_loops(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-ok"])
    answers = [asyncio.run(model.ainvoke(HELLO)) for _ in range(3)]
    answers.append(model.invoke(HELLO))
    assert [answer.response_metadata["apikeyrouter"]["failed"] for answer in answers] == [[]] * 4
    assert model.engine.get_key("o-ok").usable


@WAYS
async def test_blocking_calls_work_inside_a_running_loop(way: str, sim: Sim) -> None:
    model = chat(way, sim, FAILING)
    assert model.invoke(HELLO).text
    assert "".join(chunk.text for chunk in model.stream(HELLO))


@WAYS
def test_routing_options_do_not_divide_the_cache(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-ok"], cache=InMemoryCache())
    model.invoke(HELLO, tenant="one")
    model.invoke(HELLO, config={"configurable": {"apikeyrouter": {"tenant": "two"}}})
    model.invoke(HELLO, objective="cost")
    assert model.engine.get_key("o-ok").usage_count == 1


@WAYS
def test_options_reach_the_engine_wherever_they_are_said(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-ok"], tenant="own")

    def tenant(asked: BaseChatModel, *given: Any, **kwargs: Any) -> str | None:
        return model.explain(asked.invoke(HELLO, *given, **kwargs)).request.tenant

    configured = {"configurable": {"apikeyrouter": {"tenant": "configured"}, "thread_id": "7"}}
    described = {"metadata": {"apikeyrouter": {"tenant": "described"}}}
    assert tenant(model) == "own"
    assert tenant(model, described) == "described"
    assert tenant(model, {**configured, **described}) == "configured"
    assert tenant(model, configured, tenant="called") == "called"
    assert tenant(model.with_routing(tenant="bound")) == "bound"
    assert tenant(model.with_routing(tenant="bound").bind_tools([get_weather]), configured) == "configured"
    assert model.explain(model.invoke(HELLO, configured)).request.session == "7"


@WAYS
def test_a_batch_keeps_what_each_call_says(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-ok"])
    configs: list[Any] = [{"configurable": {"apikeyrouter": {"tenant": name}}} for name in "abc"]
    answers = model.batch([HELLO] * 3, configs)
    assert [model.explain(answer).request.tenant for answer in answers] == ["a", "b", "c"]


@WAYS
def test_no_key_is_shown(way: str, sim: Sim) -> None:
    model = chat(way, sim, FAILING)
    shown = repr(model) + str(model.model_dump()) + dumps(model) + repr(model.invoke(HELLO))
    assert all(sim.world.secret(key) not in shown for key in FAILING)


def test_the_engine_learns_from_headers_that_a_partners_integration_hides(sim: Sim) -> None:
    model = chat("delegated", sim, ["o-ok"])
    model.invoke(HELLO)
    assert {w.limit for p in model.engine.quota("o-ok") for w in p.windows} >= {100_000}


def test_a_mixed_pool_goes_over_to_another_provider_with_tools_and_answers(sim: Sim) -> None:
    model = chat("delegated", sim, ["o-500", "a-529", "a-ok"])
    answer = model.bind_tools([get_weather], tool_choice="any").invoke(HELLO)
    assert answer.tool_calls[0]["name"] == "get_weather"
    assert answer.response_metadata["apikeyrouter"]["provider"] == "anthropic"
    schema = {"title": "Answer", "type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
    assert model.with_structured_output(schema, include_raw=True).invoke(HELLO)["parsed"] == {"word": "text"}
    assert model.invoke(HELLO, cache_control={"type": "ephemeral"}).text


@pytest.mark.parametrize(("keys", "form"), [(["o-ok"], "json_object"), (["o-ok", "a-ok"], "json_schema")])
def test_json_mode_is_said_in_words_that_every_provider_of_the_pool_knows(keys: list[str], form: str, sim: Sim) -> None:
    schema = {"title": "Answer", "type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
    asked = chat("native", sim, keys).with_structured_output(schema, method="json_mode")
    assert asked.first.kwargs["response_format"]["type"] == form
