"""Whatever a provider answers, any status, headers and bytes: an answer or a classified failure, never an exception."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters import AnthropicAdapter, DeclarativeAdapter, GeminiAdapter, OpenAIAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.ports import Adapter, Call
from apikeyrouter.testing import PlainSecret

Transport = httpx.AsyncBaseTransport
CHAT: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}]}


OPERATIONS = {"op": {"path": "/x", "content": "$.a[*].b", "cost": {"path": "$.cost"}}}
Which = tuple[Callable[[Transport], Adapter], str, dict[str, object]]
MAKERS: list[Which] = [
    (lambda given: OpenAIAdapter(transport=given), "chat", CHAT),
    (lambda given: OpenAIAdapter(dialect="openrouter", transport=given), "responses", {"input": "x"}),
    (lambda given: OpenAIAdapter(transport=given), "embeddings", {"input": "x"}),
    (lambda given: AnthropicAdapter(transport=given), "chat", CHAT),
    (lambda given: AnthropicAdapter(transport=given), "messages", CHAT),
    (lambda given: GeminiAdapter(transport=given), "chat", CHAT),
    (lambda given: GeminiAdapter(transport=given), "embeddings", {"input": ["x", "y"]}),
    (lambda given: DeclarativeAdapter(base_url="https://x.test", operations=OPERATIONS, transport=given), "op", {}),
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
        if stream.failure is None and not any(chunk.data for chunk in chunks):
            assert chunks[-1].failure is not None
        await stream.aclose()

    asyncio.run(main())
