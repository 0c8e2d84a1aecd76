"""The canonical shape (an OpenAI chat completion), taken apart and put together, for adapters that speak another.

Reading is strict where meaning would be lost: what cannot be expressed is refused with a sentence, never dropped. What
only hints (a seed, a cache key, an end user's name) may be dropped, and is listed here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NoReturn

from apikeyrouter.adapters.narrow import items, mapping, mappings, text
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import InvalidRequestError

HINTS: Final = frozenset(
    {"metadata", "model", "prediction", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "seed"}
    | {"service_tier", "store", "stream", "stream_options", "user", "verbosity"}
)
"""Fields of the canonical shape that may be lost without changing what an answer means."""

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII)


def cannot(what: str, instead: str) -> NoReturn:
    """Refuse what a dialect cannot express: "`what` cannot be expressed here; `instead`"."""
    raise InvalidRequestError(f"{what} cannot be expressed for this provider; {instead}")


def messages(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The messages, each with a known role. Raises InvalidRequestError."""
    given = body.get("messages")
    if not isinstance(given, list | tuple) or not given:
        raise InvalidRequestError("'messages' is missing or empty; write [{'role': 'user', 'content': '...'}]")
    for at, message in enumerate(given):
        if not isinstance(message, Mapping) or text(message.get("role")) not in _ROLES:
            raise InvalidRequestError(f"messages[{at}] needs a role; use one of {', '.join(sorted(_ROLES))}")
        yield message


def parts(content: object) -> Iterator[Mapping[str, object]]:
    """Content as parts: a text is one part, nothing is none. Raises InvalidRequestError."""
    if content is None:
        return
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    if not isinstance(content, list | tuple):
        raise InvalidRequestError("the content of a message is a text or a list of parts")
    for part in content:
        if isinstance(part, str):
            yield {"type": "text", "text": part}
        elif isinstance(part, Mapping):
            yield part
        else:
            raise InvalidRequestError("a part of a message's content is an object like {'type': 'text', 'text': '...'}")


def plain_text(content: object) -> str:
    """All text of a content; InvalidRequestError where there is anything else."""
    found: list[str] = []
    for part in parts(content):
        if part.get("type") not in ("text", "refusal", "input_text", "output_text"):
            cannot(f"a '{part.get('type')}' part in this message", "use text")
        found.append(text(part.get("text")) or text(part.get("refusal")))
    return "".join(found)


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a `data:` URL, or None for any other."""
    found = _DATA_URL.match(url)
    return (found.group(1) or "application/octet-stream", url[found.end() :]) if found is not None else None


def functions(body: Mapping[str, object]) -> Iterator[tuple[Mapping[str, object], Mapping[str, object]]]:
    """Each tool with its function; for a tool that is no function the second is empty. Raises InvalidRequestError."""
    if body.get("functions") or body.get("function_call"):
        cannot("'functions'", "use 'tools'")
    for tool in items(body.get("tools")):
        if not isinstance(tool, Mapping):
            raise InvalidRequestError("a tool is an object like {'type': 'function', 'function': {...}}")
        function = mapping(tool.get("function"))
        if tool.get("type") == "function" and not text(function.get("name")):
            raise InvalidRequestError("a tool's function has no name; add it")
        yield tool, function


def tool_choice(body: Mapping[str, object]) -> tuple[str, str]:
    """("auto" | "none" | "required" | "function" | "", name of the function). Raises InvalidRequestError."""
    choice = body.get("tool_choice")
    if choice is None:
        return "", ""
    if choice in ("auto", "none", "required"):
        return str(choice), ""
    name = text(mapping(mapping(choice).get("function")).get("name"))
    if not name:
        cannot(f"tool_choice {choice!r}"[:80], "use auto, none, required or one function")
    return "function", name


def calls(message: Mapping[str, object]) -> Iterator[tuple[str, str, dict[str, object], Mapping[str, object]]]:
    """Id, name, arguments and the whole of each tool call of an assistant. Raises InvalidRequestError."""
    if message.get("function_call"):
        cannot("'function_call'", "use 'tool_calls'")
    for call in mappings(message.get("tool_calls")):
        function = mapping(call.get("function"))
        name = text(function.get("name"))
        if not name:
            raise InvalidRequestError("a tool call has no function name; add it")
        yield text(call.get("id")), name, arguments(function.get("arguments"), name), call


def arguments(raw: object, name: str) -> dict[str, object]:
    """Arguments of a call as an object. Raises InvalidRequestError for text that is no JSON object."""
    if raw is None or raw == "":
        return {}
    try:
        value: object = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the arguments of the call to '{name}' are not a JSON object")
    return value


def stops(body: Mapping[str, object]) -> list[str]:
    """The stop sequences."""
    given = body.get("stop")
    return [given] if isinstance(given, str) else [text(one) for one in items(given)]


def max_output(body: Mapping[str, object]) -> int | None:
    """The limit on output tokens, under either of its names."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def schema_of(body: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """("text" | "json_object" | "json_schema" | "", schema) of `response_format`. Raises InvalidRequestError."""
    given = mapping(body.get("response_format"))
    kind = text(given.get("type"))
    if not given:
        return "", {}
    if kind not in ("text", "json_object", "json_schema"):
        cannot(f"response_format '{kind}'", "use text, json_object or json_schema")
    schema = mapping(mapping(given.get("json_schema")).get("schema"))
    if kind == "json_schema" and not schema:
        raise InvalidRequestError("response_format has no json_schema.schema; add it")
    return kind, schema


def refuse(body: Mapping[str, object], names: Iterable[str]) -> None:
    """Refuse fields that are set and mean something; zero, empty and false do not."""
    for name in names:
        if body.get(name):
            cannot(f"'{name}'", "leave it out")


def tool_call(call_id: str, name: str, given: Mapping[str, object] | str) -> dict[str, object]:
    """A call of a function in canonical shape."""
    written = given if isinstance(given, str) else json.dumps(dict(given), ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": written}}


def usage_block(usage: Usage) -> dict[str, object]:
    """Usage as the canonical shape writes it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.audio_input_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.audio_output_tokens,
        },
    }


def completion(
    answer_id: str, model: str, created: float, choices: list[dict[str, object]], usage: Usage | None
) -> dict[str, object]:
    """A chat completion."""
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": int(created),
        "model": model,
        "choices": choices,
        "usage": usage_block(usage or Usage()),
    }


def choice_of(index: int, message: dict[str, object], finish: str, native: str) -> dict[str, object]:
    """A choice of a completion; `native` is the provider's own word for the end."""
    return {
        "index": index,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
        "native_finish_reason": native,
        "logprobs": None,
    }


def chunk(
    answer_id: str, model: str, created: float, choices: list[dict[str, object]], usage: Usage | None = None
) -> dict[str, object]:
    """One event of a streamed chat completion."""
    data: dict[str, object] = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": int(created),
        "model": model,
        "choices": choices,
    }
    return data if usage is None else {**data, "usage": usage_block(usage)}


def delta(given: dict[str, object], finish: str | None = None, index: int = 0) -> dict[str, object]:
    """A choice of a streamed event."""
    return {"index": index, "delta": given, "finish_reason": finish, "logprobs": None}
