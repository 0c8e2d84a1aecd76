"""What the OpenAI adapter sends and what it makes of answers, beyond what every adapter must do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from apikeyrouter.adapters import OpenAIAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import InvalidConfigurationError, InvalidRequestError
from apikeyrouter.ports import Answer, Call, Chunk
from apikeyrouter.testing import PlainSecret, RawProvider, chunked, response
from apikeyrouter.testing.raw import Received

CHAT = {"messages": [{"role": "user", "content": "hi"}]}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}]}


def call(operation: str = "chat", model: str = "gpt-x", **body: object) -> Call:
    return Call(operation=operation, model=model, body=body or CHAT, secret=PlainSecret(), timeout=5, request_id="r")


async def exchanged(
    request: Call, reply: object = ANSWER, path: str = "/v1", **options: object
) -> tuple[Answer, Received]:
    async with RawProvider([response(json.dumps(reply).encode())]) as provider:
        adapter = OpenAIAdapter(provider.base_url + path, **options)  # type: ignore[arg-type]
        answer = await adapter.send(request)
        await adapter.aclose()
        return answer, provider.requests[0]


async def streamed(events: bytes, request: Call) -> tuple[list[Chunk], Received]:
    async with RawProvider([chunked(events)]) as provider:
        adapter = OpenAIAdapter(f"{provider.base_url}/v1")
        stream = await adapter.stream(request)
        chunks = [chunk async for chunk in stream]
        await adapter.aclose()
        return chunks, provider.requests[0]


async def test_unknown_fields_and_tools_pass_untouched() -> None:
    body = {
        **CHAT,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "some_new_field": {"deep": [1, 2.5, None, True, "ü"]},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    _, request = await exchanged(replace(call(), body=body))
    sent = json.loads(request.body)
    assert sent == {name: value for name, value in body.items() if not name.startswith("stream")} | {"model": "gpt-x"}


async def test_images_audio_and_files_pass_untouched_both_ways() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]
    more = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    body = {"messages": [{"role": "user", "content": parts}], **more}
    spoken = {"id": "audio_1", "data": "UklGRg==", "transcript": "a cat", "expires_at": 1}
    message = {"role": "assistant", "content": None, "audio": spoken}
    reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    answer, request = await exchanged(replace(call(), body=body), reply)
    assert json.loads(request.body) == {**body, "model": "gpt-x"}
    assert answer.body == reply


async def test_headers() -> None:
    _, request = await exchanged(
        call(), organization="org-1", project="proj-1", headers={"X-Team": "blue", "Host": "evil"}
    )
    assert request.header("authorization") == f"Bearer {PlainSecret().reveal()}"
    assert request.header("openai-organization") == "org-1"
    assert request.header("openai-project") == "proj-1"
    assert request.header("x-team") == "blue"


async def test_a_callers_headers_never_replace_ours() -> None:
    request = call()
    request.headers = {"Authorization": "Bearer stolen", "Content-Length": "0", "X-Trace": "t1"}
    _, received = await exchanged(request)
    assert received.head.lower().count("authorization:") == 1
    assert "stolen" not in received.head
    assert received.header("x-trace") == "t1"


@pytest.mark.parametrize("headers", [{"X-Bad": "a\r\nX-Evil: 1"}, {"X Bad": "a"}, {"X-Bad": "日本"}, {"": "x"}])
async def test_headers_http_cannot_carry_are_refused_unsent(headers: dict[str, str]) -> None:
    async with RawProvider([response(b"{}")]) as provider:
        adapter = OpenAIAdapter(provider.base_url)
        request = call()
        request.headers = headers
        answer = await adapter.send(request)
        await adapter.aclose()
        assert answer.failure is not None
        assert (answer.failure.kind, answer.failure.sent) == (Kind.INVALID, False)
        assert provider.requests == []


@pytest.mark.parametrize(
    ("operation", "body", "reply", "path", "content"),
    [
        ("chat", CHAT, ANSWER, "/v1/chat/completions", "yes"),
        ("completion", {"prompt": "p"}, {"choices": [{"text": "yes"}]}, "/v1/completions", "yes"),
        ("embeddings", {"input": "x"}, {"data": [{"embedding": [0.5]}]}, "/v1/embeddings", [[0.5]]),
        ("models", {}, {"data": [{"id": "gpt-x"}]}, "/v1/models", ["gpt-x"]),
        (
            "responses",
            {"input": "x"},
            {"output": [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "yes"}]}], "error": None},
            "/v1/responses",
            "yes",
        ),
    ],
)
async def test_operations(operation: str, body: dict[str, object], reply: object, path: str, content: object) -> None:
    answer, request = await exchanged(replace(call(), operation=operation, body=body), reply)
    assert answer.failure is None
    assert answer.content == content
    assert request.target == path


async def test_azure_deployments_and_its_header() -> None:
    _, request = await exchanged(call(), path="", api_version="2024-10-21", deployments={"gpt-x": "my deployment"})
    assert request.target == "/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"
    assert request.header("api-key") == PlainSecret().reveal()
    assert request.header("authorization") is None


async def test_azure_by_token() -> None:
    _, request = await exchanged(call(), path="", api_version="2024-10-21", auth="bearer")
    assert request.target.startswith("/openai/deployments/gpt-x/")
    assert request.header("authorization") is not None


def test_dialects_bring_their_address() -> None:
    assert OpenAIAdapter(dialect="groq").wire.base_url == "https://api.groq.com/openai/v1"
    assert OpenAIAdapter("https://api.groq.com/openai/v1").speech.name == "groq"
    with pytest.raises(InvalidConfigurationError, match="base_url"):
        OpenAIAdapter(dialect="azure")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"choices": []}, Kind.EMPTY),
        ({"choices": None}, Kind.MALFORMED),
        ({}, Kind.MALFORMED),
        ([], Kind.MALFORMED),
        ("text", Kind.MALFORMED),
        (None, Kind.MALFORMED),
        ({"error": {"message": "busy", "code": 503}}, Kind.OVERLOADED),
        ({"error": "unknown"}, Kind.MALFORMED),
        (
            {
                "choices": [{"finish_reason": "error", "message": {"content": "half"}}],
                "error": {"code": 502, "message": "x"},
            },
            Kind.SERVER_ERROR,
        ),
    ],
)
async def test_a_success_without_an_answer_is_a_failure(reply: object, kind: Kind) -> None:
    answer, _ = await exchanged(call(), reply)
    assert answer.failure is not None
    assert answer.failure.kind is kind
    assert answer.raw is None


@pytest.mark.parametrize("body", [{"a": 1}, {"messages": None}, {"messages": "hi"}, {"messages": {"role": "user"}}])
def test_a_chat_needs_messages(body: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError, match="messages"):
        OpenAIAdapter().check("chat", body)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
async def test_what_json_cannot_carry_is_refused_unsent(value: object) -> None:
    adapter = OpenAIAdapter("http://127.0.0.1:9")
    answer = await adapter.send(call(messages=[], x=value))
    await adapter.aclose()
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.sent) == (Kind.INVALID, False)


def event(**fields: object) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


STREAM = (
    event(choices=[], prompt_filter_results=[{"prompt_index": 0}])
    + event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}], usage=None)
    + event(choices=[{"index": 0, "delta": {"content": "y"}}, {"index": 1, "delta": {"content": "n"}}])
    + event(choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}])
    + event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    + event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2})
    + b"data: [DONE]\n\n"
)


async def test_usage_is_always_asked_for_and_shown_only_to_who_asked() -> None:
    chunks, request = await streamed(STREAM, call(messages=[], stream_options={"x": 1}))
    assert json.loads(request.body)["stream_options"] == {"x": 1, "include_usage": True}
    assert chunks[-1].usage == Usage(input_tokens=3, output_tokens=2)
    assert chunks[-1].data == {}
    assert all("usage" not in chunk.data for chunk in chunks)
    chunks, _ = await streamed(STREAM, call(messages=[], stream_options={"include_usage": True}))
    assert chunks[-1].data["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    assert chunks[1].data["usage"] is None


async def test_chunks_tell_content_from_its_frame() -> None:
    chunks, _ = await streamed(STREAM, call())
    assert [chunk.content for chunk in chunks] == [False, False, True, True, False, False]
    assert "".join(chunk.text for chunk in chunks) == "y"


async def test_a_stream_without_an_end_marker_but_with_an_end_is_whole() -> None:
    chunks, _ = await streamed(STREAM.replace(b"data: [DONE]\n\n", b""), call())
    assert chunks[-1].failure is None


async def test_what_follows_the_end_marker_is_not_read() -> None:
    chunks, _ = await streamed(STREAM + b"data: garbage\n\n", call())
    assert chunks[-1].failure is None


async def test_broken_json_in_a_stream_ends_it() -> None:
    chunks, _ = await streamed(STREAM[:200] + b"\n\ndata: {broken\n\n" + STREAM, call())
    assert chunks[-1].failure is not None
    assert chunks[-1].failure.kind is Kind.MALFORMED


async def test_mistral_is_not_asked_for_stream_options() -> None:
    async with RawProvider([chunked(STREAM)]) as provider:
        adapter = OpenAIAdapter(provider.base_url, dialect="mistral")
        stream = await adapter.stream(call())
        assert [chunk.failure async for chunk in stream][-1] is None
        await adapter.aclose()
        assert "stream_options" not in json.loads(provider.requests[0].body)


RESPONSE_STREAM = (
    event(type="response.created", response={"id": "r"})
    + event(type="response.output_text.delta", delta="y")
    + event(type="response.function_call_arguments.delta", delta="{")
    + event(type="response.completed", response={"usage": {"input_tokens": 3, "output_tokens": 2}})
)


async def test_a_streamed_response() -> None:
    chunks, request = await streamed(RESPONSE_STREAM, replace(call(), operation="responses", body={"input": "x"}))
    assert "".join(chunk.text for chunk in chunks) == "y"
    assert [chunk.content for chunk in chunks] == [False, True, True, True]
    assert chunks[-1].usage == Usage(input_tokens=3, output_tokens=2)
    assert "stream_options" not in json.loads(request.body)


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, Kind.RATE_LIMITED),
        ({"type": "error", "code": "server_error", "message": "x"}, Kind.SERVER_ERROR),
        ({"type": "response.in_progress"}, Kind.NETWORK),
    ],
)
async def test_a_response_that_fails_says_how(last: dict[str, object], kind: Kind) -> None:
    request = replace(call(), operation="responses", body={"input": "x"})
    chunks, _ = await streamed(event(type="response.created") + event(**last), request)
    assert chunks[-1].failure is not None
    assert chunks[-1].failure.kind is kind


async def test_embeddings_do_not_stream() -> None:
    adapter = OpenAIAdapter("http://127.0.0.1:9")
    stream = await adapter.stream(call("embeddings", input="x"))
    assert stream.failure is not None
    assert not stream.failure.sent
    assert [chunk async for chunk in stream] == []
    await adapter.aclose()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (401, False), (503, False)])
async def test_health_is_whether_the_models_open(status: int, healthy: bool) -> None:
    async with RawProvider([response(b'{"data": []}', status)]) as provider:
        adapter = OpenAIAdapter(f"{provider.base_url}/v1")
        assert await adapter.health(PlainSecret()) is healthy
        assert provider.requests[0].target == "/v1/models"
        await adapter.aclose()
