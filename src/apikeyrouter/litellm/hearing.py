"""An adapter that only listens: LiteLLM sends, we read the provider's headers and errors in its dialect."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final

from apikeyrouter.adapters import BaseAdapter
from apikeyrouter.adapters.dialect import Dialect, dialect, names
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.headers import LimitTable
from apikeyrouter.core.model import NO_NAMES, Capabilities
from apikeyrouter.ports import Answer, Call

OPERATIONS: Final = frozenset({"chat", "completion", "embeddings", "responses", "messages", "other"})
"""`other` is whatever has no tokens that we could count beforehand: images, audio, files, rerank."""
OURS: Final = "apikeyrouter"
"""Models served by provider.py: the quotas in their headers are of keys that the engine chose itself."""
_SAME: Final = {
    "vertex_ai": "vertex",
    "vertex_ai_beta": "vertex",
    "fireworks_ai": "fireworks",
    "together_ai": "together",
    "bedrock_converse": "bedrock",
    "text-completion-openai": "openai",
    "azure_text": "azure",
    "azure_ai": "azure",
}


class Hearing(BaseAdapter):
    """Classifies and reads limits; sending is LiteLLM's."""

    def __init__(self, speech: Dialect) -> None:
        super().__init__(speech=speech)
        told = frozenset({"rate_limit"}) if speech.limits.rows else NO_NAMES
        self.capabilities = Capabilities(operations=OPERATIONS, features=told)

    @classmethod
    @cache
    def of(cls, provider: str) -> Hearing:
        """The adapter for a provider as LiteLLM calls it; an unknown one speaks OpenAI's dialect, as most do."""
        if provider == OURS:
            return cls(replace(dialect("openai"), limits=LimitTable()))
        name = _SAME.get(provider, provider)
        return cls(dialect(name if name in names() else "openai"))

    async def send(self, call: Call) -> Answer:
        """Refuses: nothing is sent from here."""
        message = "this key belongs to a LiteLLM deployment; call it through LiteLLM"
        return Answer(status=None, failure=Failure(kind=Kind.INVALID, message=message, sent=False))
