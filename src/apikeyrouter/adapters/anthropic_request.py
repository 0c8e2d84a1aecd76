"""A canonical chat body as a request to Anthropic's Messages API (reference of 2026-10-21, read 2026-11-23).

Native blocks and fields (`thinking`, `cache_control`, `document` blocks, server tools) pass through untouched, so that
nothing the provider can do is out of reach; what it cannot do is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from apikeyrouter.adapters.canonical import (
    HINTS,
    calls,
    cannot,
    data_url,
    functions,
    max_output,
    messages,
    parts,
    refuse,
    schema_of,
    stops,
    tool_choice,
)
from apikeyrouter.adapters.narrow import mapping, mappings, text
from apikeyrouter.errors import InvalidRequestError

SAMPLING: Final = ("temperature", "top_p", "top_k")
"""Removed in API version 2026-10-21; only 2023-06-01 carries them."""

_REFUSED: Final = (
    "audio",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "modalities",
    "presence_penalty",
    "top_logprobs",
    "web_search_options",
)
_TRANSLATED: Final = frozenset(
    {"max_completion_tokens", "max_tokens", "messages", "n", "parallel_tool_calls", "reasoning_effort"}
    | {"response_format", "stop", "system", "tool_choice", "tools", "function_call", "functions", "output_config"}
)
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def to_messages(body: Mapping[str, object], model: str, default_max_tokens: int) -> dict[str, object]:
    """The body to send. Raises InvalidRequestError for what the Messages API cannot express."""
    refuse(body, _REFUSED)
    if body.get("n") not in (None, 1):
        cannot("n > 1", "send several requests")
    made: dict[str, object] = {
        "model": model,
        "max_tokens": max_output(body) or default_max_tokens,
        "messages": _turns(body),
    }
    optional = {
        "system": _system(body),
        "stop_sequences": stops(body),
        "tools": _tools(body),
        "tool_choice": _choice(body),
        "output_config": _output(body),
        "metadata": _who(body),
        "service_tier": "standard_only" if body.get("service_tier") == "standard_only" else None,
    }
    made.update({name: value for name, value in optional.items() if value})
    if body.get("reasoning_effort") == "none":
        made["thinking"] = {"type": "disabled"}
    passed = {name: value for name, value in body.items() if name not in HINTS | _TRANSLATED | set(_REFUSED)}
    return {**made, **{name: value for name, value in passed.items() if value is not None}}


def sampled(body: Mapping[str, object]) -> bool:
    """Whether a request asks for sampling other than the default."""
    return any(body.get(name) not in (None, 1) for name in ("temperature", "top_p")) or body.get("top_k") is not None


def without_sampling(body: Mapping[str, object]) -> dict[str, object]:
    """The request without sampling parameters, for a version that rejects even their defaults."""
    return {name: value for name, value in body.items() if name not in SAMPLING}


def _who(body: Mapping[str, object]) -> dict[str, object]:
    user = text(body.get("user")) or text(body.get("safety_identifier")) or mapping(body.get("metadata")).get("user_id")
    return {"user_id": user} if isinstance(user, str) and user else {}


def _system(body: Mapping[str, object]) -> list[Mapping[str, object]]:
    """System and developer messages, wherever they stand, before a native `system`."""
    blocks: list[Mapping[str, object]] = []
    for message in messages(body):
        if message["role"] in ("system", "developer"):
            blocks.extend(block for part in parts(message.get("content")) if (block := _system_block(part)) is not None)
    native = body.get("system")
    return [*blocks, *(_block(part) for part in parts(native))]


def _system_block(part: Mapping[str, object]) -> Mapping[str, object] | None:
    if part.get("type") != "text":
        cannot(f"a '{part.get('type')}' part in a system message", "use text")
    return _block(part) if part.get("text") else None


def _turns(body: Mapping[str, object]) -> list[dict[str, object]]:
    turns: list[dict[str, object]] = []
    for message in messages(body):
        role = message["role"]
        if role == "tool":
            _add_result(turns, _result(message))
        elif role == "assistant":
            blocks = list(_assistant(message))
            if blocks:
                turns.append({"role": "assistant", "content": blocks})
        elif role == "user":
            turns.append({"role": "user", "content": [_block(part) for part in parts(message.get("content"))]})
    if not turns:
        raise InvalidRequestError("there is no user message; add one after the system message")
    return turns


def _add_result(turns: list[dict[str, object]], result: dict[str, object]) -> None:
    """Results of parallel calls stand together in one turn."""
    last = turns[-1] if turns else {}
    content = last.get("content")
    if last.get("role") == "user" and isinstance(content, list) and content[-1].get("type") == "tool_result":
        content.append(result)
    else:
        turns.append({"role": "user", "content": [result]})


def _result(message: Mapping[str, object]) -> dict[str, object]:
    call_id = text(message.get("tool_call_id"))
    if not call_id:
        raise InvalidRequestError("a tool message has no tool_call_id; add the id of the call it answers")
    content = message.get("content")
    made: dict[str, object] = {"type": "tool_result", "tool_use_id": call_id}
    made["content"] = content if isinstance(content, str) else [_block(part) for part in parts(content)]
    return made | {name: message[name] for name in ("is_error", "cache_control") if name in message}


def _assistant(message: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Thinking first (its signature proves it), then text, then calls."""
    yield from mappings(message.get("thinking_blocks"))
    for part in parts(message.get("content")):
        said = text(part.get("refusal")) or text(part.get("text"))
        if part.get("type") not in ("text", "refusal"):
            yield part
        elif said:
            yield {**_cache(part), "type": "text", "text": said}
    for call_id, name, given, call in calls(message):
        yield {**_cache(call), "type": "tool_use", "id": call_id, "name": name, "input": given}


def _cache(part: Mapping[str, object]) -> dict[str, object]:
    return {"cache_control": part["cache_control"]} if part.get("cache_control") else {}


def _block(part: Mapping[str, object]) -> Mapping[str, object]:
    """A part of a user's content as a block; native blocks as they are."""
    kind = part.get("type")
    if kind == "text":
        return {**_cache(part), "type": "text", "text": text(part.get("text"))}
    if kind == "image_url":
        return {**_cache(part), "type": "image", "source": _source(_url(part))}
    if kind == "file":
        return {**_cache(part), "type": "document", **_document(mapping(part.get("file")))}
    if kind == "input_audio":
        cannot("audio input", "send its transcript as text")
    return part


def _url(part: Mapping[str, object]) -> str:
    given = part.get("image_url")
    url = given if isinstance(given, str) else text(mapping(given).get("url"))
    if not url:
        raise InvalidRequestError("an image part has no image_url.url; add it")
    return url


def _source(url: str) -> dict[str, object]:
    inline = data_url(url)
    if inline is not None:
        return {"type": "base64", "media_type": inline[0], "data": inline[1]}
    if not url.startswith(("http://", "https://")):
        raise InvalidRequestError("an image is a data: URL with base64, or an http(s) URL")
    return {"type": "url", "url": url}


def _document(file: Mapping[str, object]) -> dict[str, object]:
    title = {"title": file["filename"]} if file.get("filename") else {}
    if text(file.get("file_id")):
        return {**title, "source": {"type": "file", "file_id": file["file_id"]}}
    inline = data_url(text(file.get("file_data")))
    if inline is None:
        raise InvalidRequestError("a file part needs file_id, or file_data as a data: URL with base64")
    if inline[0] != "application/pdf":
        cannot(f"a file of type {inline[0]}", "send a PDF, an image or text")
    return {**title, "source": {"type": "base64", "media_type": inline[0], "data": inline[1]}}


def _tools(body: Mapping[str, object]) -> list[Mapping[str, object]]:
    return [_tool(tool, function) if function else tool for tool, function in functions(body)]


def _tool(tool: Mapping[str, object], function: Mapping[str, object]) -> Mapping[str, object]:
    made: dict[str, object] = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    for name in ("description", "strict"):
        if function.get(name) is not None:
            made[name] = function[name]
    return {**made, **_cache(tool), **_cache(function)}


def _choice(body: Mapping[str, object]) -> dict[str, object]:
    kind, name = tool_choice(body)
    made: dict[str, object] = {}
    if kind == "function":
        made = {"type": "tool", "name": name}
    elif kind:
        made = {"type": _CHOICES[kind]}
    if body.get("parallel_tool_calls") is False and body.get("tools") and kind != "none":
        made = {"type": "auto", **made, "disable_parallel_tool_use": True}
    return made


def _output(body: Mapping[str, object]) -> dict[str, object]:
    made: dict[str, object] = dict(mapping(body.get("output_config")))
    kind, schema = schema_of(body)
    if kind == "json_object":
        cannot("response_format json_object", "use json_schema")
    if kind == "json_schema":
        made["format"] = {"type": "json_schema", "schema": schema}
    effort = body.get("reasoning_effort")
    if effort is not None and effort != "none":
        if text(effort) not in _EFFORTS:
            cannot(f"reasoning_effort {effort!r}", f"use one of {', '.join(_EFFORTS)}")
        made["effort"] = _EFFORTS[str(effort)]
    return made
