"""Anthropic's messages and stream events come back as canonical completions and chunks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters.anthropic_reply import MessageReader, to_completion
from apikeyrouter.adapters.dialect import dialect
from apikeyrouter.adapters.sse import Event
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Chunk

MESSAGE = {
    "id": "msg_1",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "I call "},
        {"type": "text", "text": "f"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "ü"}},
    ],
    "stop_reason": "tool_use",
}


def test_a_message_becomes_a_completion() -> None:
    usage = Usage(input_tokens=30, output_tokens=9, cache_read_tokens=8)
    made = to_completion(MESSAGE, 1_700_000_000.7, usage)
    assert made["object"] == "chat.completion"
    assert made["created"] == 1_700_000_000
    assert made["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "I call f",
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ü"}'}}],
                "reasoning_content": "hm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
            },
            "finish_reason": "tool_calls",
            "native_finish_reason": "tool_use",
            "logprobs": None,
        }
    ]
    assert isinstance(made["usage"], dict)
    assert made["usage"]["total_tokens"] == 39


@pytest.mark.parametrize(
    ("native", "canonical"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_every_end_has_a_word(native: str, canonical: str) -> None:
    made = to_completion({**MESSAGE, "content": [], "stop_reason": native}, 0.0, None)
    assert isinstance(made["choices"], list)
    assert made["choices"][0]["finish_reason"] == canonical
    assert made["choices"][0]["message"] == {"role": "assistant", "content": None}


def read(*events: dict[str, object], asked: bool = False) -> tuple[list[Chunk], MessageReader]:
    def classify(raw: object) -> Failure:
        return Failure(kind=Kind.OVERLOADED, message=str(raw))

    reader = MessageReader(dialect("anthropic").usage, classify, created=1.0, usage_asked=asked)
    chunks = [chunk for event in events for chunk in reader.read(Event("", json.dumps(event)))]
    return chunks, reader


def deltas(chunks: list[Chunk]) -> list[object]:
    return [choice["delta"] for chunk in chunks for choice in chunk.data["choices"]]  # type: ignore[attr-defined]


STREAM: list[dict[str, object]] = [
    {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a"'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ": 1}"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    },
    {"type": "content_block_stop", "index": 2},
    {"type": "a_new_event"},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use"},
        "usage": {"output_tokens": 20, "input_tokens": None},
    },
    {"type": "message_stop"},
]


def test_a_streamed_message_becomes_chunks() -> None:
    chunks, reader = read(*STREAM)
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
        {"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
        {"tool_calls": [{"index": 1, "id": "t2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [chunk.content for chunk in chunks] == [False, *([True] * 8), False]
    assert chunks[-1].usage == Usage(input_tokens=5, output_tokens=20)
    assert reader.done
    assert reader.ending() is None


def test_who_asks_for_usage_sees_it_last() -> None:
    chunks, _ = read(*STREAM, asked=True)
    assert chunks[-1].data["choices"] == []
    assert chunks[-1].data["usage"]["total_tokens"] == 25  # type: ignore[index]


def test_a_break_is_told_from_an_end() -> None:
    assert read()[1].ending().kind is Kind.EMPTY  # type: ignore[union-attr]
    assert read(*STREAM[:6])[1].ending().kind is Kind.NETWORK  # type: ignore[union-attr]
    assert read(*STREAM[:-1])[1].ending() is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["type", "index", "delta", "message", "content_block", "usage", "text", "content", "stop_reason"]
)


@given(st.lists(st.dictionaries(KEYS, JSON | st.sampled_from([event["type"] for event in STREAM]), max_size=6)))
def test_any_events_are_read(events: list[dict[str, object]]) -> None:
    read(*events)


@given(st.dictionaries(st.sampled_from(["id", "model", "content", "stop_reason", "usage"]), JSON))
def test_any_answer_is_converted(raw: dict[str, object]) -> None:
    json.dumps(to_completion(raw, 0.0, None))
