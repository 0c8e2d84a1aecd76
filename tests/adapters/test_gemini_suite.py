"""The Gemini adapter, by its own API and by Vertex, meets the demands on every adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from apikeyrouter.adapters import GeminiAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.testing import AdapterSuite, Refusal


def error(status: str, message: str = "", *details: Mapping[str, object]) -> bytes:
    return json.dumps({"error": {"code": 400, "message": message, "status": status, "details": details}}).encode()


def event(parts: list[dict[str, object]], finish: str | None = None, **more: object) -> bytes:
    candidate: dict[str, object] = {"index": 0, "content": {"role": "model", "parts": parts}}
    if finish:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r1", **more}
    return f"data: {json.dumps(body, ensure_ascii=False)}\r\n\r\n".encode()


COUNTED = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 8,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 32,
}
_CALL: dict[str, object] = {"functionCall": {"name": "weather", "args": {"city": "Zürich", "days": 2}}}
PER_DAY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
BAD_KEY = {"reason": "API_KEY_INVALID"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.2s"}


class TestGemini(AdapterSuite):
    text = "Grüße, 世界 🌍"
    answer = json.dumps(
        {
            "candidates": [
                {
                    "index": 0,
                    "content": {"parts": [{"text": "hm", "thought": True}, {"text": "Grüße, "}, {"text": "世界 🌍"}]},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": COUNTED,
            "modelVersion": "gemini-x",
            "responseId": "r1",
        }
    ).encode()
    usage = Usage(input_tokens=20, output_tokens=12, cache_read_tokens=8, reasoning_tokens=5)
    events = (
        event([{"text": "hm", "thought": True}], usageMetadata={"promptTokenCount": 20})
        + event([{"text": "Grüße, "}])
        + event([{"text": "世界 🌍"}], "STOP", usageMetadata=COUNTED)
    ).replace(b"\r\n", b"\n")
    called = ("weather", MappingProxyType({"city": "Zürich", "days": 2}))
    calls = json.dumps(
        {"candidates": [{"index": 0, "content": {"parts": [_CALL]}, "finishReason": "STOP"}], "responseId": "r1"}
    ).encode()
    call_events = event([_CALL], "STOP", usageMetadata=COUNTED).replace(b"\r\n", b"\n")
    stream_error = b"data: " + error("UNAVAILABLE", "The model is overloaded.") + b"\n\n"
    refusals: Sequence[Refusal] = (
        Refusal(Kind.RATE_LIMITED, 429, error("RESOURCE_EXHAUSTED", "quota exceeded", RETRY), retry_after=38.2),
        Refusal(Kind.QUOTA_EXHAUSTED, 429, error("RESOURCE_EXHAUSTED", "quota", PER_DAY, RETRY)),
        Refusal(Kind.NOT_ON_PLAN, 429, error("RESOURCE_EXHAUSTED", "limit: 0, model: gemini-3-pro")),
        Refusal(Kind.UNAUTHENTICATED, 400, error("INVALID_ARGUMENT", "API key not valid.", BAD_KEY)),
        Refusal(Kind.FORBIDDEN, 403, error("PERMISSION_DENIED")),
        Refusal(Kind.MODEL_NOT_FOUND, 404, error("NOT_FOUND", "models/x is not found")),
        Refusal(Kind.INVALID, 400, error("INVALID_ARGUMENT", "bad field")),
        Refusal(Kind.OVERLOADED, 503, error("UNAVAILABLE")),
        Refusal(Kind.SERVER_ERROR, 500, error("INTERNAL")),
        Refusal(Kind.CONTENT, 200, json.dumps({"promptFeedback": {"blockReason": "SAFETY"}}).encode()),
    )

    def make(self, base_url: str) -> GeminiAdapter:
        return GeminiAdapter(f"{base_url}/v1beta")


class TestVertex(TestGemini):
    """Its 429 is the region's load, unless it names a quota."""

    refusals = (
        Refusal(Kind.OVERLOADED, 429, error("RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.")),
        Refusal(Kind.RATE_LIMITED, 429, error("RESOURCE_EXHAUSTED", "Quota exceeded for aiplatform.googleapis.com/x")),
        Refusal(Kind.UNAUTHENTICATED, 401, error("UNAUTHENTICATED", "", {"reason": "ACCESS_TOKEN_EXPIRED"})),
        Refusal(Kind.OVERLOADED, 503, error("UNAVAILABLE")),
    )

    def make(self, base_url: str) -> GeminiAdapter:
        return GeminiAdapter(f"{base_url}/v1", project="my-project", location="europe-west4")
