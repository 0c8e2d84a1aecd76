"""Bodies and event streams of /v1/messages.

Input tokens: 3, the system prompt's ceil(characters / 4), and for each message 4 plus ceil(characters / 4); tools
count as their JSON. A tool is used when `tool_choice` asks for one (`any`, `tool`), or when it is `auto` and the
last message is the user's and names a tool. Of the input, what was read from the prompt cache is reported apart, as
the API does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from apikeyrouter.simulator.dialect import Call, Piece
from apikeyrouter.simulator.wire import Json, dumps, items, obj, text
from apikeyrouter.simulator.words import answer_text, example_of, opaque_id, tokens_in
from apikeyrouter.simulator.world import Stamp

__all__ = ["body", "input_tokens", "last_words", "pieces"]


def input_tokens(body: dict[str, Json]) -> int:
    """What the prompt counts as; see the module's docstring."""
    total = 3 + tokens_in(_text(body.get("system")))
    total += sum(4 + tokens_in(_text(obj(message).get("content"))) for message in items(body.get("messages")))
    tools = body.get("tools")
    return total + (tokens_in(json.dumps(tools, separators=(",", ":"))) if tools else 0)


def _text(content: Json) -> str:
    if isinstance(content, str):
        return content
    blocks = [obj(block) for block in items(content)]
    return "".join(text(block.get("text")) or _text(block.get("content")) for block in blocks)


def last_words(body: dict[str, Json]) -> str:
    """The text of the last message: what the answer's words depend on."""
    return _text(obj(items(body.get("messages"))[-1]).get("content"))


def body(call: Call, stamp: Stamp) -> bytes:
    """A complete message."""
    block = _block(call)
    stop = _stop_reason(call, block)
    return dumps(
        {**_head(call, stamp), "content": [block], "stop_reason": stop, "usage": _usage(call, call.output_tokens)}
    )


def pieces(call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
    """The events of a stream, in the documented order, each with its name."""
    block = _block(call)
    empty: dict[str, Json] = {**block, "input": {}} if block["type"] == "tool_use" else {**block, "text": ""}
    yield _event({"type": "message_start", "message": {**_head(call, stamp), "content": [], "usage": _usage(call, 1)}})
    yield _event({"type": "content_block_start", "index": 0, "content_block": empty})
    yield _event({"type": "ping"})
    for delta, tokens in _deltas(block, call.output_tokens, chunk_tokens):
        yield _event({"type": "content_block_delta", "index": 0, "delta": delta}, tokens)
    yield _event({"type": "content_block_stop", "index": 0})
    ending: Json = {"stop_reason": _stop_reason(call, block), "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": ending, "usage": _usage(call, call.output_tokens, final=True)})
    yield _event({"type": "message_stop"})


def _event(value: dict[str, Json], tokens: int = 0) -> Piece:
    return Piece(b"event: %s\ndata: %s\n\n" % (text(value["type"]).encode(), dumps(value)), tokens)


def _deltas(block: dict[str, Json], tokens: int, chunk_tokens: int) -> Iterator[tuple[Json, int]]:
    if block["type"] == "tool_use":
        yield {"type": "input_json_delta", "partial_json": ""}, 0
        yield {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}, tokens
        return
    content, left = text(block["text"]), tokens
    for start in range(0, len(content), 4 * chunk_tokens):
        last = start + 4 * chunk_tokens >= len(content)
        carried = left if last else min(left, chunk_tokens)
        left -= carried
        yield {"type": "text_delta", "text": content[start : start + 4 * chunk_tokens]}, carried


def _head(call: Call, stamp: Stamp) -> dict[str, Json]:
    return {
        "id": opaque_id("msg_", stamp.request_id),
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(call: Call, produced: int, *, final: bool = False) -> dict[str, Json]:
    usage: dict[str, Json] = {
        "input_tokens": call.input_tokens - call.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": call.cached_tokens,
        "output_tokens": produced,
    }
    return usage if final else {**usage, "service_tier": "standard"}


def _stop_reason(call: Call, block: dict[str, Json]) -> str:
    if block["type"] == "tool_use":
        return "tool_use"
    return "max_tokens" if call.cut else "end_turn"


def _block(call: Call) -> dict[str, Json]:
    """The one block of the answer: a tool's use if one is asked for, JSON if that is, else as many words as tokens."""
    tool = _chosen_tool(call)
    if tool:
        name = text(tool.get("name"))
        given = example_of(tool.get("input_schema") or {"type": "object"})
        return {"type": "tool_use", "id": opaque_id("toolu_", call.prompt + name), "name": name, "input": given}
    form = obj(obj(call.body.get("output_config")).get("format")) or obj(call.body.get("output_format"))
    if form.get("type") == "json_schema":
        return {"type": "text", "text": json.dumps(example_of(form.get("schema")))}
    return {"type": "text", "text": answer_text(call.output_tokens, call.prompt)}


def _chosen_tool(call: Call) -> dict[str, Json]:
    tools = [obj(tool) for tool in items(call.body.get("tools")) if "input_schema" in obj(tool)]
    choice = obj(call.body.get("tool_choice"))
    kind = text(choice.get("type"), "auto")
    if not tools or kind == "none":
        return {}
    if kind == "tool":
        return next((tool for tool in tools if tool.get("name") == choice.get("name")), tools[0])
    if kind == "any":
        return tools[0]
    asked = obj(items(call.body["messages"])[-1]).get("role") == "user"
    return next((t for t in tools if asked and text(t.get("name")) and text(t.get("name")) in call.prompt), {})
