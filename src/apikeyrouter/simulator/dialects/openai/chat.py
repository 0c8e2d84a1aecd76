"""Bodies and event streams of /v1/chat/completions and /v1/completions.

Input tokens: 3, and for each message 4 plus ceil(characters / 4); tools and a response format count as their JSON.
A tool is called when `tool_choice` asks for one, or when it is `auto` and the last message is the user's and names a
tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from apikeyrouter.simulator.dialect import Call, Piece
from apikeyrouter.simulator.wire import Json, dumps, items, obj, text
from apikeyrouter.simulator.words import answer_text, example_of, opaque_id, tokens_in
from apikeyrouter.simulator.world import Stamp

__all__ = ["body", "completion_body", "input_tokens", "last_words", "pieces"]


def input_tokens(body: dict[str, Json]) -> int:
    """What the prompt counts as; see the module's docstring."""
    total = 3
    for message in items(body.get("messages")):
        total += 4 + tokens_in(_content(obj(message)))
    for extra in ("tools", "functions", "response_format"):
        if body.get(extra):
            total += tokens_in(json.dumps(body[extra], separators=(",", ":")))
    return total


def _content(message: dict[str, Json]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(text(obj(part).get("text")) for part in items(content))


def last_words(body: dict[str, Json]) -> str:
    """The text of the last message: what the answer's words depend on."""
    messages = items(body.get("messages"))
    return _content(obj(messages[-1])) if messages else ""


def body(call: Call, stamp: Stamp) -> bytes:
    """A complete chat completion."""
    content, tool = _said(call)
    said = b'null,"tool_calls":%b' % dumps([tool]) if tool else dumps(content)
    reason = dumps(_finish(call, tool))
    choices = b",".join(_CHOICE % (index, said, reason) for index in range(call.answers))
    return _COMPLETE % (_head(call, stamp, b"chatcmpl-", b"chat.completion"), choices, _usage(call))


def completion_body(call: Call, stamp: Stamp) -> bytes:
    """A complete legacy completion."""
    said, reason = dumps(answer_text(call.output_tokens, call.prompt)), dumps(_finish(call, None))
    choices = b",".join(_LEGACY_CHOICE % (index, said, reason) for index in range(call.answers))
    return _COMPLETE % (_head(call, stamp, b"cmpl-", b"text_completion"), choices, _usage(call))


# Templates instead of dictionaries: these bodies are the benchmarks' hottest, and every value in them is a number, an
# identifier of our own making, or went through `dumps`.
_HEAD = (
    b'"id":"%b%b","object":"%b","created":%d,"model":%b,"service_tier":"default","system_fingerprint":"fp_simulator"'
)
_COMPLETE = b'{%b,"choices":[%b],"usage":%b}'
_CHOICE = (
    b'{"index":%d,"message":{"role":"assistant","content":%b,"refusal":null,"annotations":[]},'
    b'"logprobs":null,"finish_reason":%b}'
)
_LEGACY_CHOICE = b'{"index":%d,"text":%b,"logprobs":null,"finish_reason":%b}'
_DELTA = b'{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}'
_USAGE = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    b'"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,'
    b'"rejected_prediction_tokens":0}}'
)


def pieces(call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
    """The events of a stream: role, content, the reason of the end, usage when asked for, [DONE]."""
    if call.operation == "completion":
        yield from _completion_pieces(call, stamp, chunk_tokens)
        return
    want_usage = obj(call.body.get("stream_options")).get("include_usage") is True
    head = b"data: {" + _head(call, stamp, b"chatcmpl-", b"chat.completion.chunk")
    event = head.replace(b"%", b"%%") + b',"choices":[' + _DELTA + (b'],"usage":null}\n\n' if want_usage else b"]}\n\n")
    content, tool = _said(call)
    opening = b'{"role":"assistant","content":%b,"refusal":null}' % (b"null" if tool else b'""')
    for index in range(call.answers):
        yield Piece(event % (index, opening, b"null"), 0)
        for delta, tokens in _deltas(content, tool, call.output_tokens, chunk_tokens):
            yield Piece(event % (index, delta, b"null"), tokens)
        yield Piece(event % (index, b"{}", dumps(_finish(call, tool))), 0)
    if want_usage:
        yield Piece(head + b',"choices":[],"usage":%b}\n\n' % _usage(call), 0)
    yield Piece(b"data: [DONE]\n\n", 0)


def _completion_pieces(call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
    head = b"data: {" + _head(call, stamp, b"cmpl-", b"text_completion") + b',"choices":['
    content = answer_text(call.output_tokens, call.prompt)
    for start in range(0, len(content), 4 * chunk_tokens):
        part = content[start : start + 4 * chunk_tokens]
        yield Piece(head + _LEGACY_CHOICE % (0, dumps(part), b"null") + b"]}\n\n", tokens_in(part))
    yield Piece(head + _LEGACY_CHOICE % (0, b'""', dumps(_finish(call, None))) + b"]}\n\n", 0)
    if obj(call.body.get("stream_options")).get("include_usage") is True:
        yield Piece(head + b'],"usage":%b}\n\n' % _usage(call), 0)
    yield Piece(b"data: [DONE]\n\n", 0)


def _deltas(content: str, tool: dict[str, Json] | None, tokens: int, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
    return _tool_deltas(tool, tokens) if tool else _text_deltas(content, tokens, chunk_tokens)


def _text_deltas(content: str, tokens: int, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
    """The answer in parts of `chunk_tokens`; whatever the text, the parts carry all the tokens."""
    left = tokens
    for start in range(0, len(content), 4 * chunk_tokens):
        last = start + 4 * chunk_tokens >= len(content)
        carried = left if last else min(left, chunk_tokens)
        left -= carried
        yield b'{"content":%s}' % dumps(content[start : start + 4 * chunk_tokens]), carried


def _tool_deltas(tool: dict[str, Json], tokens: int) -> Iterator[tuple[bytes, int]]:
    function = obj(tool["function"])
    opening: Json = {"index": 0, **tool, "function": {"name": function["name"], "arguments": ""}}
    yield dumps({"tool_calls": [opening]}), 0
    yield dumps({"tool_calls": [{"index": 0, "function": {"arguments": function["arguments"]}}]}), tokens


def _head(call: Call, stamp: Stamp, prefix: bytes, kind: bytes) -> bytes:
    return _HEAD % (prefix, opaque_id("", stamp.request_id).encode(), kind, stamp.created, dumps(call.model))


def _usage(call: Call) -> bytes:
    produced = call.output_tokens * call.answers
    return _USAGE % (call.input_tokens, produced, call.input_tokens + produced, call.cached_tokens)


def _finish(call: Call, tool: dict[str, Json] | None) -> str:
    return "tool_calls" if tool else "length" if call.cut else "stop"


def _said(call: Call) -> tuple[str, dict[str, Json] | None]:
    """(text, tool call) of the answer: a tool if one is asked for, JSON if that is, else as many words as tokens."""
    function = _chosen_function(call)
    if function:
        arguments = json.dumps(example_of(function.get("parameters") or {"type": "object"}))
        called: dict[str, Json] = {"name": text(function.get("name")), "arguments": arguments}
        return "", {
            "id": opaque_id("call_", call.prompt + text(function.get("name"))),
            "type": "function",
            "function": called,
        }
    form = obj(call.body.get("response_format"))
    if form.get("type") == "json_schema":
        return json.dumps(example_of(obj(form.get("json_schema")).get("schema"))), None
    words = answer_text(call.output_tokens, call.prompt)
    return (json.dumps({"answer": words.strip()}) if form.get("type") == "json_object" else words), None


def _chosen_function(call: Call) -> dict[str, Json]:
    functions = [obj(obj(tool).get("function")) for tool in items(call.body.get("tools"))]
    choice = call.body.get("tool_choice", "auto")
    if not functions or choice == "none":
        return {}
    named = text(obj(obj(choice).get("function")).get("name"))
    if named:
        return next((function for function in functions if function.get("name") == named), functions[0])
    if choice == "required":
        return functions[0]
    last = obj(items(call.body["messages"])[-1])
    asked = last.get("role") == "user"
    return next((f for f in functions if asked and text(f.get("name")) and text(f.get("name")) in call.prompt), {})
