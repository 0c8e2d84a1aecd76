"""LiteLLM's Router comes in two generations; the later one (1.109) is spoken to by its own names alone.

The stand-in is for environments with the earlier one; `make torture ARGS=litellm` runs every test on the later itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
import pytest
from litellm_stage import HELLO, Opener

from apikeyrouter.litellm import ApiKeyRoutingStrategy

MODELS: list[dict[str, Any]] = [
    {
        "model_name": "chat",
        "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": f"sk-{name}-0123456789"},
        "model_info": {"id": name, "apikeyrouter": {"rpm": 1}},
    }
    for name in ("a", "b")
]


class LaterRouter:
    """What 1.109 documents: `register_plugin`, and `select(..., kind="healthy")` as the filter."""

    def __init__(self) -> None:
        self.model_list = MODELS
        self.plugins: list[Any] = []
        self.asked: list[tuple[str, str, Any]] = []

    def register_plugin(self, plugin: Any) -> None:
        self.plugins.append(plugin)

    async def select(self, model: str, request_kwargs: dict[str, Any], *, kind: str, **more: Any) -> list[Any]:
        self.asked.append((model, kind, more["messages"]))
        return list(self.model_list)

    def get_model_list(self, model_name: str) -> list[Any]:
        return list(self.model_list)


async def test_the_later_generation_is_asked_for_its_filter() -> None:
    router = LaterRouter()
    strategy = ApiKeyRoutingStrategy.install(router, max_wait=0.0)
    (plugin,) = router.plugins
    assert plugin is strategy
    kwargs: dict[str, Any] = {"max_tokens": 9}
    first = await strategy.async_get_available_deployment(model="chat", messages=HELLO, request_kwargs=kwargs)
    second = strategy.get_available_deployment(model="chat", messages=HELLO, request_kwargs={})
    assert {first["model_info"]["id"], second["model_info"]["id"]} == {"a", "b"}
    assert router.asked == [("chat", "healthy", HELLO)]
    assert isinstance(kwargs["metadata"]["apikeyrouter_lease"], str)


async def test_without_room_it_refuses_alike() -> None:
    router = LaterRouter()
    strategy = ApiKeyRoutingStrategy.install(router, max_wait=0.0)
    held: list[dict[str, Any]] = [{} for _ in range(3)]
    for kwargs in held[:2]:
        await strategy.async_get_available_deployment(model="chat", messages=HELLO, request_kwargs=kwargs)
    with pytest.raises(litellm.RateLimitError):
        await strategy.async_get_available_deployment(model="chat", messages=HELLO, request_kwargs=held[2])


async def test_a_deployment_that_the_caller_named_is_held_too() -> None:
    router = LaterRouter()
    strategy = ApiKeyRoutingStrategy.install(router, max_wait=0.0)

    async def named(*_: Any, **__: Any) -> Any:
        return MODELS[1]

    router.select = named  # type: ignore[method-assign]
    kept: dict[str, Any] = {}
    chosen = await strategy.async_get_available_deployment(model="b", messages=HELLO, request_kwargs=kept)
    assert chosen["model_info"]["id"] == "b"
    with pytest.raises(litellm.RateLimitError):
        await strategy.async_get_available_deployment(model="b", messages=HELLO, request_kwargs={})


async def test_no_name_that_is_due_to_go_is_used(opened: Opener) -> None:
    reason = "this LiteLLM's Router has no deprecated names"
    uses = pytest.importorskip("litellm.router_deprecated", reason=reason).DEPRECATED_ROUTER_MEMBER_USES
    uses.clear()
    stage = await opened()
    await stage.chat()
    await asyncio.to_thread(stage.chat_now)
    stage.strategy.attach(stage.router)
    assert not uses
