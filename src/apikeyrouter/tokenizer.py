"""Tokens counted exactly, where tiktoken is installed and knows the model: the only user of that library.

Counting takes a millisecond for ten kilobytes, and estimates do for nearly every request. So it is asked only when a
request would be refused for what it might cost: under a hard limit money is held for a token a byte, four times what
English takes. Counted are plain texts alone; a body with anything else in it (tools, images, a provider's own fields)
is not, because nobody publishes how those become tokens. tiktoken loads its vocabulary as it does elsewhere, from
TIKTOKEN_CACHE_DIR or by a download; where it cannot, nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Final, Protocol, cast

from apikeyrouter.core.measure import MESSAGE_TOKENS, REPLY_TOKENS

LONGEST: Final = 4_000_000
"""Characters that are counted; more are a second's work."""
_TEXT: Final = frozenset({"text", "input_text", "output_text"})
_READ: Final = {
    "chat": frozenset({"messages"}),
    "completion": frozenset({"prompt"}),
    "embeddings": frozenset({"input"}),
    "responses": frozenset({"input", "instructions"}),
}
_HARMLESS: Final = frozenset(
    {"model", "metadata", "stream", "stream_options", "n", "best_of", "max_tokens", "max_completion_tokens", "user"}
    | {"max_output_tokens", "temperature", "top_p", "seed", "stop", "store", "service_tier", "logprobs", "dimensions"}
    | {"presence_penalty", "frequency_penalty", "logit_bias", "encoding_format", "reasoning_effort"}
)


class Encoding(Protocol):
    """What of tiktoken's encodings is used."""

    def encode_ordinary(self, text: str) -> list[int]: ...


def count(models: Iterable[str], operation: str, body: Mapping[str, object]) -> int | None:
    """Input tokens of a body, the most any of the models makes of it; None where that is not known exactly."""
    texts = list(_texts(operation, body))
    if not texts or None in texts or sum(len(text or "") for text in texts) > LONGEST:
        return None
    encodings = {_encoding(model) for model in models}
    if not encodings or None in encodings:
        return None
    said = [text for text in texts if text]
    most = max(sum(len(one.encode_ordinary(text)) for text in said) for one in encodings if one is not None)
    return most + REPLY_TOKENS + MESSAGE_TOKENS * len(texts) if operation in ("chat", "responses") else most


@lru_cache(maxsize=256)
def _encoding(model: str) -> Encoding | None:
    """The encoding of a model, None where tiktoken is not there, does not know it, or cannot load it."""
    try:
        found = import_module("tiktoken").encoding_for_model(model)
    except Exception:  # noqa: BLE001  (an absent library, an unknown model, a download that failed: no exact count)
        return None
    return cast(Encoding, found)


def _texts(operation: str, body: Mapping[str, object]) -> Iterator[str | None]:
    """Every text of a body, one for each message; None for whatever is not plain text."""
    read = _READ.get(operation)
    if read is None or not body.keys() <= read | _HARMLESS:
        yield None
        return
    for name in sorted(read & body.keys()):
        given = body[name]
        if operation == "chat":
            yield from _messages(given)
        elif isinstance(given, list | tuple):
            yield from (item if isinstance(item, str) else None for item in given)
        else:
            yield given if isinstance(given, str) else None


def _messages(given: object) -> Iterator[str | None]:
    for message in given if isinstance(given, list | tuple) else (None,):
        plain = isinstance(message, Mapping) and message.keys() <= {"role", "content"}
        yield _content(message.get("content")) if plain and isinstance(message, Mapping) else None


def _content(content: object) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return None
    parts = [_part(part) for part in content]
    return None if None in parts else "".join(part for part in parts if part)


def _part(part: object) -> str | None:
    if not isinstance(part, Mapping) or not part.keys() <= {"type", "text"} or part.get("type") not in _TEXT:
        return None
    said = part.get("text")
    return said if isinstance(said, str) else None
