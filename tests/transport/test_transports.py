"""The transports under the official SDKs, over both http libraries, against providers that refuse and break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType

import anthropic
import httpx
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from apikeyrouter import ApiKeyRouter, Budget, Limit, OpenAIAdapter, Settings
from apikeyrouter.adapters import AnthropicAdapter, GeminiAdapter
from apikeyrouter.adapters.base import BaseAdapter
from apikeyrouter.core.model import Capabilities
from apikeyrouter.core.price import Price
from apikeyrouter.simulator import Organisation, World, limits, serve
from apikeyrouter.transport import AsyncRouterTransport, RouterAuth, RouterTransport

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[World, str]]:
    world = World(
        [
            Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=500, tpm=200_000)),
            Organisation(id="org-b", keys=("b1",), limits=limits(rpm=500, tpm=200_000)),
            Organisation(id="claude", keys=("n1", "n2"), dialect="anthropic", limits=limits(rpm=500, itpm=100_000)),
        ]
    )
    with serve(world) as url:
        yield world, url


@pytest.fixture
def router(stage: tuple[World, str]) -> Iterator[ApiKeyRouter]:
    world, url = stage
    world.faults.clear()
    for key in ("a1", "a2", "b1", "n1", "n2"):
        world.revive(key)
    router = ApiKeyRouter()
    router.enrolment.add_provider("openai", OpenAIAdapter(url + "/v1"), price_name="openai")
    router.enrolment.add_provider("claude", AnthropicAdapter(url), price_name="anthropic")
    for key, pool in (("a1", "org-a"), ("a2", "org-a"), ("b1", "org-b")):
        router.enrolment.add_key(
            world.secret(key), "openai", {"id": key, "pool": pool, "limits": [Limit.rpm(500), Limit.tpm(200_000)]}
        )
    for key in ("n1", "n2"):
        router.enrolment.add_key(world.secret(key), "claude", {"id": key})
    yield router
    router.sync.stop()
    assert router.get_state_summary().open_leases == 0


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Clients entered here are closed at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda m: str(m.__name__))
def test_the_openai_sdk_gets_every_key_by_one_argument(
    stage: tuple[World, str], router: ApiKeyRouter, opened: ExitStack, library: ModuleType
) -> None:
    world, url = stage
    world.revoke("a1")
    http = opened.enter_context(library.Client(transport=RouterTransport(router, "openai")))
    client = openai.OpenAI(api_key="routed", base_url=url + "/v1", http_client=http, max_retries=0)
    replies = [client.chat.completions.with_raw_response.create(**CHAT) for _ in range(6)]
    assert {r.headers["x-key-used"] for r in replies} <= {"a2", "b1"}
    assert all(r.parse().usage.total_tokens for r in replies)
    explained = router.explain(replies[0].headers["x-decision-id"])
    assert explained.outcome == "settled"
    assert explained.actual_cost


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda m: str(m.__name__))
def test_streams_settle_with_their_usage(stage: tuple[World, str], router: ApiKeyRouter, library: ModuleType) -> None:
    world, url = stage
    world.faults.fail_next(1, key="a*", status=429)

    async def talk() -> None:
        async with library.AsyncClient(transport=AsyncRouterTransport(router, "openai")) as http:
            client = openai.AsyncOpenAI(api_key="routed", base_url=url + "/v1", http_client=http, max_retries=0)
            stream = await client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].usage is not None

    asyncio.run(talk())
    last = list(router._router.decisions.values())[-1]
    assert last.outcome == "settled"
    assert last.actual_cost


def test_breaking_off_a_stream_settles(stage: tuple[World, str], router: ApiKeyRouter, opened: ExitStack) -> None:
    _, url = stage
    http = opened.enter_context(httpx2.Client(transport=RouterTransport(router, "openai")))
    client = openai.OpenAI(api_key="routed", base_url=url + "/v1", http_client=http)
    stream = client.chat.completions.create(**CHAT, stream=True)
    next(iter(stream))
    stream.close()
    assert router.get_state_summary().open_leases == 0


def test_the_anthropic_sdk_fails_over_an_overload(
    stage: tuple[World, str], router: ApiKeyRouter, opened: ExitStack
) -> None:
    world, url = stage
    world.faults.fail_next(1, organisation="claude", error="overloaded")
    http = opened.enter_context(httpx2.Client(transport=RouterTransport(router, "claude")))
    client = anthropic.Anthropic(api_key="routed", base_url=url, http_client=http, max_retries=0)
    reply = client.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=CHAT["messages"])
    assert reply.usage.output_tokens == 20
    with client.messages.stream(model="claude-haiku-4-5", max_tokens=20, messages=CHAT["messages"]) as stream:
        assert stream.get_final_message().usage.output_tokens == 20
    assert [d.outcome for d in router._router.decisions.values()][-1] == "settled"


def test_the_google_sdk_gets_every_key_by_one_argument(opened: ExitStack) -> None:
    rates = limits(rpm=500, tpm=1_000_000)
    organisations = [Organisation(id=f"org-{key}", keys=(key,), dialect="gemini", limits=rates) for key in ("g1", "g2")]
    world = World(organisations)
    world.revoke("g1")
    with serve(world) as url:
        router = ApiKeyRouter()
        router.enrolment.add_provider("gemini", GeminiAdapter(base_url=f"{url}/v1beta"), price_name="gemini")
        for tier, key in enumerate(("g1", "g2")):
            router.enrolment.add_key(world.secret(key), "gemini", {"id": key, "tier": tier})
        http = opened.enter_context(httpx.Client(transport=RouterTransport(router)))
        options = types.HttpOptions(base_url=url, httpx_client=http)
        client = genai.Client(api_key="routed", http_options=options)
        assert client.models.generate_content(model="gemini-2.5-flash", contents="hello").text
        chunks = list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="hello"))
        assert "".join(chunk.text or "" for chunk in chunks)
        decided = list(router._router.decisions.values())
        assert [one.outcome for one in decided] == ["unauthenticated", "settled", "settled"]
        assert decided[-1].actual_cost
        assert router.get_state_summary().open_leases == 0
        router.sync.stop()


def test_a_fault_of_the_request_reaches_the_sdk_as_the_provider_said_it(
    stage: tuple[World, str], router: ApiKeyRouter, opened: ExitStack
) -> None:
    _, url = stage
    http = opened.enter_context(httpx.Client(transport=RouterTransport(router, "openai")))
    client = openai.OpenAI(api_key="routed", base_url=url + "/v1", http_client=http, max_retries=0)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**CHAT, "model": "no-such-model"})


def test_nobody_left_is_a_rate_limit_to_the_sdk(stage: tuple[World, str], opened: ExitStack) -> None:
    world, url = stage
    router = ApiKeyRouter()
    router.enrolment.add_provider("openai", OpenAIAdapter(url + "/v1"))
    router.enrolment.add_key(world.secret("a1"), "openai", {"id": "a1", "limits": [Limit.rpm(1)]})
    http = opened.enter_context(httpx.Client(transport=RouterTransport(router, "openai"), timeout=1.0))
    client = openai.OpenAI(api_key="routed", base_url=url + "/v1", http_client=http, max_retries=0)
    client.chat.completions.create(**CHAT)
    with pytest.raises(openai.RateLimitError, match="without room") as caught:
        client.chat.completions.create(**CHAT)
    assert int(caught.value.response.headers["retry-after"]) > 30
    router.sync.stop()


async def test_the_auth_form_serves_clients_with_a_loop_of_either_library(
    stage: tuple[World, str], router: ApiKeyRouter
) -> None:
    world, url = stage
    world.revoke("a1")
    for library in (httpx, httpx2):
        auth = RouterAuth(router, "openai", library=library.__name__)
        async with library.AsyncClient(auth=auth) as client:
            replies = [await client.post(url + "/v1/chat/completions", json=CHAT) for _ in range(4)]
        assert [reply.status_code for reply in replies] == [200] * 4
    assert router.get_state_summary().open_leases == 0


def test_the_auth_form_serves_any_client(stage: tuple[World, str], router: ApiKeyRouter) -> None:
    world, url = stage
    world.revoke("a1")
    with httpx.Client(auth=RouterAuth(router, "openai")) as client:
        assert all(client.post(url + "/v1/chat/completions", json=CHAT).status_code == 200 for _ in range(4))


# -- answers that must be bounded ------------------------------------------------------------------------------------

BODIES = {
    "openai": ("https://api.openai.test/v1/chat/completions", CHAT, ("max_completion_tokens",), 500),
    "responses": ("https://x.test/v1/responses", {"model": "m", "input": "hi"}, ("max_output_tokens",), 500),
    "many": ("https://x.test/v1/chat/completions", {**CHAT, "n": 5}, ("max_completion_tokens",), 500),
    "messages": ("https://x.test/v1/messages", CHAT, ("max_tokens",), 500),
    "google": (
        "https://x.test/v1beta/models/m:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"temperature": 0}},
        ("generationConfig", "maxOutputTokens"),
        500,
    ),
    "bounded": ("https://x.test/v1/chat/completions", {**CHAT, "max_tokens": 9}, ("max_tokens",), 9),
    "bounded by google": (
        "https://x.test/v1beta/models/m:generateContent",
        {"contents": [], "generationConfig": {"maxOutputTokens": 9, "candidateCount": 3}},
        ("generationConfig", "maxOutputTokens"),
        9,
    ),
}


@pytest.mark.parametrize("budget", [True, False], ids=["hard budget", "no budget"])
@pytest.mark.parametrize("name", BODIES)
def test_under_a_hard_budget_no_answer_is_longer_than_what_is_held(name: str, budget: bool) -> None:
    """What an SDK leaves unbounded is bounded in the very bytes that are sent."""
    url, body, where, most = BODIES[name]
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={})

    router = ApiKeyRouter(
        budgets=[Budget(scope="global", limit=1)] if budget else [], settings=Settings(default_max_output=500)
    )
    router.enrolment.add_provider("p", AnyAdapter(), price_name="p")
    router.enrolment.router.registry.prices.override(None, "*", Price.of("any", input="1", output="1"))
    router.enrolment.add_key("sk-transported-000", "p", {"id": "k"})
    with httpx.Client(transport=RouterTransport(router, "p", inner=httpx.MockTransport(answer))) as client:
        assert client.post(url, json=body).status_code == 200
    found: object = json.loads(sent[0].content)
    assert int(sent[0].headers["content-length"]) == len(sent[0].content)
    for word in where:
        found = found.get(word) if isinstance(found, dict) else None
    assert found == (most if budget or name.startswith("bounded") else None)
    (decision,) = router.enrolment.router.decisions.values()
    assert not budget or decision.need[3] == most * body.get("n", 3 if name.endswith("google") and most == 9 else 1)
    router.sync.stop()


class AnyAdapter(BaseAdapter):
    """Takes every operation of a language model; the transport does the sending."""

    capabilities = Capabilities(operations=frozenset({"chat", "responses", "messages"}))
