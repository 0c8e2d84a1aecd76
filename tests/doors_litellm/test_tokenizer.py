"""The exact count with the real library: LiteLLM brings it, and a vocabulary that needs no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from apikeyrouter import tokenizer

pytest.importorskip("tiktoken", reason="tiktoken is not installed")


@pytest.fixture(autouse=True)
def vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM's own copy of the vocabularies, found without importing it."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"))
    tokenizer._encoding.cache_clear()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("hello world", 2), ("The quick brown fox jumps over the lazy dog.", 10), ("你好，世界", 3)],
)
def test_texts_are_counted_as_the_provider_counts_them(text: str, tokens: int) -> None:
    body = {"messages": [{"role": "user", "content": text}]}
    assert tokenizer.count({"gpt-4o-mini"}, "chat", body) == tokens + 3 + 4


def test_a_model_it_does_not_know_is_not_counted() -> None:
    assert tokenizer.count({"claude-haiku-4-5"}, "chat", {"messages": [{"role": "user", "content": "x"}]}) is None
