"""Answers and events of the OpenAI shape, read: what a caller wants of them, and whether a stream ended as it should.

This shape is the project's canonical one, so nothing is converted; these readers only look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from apikeyrouter.adapters.jsonhttp import NotJSON, carries_error, parsed
from apikeyrouter.adapters.narrow import items, mapping, mappings, text
from apikeyrouter.adapters.sse import Event
from apikeyrouter.adapters.usage import UsagePaths, read_usage
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Chunk

Classify = Callable[[object], Failure]
"""Classifies an error that came inside a stream, whose status was 200."""

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


class ChatReader:
    """Chunks of a streamed chat or text completion, up to `[DONE]`.

    `content` marks chunks that carry some of the answer (text, tool calls, reasoning), not its role or its end. The
    usage that we always ask for is kept from callers who did not: its chunk has empty `data`.
    """

    __slots__ = ("_asked", "_classify", "_finished", "_started", "_usage", "done")

    def __init__(self, usage: UsagePaths, classify: Classify, *, usage_asked: bool) -> None:
        self._usage = usage
        self._classify = classify
        self._asked = usage_asked
        self._started = False
        self._finished = False
        self.done = False

    def read(self, event: Event) -> Iterable[Chunk]:
        """At most one chunk for an event."""
        if event.data == "[DONE]":
            self.done = True
            return ()
        raw = parsed(event.data)
        failure = _event_failure(event, raw, self._classify)
        if failure is not None:
            self.done = True
            return (Chunk(data=mapping(raw) if failure.kind is not Kind.MALFORMED else {}, failure=failure),)
        assert isinstance(raw, dict)
        return (self._chunk(raw),)

    def _chunk(self, raw: dict[str, object]) -> Chunk:
        choices = items(raw.get("choices"))
        self._started = self._started or bool(choices)
        usage = self._usage_of(raw)
        if not self._asked and raw.get("usage", self) is None:
            del raw["usage"]
        hidden = usage is not None and not choices and not self._asked
        carries = any(_carries(choice) for choice in mappings(choices))
        return Chunk(data={} if hidden else raw, text=self._text_of(choices), content=carries, usage=usage)

    def _usage_of(self, raw: Mapping[str, object]) -> Usage | None:
        return read_usage(self._usage, raw) if raw.get("usage") or "x_groq" in raw else None

    def _text_of(self, choices: list[object]) -> str:
        added = ""
        for choice in mappings(choices):
            if choice.get("finish_reason"):
                self._finished = True
            if not choice.get("index"):
                added += text(mapping(choice.get("delta")).get("content")) or text(choice.get("text"))
        return added

    def ending(self) -> Failure | None:
        """Whether the stream stopped before its end."""
        if not self._started:
            return Failure(kind=Kind.EMPTY, status=200, message="the stream held no answer", billed=True)
        if self.done or self._finished:
            return None
        return broken_off()


def _carries(choice: Mapping[str, object]) -> bool:
    """Whether a choice adds to the answer: anything in its delta but the role, or text of a plain completion."""
    if choice.get("text"):
        return True
    return any(value for name, value in mapping(choice.get("delta")).items() if name != "role")


class ResponsesReader:
    """Events of a streamed response (`/responses`), up to its completed, incomplete or failed event."""

    __slots__ = ("_classify", "_started", "_usage", "done")

    def __init__(self, usage: UsagePaths, classify: Classify) -> None:
        self._usage = usage
        self._classify = classify
        self._started = False
        self.done = False

    def read(self, event: Event) -> Iterable[Chunk]:
        """At most one chunk for an event."""
        if event.data == "[DONE]":
            return ()
        raw = parsed(event.data)
        failure = _event_failure(event, raw, self._classify)
        if failure is not None:
            self.done = True
            return (Chunk(failure=failure),)
        self._started = True
        kind = text(mapping(raw).get("type"))
        self.done = kind in _RESPONSE_ENDS
        added = text(mapping(raw).get("delta")) if kind == "response.output_text.delta" else ""
        usage = read_usage(self._usage, raw) if self.done else None
        return (Chunk(data=mapping(raw), text=added, content=self.done or kind.endswith(".delta"), usage=usage),)

    def ending(self) -> Failure | None:
        """Whether the stream stopped before its end."""
        if not self._started:
            return Failure(kind=Kind.EMPTY, status=200, message="the stream held no answer", billed=True)
        return None if self.done else broken_off()


def broken_off() -> Failure:
    return Failure(kind=Kind.NETWORK, status=200, message="the stream broke off before its end", billed=True)


def _event_failure(event: Event, raw: object, classify: Classify) -> Failure | None:
    if isinstance(raw, NotJSON) or not isinstance(raw, dict):
        return Failure(kind=Kind.MALFORMED, status=200, message="an event of the stream is not JSON", billed=True)
    failed = event.name == "error" or carries_error(raw) or text(raw.get("type")) in _RESPONSE_FAILS
    return classify(raw) if failed else None
