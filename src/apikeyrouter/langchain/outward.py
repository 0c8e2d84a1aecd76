"""LangChain's messages as the canonical body's (chat completion shape). Losing nothing a provider could use.

Standard content blocks and the older shapes of images, files and sound become canonical parts; blocks of a provider's
own (Anthropic's `document`, cache marks) pass through as they are. Calls of tools live in `tool_calls`, whatever else
of them stands in the content.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.language_models._utils import is_openai_data_block
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.block_translators.openai import convert_to_openai_data_block

from apikeyrouter.errors import InvalidRequestError

_ELSEWHERE: Final = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "reasoning", "input_json_delta"}
    | {"thinking", "redacted_thinking", "server_tool_call_chunk"}
)
"""Blocks of an assistant's content whose meaning is carried by another field."""
_DATA: Final = frozenset({"image", "file", "audio"})
_ROLES: Final = {"human": "user", "ai": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
Part = Mapping[str, Any]


def canonical(messages: Sequence[BaseMessage]) -> list[dict[str, object]]:
    """The messages of a body. Raises InvalidRequestError for a message nobody can express."""
    return [_message(message) for message in messages]


def _message(message: BaseMessage) -> dict[str, object]:
    if isinstance(message, AIMessage):
        return _named(message, _assistant(message))
    if isinstance(message, ToolMessage):
        return _result(message)
    if isinstance(message, SystemMessage):
        role = str(message.additional_kwargs.get("__openai_role__", "system"))
        return _named(message, {"role": role, "content": _content(message)})
    if isinstance(message, HumanMessage):
        return _named(message, {"role": "user", "content": _content(message)})
    if isinstance(message, ChatMessage):
        return _named(message, {"role": _ROLES.get(message.role, message.role), "content": _content(message)})
    if isinstance(message, FunctionMessage):
        raise InvalidRequestError("a FunctionMessage cannot be sent; use a ToolMessage with its tool_call_id")
    raise InvalidRequestError(
        f"a message of type '{message.type}' cannot be sent; use HumanMessage, AIMessage or others"
    )


def _named(message: BaseMessage, made: dict[str, object]) -> dict[str, object]:
    return {**made, "name": message.name} if message.name else made


def _assistant(message: AIMessage) -> dict[str, object]:
    made: dict[str, object] = {"role": "assistant"}
    calls = list(_calls(message))
    content = _content(message)
    made["content"] = content if content or not calls else None
    if calls:
        made["tool_calls"] = calls
    thoughts = message.additional_kwargs.get("thinking_blocks") or _thoughts(message.content)
    if thoughts:
        made["thinking_blocks"] = thoughts
    return made


def _thoughts(content: str | Sequence[str | dict[str, Any]]) -> list[dict[str, Any]]:
    """Signed thoughts as Anthropic's own integration keeps them; unsigned ones prove nothing and stay at home."""
    blocks = [] if isinstance(content, str) else [block for block in content if isinstance(block, dict)]
    kinds = ("thinking", "redacted_thinking")
    return [
        {name: value for name, value in block.items() if name != "index"}
        for block in blocks
        if block.get("type") in kinds and (block.get("signature") or block.get("data"))
    ]


def _calls(message: AIMessage) -> Iterator[dict[str, object]]:
    for call in message.tool_calls:
        arguments = json.dumps(call["args"], ensure_ascii=False)
        yield _call(call.get("id"), call["name"], arguments)
    for bad in message.invalid_tool_calls:
        yield _call(bad.get("id"), bad.get("name") or "", bad.get("args") or "")
    if not message.tool_calls and not message.invalid_tool_calls:
        yield from message.additional_kwargs.get("tool_calls") or ()


def _call(call_id: str | None, name: str, arguments: str) -> dict[str, object]:
    return {"id": call_id or "", "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(message: ToolMessage) -> dict[str, object]:
    made: dict[str, object] = {"role": "tool", "tool_call_id": message.tool_call_id, "content": _content(message)}
    return {**made, "is_error": True} if message.status == "error" and _anthropic(message) else made


def _anthropic(message: ToolMessage) -> bool:
    """Only where a caller asks for it: other providers refuse the field."""
    return bool(message.additional_kwargs.get("is_error"))


def _content(message: BaseMessage) -> object:
    if isinstance(message.content, str):
        return message.content
    parts = list(_parts(message.content))
    texts = [part["text"] for part in parts if part.keys() == {"type", "text"} and part["type"] == "text"]
    if isinstance(message, AIMessage | ToolMessage) and len(texts) == len(parts):
        return "".join(texts)
    return parts


def _parts(content: Iterable[str | dict[str, Any]]) -> Iterator[Part]:
    for block in content:
        if isinstance(block, str):
            if block:
                yield {"type": "text", "text": block}
        elif block.get("type") not in _ELSEWHERE:
            yield from _part(block)


def _part(block: dict[str, Any]) -> Iterator[Part]:
    kind = block.get("type")
    if kind == "text":
        if block.get("text"):
            kept = {"cache_control": block["cache_control"]} if block.get("cache_control") else {}
            yield {"type": "text", "text": block["text"], **kept}
    elif kind == "tool_result":
        yield from (
            _parts(block.get("content") or ())
            if not isinstance(block.get("content"), str)
            else ({"type": "text", "text": block["content"]},)
        )
    elif kind == "non_standard":
        yield block.get("value") or {}
    elif kind in _DATA and not is_openai_data_block(block):
        yield _data(block)
    else:
        yield block


def _data(block: dict[str, Any]) -> Part:
    """An image, file or sound in LangChain's shapes; Anthropic's `source` is its own shape, and stays."""
    if isinstance(block.get("source"), Mapping):
        return _sourced(block)
    if block["type"] == "file" and not block.get("filename"):
        block = {**block, "filename": "document.pdf" if block.get("mime_type") == "application/pdf" else "document"}
    try:
        made = convert_to_openai_data_block(block)
    except (KeyError, ValueError) as error:
        raise InvalidRequestError(f"a content block of type '{block['type']}' cannot be sent: {error}") from None
    return {**made, "cache_control": block["cache_control"]} if block.get("cache_control") else made


def _sourced(block: dict[str, Any]) -> Part:
    source = block["source"]
    if block["type"] == "image" and source.get("type") == "base64":
        url = f"data:{source.get('media_type', 'image/png')};base64,{source.get('data', '')}"
        return {"type": "image_url", "image_url": {"url": url}}
    if block["type"] == "image" and source.get("type") == "url":
        return {"type": "image_url", "image_url": {"url": source.get("url", "")}}
    return block
