"""Answers and events of the OpenAI shape, read: what a caller wants of them, and whether a stream ended as it should.

This shape is the project's canonical one, so nothing is converted; these readers only look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from apikeyrouter.adapters.narrow import items, mapping, mappings, text
from apikeyrouter.adapters.reader import Classify, JSONReader
from apikeyrouter.adapters.sse import Event
from apikeyrouter.adapters.usage import UsagePaths, read_usage
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Chunk

_RESPONSE_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_RESPONSE_FAILS: Final = frozenset({"response.failed", "response.error", "error"})
_LISTS: Final = {"chat": "choices", "completion": "choices", "embeddings": "data", "models": "data"}


def content_of(operation: str, body: object) -> object:
    """Text of a completion, vectors of embeddings, ids of models."""
    answer = mapping(body)
    if operation == "responses":
        return _response_text(answer)
    if operation == "embeddings":
        return [item.get("embedding") for item in mappings(answer.get("data"))]
    if operation == "models":
        return [item.get("id") for item in mappings(answer.get("data"))]
    choice = next(mappings(answer.get("choices")), {})
    return choice.get("text") if operation == "completion" else mapping(choice.get("message")).get("content")


def _response_text(answer: Mapping[str, object]) -> str:
    parts = (part for output in mappings(answer.get("output")) for part in mappings(output.get("content")))
    return "".join(text(part.get("text")) for part in parts if part.get("type") == "output_text")


def hidden_failure(operation: str, raw: object) -> Failure | None:
    """A 200 without what was asked for: no list at all is malformed, an empty one is empty."""
    name = _LISTS.get(operation)
    if name is None:
        known = isinstance(raw, dict)
        return None if known else Failure(kind=Kind.MALFORMED, message="the answer is not an object", billed=True)
    found = mapping(raw).get(name)
    if not isinstance(found, list):
        return Failure(kind=Kind.MALFORMED, message=f"the answer has no list of {name}", billed=True)
    if not found and operation != "models":
        return Failure(kind=Kind.EMPTY, message=f"the answer's list of {name} is empty", billed=True)
    return None


class ChatReader(JSONReader):
    """Chunks of a streamed chat or text completion, up to `[DONE]`.

    `content` marks chunks that carry some of the answer (text, tool calls, reasoning), not its role or its end. The
    usage that we always ask for is kept from callers who did not: its chunk has empty `data`.
    """

    __slots__ = ("_asked", "_usage")

    def __init__(self, usage: UsagePaths, classify: Classify, *, usage_asked: bool) -> None:
        super().__init__(classify)
        self._usage = usage
        self._asked = usage_asked

    def chunks(self, event: Event, raw: dict[str, object]) -> Iterable[Chunk]:
        """One chunk for an event."""
        choices = items(raw.get("choices"))
        added, carries = "", False
        for choice in choices:
            if isinstance(choice, dict):
                delta = mapping(choice.get("delta"))
                carries = carries or _carries(choice, delta)
                if not choice.get("index"):
                    added += text(delta.get("content")) or text(choice.get("text"))
                if choice.get("finish_reason"):
                    self.finished = True
        self.started = self.started or bool(choices)
        usage = self._usage_of(raw)
        if not self._asked and raw.get("usage", self) is None:
            del raw["usage"]
        hidden = usage is not None and not choices and not self._asked
        return (Chunk(data={} if hidden else raw, text=added, content=carries, usage=usage),)

    def _usage_of(self, raw: Mapping[str, object]) -> Usage | None:
        return read_usage(self._usage, raw) if raw.get("usage") or "x_groq" in raw else None


def _carries(choice: Mapping[str, object], delta: Mapping[str, object]) -> bool:
    """Whether a choice adds to the answer: anything in its delta but the role, or text of a plain completion."""
    if delta.get("content") or choice.get("text"):
        return True
    return any(value for name, value in delta.items() if name != "role")


class ResponsesReader(JSONReader):
    """Events of a streamed response (`/responses`), up to its completed, incomplete or failed event."""

    __slots__ = ("_usage",)

    def __init__(self, usage: UsagePaths, classify: Classify) -> None:
        super().__init__(classify)
        self._usage = usage

    def is_error(self, event: Event, raw: dict[str, object]) -> bool:
        """Whether an event reports a failure."""
        return text(raw.get("type")) in _RESPONSE_FAILS or super().is_error(event, raw)

    def chunks(self, event: Event, raw: dict[str, object]) -> Iterable[Chunk]:
        """One chunk for an event."""
        self.started = True
        kind = text(raw.get("type"))
        self.done = kind in _RESPONSE_ENDS
        added = text(raw.get("delta")) if kind == "response.output_text.delta" else ""
        usage = read_usage(self._usage, raw) if self.done else None
        return (Chunk(data=raw, text=added, content=self.done or kind.endswith(".delta"), usage=usage),)
