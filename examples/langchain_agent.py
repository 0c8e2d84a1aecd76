"""An agent of LangChain over two keys, of which the first is out of quota: look at who served, and at why.

Needs `pip install 'apikeyrouter[langchain,proxy]'`.
"""

from __future__ import annotations

from langchain.agents import create_agent

from apikeyrouter.langchain import ChatApiKeyRouter
from apikeyrouter.simulator import Organisation, World, limits, serve


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


world = World(
    [
        Organisation(id="empty", keys=("a1",), limits=limits(rpm=1, start=0.0)),
        Organisation(id="full", keys=("b1",), limits=limits(rpm=500)),
    ]
)
with serve(world, thread=True) as url:
    keys = {
        name: {"provider": "openai", "secret": world.secret(name), "tier": at} for at, name in enumerate(("a1", "b1"))
    }
    providers = {"openai": {"adapter": "openai", "base_url": f"{url}/v1"}}
    llm = ChatApiKeyRouter.from_config({"providers": providers, "keys": keys}, model="gpt-4o-mini")
    agent = create_agent(llm, tools=[get_weather])
    done = agent.invoke({"messages": [("human", "Use get_weather for Oslo")]})
    for message in done["messages"]:
        routed = message.response_metadata.get("apikeyrouter", {})
        print(f"{message.type:6} {routed.get('key', ''):4} {message.text[:60]}")
    print(llm.explain(done["messages"][-1]))
    assert [message.type for message in done["messages"]] == ["human", "ai", "tool", "ai"]
    llm.engine.sync.close()
