"""Bodies and streams of generateContent, embedContent, batchEmbedContents, countTokens and models.

Input tokens: for each content ceil(characters / 4) of its texts, at least 1; a system instruction alike; tools as
their JSON. A function is called when the mode is ANY, or when it is AUTO and the last content is the user's and
names a function. A stream is server-sent events under `?alt=sse`, else the pieces of one JSON array.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from apikeyrouter.simulator.dialect import Call, Piece
from apikeyrouter.simulator.spec import Model
from apikeyrouter.simulator.wire import Json, dumps, items, obj, text, whole
from apikeyrouter.simulator.words import answer_text, example_of, opaque_id, tokens_in, vector
from apikeyrouter.simulator.world import Stamp

__all__ = [
    "batch_body",
    "body",
    "count_body",
    "embedded",
    "embedding_body",
    "input_tokens",
    "last_words",
    "model_json",
    "pieces",
    "tokens_of",
]


def _contents(body: dict[str, Json]) -> list[Json]:
    given = body.get("contents")
    return [given] if isinstance(given, (dict, str)) else items(given)


def _text(content: Json) -> str:
    if isinstance(content, str):
        return content
    parts = obj(content).get("parts")
    return "".join(text(obj(part).get("text")) for part in ([parts] if isinstance(parts, dict) else items(parts)))


def tokens_of(content: Json) -> int:
    """Tokens of one content."""
    return max(1, tokens_in(_text(content)))


def input_tokens(body: dict[str, Json]) -> int:
    """What the prompt counts as; see the module's docstring."""
    total = sum(tokens_of(content) for content in _contents(body))
    system = body.get("systemInstruction") or body.get("system_instruction")
    total += tokens_of(system) if system else 0
    return total + (tokens_in(json.dumps(body["tools"], separators=(",", ":"))) if body.get("tools") else 0)


def last_words(body: dict[str, Json]) -> str:
    """The text of the last content: what the answer's words depend on."""
    contents = _contents(body)
    return _text(contents[-1]) if contents else ""


def body(call: Call, stamp: Stamp) -> bytes:
    """A complete answer."""
    return dumps(_response(call, stamp, _part(call), call.output_tokens, last=True))


def pieces(call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
    """The answer in parts; usage so far comes with every part, the reason of the end with the last."""
    sse = call.argument == "sse"
    parts = list(_parts(call, chunk_tokens))
    produced = 0
    for number, (part, tokens) in enumerate(parts):
        produced += tokens
        last = number == len(parts) - 1
        data = dumps(_response(call, stamp, part, produced, last=last))
        if sse:
            yield Piece(b"data: " + data + b"\r\n\r\n", tokens)
        else:
            yield Piece((b"," if number else b"[") + data + (b"\n]" if last else b"\n"), tokens)


def _parts(call: Call, chunk_tokens: int) -> Iterator[tuple[dict[str, Json], int]]:
    part = _part(call)
    content, left = text(part.get("text")), call.output_tokens
    if not content:
        yield part, left
        return
    for start in range(0, len(content), 4 * chunk_tokens):
        last = start + 4 * chunk_tokens >= len(content)
        carried = left if last else min(left, chunk_tokens)
        left -= carried
        yield {"text": content[start : start + 4 * chunk_tokens]}, carried


def _response(call: Call, stamp: Stamp, part: dict[str, Json], produced: int, *, last: bool) -> dict[str, Json]:
    candidate: dict[str, Json] = {"content": {"parts": [part], "role": "model"}}
    if last:
        candidate["finishReason"] = "MAX_TOKENS" if call.cut else "STOP"
    candidate["index"] = 0
    usage: dict[str, Json] = {
        "promptTokenCount": call.input_tokens,
        "candidatesTokenCount": produced,
        "totalTokenCount": call.input_tokens + produced,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": call.input_tokens}],
    }
    if call.cached_tokens:
        usage["cachedContentTokenCount"] = call.cached_tokens
    response_id = opaque_id("", stamp.request_id)
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": call.model, "responseId": response_id}


def _part(call: Call) -> dict[str, Json]:
    """The one part of the answer: a function call if one is asked for, JSON if that is, else as many words as
    tokens."""
    function = _chosen_function(call)
    if function:
        taken = function.get("parameters") or function.get("parametersJsonSchema") or {"type": "object"}
        return {"functionCall": {"name": function.get("name"), "args": example_of(taken)}}
    settings = obj(call.body.get("generationConfig")) or obj(call.body.get("generation_config"))
    schema = settings.get("responseSchema") or settings.get("responseJsonSchema")
    if schema:
        return {"text": json.dumps(example_of(schema))}
    words = answer_text(call.output_tokens, call.prompt)
    return {
        "text": json.dumps({"answer": words.strip()})
        if settings.get("responseMimeType") == "application/json"
        else words
    }


def _chosen_function(call: Call) -> dict[str, Json]:
    declared = [obj(f) for tool in items(call.body.get("tools")) for f in items(obj(tool).get("functionDeclarations"))]
    config = obj(obj(call.body.get("toolConfig")).get("functionCallingConfig"))
    mode, allowed = text(config.get("mode"), "AUTO"), items(config.get("allowedFunctionNames"))
    declared = [f for f in declared if not allowed or f.get("name") in allowed]
    if not declared or mode == "NONE":
        return {}
    if mode == "ANY":
        return declared[0]
    asked = text(obj(_contents(call.body)[-1]).get("role"), "user") == "user"
    return next((f for f in declared if asked and text(f.get("name")) and text(f.get("name")) in call.prompt), {})


def embedded(body: dict[str, Json]) -> list[Json]:
    """The contents of an embedding request, one or many; empty when there is none."""
    if "requests" in body:
        return [obj(one)["content"] for one in items(body["requests"]) if "content" in obj(one)]
    return [body["content"]] if body.get("content") else []


def _values(request: dict[str, Json], content: Json) -> Json:
    settings = obj(request.get("embedContentConfig")) or request
    dimensions = whole(settings.get("outputDimensionality"), 3_072)
    return {"values": list(vector(_text(content), dimensions))}


def embedding_body(call: Call, stamp: Stamp) -> bytes:
    """One embedding."""
    return dumps({"embedding": _values(call.body, call.body["content"])})


def batch_body(call: Call, stamp: Stamp) -> bytes:
    """One embedding for each request."""
    requests = [obj(one) for one in items(call.body["requests"])]
    return dumps({"embeddings": [_values(one, one.get("content")) for one in requests]})


def count_body(call: Call, stamp: Stamp) -> bytes:
    """A number of tokens."""
    return dumps({"totalTokens": call.input_tokens})


def model_json(model: Model) -> Json:
    """A model as the list shows it."""
    methods: list[Json] = ["embedContent", "batchEmbedContents"] if model.kind == "embedding" else ["generateContent"]
    return {
        "name": f"models/{model.name}",
        "version": "001",
        "displayName": model.name,
        "inputTokenLimit": model.context,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": [*methods, "countTokens"],
    }
