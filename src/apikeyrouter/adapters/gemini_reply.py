"""Gemini's answers and stream events as canonical completions, chunks and embeddings (REST reference, 2026-11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from apikeyrouter.adapters.canonical import choice_of, chunk, completion, delta, tool_call
from apikeyrouter.adapters.narrow import integer, items, mapping, mappings, text
from apikeyrouter.adapters.reader import Classify, JSONReader
from apikeyrouter.adapters.sse import Event
from apikeyrouter.adapters.usage import UsagePaths, read_usage
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Chunk

_LENGTH: Final = frozenset({"MAX_TOKENS"})
_FILTERED: Final = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY"}
    | {"IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)
_BROKEN: Final = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})


def finish_reason(native: str, *, called: bool) -> str:
    """The canonical word for an end."""
    if native in _LENGTH:
        return "length"
    if native in _FILTERED:
        return "content_filter"
    return "tool_calls" if called else "stop"


def to_completion(raw: Mapping[str, object], created: float, usage: Usage | None) -> dict[str, object]:
    """An answer as a chat completion."""
    answer_id = text(raw.get("responseId"))
    choices = [_choice(candidate, at, answer_id) for at, candidate in enumerate(mappings(raw.get("candidates")))]
    return completion(answer_id, text(raw.get("modelVersion")), created, choices, usage)


def _choice(candidate: Mapping[str, object], at: int, answer_id: str) -> dict[str, object]:
    message: dict[str, object] = {"content": None}
    message.update(_message(_parts(candidate), f"call_{answer_id}_{at}_", 0))
    native = text(candidate.get("finishReason"))
    return choice_of(at, message, finish_reason(native, called="tool_calls" in message), native)


def _parts(candidate: Mapping[str, object]) -> list[Mapping[str, object]]:
    return list(mappings(mapping(candidate.get("content")).get("parts")))


def _message(parts: list[Mapping[str, object]], prefix: str, calls_before: int) -> dict[str, object]:
    """Fields of a message: text, thoughts, calls and images, each only where there are any."""
    said = [text(part.get("text")) for part in parts if "text" in part and not part.get("thought")]
    thoughts = [text(part.get("text")) for part in parts if part.get("thought")]
    called = [part for part in parts if "functionCall" in part]
    images = [_image(mapping(part["inlineData"])) for part in parts if "inlineData" in part]
    found: dict[str, object] = {
        "content": "".join(said),
        "reasoning_content": "".join(thoughts),
        "tool_calls": [_call(part, f"{prefix}{at}") for at, part in enumerate(called, calls_before)],
        "images": images,
    }
    return {name: value for name, value in found.items() if value or (name == "content" and said)}


def _call(part: Mapping[str, object], made_id: str) -> dict[str, object]:
    given = mapping(part.get("functionCall"))
    call = tool_call(text(given.get("id")) or made_id, text(given.get("name")), mapping(given.get("args")))
    if part.get("thoughtSignature"):
        call["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
    return call


def _image(inline: Mapping[str, object]) -> dict[str, object]:
    url = f"data:{text(inline.get('mimeType'))};base64,{text(inline.get('data'))}"
    return {"type": "image_url", "image_url": {"url": url}}


def blocked(raw: Mapping[str, object]) -> Failure | None:
    """The failure of a prompt that was blocked before any candidate."""
    reason = text(mapping(raw.get("promptFeedback")).get("blockReason"))
    if not reason or raw.get("candidates"):
        return None
    message = f"the prompt was blocked by the provider ({reason[:40]})"
    return Failure(kind=Kind.CONTENT, status=200, code=reason[:40].lower(), message=message)


def hidden_failure(raw: object) -> Failure | None:
    """A 200 without an answer: blocked, empty, malformed, or a call the model garbled."""
    answer = mapping(raw)
    refused = blocked(answer)
    if refused is not None:
        return refused
    candidates = list(mappings(answer.get("candidates")))
    if not candidates:
        kind = Kind.EMPTY if "usageMetadata" in answer or "candidates" in answer else Kind.MALFORMED
        return Failure(kind=kind, message="the answer has no candidates", billed=True)
    native = text(candidates[0].get("finishReason"))
    if native in _BROKEN and not _parts(candidates[0]):
        return Failure(kind=Kind.MALFORMED, code=native.lower(), message=f"the model ended with {native}", billed=True)
    return None


class ContentReader(JSONReader):
    """Events of streamGenerateContent as canonical chunks. There is no end marker: the finish reason ends it."""

    __slots__ = ("_asked", "_calls", "_created", "_table")

    def __init__(self, table: UsagePaths, classify: Classify, *, created: float, usage_asked: bool) -> None:
        super().__init__(classify)
        self._table = table
        self._created = created
        self._asked = usage_asked
        self._calls: dict[int, int] = {}

    def chunks(self, event: Event, raw: dict[str, object]) -> Iterable[Chunk]:
        """The chunks an event makes: one for each candidate, one for the usage at the end."""
        refused = blocked(raw)
        return self._failed(refused) if refused is not None else self._chunks(raw)

    def _chunks(self, raw: Mapping[str, object]) -> list[Chunk]:
        usage = read_usage(self._table, raw)
        answer_id, model = text(raw.get("responseId")), text(raw.get("modelVersion"))
        made: list[Chunk] = []
        for candidate in mappings(raw.get("candidates")):
            choices, said, carries = self._candidate(candidate, answer_id)
            data = chunk(answer_id, model, self._created, choices)
            made.append(Chunk(data=data, text=said, content=carries))
        if usage is not None and (self.finished or not made):
            made.append(self._usage_chunk(answer_id, model, usage))
        return made

    def _usage_chunk(self, answer_id: str, model: str, usage: Usage) -> Chunk:
        data = chunk(answer_id, model, self._created, [], usage) if self._asked else {}
        return Chunk(data=data, usage=usage)

    def _candidate(self, candidate: Mapping[str, object], answer_id: str) -> tuple[list[dict[str, object]], str, bool]:
        at = integer(candidate.get("index"))
        before = self._calls.get(at, 0)
        message = _message(_parts(candidate), f"call_{answer_id}_{at}_", before)
        called = items(message.get("tool_calls"))
        if called:
            message["tool_calls"] = [{"index": n, **mapping(call)} for n, call in enumerate(called, before)]
        self._calls[at] = before + len(called)
        native = text(candidate.get("finishReason"))
        finish = finish_reason(native, called=self._calls[at] > 0) if native else None
        self.finished = self.finished or bool(native)
        role = {} if self.started else {"role": "assistant"}
        self.started = True
        choice = {**delta({**role, **message}, finish, at), **({"native_finish_reason": native} if native else {})}
        return [choice], text(message.get("content")) if at == 0 else "", any(message.values())


def to_embeddings(raw: Mapping[str, object], model: str, usage: Usage | None) -> dict[str, object]:
    """Embeddings of one text, of several, or of Vertex's predict, in canonical shape."""
    found = [mapping(raw.get("embedding"))] if "embedding" in raw else list(mappings(raw.get("embeddings")))
    found += [mapping(prediction.get("embeddings")) for prediction in mappings(raw.get("predictions"))]
    return {
        "object": "list",
        "model": model,
        "data": [{"object": "embedding", "index": at, "embedding": one.get("values")} for at, one in enumerate(found)],
        "usage": {
            "prompt_tokens": usage.input_tokens if usage else 0,
            "total_tokens": usage.input_tokens if usage else 0,
        },
    }


def predicted_tokens(raw: object) -> int:
    """Input tokens that Vertex's predict counts, text by text."""
    found = (mapping(one.get("embeddings")) for one in mappings(mapping(raw).get("predictions")))
    return sum(integer(mapping(one.get("statistics")).get("token_count")) for one in found)


def model_list(raw: object) -> dict[str, object]:
    """The list of models in canonical shape, without the `models/` before each name."""
    found = mapping(raw)
    listed = [*mappings(found.get("models")), *mappings(found.get("publisherModels"))]
    names = [text(model.get("name")).rpartition("models/")[2] for model in listed]
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "google"} for name in names]}
