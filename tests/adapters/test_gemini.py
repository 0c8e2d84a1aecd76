"""Canonical chats and embeddings become Gemini's requests and come back; what cannot be expressed is named."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters import GeminiAdapter
from apikeyrouter.adapters.dialect import dialect
from apikeyrouter.adapters.gemini_reply import ContentReader, hidden_failure, to_completion
from apikeyrouter.adapters.gemini_request import to_contents
from apikeyrouter.adapters.sse import Event
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import InvalidConfigurationError, InvalidRequestError
from apikeyrouter.ports import Answer, Call, Chunk, SecretSource
from apikeyrouter.testing import PlainSecret, RawProvider, response
from apikeyrouter.testing.raw import Received

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def sent(**body: object) -> dict[str, object]:
    return to_contents({"messages": [USER], **body}, "gemini-3-flash")


def user(*parts: dict[str, object]) -> object:
    made = to_contents({"messages": [{"role": "user", "content": list(parts)}]}, "m")["contents"]
    return made[0]["parts"]  # type: ignore[index]


def test_the_least() -> None:
    assert sent() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


@pytest.mark.parametrize(
    ("field", "config"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 3}, {"temperature": 0.5, "topP": 0.9, "topK": 3}),
        ({"max_completion_tokens": 8}, {"maxOutputTokens": 8}),
        ({"stop": ["x", "y"]}, {"stopSequences": ["x", "y"]}),
        ({"n": 2, "seed": 7}, {"candidateCount": 2, "seed": 7}),
        ({"presence_penalty": 0.1, "frequency_penalty": 0.2}, {"presencePenalty": 0.1, "frequencyPenalty": 0.2}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
        ({"reasoning_effort": "low"}, {"thinkingConfig": {"thinkingLevel": "low"}}),
        ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"generationConfig": {"topK": 1}, "top_k": 5}, {"topK": 1}),
    ],
)
def test_generation(field: dict[str, object], config: dict[str, object]) -> None:
    assert sent(**field)["generationConfig"] == config


def test_older_models_take_a_thinking_budget() -> None:
    made = to_contents({"messages": [USER], "reasoning_effort": "none"}, "gemini-2.5-pro")
    assert made["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 0}}


def test_tools_and_choices() -> None:
    function = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
    made = sent(
        tools=[{"type": "function", "function": function}, {"googleSearch": {}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
    )
    assert made["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}]},
        {"googleSearch": {}},
    ]
    assert made["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
    assert sent(tool_choice="none")["toolConfig"] == {"functionCallingConfig": {"mode": "NONE"}}


def test_native_fields_pass() -> None:
    native = {"safetySettings": [{"category": "x"}], "cachedContent": "cachedContents/1", "labels": {"a": "b"}}
    assert sent(**native) == {**sent(), **native}


@pytest.mark.parametrize(
    ("part", "made"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        ),
        (
            {"type": "image_url", "image_url": "gs://bucket/x.jpg"},
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://bucket/x.jpg"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"format": "mp3", "data": "AAAA"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        ),
        ({"type": "file", "file": {"file_id": "files/1"}}, {"fileData": {"fileUri": "files/1"}}),
        ({"videoMetadata": {"fps": 1}}, {"videoMetadata": {"fps": 1}}),
    ],
)
def test_parts(part: dict[str, object], made: dict[str, object]) -> None:
    assert user(part) == [made]


def test_calls_their_signatures_and_their_results() -> None:
    first = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a": 1}'},
        "extra_content": {"google": {"thought_signature": "sig"}},
    }
    second = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    made = to_contents(
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                USER,
                {"role": "assistant", "content": "I call", "tool_calls": [first, second]},
                {"role": "tool", "tool_call_id": "c1", "content": '{"b": 2}'},
                {"role": "tool", "tool_call_id": "c2", "content": "plain"},
            ]
        },
        "m",
    )
    assert made["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    assert made["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {
            "role": "model",
            "parts": [
                {"text": "I call"},
                {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "sig"},
                {"functionCall": {"id": "c2", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "f", "response": {"b": 2}}},
                {"functionResponse": {"id": "c2", "name": "g", "response": {"result": "plain"}}},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"thinking": {"type": "adaptive"}}, "thinking"),
        ({"parallel_tool_calls": False, "tools": [{"googleSearch": {}}]}, "parallel_tool_calls"),
        ({"tools": [{"type": "web_search_20260209"}]}, "web_search_20260209"),
        ({"reasoning_effort": "heroic"}, "heroic"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "nope", "content": "x"}]}, "nope"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "document"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///x"}]}]}, "data:"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "audio"),
        ({"messages": [{"role": "system", "content": "x"}]}, "no user message"),
    ],
)
def test_what_cannot_be_expressed_is_named(field: dict[str, object], hint: str) -> None:
    with pytest.raises(InvalidRequestError, match=hint):
        sent(**field)


def test_an_answer_becomes_a_completion() -> None:
    raw = {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "I call "},
                        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "sig"},
                        {"functionCall": {"id": "own", "name": "g"}},
                        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    ]
                },
                "finishReason": "STOP",
            },
            {"content": {}, "finishReason": "SAFETY"},
        ],
        "responseId": "r1",
        "modelVersion": "gemini-x",
    }
    made = to_completion(raw, 1.0, Usage(input_tokens=3))
    choices = made["choices"]
    assert isinstance(choices, list)
    first, second = choices
    assert first["message"] == {
        "role": "assistant",
        "content": "I call ",
        "reasoning_content": "hm",
        "tool_calls": [
            {
                "id": "call_r1_0_0",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a": 1}'},
                "extra_content": {"google": {"thought_signature": "sig"}},
            },
            {"id": "own", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
    }
    assert first["finish_reason"] == "tool_calls"
    assert (second["index"], second["finish_reason"], second["message"]["content"]) == (1, "content_filter", None)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, Kind.CONTENT),
        ({"candidates": []}, Kind.EMPTY),
        ({"usageMetadata": {"promptTokenCount": 1}}, Kind.EMPTY),
        ({"hello": "world"}, Kind.MALFORMED),
        ([], Kind.MALFORMED),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, Kind.MALFORMED),
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, None),
    ],
)
def test_a_success_without_an_answer_is_a_failure(raw: object, kind: Kind | None) -> None:
    found = hidden_failure(raw)
    assert (found.kind if found else None) is kind


def read(*events: object, asked: bool = False) -> tuple[list[Chunk], ContentReader]:
    def classify(raw: object) -> Failure:
        return Failure(kind=Kind.OVERLOADED, message=str(raw))

    reader = ContentReader(dialect("gemini").usage, classify, created=1.0, usage_asked=asked)
    return [chunk for event in events for chunk in reader.read(Event("", json.dumps(event)))], reader


def said(*parts: dict[str, object], **more: object) -> dict[str, object]:
    return {"responseId": "r", "modelVersion": "g", "candidates": [{"content": {"parts": list(parts)}, **more}]}


def test_a_streamed_answer_becomes_chunks() -> None:
    chunks, reader = read(
        said({"text": "a"}),
        said({"functionCall": {"name": "f", "args": {}}}),
        said({"functionCall": {"name": "g", "args": {}}}, finishReason="STOP")
        | {"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2}},
        asked=True,
    )
    choices = [choice for chunk in chunks for choice in chunk.data["choices"]]  # type: ignore[attr-defined]
    assert [choice["delta"].get("content") for choice in choices] == ["a", None, None]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "tool_calls"]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert [(call["index"], call["id"], call["function"]["name"]) for call in calls] == [
        (0, "call_r_0_0", "f"),
        (1, "call_r_0_1", "g"),
    ]
    assert choices[0]["delta"]["role"] == "assistant"
    assert chunks[-1].usage == Usage(input_tokens=4, output_tokens=2)
    assert chunks[-1].data["choices"] == []
    assert reader.ending() is None


def test_a_blocked_or_broken_stream_says_so() -> None:
    chunks, _ = read({"promptFeedback": {"blockReason": "SAFETY"}})
    assert chunks[-1].failure is not None
    assert chunks[-1].failure.kind is Kind.CONTENT
    assert read(said({"text": "a"}))[1].ending().kind is Kind.NETWORK  # type: ignore[union-attr]


async def exchanged(
    adapter_options: dict[str, object], operation: str, body: dict[str, object], reply: object
) -> tuple[Answer, Received]:
    async with RawProvider([response(json.dumps(reply).encode())]) as provider:
        adapter = GeminiAdapter(provider.base_url, **adapter_options)  # type: ignore[arg-type]
        call = Call(operation=operation, model="models/emb", body=body, secret=PlainSecret(), timeout=5, request_id="r")
        answer = await adapter.send(call)
        await adapter.aclose()
        return answer, provider.requests[0]


VERTEX: dict[str, object] = {"project": "p", "location": "l"}


@pytest.mark.parametrize(
    ("options", "texts", "reply", "target", "usage"),
    [
        ({}, "a", {"embedding": {"values": [1.0]}}, "/models/emb:embedContent", None),
        ({}, ["a"], {"embedding": {"values": [1.0]}}, "/models/emb:embedContent", None),
        ({}, ["a", "b"], {"embeddings": [{"values": [1.0]}] * 2}, "/models/emb:batchEmbedContents", None),
        (
            VERTEX,
            ["a"],
            {"predictions": [{"embeddings": {"values": [1.0], "statistics": {"token_count": 3}}}]},
            "/projects/p/locations/l/publishers/google/models/emb:predict",
            Usage(input_tokens=3),
        ),
    ],
)
async def test_embeddings(
    options: dict[str, object], texts: str | list[str], reply: object, target: str, usage: Usage | None
) -> None:
    answer, request = await exchanged(options, "embeddings", {"input": texts, "dimensions": 64}, reply)
    assert answer.failure is None
    assert answer.content == [[1.0]] * (len(texts) if isinstance(texts, list) else 1)
    assert answer.usage == usage
    assert request.target == target
    assert b'"outputDimensionality":64' in request.body


async def test_models_lose_their_prefix() -> None:
    answer, request = await exchanged({}, "models", {}, {"models": [{"name": "models/gemini-x"}]})
    assert answer.content == ["gemini-x"]
    assert request.target == "/models"


@pytest.mark.parametrize("given_input", [None, [], [1, 2], [[1, 2]], 5])
def test_only_texts_can_be_embedded(given_input: object) -> None:
    with pytest.raises(InvalidRequestError):
        GeminiAdapter().check("embeddings", {"input": given_input})


async def test_a_token_source_turns_the_key_into_a_token() -> None:
    async def exchange(secret: SecretSource) -> SecretSource:
        return PlainSecret(f"token-for-{secret.reveal()[:8]}")

    reply = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}
    answer, request = await exchanged({**VERTEX, "token_source": exchange}, "chat", {"messages": [USER]}, reply)
    assert answer.content == "x"
    assert request.header("authorization") == "Bearer token-for-sk-suite"


def test_vertex_needs_both_its_coordinates() -> None:
    assert GeminiAdapter(project="p", location="global").wire.base_url.startswith("https://aiplatform.googleapis.com/")
    with pytest.raises(InvalidConfigurationError, match="both project and location"):
        GeminiAdapter(project="p")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["messages", "tools", "stop", "generationConfig", "tool_choice", "reasoning_effort", "response_format"]
        ),
        JSON,
    )
)
def test_any_body_is_converted_or_refused(body: dict[str, object]) -> None:
    with suppress(InvalidRequestError):
        json.dumps(to_contents(body, "m"))


@given(st.lists(st.dictionaries(st.sampled_from(["candidates", "usageMetadata", "promptFeedback", "error"]), JSON)))
def test_any_answers_and_events_are_read(events: list[dict[str, object]]) -> None:
    read(*events)
    for event in events:
        hidden_failure(event)
        json.dumps(to_completion(event, 0.0, None))
