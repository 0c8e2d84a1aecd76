"""The Gemini dialect over real HTTP: bodies, streams, quotas in bodies only, errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from apikeyrouter.simulator import Fault, Organisation, VirtualClock, World, limits, serve

ZONE = "America/Los_Angeles"
FLASH = "gemini-2.5-flash"


class Talk:
    def __init__(self, client: httpx.AsyncClient, world: World) -> None:
        self.client = client
        self.world = world

    async def post(self, method: str, body: dict, key: str = "g1", model: str = FLASH, **params: str) -> httpx.Response:
        headers = {"x-goog-api-key": self.world.secret(key)}
        return await self.client.post(f"/v1beta/models/{model}:{method}", headers=headers, json=body, params=params)

    async def say(self, key: str = "g1", *, characters: int = 40, model: str = FLASH, **body: object) -> httpx.Response:
        contents = [{"role": "user", "parts": [{"text": "x" * characters}]}]
        return await self.post("generateContent", {"contents": contents, **body}, key, model)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def talk(clock: VirtualClock) -> AsyncIterator[Talk]:
    world = World(
        [
            Organisation(
                id="proj-a", keys=("g1", "g2"), dialect="gemini", limits=limits(rpm=10, tpm=6_000, rpd=25, zone=ZONE)
            ),
            Organisation(
                id="proj-free", keys=("f1",), dialect="gemini", limits=limits(rpm=10, rpd=3, zone=ZONE), tier="free"
            ),
        ],
        clock=clock,
    )
    async with serve(world) as url, httpx.AsyncClient(base_url=url, timeout=5.0) as client:
        yield Talk(client, world)


def details(response: httpx.Response) -> dict[str, dict]:
    return {entry["@type"].rpartition(".")[2]: entry for entry in response.json()["error"]["details"]}


async def test_an_answer_and_its_usage_and_no_word_of_limits(talk: Talk) -> None:
    response = await talk.say(generationConfig={"maxOutputTokens": 12})
    body = response.json()
    candidate = body["candidates"][0]
    assert (response.status_code, candidate["finishReason"], candidate["content"]["role"]) == (
        200,
        "MAX_TOKENS",
        "model",
    )
    assert len(candidate["content"]["parts"][0]["text"]) == 48
    usage = body["usageMetadata"]
    assert (usage["promptTokenCount"], usage["candidatesTokenCount"], usage["totalTokenCount"]) == (10, 12, 22)
    assert body["modelVersion"] == FLASH
    assert not [name for name in response.headers if "limit" in name or "retry" in name]


async def test_only_input_counts_as_tokens(talk: Talk, clock: VirtualClock) -> None:
    settings = {"generationConfig": {"maxOutputTokens": 60_000}}
    assert (await talk.say(characters=4 * 5_000, **settings)).status_code == 200
    refused = await talk.say("g2", characters=4 * 2_000, **settings)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["status"]) == (429, 429, "RESOURCE_EXHAUSTED")
    assert "input_token_count, limit: 6000, model: gemini-2.5-flash\nPlease retry in 10.000000000s." in error["message"]
    violation = details(refused)["QuotaFailure"]["violations"][0]
    assert violation == {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
        "quotaId": "GenerateContentPaidTierInputTokensPerModelPerMinute",
        "quotaDimensions": {"model": FLASH, "location": "global"},
        "quotaValue": "6000",
    }
    assert details(refused)["RetryInfo"]["retryDelay"] == "10s"
    clock.advance(10.0)
    assert (await talk.say("g2", characters=4 * 2_000)).status_code == 200


async def test_a_day_ends_at_midnight_in_los_angeles(talk: Talk, clock: VirtualClock) -> None:
    for _ in range(25):
        assert (await talk.say()).status_code == 200
        clock.advance(6.0)
    refused = await talk.say()
    assert details(refused)["QuotaFailure"]["violations"][0]["quotaId"] == "GenerateRequestsPerDayPerProjectPerModel"
    wait = int(details(refused)["RetryInfo"]["retryDelay"].removesuffix("s"))
    assert wait == 8 * 3600 - 25 * 6  # it is 16:00 there when the year begins in UTC
    clock.advance(wait - 1.0)
    assert (await talk.say()).status_code == 429
    clock.advance(1.0)
    assert (await talk.say()).status_code == 200


async def test_the_free_tier_names_a_delay_that_does_not_help(talk: Talk, clock: VirtualClock) -> None:
    for _ in range(3):
        await talk.say("f1")
    refused = await talk.say("f1")
    assert details(refused)["QuotaFailure"]["violations"][0]["quotaId"].endswith("PerDayPerProjectPerModel-FreeTier")
    assert details(refused)["RetryInfo"]["retryDelay"] == "38s"
    clock.advance(38.0)
    assert (await talk.say("f1")).status_code == 429


async def test_a_request_larger_than_the_window_gets_no_time(talk: Talk) -> None:
    refused = await talk.say(characters=4 * 6_001)
    assert refused.status_code == 429
    assert "RetryInfo" not in details(refused)


async def test_a_stream_of_events(talk: Talk) -> None:
    sent = {"contents": "hello", "generationConfig": {"maxOutputTokens": 20}}
    response = await talk.post("streamGenerateContent", sent, alt="sse")
    assert response.headers["content-type"] == "text/event-stream"
    found = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\r\n\r\n") if line]
    said = "".join(one["candidates"][0]["content"]["parts"][0]["text"] for one in found)
    assert len(said) == 80
    assert [one["usageMetadata"]["candidatesTokenCount"] for one in found] == [8, 16, 20]
    assert ["finishReason" in one["candidates"][0] for one in found] == [False, False, True]


async def test_a_stream_without_events_is_one_array(talk: Talk) -> None:
    response = await talk.post("streamGenerateContent", {"contents": [{"parts": [{"text": "hello"}]}]})
    assert len(response.json()) == 4
    assert response.headers["content-type"].startswith("application/json")


async def test_functions_and_structured_output(talk: Talk) -> None:
    schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER"}}}
    tools = [{"functionDeclarations": [{"name": "weather", "parameters": schema}]}]
    any_mode = {"functionCallingConfig": {"mode": "ANY"}}
    called = (await talk.say(tools=tools, toolConfig=any_mode)).json()["candidates"][0]["content"]["parts"][0]
    assert called == {"functionCall": {"name": "weather", "args": {"city": "text", "days": 7}}}
    asked = {"contents": [{"role": "user", "parts": [{"text": "the weather"}]}], "tools": tools}
    auto = (await talk.post("generateContent", asked)).json()["candidates"][0]["content"]["parts"][0]
    assert auto == called
    assert "text" in (await talk.say(tools=tools)).json()["candidates"][0]["content"]["parts"][0]
    formed = await talk.say(generationConfig={"responseMimeType": "application/json", "responseSchema": schema})
    assert json.loads(formed.json()["candidates"][0]["content"]["parts"][0]["text"]) == {"city": "text", "days": 7}


async def test_embeddings_counts_and_models(talk: Talk) -> None:
    content = {"parts": [{"text": "hello"}]}
    model = "gemini-embedding-001"
    one = (await talk.post("embedContent", {"content": content}, model=model)).json()["embedding"]["values"]
    many = await talk.post(
        "batchEmbedContents", {"requests": [{"content": content}, {"content": content}]}, model=model
    )
    assert len(one) == 3_072
    assert [entry["values"] for entry in many.json()["embeddings"]] == [one, one]
    small = await talk.post("embedContent", {"content": content, "outputDimensionality": 64}, model=model)
    assert len(small.json()["embedding"]["values"]) == 64
    counted = await talk.post("countTokens", {"contents": [content]})
    assert counted.json() == {"totalTokens": 2}
    params = {"key": talk.world.secret("g1")}
    listed = (await talk.client.get("/v1beta/models", params=params)).json()["models"]
    assert f"models/{FLASH}" in {entry["name"] for entry in listed}
    assert (await talk.client.get(f"/v1beta/models/{FLASH}", params=params)).json()["inputTokenLimit"] == 1_048_576
    assert talk.world.key("g1").counters.charged["requests"] == 3  # embeddings; counting and listing are free


async def test_what_is_wrong_with_a_request(talk: Talk) -> None:
    unknown = await talk.client.post(
        f"/v1beta/models/{FLASH}:generateContent", headers={"x-goog-api-key": "nobody"}, json={}
    )
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert details(unknown)["ErrorInfo"]["reason"] == "API_KEY_INVALID"
    missing = await talk.client.post(f"/v1beta/models/{FLASH}:generateContent", json={})
    assert (missing.status_code, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    absent = await talk.say(model="gemini-1.0-none")
    assert (absent.status_code, absent.json()["error"]["status"]) == (404, "NOT_FOUND")
    long = await talk.say(characters=5_000_000)
    assert "The input token count (1250000) exceeds the maximum number of tokens allowed (1048576)." in long.text
    assert (await talk.post("generateContent", {})).status_code == 400
    assert (await talk.post("dreamContent", {})).status_code == 404
    talk.world.unpaid("proj-a")
    assert "prepayment credits are depleted" in (await talk.say()).json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        ("server_error", 500, "INTERNAL"),
        ("overloaded", 503, "UNAVAILABLE"),
        ("timeout", 504, "DEADLINE_EXCEEDED"),
        ("precondition", 400, "FAILED_PRECONDITION"),
        ("permission", 403, "PERMISSION_DENIED"),
        ("spend_limit", 429, "RESOURCE_EXHAUSTED"),
    ],
)
async def test_errors_by_name(talk: Talk, error: str, status: int, name: str) -> None:
    talk.world.faults.fail_next(1, error=error)
    response = await talk.say()
    assert (response.status_code, response.json()["error"]["code"], response.json()["error"]["status"]) == (
        status,
        status,
        name,
    )


async def test_a_stream_can_fail_after_200(talk: Talk) -> None:
    talk.world.faults.add(Fault(kind="stream_error", error="overloaded"))
    response = await talk.post("streamGenerateContent", {"contents": "hello"}, alt="sse")
    last = json.loads(response.text.strip().split("\r\n\r\n")[-1].removeprefix("data: "))
    assert (response.status_code, last["error"]["status"]) == (200, "UNAVAILABLE")
