"""Tokens are counted exactly when a request would else be refused for what it might cost, and only then."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from spiteful import Spiteful, book, said

from apikeyrouter import ApiKeyRouter, BudgetExceededError, tokenizer
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.measure import MESSAGE_TOKENS, REPLY_TOKENS
from apikeyrouter.testing import ManualClock

ENGLISH = "word " * 400
"""2,000 bytes, 400 tokens."""


class Words:
    """A vocabulary of words."""

    def __init__(self) -> None:
        self.asked = 0

    def encode_ordinary(self, text: str) -> list[int]:
        self.asked += 1
        return [len(word) for word in text.split()]

    def encoding_for_model(self, model: str) -> Words:
        if model not in ("m", "gpt-4o"):
            raise KeyError(model)
        return self


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if tiktoken were installed, with a vocabulary of our own."""
    tokenizer._encoding.cache_clear()
    made = Words()
    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(encoding_for_model=made.encoding_for_model))
    yield made
    tokenizer._encoding.cache_clear()


async def opened(limit: str) -> tuple[ApiKeyRouter, Spiteful]:
    router, adapter = (
        ApiKeyRouter(
            budgets=[Budget(scope="global", limit=limit, period="total")], prices=book(), clock=ManualClock(), log=False
        ),
        Spiteful(),
    )
    await router.register_provider("p", adapter)
    await router.register_key("sk-counted-000000", "p", id="k")
    return router, adapter


async def test_what_fits_when_counted_is_served(words: Words) -> None:
    router, adapter = await opened("0.001")
    body = {"model": "m", **said(ENGLISH), "max_tokens": 100}
    reply = await router.route(body, wait=False)
    assert len(adapter.calls) == 1
    decision = router.explain(reply.metadata.decision_id)
    assert decision.cost == (400 + REPLY_TOKENS + MESSAGE_TOKENS + 100) * 1_000
    assert words.asked == 1


async def test_what_does_not_fit_even_so_is_refused_before_it_is_sent(words: Words) -> None:
    router, adapter = await opened("0.0005")
    with pytest.raises(BudgetExceededError, match=r"may cost \$0\.000507 and budget global has \$0\.0005 left"):
        await router.route({"model": "m", **said(ENGLISH), "max_tokens": 100}, wait=False)
    assert adapter.calls == []


async def test_where_there_is_room_nothing_is_counted(words: Words) -> None:
    router, _ = await opened("1")
    await router.route({"model": "m", **said(ENGLISH), "max_tokens": 100}, wait=False)
    async for _ in router.stream({"model": "m", **said(ENGLISH), "max_tokens": 100}, wait=False):
        pass
    assert words.asked == 0


async def test_a_stream_is_counted_too(words: Words) -> None:
    router, adapter = await opened("0.001")
    async for _ in router.stream({"model": "m", **said(ENGLISH), "max_tokens": 100}, wait=False):
        pass
    assert len(adapter.calls) == words.asked == 1


async def test_without_the_library_the_bound_stands() -> None:
    tokenizer._encoding.cache_clear()
    assert tokenizer._encoding("no-such-model") is None
    router, adapter = await opened("0.001")
    body = {"model": "no-such-model", **said(ENGLISH), "max_tokens": 100}
    with pytest.raises(BudgetExceededError):
        await router.route(body, wait=False)
    assert adapter.calls == []


@pytest.mark.parametrize(
    ("operation", "body", "tokens"),
    [
        ("chat", said("two words"), 2 + 7),
        ("chat", said([{"type": "text", "text": "two "}, {"type": "text", "text": "words"}]), 2 + 7),
        ("chat", {**said("two words"), "temperature": 0, "metadata": {"a": "b"}}, 2 + 7),
        ("completion", {"prompt": ["a b", "c"]}, 3),
        ("embeddings", {"input": "a b c"}, 3),
        ("responses", {"input": "a b", "instructions": "be brief"}, 4 + 11),
        ("chat", {**said("two words"), "tools": []}, None),
        ("chat", said("two words", name="ada"), None),
        ("chat", said([{"type": "image_url", "image_url": {"url": "x"}}]), None),
        ("chat", said([{"type": "text", "text": "two", "more": "x"}]), None),
        ("chat", said(None), None),
        ("chat", {}, None),
        ("completion", {"prompt": [1, 2]}, None),
        ("responses", {"input": [{"role": "user", "content": "x"}]}, None),
        ("messages", said("two words"), None),
        ("chat", said("w" * (tokenizer.LONGEST + 1)), None),
    ],
)  # fmt: skip
def test_only_plain_text_is_counted(words: Words, operation: str, body: dict[str, object], tokens: int | None) -> None:
    assert tokenizer.count({"gpt-4o"}, operation, body) == tokens
    assert tokenizer.count({"gpt-4o", "claude"}, operation, body) is None
    assert tokenizer.count((), operation, body) is None
