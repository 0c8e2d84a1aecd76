"""Agents of LangChain over the door: as their model, as their first middleware, and over a provider's embeddings."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_anthropic import ChatAnthropic
from langchain_core.embeddings import Embeddings
from langchain_core.tools import tool
from langchain_rig import chat, pool
from langchain_stage import QUICK, Sim, at_rest, router_over
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import BaseModel

from apikeyrouter import ApiKeyRouter
from apikeyrouter.langchain import ApiKeyRouterEmbeddings, ApiKeyRouterMiddleware

ASK = {"messages": [("human", "What is the weather in 'Oslo'?")]}
CONFIG: Any = {"configurable": {"thread_id": "9", "apikeyrouter": {"tenant": "acme"}}}


class Answer(BaseModel):
    """An answer."""

    word: str


@tool
def get_weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


@pytest.mark.parametrize("way", ["native", "delegated"])
def test_an_agent_calls_its_tools(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-429", "o-401", "o-500", "o-ok"])
    done = create_agent(model, tools=[get_weather]).invoke(ASK, CONFIG)
    assert [message.type for message in done["messages"]] == ["human", "ai", "tool", "ai"]
    assert done["messages"][2].content == "sunny in Oslo"
    decisions = [model.explain(message) for message in done["messages"] if message.type == "ai"]
    assert {(d.request.tenant, d.request.session) for d in decisions} == {("acme", "9")}


@pytest.mark.parametrize("way", ["native", "delegated"])
def test_an_agent_answers_in_a_schema(way: str, sim: Sim) -> None:
    agent = create_agent(chat(way, sim, ["o-500", "o-ok"]), tools=[], response_format=Answer)
    assert isinstance(agent.invoke({"messages": [("human", "Say a word")]})["structured_response"], Answer)


class _Sees(AgentMiddleware[Any, Any, Any]):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[type] = []

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        self.seen.append(type(request.model))
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        self.seen.append(type(request.model))
        return await handler(request)


async def test_the_middleware_shows_others_the_real_model(sim: Sim) -> None:
    sees, engine = _Sees(), ApiKeyRouter(settings=QUICK, log=False)
    models = {one.id: one for one in pool(sim, ["a-529", "a-ok"])}
    ours = ApiKeyRouterMiddleware(models, router=engine, objective="reliability")
    agent = create_agent(models["a-ok"].model, tools=[get_weather], middleware=[ours, sees])
    for done in (agent.invoke(ASK, CONFIG), await agent.ainvoke(ASK, CONFIG)):
        last = done["messages"][-1].response_metadata["apikeyrouter"]
        assert last["key"] == "a-ok"
        assert engine.explain(last["decision_id"]).request.tenant == "acme"
    assert set(sees.seen) == {ChatAnthropic}
    assert at_rest(engine)


class TestEmbeddings(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _sim(self, sim: Sim) -> None:
        type(self).sim = sim  # type: ignore[attr-defined]

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return ApiKeyRouterEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        world, url = self.sim.world, self.sim.url  # type: ignore[attr-defined]
        router = router_over(world, url, ["o-429", "o-401", "o-500", "o-529", "o-ok"])
        for key in router.list_keys():
            key.models = ()
        return {"model": "sim/text-embedding-3-small", "router": router}


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return ApiKeyRouterEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "text-embedding-3-small", "router": ApiKeyRouter(log=False)}


def test_embeddings_keep_the_order_of_their_texts_over_several_requests(sim: Sim) -> None:
    router = router_over(sim.world, sim.url, ["o-ok"])
    router.get_key("o-ok").models = ()
    embeddings = ApiKeyRouterEmbeddings(model="sim/text-embedding-3-small", router=router, chunk_size=2)
    texts = [f"text {at}" for at in range(5)]
    assert embeddings.embed_documents(texts) == [embeddings.embed_query(text) for text in texts]
    assert len(embeddings.model_copy(update={"dimensions": 8}).embed_query("x")) == 8
    assert embeddings.with_routing(tenant="t").embed_documents([]) == []
