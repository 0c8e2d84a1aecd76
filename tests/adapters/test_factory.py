"""Adapters by name: every known name builds, every mistake is a sentence with its place."""

from __future__ import annotations

import subprocess
import sys

import pytest

from apikeyrouter import adapters
from apikeyrouter.adapters import AnthropicAdapter, DeclarativeAdapter, GeminiAdapter, OpenAIAdapter, build
from apikeyrouter.adapters.factory import known
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.ports import Adapter

VERTEX = {"project": "p", "location": "europe-west4"}
HTTP = {"base_url": "https://api.example.com", "operations": {"x": {"path": "/x"}}}


@pytest.mark.parametrize(
    ("name", "settings", "kind", "address"),
    [
        ("openai", {}, OpenAIAdapter, "https://api.openai.com/v1"),
        ("openai", {"base_url": "http://127.0.0.1:8000/v1"}, OpenAIAdapter, "http://127.0.0.1:8000/v1"),
        ("openai", {"base_url": "http://gpu:8000", "allow_http": True}, OpenAIAdapter, "http://gpu:8000"),
        ("groq", {"read_s": 60}, OpenAIAdapter, "https://api.groq.com/openai/v1"),
        (
            "azure",
            {"base_url": "https://x.openai.azure.com", "api_version": "v"},
            OpenAIAdapter,
            "https://x.openai.azure.com",
        ),
        ("anthropic", {"betas": ["a"], "default_max_tokens": 9}, AnthropicAdapter, "https://api.anthropic.com"),
        ("gemini", {}, GeminiAdapter, "https://generativelanguage.googleapis.com/v1beta"),
        (
            "vertex",
            VERTEX,
            GeminiAdapter,
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google",
        ),
        ("http", HTTP, DeclarativeAdapter, "https://api.example.com"),
    ],
)
def test_names(name: str, settings: dict[str, object], kind: type, address: str) -> None:
    adapter = build(name, settings)
    assert isinstance(adapter, kind)
    assert isinstance(adapter, Adapter)
    assert adapter.wire.base_url == address  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(set(known()) - {"azure", "bedrock", "http", "vertex"}))
def test_every_other_name_needs_nothing_more(name: str) -> None:
    assert build(name, {}).capabilities.operations


@pytest.mark.parametrize(
    ("name", "settings", "hints"),
    [
        ("opena1", {}, ["'opena1' is unknown", "openai"]),
        ("openai", {"base_ulr": "x", "project": 5, "auth": "magic"}, ["'base_ulr'", "project is 5", "magic"]),
        (
            "openai",
            {"headers": {"X": "a\nb"}, "connect_s": 0, "dialect": "klingon"},
            ["one line", "connect_s", "klingon"],
        ),
        ("openai", {"base_url": "http://api.example.com"}, ["plain http"]),
        ("anthropic", {"default_max_tokens": "many", "betas": "a"}, ["whole number", "a list"]),
        ("azure", {}, ["base_url"]),
        ("vertex", {"project": "p"}, ["project and location"]),
        ("http", {}, ["base_url is missing", "at least one operation"]),
    ],
)
def test_mistakes(name: str, settings: dict[str, object], hints: list[str]) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        build(name, settings, where="providers.x")
    said = " ".join(caught.value.problems)
    for hint in hints:
        assert hint in said


def test_names_load_on_first_use_only() -> None:
    code = "import sys, apikeyrouter.adapters; print([m for m in ('httpx', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_every_promised_name_is_there() -> None:
    for name in adapters.__all__:
        assert getattr(adapters, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        adapters.NoSuchAdapter  # noqa: B018


@pytest.mark.parametrize(
    ("name", "settings", "tells"),
    [
        ("openai", {}, True),
        ("anthropic", {}, True),
        ("deepseek", {}, False),
        ("gemini", {}, False),
        ("http", HTTP, False),
        ("http", {**HTTP, "limits_from": ["ratelimit"]}, True),
        ("http", {**HTTP, "limits_from": ["retry-after"]}, False),
    ],
)
def test_who_tells_limits_says_so(name: str, settings: dict[str, object], tells: bool) -> None:
    assert ("rate_limit" in build(name, settings).capabilities.features) is tells
