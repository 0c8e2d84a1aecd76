"""Bodies of /v1/embeddings: one unit vector for each input, as numbers or as base64 of little-endian floats."""

from __future__ import annotations

import struct
from base64 import b64encode

from apikeyrouter.simulator.dialect import Call
from apikeyrouter.simulator.wire import Json, dumps, text, whole
from apikeyrouter.simulator.words import tokens_in, vector
from apikeyrouter.simulator.world import Stamp

__all__ = ["body", "input_tokens"]

_DIMENSIONS = {"text-embedding-3-large": 3_072}


def _inputs(given: Json) -> list[str]:
    """Every input as a text; an array of token numbers is one input, four characters for each number."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        return []
    if given and all(isinstance(part, int) for part in given):
        return ["".join(f"{part!s:>4.4}" for part in given)]
    return [
        part if isinstance(part, str) else text(_inputs(part)[0]) if isinstance(part, list) and part else ""
        for part in given
    ]


def input_tokens(body: dict[str, Json]) -> int:
    """Tokens of all inputs; 0 when there is none."""
    return sum(tokens_in(part) for part in _inputs(body.get("input")))


def body(call: Call, stamp: Stamp) -> bytes:
    """A complete answer."""
    dimensions = whole(call.body.get("dimensions"), _DIMENSIONS.get(call.model, 1536))
    packed = call.body.get("encoding_format") == "base64"
    data: list[Json] = []
    for index, given in enumerate(_inputs(call.body.get("input"))):
        found = vector(given, dimensions)
        shown: Json = b64encode(struct.pack(f"<{dimensions}f", *found)).decode() if packed else list(found)
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage: Json = {"prompt_tokens": call.input_tokens, "total_tokens": call.input_tokens}
    return dumps({"object": "list", "data": data, "model": call.model, "usage": usage})
