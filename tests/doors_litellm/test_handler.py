"""The Proxy's handler stays the Router's strategy: through other strategies, other Routers, other configurations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import litellm
import pytest
from litellm_stage import HELLO, deployment, two_organisations

from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.litellm.proxy import _PROXY_ApiKeyRouterInstalled, handler
from apikeyrouter.litellm.shared import SHARED
from apikeyrouter.simulator import World, serve

Server = Any


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """What the handler sees of LiteLLM's server: a module that has a Router, or not yet."""
    module = ModuleType("litellm.proxy.proxy_server")
    module.llm_router = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(litellm, "apikeyrouter", None, raising=False)
    monkeypatch.setattr(SHARED, "engine", None)
    return module


@pytest.fixture
def routers() -> Iterator[Callable[[], litellm.Router]]:
    with ExitStack() as stack:
        world = World(two_organisations())
        url = stack.enter_context(serve(world, thread=True))
        yield lambda: litellm.Router(model_list=[deployment(world, url, key, rpm=600) for key in ("a1", "b1")])


async def decided(installed: _PROXY_ApiKeyRouterInstalled, router: litellm.Router) -> int:
    """How many of one call's picks were the engine's."""
    before = len(installed.engine._router.decisions)
    await router.acompletion(model="chat", messages=HELLO, max_tokens=9)
    return len(installed.engine._router.decisions) - before


async def called(installed: _PROXY_ApiKeyRouterInstalled) -> None:
    """What LiteLLM's Proxy does before every call."""
    await installed.async_pre_call_hook(None, None, {}, "acompletion")


async def test_it_waits_for_a_router_and_takes_it(server: Server, routers: Callable[[], litellm.Router]) -> None:
    installed = _PROXY_ApiKeyRouterInstalled()
    await called(installed)
    server.llm_router = routers()
    await called(installed)
    assert await decided(installed, server.llm_router) == 1


async def test_it_returns_after_another_strategy_was_chosen(
    server: Server, routers: Callable[[], litellm.Router]
) -> None:
    installed = _PROXY_ApiKeyRouterInstalled()
    server.llm_router = routers()
    await called(installed)
    server.llm_router.update_settings(routing_strategy="least-busy")
    assert await decided(installed, server.llm_router) == 0, "the switch must really drop us, or this proves nothing"
    await called(installed)
    assert await decided(installed, server.llm_router) == 1
    assert server.llm_router.disable_cooldowns is True


async def test_it_moves_to_a_router_that_replaced_the_first(
    server: Server, routers: Callable[[], litellm.Router]
) -> None:
    installed = _PROXY_ApiKeyRouterInstalled()
    server.llm_router = routers()
    await called(installed)
    engine = installed.engine
    server.llm_router = routers()
    await called(installed)
    assert await decided(installed, server.llm_router) == 1
    assert installed.engine is engine


async def test_a_deployment_that_litellm_dropped_is_dropped(
    server: Server, routers: Callable[[], litellm.Router]
) -> None:
    installed = _PROXY_ApiKeyRouterInstalled()
    server.llm_router = routers()
    await called(installed)
    server.llm_router.delete_deployment("b1")
    installed.refresh(server.llm_router)
    assert [key.id for key in installed.engine.list_keys()] == ["a1"]


async def test_budgets_stand_in_litellms_own_file(
    server: Server, routers: Callable[[], litellm.Router], monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {"max_wait": 5, "budgets": {"team": {"scope": "tenant:acme", "limit": "20 USD", "period": "month"}}}
    monkeypatch.setattr(litellm, "apikeyrouter", section, raising=False)
    installed = _PROXY_ApiKeyRouterInstalled()
    server.llm_router = routers()
    await called(installed)
    assert installed.max_wait == 5.0
    assert [status.id for status in installed.engine.budget_status()] == ["team"]


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"budgets": {"team": {"scope": "nobody", "limit": 1}}}, "nobody"),
        ({"max_wait": "long"}, "max_wait"),
        ({"config": "a.yaml", "objective": "cost"}, "objective"),
        (7, "mapping"),
    ],
)
async def test_a_wrong_section_stops_every_call_with_its_sentence(
    server: Server, routers: Callable[[], litellm.Router], monkeypatch: pytest.MonkeyPatch, section: Any, sentence: str
) -> None:
    monkeypatch.setattr(litellm, "apikeyrouter", section, raising=False)
    installed = _PROXY_ApiKeyRouterInstalled()
    server.llm_router = routers()
    with pytest.raises(InvalidConfigurationError, match=sentence):
        await called(installed)


def test_the_path_that_config_yaml_names_is_one_instance() -> None:
    from apikeyrouter.litellm import proxy

    assert proxy.handler is handler
    assert "_PROXY_" in type(handler).__name__
