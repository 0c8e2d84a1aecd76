"""Agents of LangChain over the door: as their model, as their first middleware, and over a provider's embeddings."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_anthropic import ChatAnthropic
from langchain_core.embeddings import Embeddings
from langchain_core.tools import tool
from langchain_openai import OpenAIEmbeddings
from langchain_rig import chat, pool
from langchain_stage import QUICK, Sim, at_rest, router_over
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel, SecretStr

from apikeyrouter import ApiKeyRouter, Limit
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.langchain import ApiKeyRouterEmbeddings, ApiKeyRouterMiddleware, ChatApiKeyRouter, ChatDeployment
from apikeyrouter.simulator import Organisation, World, limits, serve

ASK = {"messages": [("human", "What is the weather in 'Oslo'?")]}
SMALL = "text-embedding-3-small"
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


class OverTheSimulator(EmbeddingsIntegrationTests):
    """LangChain's suite for embeddings over providers of the simulator; what they are made with is a subclass's."""

    sim: Sim

    @pytest.fixture(autouse=True)
    def _sim(self, sim: Sim) -> None:
        type(self).sim = sim

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return ApiKeyRouterEmbeddings


class TestEmbeddings(OverTheSimulator):
    @property
    def embedding_model_params(self) -> dict[str, Any]:
        router = router_over(self.sim.world, self.sim.url, ["o-429", "o-401", "o-500", "o-529", "o-ok"])
        for key in router.list_keys():
            key.models = ()
        return {"model": "sim/text-embedding-3-small", "router": router}


def openai_embeddings(sim: Sim, key: str) -> OpenAIEmbeddings:
    url, secret = f"{sim.url}/openai/v1", sim.world.secret(key)
    return OpenAIEmbeddings(model=SMALL, api_key=secret, base_url=url, check_embedding_ctx_length=False)


def embedding_pool(sim: Sim, keys: list[str]) -> ApiKeyRouterEmbeddings:
    """Over OpenAIEmbeddings, tried in the order of `keys`."""
    members = [
        ChatDeployment(key, openai_embeddings(sim, key), options={"tier": tier})  # type: ignore[arg-type]
        for tier, key in enumerate(keys)
    ]
    return ApiKeyRouterEmbeddings.from_models(members, router=ApiKeyRouter(settings=QUICK, log=False), chunk_size=2)


class TestEmbeddingsPool(OverTheSimulator):
    """The same over a partner's integration."""

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        made = embedding_pool(self.sim, ["o-429", "o-401", "o-500", "o-529", "o-ok"])
        return {"model": made.model, "deployments": made.deployments, "router": made.router}


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


async def test_embeddings_of_a_partner_are_asked_once_a_key_and_keep_their_order(sim: Sim) -> None:
    pool = embedding_pool(sim, ["o-500", "o-ok"])
    before = len(sim.world.record.all(key="o-500"))
    texts = [f"text {at}" for at in range(5)]
    own = openai_embeddings(sim, "o-ok").embed_documents(texts)
    assert pool.embed_documents(texts) == own
    assert await pool.aembed_documents(texts) == own
    assert pool.embed_query(texts[1]) == own[1] == await pool.aembed_query(texts[1])
    assert pool.embed_documents([]) == []
    assert pool.router.get_key("o-ok").usage_count == 3 + 3 + 2
    failed = [one for one in pool.router._router.decisions.values() if one.outcome not in ("settled", "ok")]
    assert len(sim.world.record.all(key="o-500")) - before == len(failed) > 0  # the integration does not retry
    assert at_rest(pool.router)


def test_embeddings_from_keys_and_what_no_pool_can_be(sim: Sim) -> None:
    keys = {"a": SecretStr(sim.world.secret("o-ok"))}
    url = f"{sim.url}/openai/v1"
    made = ApiKeyRouterEmbeddings.from_keys(
        f"openai:{SMALL}",
        keys=keys,
        base_url=url,
        check_embedding_ctx_length=False,
        limits=[Limit.rpm(500)],
        chunk_size=7,
    )
    assert made.embed_query("x")
    assert (made.model, made.chunk_size, made.router.get_key("a").usage_count) == (SMALL, 7, 1)
    assert sim.world.secret("o-ok") not in repr(made) + str(made.model_dump())
    with pytest.raises(InvalidConfigurationError, match="at least one"):
        ApiKeyRouterEmbeddings.from_models([])
    other = openai_embeddings(sim, "o-ok").model_copy(update={"model": "text-embedding-3-large"})
    with pytest.raises(InvalidConfigurationError, match="do not compare"):
        ApiKeyRouterEmbeddings.from_models([openai_embeddings(sim, "o-ok"), other])


@pytest.mark.parametrize("way", ["native", "delegated"])
def test_a_node_that_passes_no_configuration_on_is_routed_by_it_all_the_same(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-ok"])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "model")
    done = graph.compile().invoke({"messages": [("human", "hello")]}, CONFIG)
    asked = model.explain(done["messages"][-1]).request
    assert (asked.tenant, asked.session) == ("acme", "9")


@pytest.mark.parametrize("way", ["native", "delegated"])
def test_a_thread_stays_with_its_key_unless_it_is_told_not_to(way: str) -> None:
    ids = [f"t{at}" for at in range(4)]
    world = World([Organisation(id=name, keys=(name,), limits=limits(rpm=10_000)) for name in ids])
    with serve(world, thread=True) as url:
        model = alike(way, {name: world.secret(name) for name in ids}, f"{url}/v1")
        assert all(len(served(model, thread)) == 1 for thread in ("one", "two", "three"))
        assert len(served(model.model_copy(update={"affinity": "none"}), "four")) > 1
        model.engine.sync.close()


def served(model: ChatApiKeyRouter, thread: str) -> set[str]:
    """The keys that answered eight calls of a thread."""
    config: Any = {"configurable": {"thread_id": thread}}
    answers = [model.invoke("hello", config) for _ in range(8)]
    return {answer.response_metadata["apikeyrouter"]["key"] for answer in answers}


def alike(way: str, secrets: dict[str, str], url: str) -> ChatApiKeyRouter:
    """Over keys that nothing tells apart."""
    if way == "delegated":
        return ChatApiKeyRouter.from_keys("openai:gpt-4o-mini", keys=secrets, base_url=url)
    keys = {name: {"provider": "openai", "secret": secret} for name, secret in secrets.items()}
    source = {"providers": {"openai": {"adapter": "openai", "base_url": url}}, "keys": keys}
    return ChatApiKeyRouter.from_config(source, model="gpt-4o-mini")
