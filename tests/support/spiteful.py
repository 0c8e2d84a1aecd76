"""A provider that is an opponent: it bills the most it may for what it was sent, and keeps an honest tally.

A token for every byte of text, the most any rule gives for what is no text, and every answer to its very bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from apikeyrouter.adapters.base import BaseAdapter, ListStream
from apikeyrouter.core.model import Capabilities, Usage
from apikeyrouter.core.price import Price, PriceBook
from apikeyrouter.core.rates import Row
from apikeyrouter.ports import Answer, Call, Chunk, ChunkStream

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "DATA" * 500}}
UNBOUNDED = 100_000
"""Tokens of an answer that nobody bounds."""
CONTEXT = 200_000
FEATURES = frozenset({"tools", "images", "audio", "documents", "json_schema", "streaming"})
BOUNDS = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "completion": ("max_tokens",),
    "messages": ("max_tokens",),
}
TIER = {"flex": 0.5, "priority": 2.0}
SEEN_ELSEWHERE = ("previous_response_id", "file_id", "document", "video_url", "web_search", "cached_content")


class Spiteful(BaseAdapter):
    """Bills what it can. `billed` is the honest tally in nano-dollars, at 1,000 a token."""

    capabilities = Capabilities(operations=frozenset(BOUNDS), features=FEATURES)

    def __init__(self, *, reports: bool = True) -> None:
        super().__init__()
        self.billed = 0
        self.calls: list[Mapping[str, Any]] = []
        self.reports = reports

    def bill(self, call: Call) -> Usage:
        body: Mapping[str, Any] = call.body
        self.calls.append(body)
        text = json.dumps(body, ensure_ascii=False)
        given = len(_without_data(body)) + 600 * bool(body.get("tools"))
        given += 48_169 * (text.count('"image_url": {') + text.count('"type": "input_image"'))
        if any(sign in text for sign in SEEN_ELSEWHERE):
            given = max(given, CONTEXT)
        bounds = [body[name] for name in BOUNDS[call.operation] if body.get(name)]
        made = (bounds[0] if bounds else UNBOUNDED) * max(body.get("n") or 1, body.get("best_of") or 1)
        self.billed += int((given + made) * 1_000 * TIER.get(body.get("service_tier") or "", 1.0))
        return Usage(input_tokens=given, output_tokens=made)

    async def send(self, call: Call) -> Answer:
        usage = self.bill(call)
        return Answer(status=200, body={}, raw={}, content="", usage=usage if self.reports else None)

    async def stream(self, call: Call) -> ChunkStream:
        """Tells the usage so far with each chunk, as some do."""
        whole = self.bill(call)
        so_far = Usage(input_tokens=whole.input_tokens, output_tokens=1)
        piece = {"choices": [{"delta": {"content": "x"}, "finish_reason": None}]}
        last = {"choices": [{"delta": {}, "finish_reason": "length"}]}
        pieces = [Chunk(data=piece, text="x", content=True, usage=so_far) for _ in range(9)]
        return ListStream([*pieces, Chunk(data=last, usage=whole)])


def _without_data(body: Mapping[str, Any]) -> bytes:
    """What may become tokens of text: all of it but the words of the protocol itself and data that is no text."""
    if isinstance(numbers := body.get("prompt"), list):
        return b"x" * len(numbers)
    words = {"model", "n", "best_of", *(name for names in BOUNDS.values() for name in names)}
    text = json.dumps({name: value for name, value in body.items() if name not in words}, ensure_ascii=False)
    text = text.replace(json.dumps(PICTURE)[1:-1], "").replace("DATA" * 500, "")
    for word in ("messages", "role", "user", "content", "type", "text", "input", "prompt"):
        text = text.replace(f'"{word}"', "")
    return re.sub(r'[{}\[\]":, ]', "", text).encode("utf-8", "surrogatepass")


def book() -> PriceBook:
    row = Row(
        provider="p",
        id="m",
        rates={"input": 1_000_000, "output": 1_000_000},
        context_window=CONTEXT,
        variants={
            "flex": Row(provider="p", id="m", rates={"input": 500_000, "output": 500_000}),
            "priority": Row(provider="p", id="m", rates={"input": 2_000_000, "output": 2_000_000}),
        },
    )
    made = PriceBook()
    made.override("p", "m", Price(row))
    return made


def said(content: object, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content, **more}]}
