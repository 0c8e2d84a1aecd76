"""LangChain's own suites over the native mode, with pools whose first keys fail: 429, 401, 500, 529."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_stage import CLAUDE, OPENAI, router_over
from langchain_suite import FAILING_FIRST, PoolSuite
from langchain_tests.unit_tests import ChatModelUnitTests

from apikeyrouter import ApiKeyRouter
from apikeyrouter.langchain import ChatApiKeyRouter


class _Native(PoolSuite):
    def made(self) -> dict[str, Any]:
        return {"model": self.name, "router": router_over(self.sim.world, self.sim.url, FAILING_FIRST[self.pool])}


class TestNativeOpenAI(_Native):
    audio = True


class TestNativeAnthropic(_Native):
    pool, name, other = "anthropic", CLAUDE, "claude-sonnet-4-5"


class TestNativeMixed(_Native):
    pool, name = "mixed", "either"


class TestNativeUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatApiKeyRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": OPENAI, "router": ApiKeyRouter(log=False)}

    @property
    def model_override_value(self) -> str:
        return "gpt-4o"
