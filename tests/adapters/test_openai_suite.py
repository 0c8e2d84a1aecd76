"""The OpenAI adapter, and Azure's way of speaking it, meet the demands on every adapter."""

from __future__ import annotations

import json
from types import MappingProxyType

from apikeyrouter.adapters import OpenAIAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.testing import AdapterSuite, Refusal


def _error(message: str, code: str | None, kind: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def _event(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], 'usage': None}, ensure_ascii=False)}\n\n".encode()


_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Zürich", "days": 2}'},
}
_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 12,
    "total_tokens": 32,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 2},
}


class TestOpenAI(AdapterSuite):
    text = "Grüße, 世界 🌍"
    answer = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    ).encode()
    usage = Usage(
        input_tokens=20,
        output_tokens=12,
        cache_read_tokens=8,
        reasoning_tokens=5,
        audio_input_tokens=1,
        audio_output_tokens=2,
    )
    events = (
        _event({"role": "assistant", "content": ""})
        + _event({"content": "Grüße, "})
        + _event({"content": "世界 🌍"})
        + _event({}, "stop")
        + f"data: {json.dumps({'choices': [], 'usage': _USAGE})}\n\n".encode()
        + b"data: [DONE]\n\n"
    )
    called = ("weather", MappingProxyType({"city": "Zürich", "days": 2}))
    calls = json.dumps(
        {"choices": [{"index": 0, "message": {"tool_calls": [_CALL]}, "finish_reason": "tool_calls"}]}
    ).encode()
    call_events = (
        _event(
            {
                "role": "assistant",
                "tool_calls": [{**_CALL, "index": 0, "function": {"name": "weather", "arguments": ""}}],
            }
        )
        + _event({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "Zür'}}]})
        + _event({"tool_calls": [{"index": 0, "function": {"arguments": 'ich", "days": 2}'}}]})
        + _event({}, "tool_calls")
        + b"data: [DONE]\n\n"
    )
    stream_error = b"data: " + _error("The server is overloaded", "server_is_overloaded", "server_error") + b"\n\n"
    refusals = (
        Refusal(
            Kind.RATE_LIMITED,
            429,
            _error("Rate limit reached. Please try again in 6m0s.", "rate_limit_exceeded", "tokens"),
            {"retry-after-ms": "1500", "retry-after": "2"},
            retry_after=1.5,
        ),
        Refusal(
            Kind.RATE_LIMITED,
            429,
            _error("Rate limit reached. Please try again in 6m0s.", "rate_limit_exceeded", "requests"),
            retry_after=360.0,
        ),
        Refusal(Kind.SLOW_DOWN, 429, _error("Slow down", "slow_down", "rate_limit_error")),
        Refusal(Kind.NO_MONEY, 429, _error("You exceeded your quota", "insufficient_quota", "insufficient_quota")),
        Refusal(Kind.UNAUTHENTICATED, 401, _error("Incorrect API key", "invalid_api_key", "invalid_request_error")),
        Refusal(Kind.FORBIDDEN, 403, _error("Country", "unsupported_country_region_territory", "request_forbidden")),
        Refusal(Kind.MODEL_NOT_FOUND, 404, _error("No such model", "model_not_found", "invalid_request_error")),
        Refusal(Kind.TOO_LONG, 400, _error("Too long", "context_length_exceeded", "invalid_request_error")),
        Refusal(Kind.CONTENT, 400, _error("Refused", "content_policy_violation", "invalid_request_error")),
        Refusal(Kind.INVALID, 400, _error("Unknown parameter", "unknown_parameter", "invalid_request_error")),
        Refusal(Kind.OVERLOADED, 503, _error("Busy", None, "service_unavailable_error")),
        Refusal(Kind.SERVER_ERROR, 500, _error("Oops", None, "server_error")),
        Refusal(
            Kind.TOO_LARGE_FOR_POOL,
            429,
            _error(
                "Request too large for m on tokens per min (TPM): Limit 3, Requested 4", "rate_limit_exceeded", "tokens"
            ),
        ),
    )

    def make(self, base_url: str) -> OpenAIAdapter:
        return OpenAIAdapter(f"{base_url}/v1")


class TestAzure(TestOpenAI):
    def make(self, base_url: str) -> OpenAIAdapter:
        return OpenAIAdapter(base_url, api_version="2024-10-21", deployments={"model-1": "my deployment"})
