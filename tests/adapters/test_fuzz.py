"""Whatever a provider answers, any status, headers and bytes: an answer or a classified failure, never an exception."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter, ApiKeyRouterError, Budget, Limit, PriceBook, RetrySettings, Settings
from apikeyrouter.adapters import AnthropicAdapter, DeclarativeAdapter, GeminiAdapter, OpenAIAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.ledger import idle
from apikeyrouter.intake import LANGUAGE_OPERATIONS
from apikeyrouter.ports import Adapter, Call
from apikeyrouter.testing import PlainSecret

Transport = httpx.AsyncBaseTransport
CHAT: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}]}


OPERATIONS = {
    "op": {"path": "/x", "content": "$.a[*].b", "cost": {"path": "$.cost"}},
    "events": {"path": "/x", "stream": "sse", "content": "$.text", "cost": {"path": "$.usage.cost"}, "ends": "[DONE]"},
    "bytes": {"path": "/x", "stream": "bytes", "answer": "bytes", "cost": {"per_request": "0.01"}},
}


def declared(given: Transport) -> Adapter:
    return DeclarativeAdapter(base_url="https://x.test", operations=OPERATIONS, transport=given)


Which = tuple[Callable[[Transport], Adapter], str, dict[str, object]]
MAKERS: list[Which] = [
    (lambda given: OpenAIAdapter(transport=given), "chat", CHAT),
    (lambda given: OpenAIAdapter(dialect="openrouter", transport=given), "responses", {"input": "x"}),
    (lambda given: OpenAIAdapter(transport=given), "embeddings", {"input": "x"}),
    (lambda given: AnthropicAdapter(transport=given), "chat", CHAT),
    (lambda given: AnthropicAdapter(transport=given), "messages", CHAT),
    (lambda given: GeminiAdapter(transport=given), "chat", CHAT),
    (lambda given: GeminiAdapter(transport=given), "embeddings", {"input": ["x", "y"]}),
    (lambda given: declared(given), "op", {}),
    (lambda given: declared(given), "events", {}),
    (lambda given: declared(given), "bytes", {}),
]
NAMES = st.sampled_from(
    [
        "retry-after",
        "retry-after-ms",
        "content-type",
        "date",
        "ratelimit",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "content-encoding",
        "x-amzn-errortype",
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-reset",
    ]
)
VALUES = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
HEADERS = st.dictionaries(NAMES, VALUES, max_size=5)
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "error",
                    "code",
                    "type",
                    "usage",
                    "candidates",
                    "parts",
                    "delta",
                    "data",
                    "text",
                    "index",
                    "finish_reason",
                    "tool_calls",
                    "function",
                    "embedding",
                    "output",
                    "status",
                    "details",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=300) | JSONISH.map(lambda value: json.dumps(value).encode())
STREAMS = st.lists(
    st.binary(max_size=60)
    | JSONISH.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n")
    | st.sampled_from([b"data: [DONE]\n\n", b"\n", b": ping\n\n", b"event: error\n"]),
    max_size=6,
)


def call(operation: str, body: dict[str, object]) -> Call:
    return Call(operation=operation, model="m", body=body, secret=PlainSecret(), timeout=5, request_id="r")


@given(st.sampled_from(MAKERS), st.integers(100, 599), HEADERS, BODIES)
def test_any_answer(
    which: Which,
    status: int,
    headers: dict[str, str],
    body: bytes,
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=raw, stream=Bytes([body]))

    async def main() -> None:
        make, operation, asked = which
        adapter = make(httpx.MockTransport(answer))
        said = await adapter.send(call(operation, asked))
        if said.failure is not None:
            assert said.failure.kind in Kind
            assert said.failure.message.isprintable()
            assert said.body is None
        else:
            assert 200 <= status < 300
        for reading in adapter.limits(said.headers):
            assert reading.limit is None or reading.limit >= 0
        assert PlainSecret().reveal() not in repr(said)

    asyncio.run(main())


class Bytes(httpx.AsyncByteStream):
    """A body in the given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


@given(st.sampled_from(MAKERS), HEADERS, STREAMS)
def test_any_stream(which: Which, headers: dict[str, str], pieces: list[bytes]) -> None:
    headers.pop("content-type", None)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=[(b"content-type", b"text/event-stream"), *raw], stream=Bytes(pieces))

    async def main() -> None:
        make, operation, asked = which
        adapter = make(httpx.MockTransport(answer))
        stream = await adapter.stream(call(operation, asked))
        chunks = [chunk async for chunk in stream]
        assert all(chunk.failure is None for chunk in chunks[:-1])
        if stream.failure is None and not any(chunk.data or chunk.raw for chunk in chunks):
            assert chunks[-1].failure is not None
        await stream.aclose()

    asyncio.run(main())


@given(st.sampled_from(MAKERS), st.integers(100, 599), HEADERS, st.lists(BODIES, max_size=4), st.booleans())
def test_any_answer_through_the_router(
    which: Which, status: int, headers: dict[str, str], pieces: list[bytes], streaming: bool
) -> None:
    """No error but ours, no wait beyond the request's time, and nothing held, open or in flight afterwards."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=raw, stream=Bytes(pieces))

    async def main() -> None:
        make, operation, asked = which
        budget = Budget(scope="global", limit="100", period="day", mode="soft")
        settings = Settings(timeout_s=5.0, retry=RetrySettings(attempts=2, backoff_s=0.0))
        router = ApiKeyRouter(prices=PriceBook(), budgets=[budget], settings=settings, log=False)
        await router.register_provider("p", make(httpx.MockTransport(answer)))
        await router.register_key(PlainSecret().reveal(), "p", id="k", limits=[Limit.rpm(100), Limit.concurrency(5)])
        body = {"model": "m", **asked} if operation in LANGUAGE_OPERATIONS else asked
        try:
            async with asyncio.timeout(5):
                if streaming:
                    async for _ in router.stream(body, operation=operation, provider="p", wait=False):
                        pass
                else:
                    await router.route(body, operation=operation, provider="p", wait=False)
        except ApiKeyRouterError as error:
            assert PlainSecret().reveal() not in f"{error} {error!r} {error.details}"  # noqa: PT017
        driver = router._router
        assert not driver.ledger.open_leases
        assert idle(list(driver.registry.pools.values()), driver.budgets)
        assert all(d.breaker.in_flight == 0 for d in driver.registry.deployments.values())
        assert all(str(decision) for decision in driver.decisions.values())
        await router.aclose()

    asyncio.run(main())
