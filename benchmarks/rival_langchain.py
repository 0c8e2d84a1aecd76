"""LangChain's standard suite over ChatLiteLLMRouter, in the very harness that our pools are tested in.

Run by scripts/langchain_suites.py, not by the tests: what fails here is counted, not mended. The rival gets the same
keys, tried in the same order by its own `order`, and retries enough to meet each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import litellm
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_litellm import ChatLiteLLMRouter
from langchain_stage import CLAUDE, OPENAI, AttentiveApp, Sim, world
from langchain_suite import FAILING_FIRST, PoolSuite
from langchain_tests.integration_tests import chat_models

from apikeyrouter.simulator import serve

litellm.suppress_debug_info = True


@pytest.fixture(scope="session")
def sim() -> Iterator[Sim]:
    app = AttentiveApp(world())
    with serve(app, thread=True) as url:
        yield Sim(app.world, url)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard tests would fetch public pictures and documents."""
    fetched = SimpleNamespace(content=b"%PDF-1.4 a document or a picture")
    monkeypatch.setattr(chat_models, "httpx", SimpleNamespace(get=lambda *_, **__: fetched))


class _Rival(PoolSuite):
    def made(self) -> dict[str, Any]:
        keys = FAILING_FIRST[self.pool]
        listed = [self._deployment(key, at) for at, key in enumerate(keys, start=1)]
        router = litellm.Router(model_list=listed, num_retries=len(keys), retry_after=0, disable_cooldowns=False)
        return {"router": router, "model_name": self.name, "model": self.name}

    def _deployment(self, key: str, order: int) -> dict[str, Any]:
        openai = key.startswith("o")
        name, base = ("openai/" + OPENAI, "/openai/v1") if openai else ("anthropic/" + CLAUDE, "/anthropic")
        params = {"model": name, "api_key": self.sim.world.secret(key), "api_base": self.sim.url + base, "order": order}
        return {"model_name": self.name, "litellm_params": params}

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatLiteLLMRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return self.made()


class TestRivalOpenAI(_Rival):
    audio = True


class TestRivalAnthropic(_Rival):
    pool, name, other = "anthropic", CLAUDE, "claude-sonnet-4-5"


class TestRivalMixed(_Rival):
    pool = "mixed"
