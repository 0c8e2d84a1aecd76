"""The example of a custom adapter meets the demands on every adapter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Adapter
from apikeyrouter.testing import AdapterSuite, Refusal

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_adapter.py"


def example() -> object:
    spec = importlib.util.spec_from_file_location("custom_adapter", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestPoet(AdapterSuite):
    operation = "poem"
    body = {"theme": "Äpfel"}  # noqa: RUF012
    answer = '{"poem": "Rot 🍎 und rund", "tokens": {"read": 3, "written": 5}}'.encode()
    text = "Rot 🍎 und rund"
    usage = Usage(input_tokens=3, output_tokens=5)
    events = (
        'data: {"line": "Rot 🍎 "}\n\ndata: {"line": "und rund"}\n\ndata: {"tokens": {"read": 3, "written": 5}}\n\n'
    ).encode()
    stream_error = b'data: {"error": {"code": 503, "message": "too many poems"}}\n\n'
    refusals = (
        Refusal(Kind.RATE_LIMITED, 429, b'{"error": "slow"}', {"retry-after": "3"}, retry_after=3.0),
        Refusal(Kind.UNAUTHENTICATED, 401, b"{}"),
        Refusal(Kind.OVERLOADED, 200, b'{"error": {"code": 503}}'),
    )

    def make(self, base_url: str) -> Adapter:
        adapter: Adapter = example().PoetAdapter(base_url)  # type: ignore[attr-defined]
        return adapter
