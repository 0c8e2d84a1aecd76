"""A canonical chat body as a request to Gemini's generateContent (REST reference v1beta, read 2026-11-23).

JSON schemas travel as they are (`parametersJsonSchema`, `responseJsonSchema`). Thought signatures, which newer models
demand back with their calls, ride on `tool_calls[].extra_content.google.thought_signature`, where the provider's own
OpenAI-compatible address puts them.
"""

from __future__ import annotations

import json
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
    plain_text,
    refuse,
    schema_of,
    stops,
    tool_choice,
)
from apikeyrouter.adapters.narrow import items, mapping, text
from apikeyrouter.errors import InvalidRequestError

_REFUSED: Final = ("audio", "logit_bias", "web_search_options")
_SAME: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
_NATIVE: Final = frozenset({"cachedContent", "labels", "safetySettings", "serviceTier"})
_NATIVE_MERGED: Final = frozenset({"generationConfig", "systemInstruction", "toolConfig"})
_TRANSLATED: Final = frozenset(
    {"max_completion_tokens", "max_tokens", "messages", "modalities", "parallel_tool_calls", "reasoning_effort"}
    | {"response_format", "stop", "tool_choice", "tools", "function_call", "functions"}
)
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}
_LEVELS: Final = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high"}
_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
_AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mp3", "flac": "audio/flac", "aac": "audio/aac", "ogg": "audio/ogg"}


def to_contents(body: Mapping[str, object], model: str) -> dict[str, object]:
    """The body to send. Raises InvalidRequestError for what generateContent cannot express."""
    refuse(body, _REFUSED)
    _nothing_unknown(body)
    optional = {
        "systemInstruction": _system(body),
        "generationConfig": _generation(body, model),
        "tools": _tools(body),
        "toolConfig": _choice(body),
    }
    made: dict[str, object] = {"contents": _turns(body), **{name: value for name, value in optional.items() if value}}
    return made | {name: body[name] for name in _NATIVE if name in body}


def _nothing_unknown(body: Mapping[str, object]) -> None:
    """A field this API would ignore or reject may change what the caller expects, so it is named."""
    known = HINTS | _TRANSLATED | _NATIVE | _NATIVE_MERGED | set(_REFUSED) | _SAME.keys()
    for name, value in body.items():
        if name not in known and value is not None:
            cannot(f"'{name}'", "leave it out, or use generationConfig")


def _system(body: Mapping[str, object]) -> dict[str, object]:
    said = [
        {"text": plain_text(message.get("content"))}
        for message in messages(body)
        if message["role"] in ("system", "developer")
    ]
    native = items(mapping(body.get("systemInstruction")).get("parts"))
    return {"parts": [*said, *native]} if said or native else {}


def _turns(body: Mapping[str, object]) -> list[dict[str, object]]:
    """Turns of user and model; results of parallel calls stand together in one."""
    turns: list[dict[str, object]] = []
    names: dict[str, str] = {}
    for message in messages(body):
        role = message["role"]
        if role == "assistant":
            names.update((call_id, name) for call_id, name, _, _ in calls(message))
            _add(turns, "model", list(_assistant(message)))
        elif role == "tool":
            _add(turns, "user", [_result(message, names)], join=True)
        elif role == "user":
            _add(turns, "user", [_part(part) for part in parts(message.get("content"))])
    if not turns:
        raise InvalidRequestError("there is no user message; add one after the system message")
    return turns


def _add(turns: list[dict[str, object]], role: str, made: list[dict[str, object]], *, join: bool = False) -> None:
    last = turns[-1].get("parts") if turns and turns[-1]["role"] == role else None
    if join and isinstance(last, list) and "functionResponse" in last[-1]:
        last.extend(made)
    elif made:
        turns.append({"role": role, "parts": made})


def _assistant(message: Mapping[str, object]) -> Iterator[dict[str, object]]:
    said = plain_text(message.get("content"))
    if said:
        yield {"text": said}
    for call_id, name, given, call in calls(message):
        made: dict[str, object] = {
            "functionCall": {"name": name, "args": given, **({"id": call_id} if call_id else {})}
        }
        signature = mapping(mapping(call.get("extra_content")).get("google")).get("thought_signature")
        if signature:
            made["thoughtSignature"] = signature
        yield made


def _result(message: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
    call_id = text(message.get("tool_call_id"))
    name = names.get(call_id) or text(message.get("name"))
    if not name:
        raise InvalidRequestError(f"no earlier tool call has the id {call_id[:80]!r} that this tool message answers")
    return {
        "functionResponse": {"id": call_id, "name": name, "response": _response(plain_text(message.get("content")))}
    }


def _response(said: str) -> dict[str, object]:
    """A result as the object this API wants: itself if it is one."""
    try:
        value: object = json.loads(said)
    except (ValueError, RecursionError):
        return {"result": said}
    return value if isinstance(value, dict) else {"result": value}


def _part(part: Mapping[str, object]) -> dict[str, object]:
    """A part of a user's content; native parts as they are."""
    kind = part.get("type")
    if kind == "text":
        return {"text": text(part.get("text"))}
    if kind == "image_url":
        given = part.get("image_url")
        return _media(given if isinstance(given, str) else text(mapping(given).get("url")), "image/jpeg")
    if kind == "input_audio":
        return _audio(mapping(part.get("input_audio")))
    if kind == "file":
        return _file(mapping(part.get("file")))
    if kind is not None:
        cannot(f"a '{kind}' part", "use text, image_url, input_audio or file")
    return dict(part)


def _media(url: str, guess: str) -> dict[str, object]:
    inline = data_url(url)
    if inline is not None:
        return {"inlineData": {"mimeType": inline[0], "data": inline[1]}}
    if not url.startswith(("http://", "https://", "gs://")):
        raise InvalidRequestError("an image or file is a data: URL with base64, or an https or gs URL")
    return {"fileData": {"mimeType": guess, "fileUri": url}}


def _audio(given: Mapping[str, object]) -> dict[str, object]:
    kind = _AUDIO.get(text(given.get("format")))
    if kind is None:
        cannot(f"audio in format {given.get('format')!r}", f"use one of {', '.join(_AUDIO)}")
    return {"inlineData": {"mimeType": kind, "data": text(given.get("data"))}}


def _file(given: Mapping[str, object]) -> dict[str, object]:
    uri = text(given.get("file_id"))
    if uri:
        return {"fileData": {"fileUri": uri}}
    return _media(text(given.get("file_data")), "application/pdf")


def _generation(body: Mapping[str, object], model: str) -> dict[str, object]:
    made: dict[str, object] = {new: body[old] for old, new in _SAME.items() if body.get(old) is not None}
    limit = max_output(body)
    if limit is not None:
        made["maxOutputTokens"] = limit
    if stops(body):
        made["stopSequences"] = stops(body)
    if body.get("modalities"):
        made["responseModalities"] = [text(one).upper() for one in items(body["modalities"])]
    made |= _format(body)
    made |= _thinking(body, model)
    native = mapping(body.get("generationConfig"))
    if native.get("candidateCount") not in (None, body.get("n") or 1):
        cannot("generationConfig.candidateCount", "write n")
    bound = {name: made[name] for name in ("maxOutputTokens",) if name in made}
    return {**made, **native, **bound}  # what was bounded, and is held, stays so


def _format(body: Mapping[str, object]) -> dict[str, object]:
    kind, schema = schema_of(body)
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    return {"responseMimeType": "application/json", "responseJsonSchema": schema} if kind == "json_schema" else {}


def _thinking(body: Mapping[str, object], model: str) -> dict[str, object]:
    """2.5 models take a budget of tokens, later ones a level (the provider's own mapping, 2026)."""
    effort = body.get("reasoning_effort")
    if effort is None:
        return {}
    if text(effort) not in _LEVELS:
        cannot(f"reasoning_effort {effort!r}", f"use one of {', '.join(_LEVELS)}")
    if "gemini-2" in model:
        return {"thinkingConfig": {"thinkingBudget": _BUDGETS[str(effort)]}}
    return {"thinkingConfig": {"thinkingLevel": _LEVELS[str(effort)]}}


def _tools(body: Mapping[str, object]) -> list[Mapping[str, object]]:
    declared: list[Mapping[str, object]] = []
    native: list[Mapping[str, object]] = []
    for tool, function in functions(body):
        if function:
            declared.append(_declaration(function))
        elif "type" in tool:
            cannot(f"a tool of type '{tool['type']}'", "use functions, or a native tool like {'googleSearch': {}}")
        else:
            native.append(tool)
    return [*([{"functionDeclarations": declared}] if declared else []), *native]


def _declaration(function: Mapping[str, object]) -> dict[str, object]:
    made: dict[str, object] = {"name": function["name"]}
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("parameters"):
        made["parametersJsonSchema"] = function["parameters"]
    return made


def _choice(body: Mapping[str, object]) -> Mapping[str, object]:
    kind, name = tool_choice(body)
    if body.get("parallel_tool_calls") is False and body.get("tools") and kind not in ("none", "function"):
        cannot("parallel_tool_calls: false", "leave it out, or name the function in tool_choice")
    calling: dict[str, object] = {"mode": _MODES[kind]} if kind else {}
    if kind == "function":
        calling["allowedFunctionNames"] = [name]
    return {**({"functionCallingConfig": calling} if calling else {}), **mapping(body.get("toolConfig"))}
