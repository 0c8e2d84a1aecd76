"""The Anthropic dialect over real HTTP: bodies, events, limits by direction, errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest

from apikeyrouter.simulator import Fault, LimitSpec, Organisation, VirtualClock, World, WorldSpec, limits, serve

LIMITS = limits(rpm=60, itpm=60_000, otpm=6_000)


class Talk:
    def __init__(self, client: httpx.AsyncClient, world: World) -> None:
        self.client = client
        self.world = world

    async def say(self, key: str = "c1", headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
        known = {"x-api-key": self.world.secret(key), "anthropic-version": "2023-06-01", **(headers or {})}
        asked = {"role": "user", "content": "x" * 40}
        sent = {"model": "claude-sonnet-4-6", "max_tokens": 4_096, "messages": [asked], **body}
        return await self.client.post("/v1/messages", headers=known, json=sent)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def talk(clock: VirtualClock) -> AsyncIterator[Talk]:
    world = World([Organisation(id="org-c", keys=("c1", "c2"), dialect="anthropic", limits=LIMITS)], clock=clock)
    async with serve(world) as url, httpx.AsyncClient(base_url=url, timeout=5.0) as client:
        yield Talk(client, world)


def events(response: httpx.Response) -> list[tuple[str, dict]]:
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


async def test_a_message_and_its_usage(talk: Talk) -> None:
    response = await talk.say(headers={"x-sim-output-tokens": "12"})
    body = response.json()
    assert (response.status_code, body["type"], body["role"], body["stop_reason"]) == (
        200,
        "message",
        "assistant",
        "end_turn",
    )
    assert body["content"][0]["type"] == "text"
    assert len(body["content"][0]["text"]) == 48
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (3 + 4 + 10, 12)
    assert response.headers["anthropic-organization-id"] == "org-c"
    assert response.headers["request-id"].startswith("req_")
    assert (await talk.say(max_tokens=3)).json()["stop_reason"] == "max_tokens"


async def test_the_headers_show_every_direction_and_when_it_is_full(talk: Talk, clock: VirtualClock) -> None:
    asked = [{"role": "user", "content": "x" * 4 * 5_993}]
    headers = (await talk.say(messages=asked)).headers
    prefix = "anthropic-ratelimit-"
    assert (headers[f"{prefix}requests-limit"], headers[f"{prefix}requests-remaining"]) == ("60", "59")
    assert (headers[f"{prefix}input-tokens-limit"], headers[f"{prefix}input-tokens-remaining"]) == ("60000", "54000")
    assert (headers[f"{prefix}output-tokens-limit"], headers[f"{prefix}output-tokens-remaining"]) == ("6000", "6000")
    assert (headers[f"{prefix}tokens-limit"], headers[f"{prefix}tokens-remaining"]) == ("66000", "60000")
    full = datetime.fromisoformat(headers[f"{prefix}input-tokens-reset"]).timestamp() - clock.now()
    assert full == pytest.approx(6.0, abs=1.0)  # whole seconds
    assert headers[f"{prefix}requests-reset"] == "2026-01-01T00:00:01Z"


async def test_tokens_are_rounded_to_thousands(talk: Talk) -> None:
    headers = (await talk.say()).headers
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "60000"  # 59,983


async def test_output_is_charged_as_produced_and_the_maximum_is_not(talk: Talk, clock: VirtualClock) -> None:
    many = {"x-sim-output-tokens": "4000"}
    assert (await talk.say(max_tokens=100_000, headers=many)).status_code == 200
    assert (
        await talk.say(max_tokens=100_000, headers=many)
    ).status_code == 200  # 2,000 were left: the answer owes 2,000
    refused = await talk.say()
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "21"  # 2,001 tokens at 100 a second
    error = refused.json()
    assert (error["type"], error["error"]["type"]) == ("error", "rate_limit_error")
    assert error["request_id"] == refused.headers["request-id"]
    assert error["error"]["message"].startswith(
        "This request would exceed your organization's rate limit of 6,000 output tokens per minute "
        "(org: org-c, model: claude-sonnet-4-6)."
    )
    clock.advance(20.0)
    assert (await talk.say()).status_code == 429
    clock.advance(0.02)
    assert (await talk.say()).status_code == 200
    assert talk.world.record.all()[0].taken == {"requests": 1, "input": 17, "tokens": 17 + 4_000, "output": 4_000}


async def test_input_that_was_read_from_the_cache_is_free(talk: Talk) -> None:
    asked = [{"role": "user", "content": "x" * 4 * 39_993}]
    first = await talk.say(messages=asked, headers={"x-sim-cached-tokens": "39000"})
    assert first.json()["usage"]["cache_read_input_tokens"] == 39_000
    assert first.json()["usage"]["input_tokens"] == 1_000
    assert (await talk.say(messages=asked)).status_code == 200
    refused = await talk.say("c2", messages=asked)
    assert refused.status_code == 429
    assert "60,000 input tokens per minute" in refused.json()["error"]["message"]


async def test_a_workspace_limit_is_the_one_that_tokens_shows() -> None:
    workspace = LimitSpec(name="workspace", counts="tokens", amount=600)
    org = Organisation(id="o", keys=("k",), dialect="anthropic", limits=(*LIMITS, workspace))
    world = World([org], clock=VirtualClock())
    async with serve(world) as url, httpx.AsyncClient(base_url=url) as client:
        talk = Talk(client, world)
        first = await talk.say("k", headers={"x-sim-output-tokens": "600"})
        assert first.headers["anthropic-ratelimit-tokens-limit"] == "600"
        refused = await talk.say("k")
    assert "rate limit of 600 tokens per minute" in refused.json()["error"]["message"]


async def test_the_events_of_a_stream(talk: Talk) -> None:
    response = await talk.say(stream=True, headers={"x-sim-output-tokens": "20"})
    found = events(response)
    names = [name for name, _ in found]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert all(name == data["type"] for name, data in found)
    said = "".join(data["delta"]["text"] for name, data in found if name == "content_block_delta")
    assert len(said) == 80
    assert found[0][1]["message"]["usage"] == {
        "input_tokens": 17,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
        "service_tier": "standard",
    }
    assert found[-2][1]["usage"]["output_tokens"] == 20
    assert found[-2][1]["delta"]["stop_reason"] == "end_turn"


async def test_tools_and_structured_output(talk: Talk) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"name": "weather", "input_schema": schema}]
    used = (await talk.say(tools=tools, tool_choice={"type": "any"})).json()
    assert (used["stop_reason"], used["content"][0]["name"], used["content"][0]["input"]) == (
        "tool_use",
        "weather",
        {"city": "text"},
    )
    named = {"type": "tool", "name": "weather"}
    streamed = events(await talk.say(tools=tools, tool_choice=named, stream=True))
    assert streamed[1][1]["content_block"]["input"] == {}
    parts = [data["delta"]["partial_json"] for name, data in streamed if name == "content_block_delta"]
    assert json.loads("".join(parts)) == {"city": "text"}
    assert (await talk.say(tools=tools)).json()["stop_reason"] == "end_turn"
    form = {"format": {"type": "json_schema", "schema": schema}}
    assert json.loads((await talk.say(output_config=form)).json()["content"][0]["text"]) == {"city": "text"}


async def test_counting_tokens_and_models_cost_nothing(talk: Talk) -> None:
    headers = {"x-api-key": talk.world.secret("c1"), "anthropic-version": "2023-06-01"}
    sent = {"model": "claude-haiku-4-5", "system": "y" * 8, "messages": [{"role": "user", "content": "x" * 40}]}
    counted = await talk.client.post("/v1/messages/count_tokens", headers=headers, json=sent)
    assert counted.json() == {"input_tokens": 19}
    listed = (await talk.client.get("/v1/models", headers=headers)).json()
    assert {model["type"] for model in listed["data"]} == {"model"}
    assert (await talk.client.get("/anthropic/v1/models/claude-haiku-4-5", headers=headers)).json()[
        "id"
    ] == "claude-haiku-4-5"
    assert talk.world.key("c1").counters.charged == {}


@pytest.mark.parametrize(
    ("error", "status", "kind", "part"),
    [
        ("server_error", 500, "api_error", "Internal server error"),
        ("overloaded", 529, "overloaded_error", "Overloaded"),
        ("permission", 403, "permission_error", "does not have permission"),
        ("billing", 402, "billing_error", "billing"),
        (
            "spend_limit",
            400,
            "invalid_request_error",
            "specified API usage limits. You will regain access on 2026-02-01 at 00:00 UTC",
        ),
        ("workspace_spend_limit", 400, "invalid_request_error", "specified workspace API usage limits"),
        ("tier_spend_cap", 429, "rate_limit_error", "crossed its monthly API usage threshold"),
        ("too_large", 413, "request_too_large", "maximum allowed number of bytes"),
        ("timeout", 504, "timeout_error", "timed out"),
    ],
)
async def test_errors_by_name(talk: Talk, error: str, status: int, kind: str, part: str) -> None:
    talk.world.faults.fail_next(1, error=error)
    response = await talk.say()
    found = response.json()["error"]
    assert (response.status_code, found["type"]) == (status, kind)
    assert part in found["message"]
    assert "retry-after" not in response.headers
    assert (found.get("details") == {"error_code": "enforced_spend_limit_reached"}) == (error == "tier_spend_cap")


async def test_what_is_wrong_with_a_request(talk: Talk) -> None:
    nobody = await talk.client.post("/v1/messages", headers={"x-api-key": "sk-ant-nobody"}, json={})
    assert (nobody.status_code, nobody.json()["error"]["message"]) == (401, "invalid x-api-key")
    assert (await talk.client.post("/v1/messages", json={})).json()["error"][
        "message"
    ] == "x-api-key header is required"
    bare = await talk.client.post("/v1/messages", headers={"x-api-key": talk.world.secret("c1")}, json={})
    assert "anthropic-version" in bare.json()["error"]["message"]
    assert "max_tokens" in (await talk.say(max_tokens=None)).json()["error"]["message"]
    assert (await talk.say(messages=[])).status_code == 400
    assert (await talk.say(model="claude-none")).json()["error"] == {
        "type": "not_found_error",
        "message": "model: claude-none",
    }
    long = await talk.say(messages=[{"role": "user", "content": "x" * 1_000_000}])
    assert "prompt is too long: 250007 tokens > 200000 maximum" in long.json()["error"]["message"]
    both = await talk.say(max_tokens=199_990)
    assert "exceed context limit: 17 + 199990 > 200000" in both.json()["error"]["message"]
    talk.world.unpaid("org-c")
    assert "credit balance is too low" in (await talk.say()).json()["error"]["message"]


async def test_a_stream_can_fail_after_200(talk: Talk) -> None:
    talk.world.faults.add(Fault(kind="stream_error", error="overloaded", after=4))
    found = events(await talk.say(stream=True))
    assert found[-1][0] == "error"
    assert found[-1][1]["error"] == {"type": "overloaded_error", "message": "Overloaded"}


async def test_a_stream_that_breaks_has_charged_what_it_produced() -> None:
    spec = WorldSpec(
        organisations=(Organisation(id="o", keys=("k",), dialect="anthropic", limits=LIMITS),), chunk_tokens=10
    )
    world = World(spec, clock=VirtualClock())
    world.faults.add(Fault(kind="drop", after=6))
    async with serve(world) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await Talk(client, world).say("k", stream=True, headers={"x-sim-output-tokens": "1000"})
    assert world.record.all()[0].taken["output"] == 30
