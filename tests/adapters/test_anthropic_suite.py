"""The Anthropic adapter meets the demands on every adapter."""

from __future__ import annotations

import json
from types import MappingProxyType

from apikeyrouter.adapters import AnthropicAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.testing import AdapterSuite, Refusal


def error(kind: str, message: str = "", **details: object) -> bytes:
    body = {"type": "error", "error": {"type": kind, "message": message, "details": details}, "request_id": "req_1"}
    return json.dumps(body).encode()


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather"}
START = {"input_tokens": 12, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 4, "output_tokens": 1}


def text_events(*pieces: str) -> bytes:
    blocks = b"".join(
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}) for piece in pieces
    )
    return (
        event("message_start", message={"id": "msg_1", "model": "claude-x", "usage": START})
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + event("ping")
        + blocks
        + event("content_block_stop", index=0)
        + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
        + event("message_stop")
    )


class TestAnthropic(AdapterSuite):
    text = "Grüße, 世界 🌍"
    answer = json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-x",
            "content": [{"type": "text", "text": "Grüße, "}, {"type": "text", "text": "世界 🌍"}],
            "stop_reason": "end_turn",
            "usage": {**START, "output_tokens": 9},
        }
    ).encode()
    usage = Usage(input_tokens=24, output_tokens=9, cache_read_tokens=8, cache_write_tokens=4)
    events = text_events("Grüße, ", "世界 🌍")
    called = ("weather", MappingProxyType({"city": "Zürich", "days": 2}))
    calls = json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-x",
            "content": [{**CALL, "input": {"city": "Zürich", "days": 2}}],
            "stop_reason": "tool_use",
            "usage": {**START, "output_tokens": 9},
        }
    ).encode()
    call_events = (
        event("message_start", message={"id": "msg_1", "model": "claude-x", "usage": START})
        + event(
            "content_block_start",
            index=0,
            content_block={**CALL, "input": {}},
        )
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"city": "Zür'})
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": 'ich", "days": 2}'})
        + event("content_block_stop", index=0)
        + event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9})
        + event("message_stop")
    )
    stream_error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    refusals = (
        Refusal(Kind.RATE_LIMITED, 429, error("rate_limit_error", "tokens"), {"retry-after": "12"}, retry_after=12.0),
        Refusal(Kind.NO_MONEY, 429, error("rate_limit_error", error_code="enforced_spend_limit_reached")),
        Refusal(Kind.NO_MONEY, 400, error("invalid_request_error", "Your credit balance is too low")),
        Refusal(Kind.NO_MONEY, 402, error("billing_error")),
        Refusal(Kind.UNAUTHENTICATED, 401, error("authentication_error", "invalid x-api-key")),
        Refusal(Kind.FORBIDDEN, 403, error("permission_error")),
        Refusal(Kind.MODEL_NOT_FOUND, 404, error("not_found_error", "model: claude-9")),
        Refusal(Kind.TOO_LONG, 413, error("request_too_large")),
        Refusal(Kind.INVALID, 400, error("invalid_request_error", "messages: roles must alternate")),
        Refusal(Kind.OVERLOADED, 529, error("overloaded_error", "Overloaded")),
        Refusal(Kind.TIMEOUT, 504, error("timeout_error")),
        Refusal(Kind.SERVER_ERROR, 500, error("api_error")),
    )

    def make(self, base_url: str) -> AnthropicAdapter:
        return AnthropicAdapter(base_url)


class TestNative(TestAnthropic):
    """The same with the Messages API's own shape, untouched both ways."""

    operation = "messages"
    body = MappingProxyType({"messages": [{"role": "user", "content": "Grüße"}], "max_tokens": 64})
