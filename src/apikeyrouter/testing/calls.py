"""Tool calls as a suite compares them: out of canonical answers and streams, and of native ones passed on untouched."""

from __future__ import annotations

import json
from collections.abc import Mapping

from apikeyrouter.ports import Chunk, ChunkStream


def _objects(value: object) -> list[Mapping[str, object]]:
    """The objects of a list; the suite looks into shapes that may be anything."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def calls_of(body: object) -> list[Mapping[str, object]]:
    """Tool calls of a canonical answer, or of the provider's own shape that passed untouched."""
    answer = _object(body)
    own = [each for each in _objects(answer.get("content")) if each.get("type") == "tool_use"]
    own += [each for each in _objects(answer.get("output")) if each.get("type") == "function_call"]
    canonical = [_object(choice.get("message")) for choice in _objects(answer.get("choices"))]
    return own + [call for message in canonical for call in _objects(message.get("tool_calls"))]


def joined(chunks: list[Chunk]) -> list[Mapping[str, object]]:
    """Tool calls of a stream, their pieces put together by their index."""
    found: dict[object, dict[str, str]] = {}
    for chunk in chunks:
        for choice in _objects(chunk.data.get("choices")):
            for call in _objects(_object(choice.get("delta")).get("tool_calls")):
                function = _object(call.get("function"))
                whole = found.setdefault(call.get("index"), {"name": "", "arguments": ""})
                for name in whole:
                    piece = function.get(name)
                    whole[name] += piece if isinstance(piece, str) else ""
        _native(chunk.data, found)
    return [{"function": whole} for whole in found.values()]


def _native(event: Mapping[str, object], found: dict[object, dict[str, str]]) -> None:
    """The same from events of the Messages API, which an adapter may pass on as they are."""
    block, change = _object(event.get("content_block")), _object(event.get("delta"))
    if block.get("type") == "tool_use":
        found[event.get("index")] = {"name": str(block.get("name")), "arguments": ""}
    elif change.get("type") == "input_json_delta" and event.get("index") in found:
        found[event.get("index")]["arguments"] += str(change.get("partial_json"))


def called_by(calls: list[Mapping[str, object]]) -> list[tuple[str, Mapping[str, object]]]:
    """(name, arguments) of calls in canonical or native shape."""
    found = []
    for call in calls:
        function = _object(call.get("function")) or call
        given = function.get("arguments", function.get("input"))
        found.append((str(function.get("name")), json.loads(given) if isinstance(given, str) else _object(given)))
    return found


async def read(stream: ChunkStream) -> list[Chunk]:
    """Every chunk of a stream."""
    return [chunk async for chunk in stream]
