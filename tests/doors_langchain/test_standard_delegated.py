"""LangChain's own suites over pools of ChatOpenAI and ChatAnthropic whose first keys fail: 429, 401, 500, 529."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_rig import pool
from langchain_stage import CLAUDE, OPENAI, QUICK
from langchain_suite import FAILING_FIRST, PoolSuite
from langchain_tests.unit_tests import ChatModelUnitTests

from apikeyrouter import ApiKeyRouter
from apikeyrouter.langchain import ChatApiKeyRouter


class _Delegated(PoolSuite):
    def made(self) -> dict[str, Any]:
        router = ApiKeyRouter(settings=QUICK, log=False)
        return {"deployments": pool(self.sim, FAILING_FIRST[self.pool]), "router": router}


class TestOpenAIPool(_Delegated):
    audio = True


class TestAnthropicPool(_Delegated):
    pool, name, other = "anthropic", CLAUDE, "claude-sonnet-4-5"


class TestMixedPool(_Delegated):
    pool = "mixed"


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatApiKeyRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"deployments": [ChatOpenAI(model=OPENAI, api_key="sk-none")]}

    @property
    def model_override_value(self) -> str:
        return "gpt-4o"
