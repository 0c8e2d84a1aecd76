"""Anthropic's messages and stream events as canonical completions and chunks (reference of 2026-10-21).

Thinking comes back as `reasoning_content` (its text) and `thinking_blocks` (with signatures): sent back with the next
request, the latter let a conversation with tools go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from apikeyrouter.adapters.canonical import choice_of, chunk, completion, delta, tool_call
from apikeyrouter.adapters.narrow import integer, items, mapping, mappings, text
from apikeyrouter.adapters.reader import Classify, JSONReader
from apikeyrouter.adapters.sse import Event
from apikeyrouter.adapters.usage import UsagePaths, read_usage
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Chunk

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_THINKING: Final = ("thinking", "redacted_thinking")


def to_completion(raw: Mapping[str, object], created: float, usage: Usage | None) -> dict[str, object]:
    """A message as a chat completion."""
    blocks = list(mappings(raw.get("content")))
    message: dict[str, object] = {"content": _text(blocks)}
    called = [
        tool_call(text(block.get("id")), text(block.get("name")), mapping(block.get("input")))
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    if called:
        message["tool_calls"] = called
    thoughts = [block for block in blocks if block.get("type") in _THINKING]
    if thoughts:
        message["reasoning_content"] = "".join(text(block.get("thinking")) for block in thoughts)
        message["thinking_blocks"] = [dict(block) for block in thoughts]
    native = text(raw.get("stop_reason"))
    choice = choice_of(0, message, _FINISH.get(native, "stop"), native)
    return completion(text(raw.get("id")), text(raw.get("model")), created, [choice], usage)


def _text(blocks: list[Mapping[str, object]]) -> str | None:
    said = [text(block.get("text")) for block in blocks if block.get("type") == "text"]
    return "".join(said) if said else None


def hidden_failure(raw: object) -> Failure | None:
    """A 200 that is no message, or one without any content where none was refused or cut."""
    answer = mapping(raw)
    if not isinstance(answer.get("content"), list):
        return Failure(kind=Kind.MALFORMED, message="the answer has no list of content blocks", billed=True)
    return None


class MessageReader(JSONReader):
    """Events of a streamed message as canonical chunks, up to `message_stop`."""

    __slots__ = ("_asked", "_blocks", "_created", "_id", "_model", "_table", "_tools", "_usage")

    def __init__(self, table: UsagePaths, classify: Classify, *, created: float, usage_asked: bool) -> None:
        super().__init__(classify)
        self._table = table
        self._created = created
        self._asked = usage_asked
        self._id = self._model = ""
        self._blocks: dict[int, dict[str, object]] = {}
        self._tools = 0
        self._usage: dict[str, object] = {}

    def is_error(self, event: Event, raw: dict[str, object]) -> bool:
        """Whether an event reports a failure."""
        return "error" in (event.name, raw.get("type"))

    def chunks(self, event: Event, raw: dict[str, object]) -> Iterable[Chunk]:
        """The chunks an event makes; events that are not known yet make none."""
        handler = _HANDLERS.get(text(raw.get("type")) or event.name)
        return handler(self, raw) if handler is not None else ()

    def _begin(self, raw: Mapping[str, object]) -> Iterable[Chunk]:
        message = mapping(raw.get("message"))
        self.started = True
        self._id, self._model = text(message.get("id")), text(message.get("model"))
        self._usage.update(mapping(message.get("usage")))
        return (self._chunk({"role": "assistant", "content": ""}, content=False),)

    def _block_start(self, raw: Mapping[str, object]) -> Iterable[Chunk]:
        block = dict(mapping(raw.get("content_block")))
        self._blocks[integer(raw.get("index"))] = block
        if block.get("type") == "tool_use":
            block["at"], block["json"] = self._tools, ""
            self._tools += 1
            call = {"index": block["at"], **tool_call(text(block.get("id")), text(block.get("name")), "")}
            return (self._chunk({"tool_calls": [call]}),)
        said = text(block.get("text"))
        return (self._chunk({"content": said}, said),) if block.get("type") == "text" and said else ()

    def _block_delta(self, raw: Mapping[str, object]) -> Iterable[Chunk]:
        change = mapping(raw.get("delta"))
        block = self._blocks.setdefault(integer(raw.get("index")), {})
        kind = change.get("type")
        if kind == "text_delta":
            said = text(change.get("text"))
            return (self._chunk({"content": said}, said),)
        if kind == "input_json_delta":
            return self._arguments(block, text(change.get("partial_json")))
        if kind == "thinking_delta":
            block["thinking"] = text(block.get("thinking")) + text(change.get("thinking"))
            return (self._chunk({"reasoning_content": text(change.get("thinking"))}),)
        if kind == "signature_delta":
            block["signature"] = text(block.get("signature")) + text(change.get("signature"))
        return ()

    def _arguments(self, block: dict[str, object], piece: str) -> Iterable[Chunk]:
        if not piece or "at" not in block:
            return ()
        block["json"] = text(block.get("json")) + piece
        return (self._chunk({"tool_calls": [{"index": block["at"], "function": {"arguments": piece}}]}),)

    def _block_stop(self, raw: Mapping[str, object]) -> Iterable[Chunk]:
        block = self._blocks.pop(integer(raw.get("index")), {})
        if block.get("type") in _THINKING:
            return (self._chunk({"thinking_blocks": [block]}),)
        if block.get("type") == "tool_use" and not block.get("json"):
            return self._arguments(block, "{}")
        return ()

    def _change(self, raw: Mapping[str, object]) -> Iterable[Chunk]:
        self._usage.update({name: value for name, value in mapping(raw.get("usage")).items() if value is not None})
        native = text(mapping(raw.get("delta")).get("stop_reason"))
        if not native:
            return ()
        self.finished = True
        choice = {**delta({}, _FINISH.get(native, "stop")), "native_finish_reason": native}
        data = chunk(self._id, self._model, self._created, [choice])
        return (Chunk(data=data, usage=self._total()),)

    def _end(self, _raw: Mapping[str, object]) -> Iterable[Chunk]:
        self.done = True
        usage = self._total()
        if not self._asked or usage is None:
            return ()
        return (Chunk(data=chunk(self._id, self._model, self._created, [], usage), usage=usage),)

    def _total(self) -> Usage | None:
        return read_usage(self._table, {"usage": self._usage})

    def _chunk(self, given: dict[str, object], said: str = "", *, content: bool = True) -> Chunk:
        data = chunk(self._id, self._model, self._created, [delta(given)])
        return Chunk(data=data, text=said, content=content)


_HANDLERS: Final[Mapping[str, Callable[[MessageReader, Mapping[str, object]], Iterable[Chunk]]]] = {
    "message_start": MessageReader._begin,
    "content_block_start": MessageReader._block_start,
    "content_block_delta": MessageReader._block_delta,
    "content_block_stop": MessageReader._block_stop,
    "message_delta": MessageReader._change,
    "message_stop": MessageReader._end,
}


class NativeReader(JSONReader):
    """Events of a streamed message as they are, for callers who speak the Messages API themselves."""

    __slots__ = ("_table", "_usage")

    def __init__(self, table: UsagePaths, classify: Classify) -> None:
        super().__init__(classify)
        self._table = table
        self._usage: dict[str, object] = {}

    def is_error(self, event: Event, raw: dict[str, object]) -> bool:
        """Whether an event reports a failure."""
        return "error" in (event.name, raw.get("type"))

    def chunks(self, event: Event, raw: dict[str, object]) -> Iterable[Chunk]:
        """One chunk for an event; `data` is the provider's own."""
        kind = text(raw.get("type")) or event.name
        self.started = self.started or kind == "message_start"
        self.done = kind == "message_stop"
        self._usage.update(mapping(mapping(raw.get("message")).get("usage")) or mapping(raw.get("usage")))
        change = mapping(raw.get("delta"))
        said = text(change.get("text")) if change.get("type") == "text_delta" else ""
        usage = read_usage(self._table, {"usage": self._usage}) if kind == "message_delta" else None
        return (Chunk(data=raw, text=said, content=kind == "content_block_delta", usage=usage),)


def model_list(raw: object) -> dict[str, object]:
    """The list of models in canonical shape."""
    found = items(mapping(raw).get("data"))
    return {"object": "list", "data": [{"object": "model", "owned_by": "", **mapping(model)} for model in found]}
