"""Bodies and event streams of /v1/responses, as far as text goes: message output, and function calls when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator

from apikeyrouter.simulator.dialect import Call, Piece
from apikeyrouter.simulator.wire import Json, dumps, items, obj, text
from apikeyrouter.simulator.words import answer_text, example_of, opaque_id, tokens_in
from apikeyrouter.simulator.world import Stamp

__all__ = ["body", "input_text", "pieces"]


def input_text(body: dict[str, Json]) -> str:
    """All text of instructions and input."""
    given = body.get("input")
    parts = [text(body.get("instructions")), given if isinstance(given, str) else ""]
    for item in items(given):
        content = obj(item).get("content")
        parts.append(content if isinstance(content, str) else "".join(text(obj(p).get("text")) for p in items(content)))
    return "".join(parts)


def body(call: Call, stamp: Stamp) -> bytes:
    """A complete response."""
    return dumps(_response(call, stamp, "incomplete" if call.cut else "completed", [_output(call, stamp)]))


def pieces(call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
    """The events of a stream, each with its name and its sequence number."""
    item = _output(call, stamp)
    item_id = text(item["id"])
    events: list[tuple[dict[str, Json], int]] = [
        ({"type": "response.created", "response": _response(call, stamp, "in_progress", [])}, 0),
        ({"type": "response.in_progress", "response": _response(call, stamp, "in_progress", [])}, 0),
        (
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**item, "status": "in_progress", **_EMPTY[text(item["type"])]},
            },
            0,
        ),
    ]
    inner = (
        _call_events(item, item_id, call)
        if item["type"] == "function_call"
        else _text_events(item, item_id, call, chunk_tokens)
    )
    events += inner
    events.append(({"type": "response.output_item.done", "output_index": 0, "item": item}, 0))
    last = "incomplete" if call.cut else "completed"
    events.append(({"type": f"response.{last}", "response": _response(call, stamp, last, [item])}, 0))
    for number, (event, tokens) in enumerate(events):
        yield Piece(
            b"event: %s\ndata: %s\n\n" % (text(event["type"]).encode(), dumps({**event, "sequence_number": number})),
            tokens,
        )


_EMPTY: dict[str, dict[str, Json]] = {"message": {"content": []}, "function_call": {"arguments": ""}}


def _text_events(
    item: dict[str, Json], item_id: str, call: Call, chunk_tokens: int
) -> list[tuple[dict[str, Json], int]]:
    place: dict[str, Json] = {"item_id": item_id, "output_index": 0, "content_index": 0}
    part = obj(items(item["content"])[0])
    content = text(part["text"])
    events: list[tuple[dict[str, Json], int]] = [
        ({"type": "response.content_part.added", **place, "part": {**part, "text": ""}}, 0)
    ]
    for start in range(0, len(content), 4 * chunk_tokens):
        delta = content[start : start + 4 * chunk_tokens]
        events.append(
            ({"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}, tokens_in(delta))
        )
    events.append(({"type": "response.output_text.done", **place, "text": content, "logprobs": []}, 0))
    events.append(({"type": "response.content_part.done", **place, "part": part}, 0))
    return events


def _call_events(item: dict[str, Json], item_id: str, call: Call) -> list[tuple[dict[str, Json], int]]:
    place: dict[str, Json] = {"item_id": item_id, "output_index": 0}
    return [
        ({"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}, call.output_tokens),
        (
            {
                "type": "response.function_call_arguments.done",
                **place,
                "name": item["name"],
                "arguments": item["arguments"],
            },
            0,
        ),
    ]


def _output(call: Call, stamp: Stamp) -> dict[str, Json]:
    tools = [obj(tool) for tool in items(call.body.get("tools")) if obj(tool).get("type") == "function"]
    choice = call.body.get("tool_choice", "auto")
    named = text(obj(choice).get("name"))
    wanted = [t for t in tools if choice == "required" or (named and t.get("name") == named)]
    if wanted:
        arguments = json.dumps(example_of(wanted[0].get("parameters") or {"type": "object"}))
        return {
            "type": "function_call",
            "id": opaque_id("fc_", stamp.request_id),
            "call_id": opaque_id("call_", stamp.request_id),
            "name": text(wanted[0].get("name")),
            "arguments": arguments,
            "status": "completed",
        }
    part: Json = {"type": "output_text", "text": _words(call), "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": opaque_id("msg_", stamp.request_id),
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def _words(call: Call) -> str:
    form = obj(obj(call.body.get("text")).get("format"))
    if form.get("type") == "json_schema":
        return json.dumps(example_of(form.get("schema")))
    words = answer_text(call.output_tokens, call.prompt)
    return json.dumps({"answer": words.strip()}) if form.get("type") == "json_object" else words


def _response(call: Call, stamp: Stamp, status: str, output: list[Json] | list[dict[str, Json]]) -> dict[str, Json]:
    usage: Json = {
        "input_tokens": call.input_tokens,
        "input_tokens_details": {"cached_tokens": call.cached_tokens},
        "output_tokens": call.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": call.input_tokens + call.output_tokens,
    }
    return {
        "id": opaque_id("resp_", stamp.request_id),
        "object": "response",
        "created_at": stamp.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": call.body.get("instructions"),
        "max_output_tokens": call.asked_output or None,
        "model": call.model,
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": call.body.get("previous_response_id"),
        "store": call.body.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": call.body.get("tool_choice", "auto"),
        "tools": call.body.get("tools", []),
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if status == "in_progress" else usage,
        "metadata": call.body.get("metadata", {}),
    }
