"""What the simulated models say, and how many tokens that is: a stand-in that is exact, cheap and the same everywhere.

One token is four characters, rounded up. The vocabulary has only words of three letters and a space, so n tokens of
answer are exactly n words and 4n characters: usage can be checked by anyone who can count.
"""

from __future__ import annotations

import struct
from hashlib import sha256, shake_128
from zlib import crc32

from apikeyrouter.simulator.wire import Json, items, obj, text

__all__ = ["answer_text", "example_of", "opaque_id", "tokens_in", "vector"]

_CYCLE = (
    " the sea was low and the sky was dry but one old man sat out all day for the big red sun had let him see far"
    " off how her own boy ran and hid his toy car too bad she did not ask why"
)
_VOCABULARY = len(_CYCLE) // 4


def tokens_in(content: str) -> int:
    """Tokens of a text: ceil(characters / 4)."""
    return (len(content) + 3) // 4


def answer_text(tokens: int, seed: str = "") -> str:
    """Exactly `tokens` tokens of text; which words they are depends on the seed alone."""
    start = crc32(seed.encode()) % _VOCABULARY * 4
    length = tokens * 4
    return (_CYCLE * (1 + (start + length) // len(_CYCLE)))[start : start + length]


def opaque_id(prefix: str, seed: str) -> str:
    """An identifier like a provider's: a prefix and 24 hexadecimal digits that depend on the seed alone."""
    return prefix + sha256(seed.encode()).hexdigest()[:24]


def vector(content: str, dimensions: int) -> tuple[float, ...]:
    """A unit vector that depends on the text alone; texts that differ have unrelated vectors."""
    raw = struct.unpack(f"<{dimensions}h", shake_128(content.encode()).digest(2 * dimensions))
    norm = sum(x * x for x in raw) ** 0.5 or 1.0
    return tuple(x / norm for x in raw)


_SCALARS: dict[str, Json] = {"string": "text", "integer": 7, "number": 0.5, "boolean": True, "null": None}


def example_of(schema: Json, root: Json = None, depth: int = 0) -> Json:
    """A value that a JSON schema accepts: what a model answers in structured output and as tool arguments."""
    spec, top = obj(schema), schema if root is None else root
    if depth > 12:
        return None
    if "const" in spec:
        return spec["const"]
    if items(spec.get("enum")):
        return items(spec["enum"])[0]
    if "$ref" in spec:
        return example_of(_referred(text(spec["$ref"]), top), top, depth + 1)
    for choice in ("anyOf", "oneOf", "allOf"):
        if items(spec.get(choice)):
            return example_of(items(spec[choice])[0], top, depth + 1)
    return _typed_example(spec, top, depth)


def _typed_example(spec: dict[str, Json], top: Json, depth: int) -> Json:
    kinds = [kind for kind in items(spec.get("type")) if kind != "null"] or [
        spec.get("type")
    ]  # Gemini's are upper case
    kind = text(kinds[0]).lower() or ("object" if "properties" in spec else "string")
    if kind == "object":
        return {name: example_of(sub, top, depth + 1) for name, sub in obj(spec.get("properties")).items()}
    if kind == "array":
        wanted = spec.get("minItems")
        return [example_of(spec.get("items", {}), top, depth + 1)] * (wanted if isinstance(wanted, int) else 1)
    least = spec.get("minimum")
    return least if kind in ("integer", "number") and isinstance(least, int) else _SCALARS.get(kind)


def _referred(pointer: str, top: Json) -> Json:
    node: Json = top
    for part in pointer.removeprefix("#/").split("/"):
        node = obj(node).get(part)
    return node
