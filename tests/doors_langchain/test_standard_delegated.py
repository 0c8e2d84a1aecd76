"""LangChain's own suites over pools of ChatOpenAI and ChatAnthropic whose first keys fail: 429, 401, 500, 529."""

from __future__ import annotations

from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_stage import CLAUDE, OPENAI, QUICK, Sim
from langchain_suite import FAILING_FIRST, PoolSuite
from langchain_tests.unit_tests import ChatModelUnitTests

from apikeyrouter import ApiKeyRouter
from apikeyrouter.langchain import ChatApiKeyRouter, ChatDeployment

_GLOBS = {"o": ["gpt*"], "a": ["claude*"]}


def inner(sim: Sim, key: str) -> BaseChatModel:
    """A partner's model with that key, its retries left on: the pool turns them off."""
    if key.startswith("o"):
        return ChatOpenAI(model=OPENAI, api_key=sim.world.secret(key), base_url=f"{sim.url}/openai/v1")
    return ChatAnthropic(model=CLAUDE, api_key=sim.world.secret(key), base_url=f"{sim.url}/anthropic")


def pool(sim: Sim, keys: list[str]) -> list[ChatDeployment]:
    return [
        ChatDeployment(key, inner(sim, key), options={"tier": tier, "models": _GLOBS[key[0]]})
        for tier, key in enumerate(keys)
    ]


class _Delegated(PoolSuite):
    def made(self) -> dict[str, Any]:
        router = ApiKeyRouter(settings=QUICK, log=False)
        return {"deployments": pool(self.sim, FAILING_FIRST[self.pool]), "router": router}


class TestOpenAIPool(_Delegated):
    audio = True


class TestAnthropicPool(_Delegated):
    pool, name, other, json_mode = "anthropic", CLAUDE, "claude-sonnet-4-5", False


class TestMixedPool(_Delegated):
    pool, json_mode = "mixed", False


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
