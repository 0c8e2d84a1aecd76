"""The OpenAI dialect over real HTTP: bodies, headers, limits, errors."""

from __future__ import annotations

import json
import re
import struct
from base64 import b64decode

import httpx
import pytest

from apikeyrouter.simulator import Model, Organisation, SimulatorApp, VirtualClock, World, WorldSpec, excess
from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.dialects.openai.limits import go_duration


def seconds(duration: str) -> float:
    """A Go duration as seconds, by an independent reading of it."""
    unit = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * unit[name] for number, name in re.findall(r"([\d.]+)(ms|h|m|s)", duration))


def events(response: httpx.Response) -> list[dict]:
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def test_a_chat_completion_has_the_usage_that_its_text_has(talk) -> None:
    response = await talk.chat(metadata={"sim_output_tokens": "12"})
    body = response.json()
    assert (response.status_code, body["object"], body["model"]) == (200, "chat.completion", "gpt-4o-mini")
    assert body["usage"]["prompt_tokens"] == 3 + 4 + 10
    assert body["usage"]["completion_tokens"] == 12
    assert len(body["choices"][0]["message"]["content"]) == 4 * 12
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_without_a_maximum_the_default_is_charged_but_does_not_cut(talk) -> None:
    response = await talk.client.post(
        "/v1/chat/completions",
        headers={**talk.key("a1"), "x-sim-output-tokens": "900", "x-sim-cached-tokens": "5"},
        json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 40}]},
    )
    assert response.json()["usage"]["completion_tokens"] == 900
    assert response.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 5
    assert response.headers["x-ratelimit-remaining-tokens"] == str(6_000 - 17 - 256)


async def test_max_tokens_cuts_the_answer(talk) -> None:
    body = (await talk.chat(max_tokens=5)).json()
    assert body["usage"]["completion_tokens"] == 5
    assert body["choices"][0]["finish_reason"] == "length"


async def test_the_charge_is_input_plus_the_maximum_and_the_headers_show_it(talk) -> None:
    headers = (await talk.chat(max_tokens=983)).headers
    assert headers["x-ratelimit-limit-tokens"] == "6000"
    assert headers["x-ratelimit-remaining-tokens"] == "5000"
    assert headers["x-ratelimit-reset-tokens"] == "10s"
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("60", "59")
    assert headers["x-ratelimit-reset-requests"] == "1s"
    assert headers["openai-organization"] == "org-a"


async def test_the_header_law_holds_through_a_run(talk, clock: VirtualClock) -> None:
    for size in (50, 333, 700, 128, 41):
        headers = (await talk.chat(max_tokens=size)).headers
        for counts in ("requests", "tokens"):
            limit, left = (int(headers[f"x-ratelimit-{what}-{counts}"]) for what in ("limit", "remaining"))
            shown = seconds(headers[f"x-ratelimit-reset-{counts}"])
            assert shown == pytest.approx((limit - left) * 60 / limit, abs=0.001)
        clock.advance(0.7)


async def test_a_refusal_names_level_and_charge_and_a_time_that_is_true(talk, clock: VirtualClock) -> None:
    await talk.chat(max_tokens=3983)
    refused = await talk.chat("a2", max_tokens=2983)
    error = refused.json()["error"]
    assert refused.status_code == 429
    assert (error["type"], error["code"], error["param"]) == ("tokens", "rate_limit_exceeded", None)
    assert error["message"].startswith(
        "Rate limit reached for gpt-4o-mini in organization org-a on tokens per min (TPM): "
        "Limit 6000, Used 4000, Requested 3000. Please try again in 10s."
    )
    assert (refused.headers["retry-after-ms"], refused.headers["retry-after"]) == ("10000", "10")
    clock.advance(9.99)
    assert (await talk.chat("a2", max_tokens=2983)).status_code == 429
    clock.advance(0.01)
    assert (await talk.chat("a2", max_tokens=2983)).status_code == 200


async def test_a_refused_request_counts_as_a_request(talk) -> None:
    await talk.chat(max_tokens=5983)
    refused = await talk.chat()
    assert refused.headers["x-ratelimit-remaining-requests"] == "58"


async def test_a_request_larger_than_the_bucket_gets_no_time(talk) -> None:
    refused = await talk.chat(max_tokens=6001)
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    assert "Request too large for gpt-4o-mini" in refused.json()["error"]["message"]


async def test_requests_are_limited_apart_from_tokens(talk, clock: VirtualClock) -> None:
    codes = [(await talk.chat(max_tokens=1)).status_code for _ in range(61)]
    assert codes == [200] * 60 + [429]
    clock.advance(1.0)
    assert (await talk.chat(max_tokens=1)).status_code == 200


async def test_models_have_buckets_of_their_own_unless_they_share(talk) -> None:
    await talk.chat(max_tokens=5983)
    assert (await talk.chat(model="gpt-4o")).headers["x-ratelimit-remaining-requests"] == "59"
    await talk.chat("b1")
    assert (await talk.chat("b1", model="gpt-4o")).headers["x-ratelimit-remaining-requests"] == "5"


async def test_a_dated_name_is_the_same_model(talk) -> None:
    await talk.chat(model="gpt-4o-mini-2024-07-18")
    assert (await talk.chat()).headers["x-ratelimit-remaining-requests"] == "58"


async def test_a_small_bucket_that_starts_half_full(talk) -> None:
    headers = (await talk.chat("b1", max_tokens=483)).headers
    assert headers["x-ratelimit-limit-tokens"] == "60000"
    assert headers["x-ratelimit-remaining-tokens"] == "7000"
    assert headers["x-ratelimit-reset-tokens"] == "8s"


async def test_no_interval_exceeds_capacity_plus_rate_times_time(talk, world: World, clock: VirtualClock) -> None:
    for _ in range(40):
        await talk.chat(max_tokens=400)
        clock.advance(0.9)
    charges = world.record.charges("tokens", organisation="org-a")
    spec = world.limit("org-a", "gpt-4o-mini", "tpm")
    assert excess(charges, limit=spec.amount, per_ns=60 * NS, capacity=spec.amount) <= 0
    assert world.organisations["org-a"].counters.throttled == 40 - len(charges) > 0


async def test_a_stream_ends_with_usage_and_done(talk) -> None:
    response = await talk.chat(stream=True, stream_options={"include_usage": True}, max_tokens=20)
    found = events(response)
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in found if event["choices"])
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    assert len(said) == 80
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == 20
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    assert all(event["usage"] is None for event in found[:-1])


async def test_a_stream_without_the_option_has_no_usage(talk) -> None:
    assert all("usage" not in event for event in events(await talk.chat(stream=True)))


async def test_no_model_name_breaks_the_templates() -> None:
    name = 'o"d%d\\'
    world = World(WorldSpec(organisations=(Organisation(id="o", keys=("k",)),), models=(Model(name=name),)))
    transport = httpx.ASGITransport(app=SimulatorApp(world))
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        sent = {"model": name, "messages": [{"role": "user", "content": "x"}], "n": 2}
        headers = {"authorization": f"Bearer {world.secret('k')}"}
        plain = await client.post("/v1/chat/completions", headers=headers, json=sent)
        streamed = await client.post("/v1/chat/completions", headers=headers, json={**sent, "stream": True})
    assert (plain.json()["model"], len(plain.json()["choices"])) == (name, 2)
    assert plain.json()["usage"]["completion_tokens"] == 64
    assert [seen.output_tokens for seen in world.record.all()] == [64, 64]
    assert {event["model"] for event in events(streamed)} == {name}
    assert {event["choices"][0]["index"] for event in events(streamed)} == {0, 1}


async def test_a_tool_is_called_when_it_is_asked_for(talk) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
        },
    }
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        message = (await talk.chat(tools=[tool], tool_choice=choice)).json()["choices"][0]
        called = message["message"]["tool_calls"][0]["function"]
        assert message["finish_reason"] == "tool_calls"
        assert (called["name"], json.loads(called["arguments"])) == ("weather", {"city": "text", "days": 7})
    asked = [{"role": "user", "content": "what is the weather like"}]
    streamed = events(await talk.chat(tools=[tool], messages=asked, stream=True))
    deltas = [e["choices"][0]["delta"]["tool_calls"][0] for e in streamed if e["choices"][0]["delta"].get("tool_calls")]
    assert json.loads("".join(d["function"].get("arguments", "") for d in deltas)) == {"city": "text", "days": 7}
    assert (await talk.chat(tools=[tool])).json()["choices"][0]["finish_reason"] == "stop"


async def test_structured_output_is_an_example_of_the_schema(talk) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "items": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
        "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number"}}}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = (await talk.chat(response_format=form)).json()["choices"][0]["message"]["content"]
    assert json.loads(content) == {"kind": "a", "items": [{"price": 0.5}]}
    plain = (await talk.chat(response_format={"type": "json_object"})).json()["choices"][0]["message"]["content"]
    assert set(json.loads(plain)) == {"answer"}


@pytest.mark.parametrize("large", [False, True])
async def test_embeddings_are_unit_vectors_of_their_text(talk, large: bool) -> None:
    model, size = ("text-embedding-3-large", 3072) if large else ("text-embedding-3-small", 1536)
    sent = {"model": model, "input": ["one", "two", "one"]}
    plain = (await talk.client.post("/v1/embeddings", headers=talk.key("a1"), json=sent)).json()
    packed = await talk.client.post(
        "/v1/embeddings", headers=talk.key("a1"), json={**sent, "encoding_format": "base64"}
    )
    first, second, third = (row["embedding"] for row in plain["data"])
    assert first == third != second
    assert len(first) == size
    assert sum(x * x for x in first) == pytest.approx(1.0)
    raw = b64decode(packed.json()["data"][0]["embedding"])
    assert struct.unpack(f"<{size}f", raw) == pytest.approx(first, abs=1e-6)
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_legacy_completions_and_models(talk) -> None:
    sent = {"model": "gpt-3.5-turbo-instruct", "prompt": "abcdefgh", "max_tokens": 6}
    body = (await talk.client.post("/v1/completions", headers=talk.key("a1"), json=sent)).json()
    assert (body["object"], len(body["choices"][0]["text"]), body["usage"]["total_tokens"]) == (
        "text_completion",
        24,
        8,
    )
    streamed = await talk.client.post("/v1/completions", headers=talk.key("a1"), json={**sent, "stream": True})
    assert "".join(event["choices"][0]["text"] for event in events(streamed)) == body["choices"][0]["text"]
    listed = (await talk.client.get("/v1/models", headers=talk.key("a1"))).json()
    assert "gpt-4o-mini" in {model["id"] for model in listed["data"]}
    assert (await talk.client.get("/v1/models/gpt-4o", headers=talk.key("a1"))).json()["id"] == "gpt-4o"
    assert (await talk.client.get("/v1/models/nothing", headers=talk.key("a1"))).status_code == 404


async def test_responses_answer_and_stream(talk) -> None:
    sent = {"model": "gpt-4o", "input": [{"role": "user", "content": "hello there"}], "max_output_tokens": 16}
    body = (await talk.client.post("/v1/responses", headers=talk.key("a1"), json=sent)).json()
    assert body["usage"]["output_tokens"] == 16
    assert body["status"] == "incomplete"
    streamed = events(await talk.client.post("/v1/responses", headers=talk.key("a1"), json={**sent, "stream": True}))
    assert [event["sequence_number"] for event in streamed] == list(range(len(streamed)))
    said = "".join(event["delta"] for event in streamed if event["type"] == "response.output_text.delta")
    assert (
        said == body["output"][0]["content"][0]["text"] == streamed[-1]["response"]["output"][0]["content"][0]["text"]
    )


async def test_errors_of_key_model_and_body(talk, world: World) -> None:
    headers = {"authorization": "Bearer sk-nobody-knows-this"}
    unknown = await talk.client.post("/v1/chat/completions", headers=headers, json={})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "nobody" not in unknown.text
    assert (await talk.client.post("/v1/chat/completions", json={})).status_code == 401
    assert (await talk.chat("dead")).json()["error"]["code"] == "invalid_api_key"
    missing = await talk.chat(model="gpt-9")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert (await talk.chat("b1", model="gpt-5")).json()["error"]["code"] == "model_not_found"
    long = await talk.chat(messages=[{"role": "user", "content": "x" * 600_000}])
    assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "128000 tokens" in long.json()["error"]["message"]
    assert (await talk.chat(messages=[])).status_code == 400
    broken = await talk.client.post("/v1/chat/completions", headers=talk.key("a1"), content=b"{")
    assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")
    assert world.unknown_keys == 2
    world.unpaid("org-a")
    unpaid = await talk.chat()
    assert (unpaid.status_code, unpaid.json()["error"]["code"]) == (429, "insufficient_quota")
    world.unpaid("org-a", unpaid=False)
    assert (await talk.chat()).status_code == 200


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (18_600_000, "18ms"),
        (4_096_000_000, "4.096s"),
        (8_640_000_000, "8.64s"),
        (360 * NS, "6m0s"),
        (3_723_500_000_000, "1h2m3.5s"),
        (0, "0ms"),
    ],
)
def test_durations_are_written_as_go_writes_them(ns: int, shown: str) -> None:
    assert go_duration(ns) == shown
