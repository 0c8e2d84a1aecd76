"""Models of the door over a served world, both ways of sending, for tests of this door's own promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_stage import CLAUDE, OPENAI, QUICK, Sim, router_over

from apikeyrouter import ApiKeyRouter
from apikeyrouter.langchain import ChatApiKeyRouter, ChatDeployment

GLOBS = {"o": ["gpt*"], "a": ["claude*"]}


def inner(sim: Sim, key: str) -> BaseChatModel:
    """A partner's model with that key, its retries left on: the pool turns them off."""
    if key.startswith("o"):
        return ChatOpenAI(model=OPENAI, api_key=sim.world.secret(key), base_url=f"{sim.url}/openai/v1")
    return ChatAnthropic(model=CLAUDE, api_key=sim.world.secret(key), base_url=f"{sim.url}/anthropic")


def pool(sim: Sim, keys: Sequence[str]) -> list[ChatDeployment]:
    """A deployment for each key, tried in their order."""
    return [
        ChatDeployment(key, inner(sim, key), options={"tier": tier, "models": GLOBS[key[0]]})
        for tier, key in enumerate(keys)
    ]


def chat(way: str, sim: Sim, keys: Sequence[str], *, engine: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A chat model over `keys`: `way` is "native" or "delegated"; `engine` are arguments of the router."""
    if way == "native":
        name = OPENAI if keys[0].startswith("o") else CLAUDE
        return ChatApiKeyRouter(
            **{"model": name, "router": router_over(sim.world, sim.url, keys, **engine or {}), **fields}
        )
    router = ApiKeyRouter(**{"settings": QUICK, "log": False, **(engine or {})})
    return ChatApiKeyRouter(deployments=pool(sim, keys), router=router, **fields)


class Told(BaseCallbackHandler):
    """What a trace is told, in order."""

    run_inline = True

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.events.append("start")

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.events.append("end")

    def on_llm_error(self, *_: Any, **__: Any) -> None:
        self.events.append("error")

    def on_retry(self, *_: Any, **__: Any) -> None:
        self.events.append("retry")
