"""Canonical chats become Anthropic's messages; what cannot be expressed is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters import AnthropicAdapter
from apikeyrouter.adapters.anthropic_request import to_messages
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Call
from apikeyrouter.testing import PlainSecret, RawProvider, response

PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER = {"role": "user", "content": "hi"}
CACHED = {"cache_control": {"type": "ephemeral"}}


def sent(**body: object) -> dict[str, object]:
    return to_messages({"messages": [USER], **body}, "claude-x", 4096)


def turns(*messages: Mapping[str, object]) -> object:
    return to_messages({"messages": list(messages)}, "claude-x", 4096)["messages"]


def test_the_least() -> None:
    assert sent() == {
        "model": "claude-x",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


@pytest.mark.parametrize(
    ("field", "made"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 8, "max_tokens": 7}, {"max_tokens": 8}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
        ({"temperature": 0.5, "top_k": 3}, {"temperature": 0.5, "top_k": 3}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"metadata": {"user_id": "u2", "x": "y"}}, {"metadata": {"user_id": "u2"}}),
        ({"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ({"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
        ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        ({"tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "tool", "name": "f"}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"seed": 1, "store": True, "stream": True, "n": 1, "frequency_penalty": 0, "logprobs": False}, {}),
        ({"mcp_servers": [{"name": "m"}], "speed": "fast"}, {"mcp_servers": [{"name": "m"}], "speed": "fast"}),
        ({"system": "native"}, {"system": [{"type": "text", "text": "native"}]}),
        ({"top_p": None}, {}),
    ],
)
def test_fields(field: dict[str, object], made: dict[str, object]) -> None:
    assert sent(**field) == {**sent(), **made}


def test_tools() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    native = {"type": "web_search_20260209", "name": "web_search"}
    made = sent(tools=[{"type": "function", "function": function, **CACHED}, native], parallel_tool_calls=False)
    assert made["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True, **CACHED},
        native,
    ]
    assert made["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_system_messages_are_gathered_with_their_cache_marks() -> None:
    part = {"type": "text", "text": "long", **CACHED}
    body = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "developer", "content": [part]},
            USER,
            {"role": "system", "content": "and kind"},
        ]
    }
    made = to_messages(body, "m", 1)
    assert made["system"] == [
        {"type": "text", "text": "be brief"},
        {"type": "text", "text": "long", **CACHED},
        {"type": "text", "text": "and kind"},
    ]
    assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "text", "text": "x", **CACHED}, {"type": "text", "text": "x", **CACHED}),
        (
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "image_url", "image_url": "https://example.com/x.png"},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
            {
                "type": "document",
                "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            },
        ),
        (
            {"type": "file", "file": {"file_id": "file_1"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
        ({"type": "search_result", "title": "native"}, {"type": "search_result", "title": "native"}),
    ],
)
def test_parts(part: dict[str, object], block: dict[str, object]) -> None:
    assert turns({"role": "user", "content": [part]}) == [{"role": "user", "content": [block]}]


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_calls_and_their_results() -> None:
    second = {**CALL, "id": "c2", "function": {"name": "g", "arguments": ""}}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert turns(
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL, second], "thinking_blocks": [thinking]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "thanks"},
    ) == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {
            "role": "assistant",
            "content": [
                thinking,
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"}]},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "done"}]},
        {"role": "user", "content": [{"type": "text", "text": "thanks"}]},
    ]


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ({"n": 2}, "n > 1"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "schema"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"reasoning_effort": "heroic"}, "heroic"),
        ({"tools": ["f"]}, "a tool is an object"),
        ({"tools": [{"type": "function", "function": {}}]}, "no name"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "no user message"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": 5}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "audio"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "image_url.url"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]}]},
            "http",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}]}
                ]
            },
            "PDF",
        ),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "tool_call_id"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1"}}]}]},
            "JSON object",
        ),
        ({"messages": [{"role": "system", "content": [{"type": "image_url"}]}, USER]}, "system message"),
    ],
)
def test_what_cannot_be_expressed_is_named(field: dict[str, object], hint: str) -> None:
    with pytest.raises(InvalidRequestError, match=hint):
        sent(**field)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "messages",
                "tools",
                "stop",
                "system",
                "tool_choice",
                "metadata",
                "reasoning_effort",
                "n",
                "response_format",
            ]
        ),
        JSON,
    )
)
def test_any_body_is_converted_or_refused(body: dict[str, object]) -> None:
    with suppress(InvalidRequestError):
        json.dumps(to_messages(body, "m", 1))


async def version_sent(adapter_version: str | None, **body: object) -> tuple[str | None, dict[str, object]]:
    async with RawProvider([response(json.dumps({"content": []}).encode())]) as provider:
        adapter = AnthropicAdapter(provider.base_url, version=adapter_version, betas=("a", "b"))
        call = Call(
            operation="chat",
            model="claude-x",
            body={"messages": [USER], **body},
            secret=PlainSecret(),
            timeout=5,
            request_id="r",
        )
        answer = await adapter.send(call)
        await adapter.aclose()
        if answer.failure is not None and not answer.failure.sent:
            return None, {"refused": answer.failure.message}
        request = provider.requests[0]
        assert request.header("anthropic-beta") == "a,b"
        assert request.header("x-api-key") == PlainSecret().reveal()
        body_sent: dict[str, object] = json.loads(request.body)
        return request.header("anthropic-version"), body_sent


async def test_a_key_may_travel_as_a_bearer() -> None:
    async with RawProvider([response(json.dumps({"content": []}).encode())]) as provider:
        adapter = AnthropicAdapter(provider.base_url, auth="bearer")
        body = {"messages": [USER]}
        await adapter.send(
            Call(operation="chat", model="m", body=body, secret=PlainSecret(), timeout=5, request_id="r")
        )
        await adapter.health(PlainSecret())
        await adapter.aclose()
    for request in provider.requests:
        assert request.header("authorization") == f"Bearer {PlainSecret().reveal()}"
        assert request.header("x-api-key") is None
    assert [request.target for request in provider.requests] == ["/v1/messages", "/v1/models?limit=1"]


async def test_the_version_that_can_carry_the_request_is_sent() -> None:
    assert (await version_sent(None))[0] == "2026-10-21"
    version, body = await version_sent(None, temperature=1)
    assert (version, "temperature" in body) == ("2026-10-21", False)
    version, body = await version_sent(None, temperature=0.2)
    assert (version, body["temperature"]) == ("2023-06-01", 0.2)
    assert (await version_sent("2023-06-01"))[0] == "2023-06-01"
    version, body = await version_sent("2026-10-21", top_k=5)
    assert version is None
    assert "2026-10-21" in str(body["refused"])
