"""Canonical answers as LangChain's: a completion as an AIMessage, a delta as a chunk. Usage is counted once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import InvalidToolCall, ToolCall, ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from apikeyrouter.adapters.narrow import integer, mapping, mappings, text
from apikeyrouter.core.model import Usage
from apikeyrouter.reply import FailedAttempt, RoutingMetadata

GATEWAY: Final = "lc_gateway_metadata"
"""Where langchain-core's tracer looks for who really served (langchain_core.utils._gateway, since 1.6)."""
OURS: Final = "apikeyrouter"
_KEPT: Final = ("reasoning_content", "thinking_blocks", "refusal", "annotations", "audio")


def result_of(body: object, usage: Usage | None, metadata: RoutingMetadata) -> ChatResult:
    """A completion as LangChain's result."""
    answer = mapping(body)
    counted = usage_of(usage)
    generations = []
    for at, choice in enumerate(mappings(answer.get("choices"))):
        info: dict[str, Any] = {"finish_reason": choice.get("finish_reason"), GATEWAY: gateway(metadata)}
        if choice.get("logprobs") is not None:
            info["logprobs"] = choice["logprobs"]
        message = _message(mapping(choice.get("message")), counted if at == 0 else None)
        message.response_metadata = {**told(answer, metadata), "finish_reason": choice.get("finish_reason")}
        generations.append(ChatGeneration(message=message, generation_info=info))
    return ChatResult(generations=generations, llm_output={"model_name": _model(answer, metadata)})


def told(answer: Mapping[str, object], metadata: RoutingMetadata) -> dict[str, Any]:
    """What `response_metadata` says of an answer."""
    made: dict[str, Any] = {
        "model_name": _model(answer, metadata),
        "model_provider": OURS,
        OURS: routing(metadata),
    }
    for name in ("id", "system_fingerprint", "service_tier"):
        if answer.get(name):
            made[name] = answer[name]
    return made


def routing(metadata: RoutingMetadata) -> dict[str, Any]:
    """How the answer came about, as plain data."""
    return {
        "key": metadata.key_used,
        "provider": metadata.provider,
        "model": metadata.model,
        "cost": None if metadata.cost is None else str(metadata.cost),
        "decision_id": metadata.decision_id,
        "attempts": metadata.attempts,
        "failed": failed_in(metadata.failed),
        "waited_s": metadata.waited_s,
    }


def failed_in(attempts: Iterable[FailedAttempt]) -> list[dict[str, Any]]:
    """Failed attempts as plain data."""
    return [{"key": f.key, "provider": f.provider, "kind": str(f.kind), "status": f.status} for f in attempts]


def gateway(metadata: RoutingMetadata) -> dict[str, str]:
    """Who really served, for the trace."""
    return {"model": metadata.model, "provider": metadata.provider, "decision_id": metadata.decision_id}


def _model(answer: Mapping[str, object], metadata: RoutingMetadata) -> str:
    return text(answer.get("model")) or metadata.model


def usage_of(usage: Usage | None) -> UsageMetadata | None:
    """The engine's usage as LangChain's; both include cache and reasoning in their totals."""
    if usage is None:
        return None
    made = UsageMetadata(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens
    )
    read = InputTokenDetails()
    if usage.audio_input_tokens:
        read["audio"] = usage.audio_input_tokens
    read["cache_read"] = usage.cache_read_tokens
    read["cache_creation"] = usage.cache_write_tokens
    wrote = OutputTokenDetails()
    if usage.audio_output_tokens:
        wrote["audio"] = usage.audio_output_tokens
    wrote["reasoning"] = usage.reasoning_tokens
    made["input_token_details"], made["output_token_details"] = read, wrote
    return made


def _message(said: Mapping[str, object], usage: UsageMetadata | None) -> AIMessage:
    calls, invalid = _calls(said)
    kept = {name: said[name] for name in _KEPT if said.get(name)}
    content = said.get("content")
    return AIMessage(
        content=content if isinstance(content, str | list) else "",
        additional_kwargs=kept,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage,
    )


def _calls(said: Mapping[str, object]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in mappings(said.get("tool_calls")):
        function = mapping(call.get("function"))
        name, raw, call_id = text(function.get("name")), function.get("arguments"), text(call.get("id")) or None
        arguments = _arguments(raw)
        if arguments is not None:
            calls.append(ToolCall(name=name, args=arguments, id=call_id, type="tool_call"))
        else:
            why = "the arguments are not a JSON object"
            bad = InvalidToolCall(name=name, args=text(raw), id=call_id, error=why, type="invalid_tool_call")
            invalid.append(bad)
    return calls, invalid


def _arguments(raw: object) -> dict[str, Any] | None:
    if raw is None or raw == "":
        return {}
    try:
        value = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def chunk_of(data: Mapping[str, object]) -> ChatGenerationChunk | None:
    """A delta as LangChain's chunk; None for one that says nothing."""
    choice = next(mappings(data.get("choices")), {})
    delta = mapping(choice.get("delta"))
    said = text(delta.get("content"))
    kept = {name: delta[name] for name in _KEPT if delta.get(name)}
    calls = [_piece(call) for call in mappings(delta.get("tool_calls"))]
    finish = choice.get("finish_reason")
    if not (said or kept or calls or finish):
        return None
    message = AIMessageChunk(content=said, additional_kwargs=kept, tool_call_chunks=calls)
    info: dict[str, Any] = {"finish_reason": finish} if finish else {}
    if choice.get("logprobs") is not None:
        info["logprobs"] = choice["logprobs"]
    return ChatGenerationChunk(message=message, generation_info=info or None)


def _piece(call: Mapping[str, object]) -> ToolCallChunk:
    function = mapping(call.get("function"))
    return tool_call_chunk(
        name=text(function.get("name")) or None,
        args=text(function.get("arguments")),
        id=text(call.get("id")) or None,
        index=integer(call.get("index")),
    )


def last_chunk(answer: Mapping[str, object], usage: Usage | None, metadata: RoutingMetadata) -> ChatGenerationChunk:
    """The end of a stream: usage and how it came about, each once, because merging adds and joins."""
    message = AIMessageChunk(content="", usage_metadata=usage_of(usage), chunk_position="last")
    info = {**told(answer, metadata), GATEWAY: gateway(metadata)}
    return ChatGenerationChunk(message=message, generation_info=info)
