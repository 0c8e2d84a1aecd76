"""Reads a cassette's good answer without the project's adapters, so that those can be judged by it.

Each provider's own field names, nothing clever: the text a person would read off the file, tools called, usage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tape import interactions


@dataclass(slots=True)
class Said:
    """What an answer says. `tools` are the names and arguments of the calls in it."""

    text: str = ""
    tools: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    usage: tuple[int, int] = (0, 0)
    data: Any = None


@cache
def said(path: Path) -> Said:
    """What the last answer of a cassette says."""
    response = interactions(path)[-1]["response"]
    body = response["body"]["string"]
    streamed = "event-stream" in response["headers"]["content-type"][0]
    answers = list(_events(body)) if streamed else [json.loads(body)]
    found = Said(data=answers[-1])
    for answer in answers:
        _READERS.get(path.parent.name, _openai)(answer, found)
    return found


def _events(body: str) -> Iterator[Any]:
    lines = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    return (json.loads(line) for line in lines if line != "[DONE]")


def _openai(answer: Any, found: Said) -> None:
    for choice in answer.get("choices", []):
        part = choice.get("message") or choice.get("delta") or {}
        found.text += part.get("content") or ""
        calls = part.get("tool_calls") or []
        found.tools += [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls]
    for output in answer.get("output", []):
        found.text += "".join(part["text"] for part in output["content"])
    if answer.get("data"):
        found.data = [each["embedding"] for each in answer["data"]]
    usage = answer.get("usage") or answer.get("x_groq", {}).get("usage")
    if usage:
        read = usage.get("prompt_tokens", usage.get("input_tokens"))
        found.usage = (read, usage.get("completion_tokens", usage.get("output_tokens", 0)))


def _anthropic(answer: Any, found: Said) -> None:
    for block in answer.get("content", []):
        found.text += block.get("text", "")
        if block["type"] == "tool_use":
            found.tools.append((block["name"], block["input"]))
    if answer.get("delta", {}).get("type") == "text_delta":
        found.text += answer["delta"]["text"]
    usage = answer.get("usage") or answer.get("message", {}).get("usage")
    if usage:
        found.usage = (usage.get("input_tokens", found.usage[0]), usage["output_tokens"])


def _gemini(answer: Any, found: Said) -> None:
    for candidate in answer.get("candidates", []):
        for part in candidate["content"]["parts"]:
            found.text += part.get("text", "")
            if "functionCall" in part:
                found.tools.append((part["functionCall"]["name"], part["functionCall"]["args"]))
    if "embeddings" in answer:
        found.data = [each["values"] for each in answer["embeddings"]]
    usage = answer.get("usageMetadata")
    if usage:
        found.usage = (usage["promptTokenCount"], usage.get("candidatesTokenCount", 0))


_READERS = {"anthropic": _anthropic, "gemini": _gemini}
