"""LangChain: `create_agent` over two keys; look at who served, and at why. Needs `apikeyrouter[langchain]`."""

from __future__ import annotations

from langchain.agents import create_agent
from two_keys import get_weather, two_keys

from apikeyrouter.langchain import ChatApiKeyRouter

with two_keys() as (router, _):
    llm = ChatApiKeyRouter(model="gpt-4o-mini", router=router)
    agent = create_agent(llm, tools=[get_weather])
    done = agent.invoke({"messages": [("human", "Use get_weather for Oslo")]})
    for message in done["messages"]:
        routed = message.response_metadata.get("apikeyrouter", {})
        print(f"{message.type:6} {routed.get('key', ''):4} {message.text[:60]}")
    print(llm.explain(done["messages"][-1]))
