"""LangGraph: a node asks the chat model; a thread stays where its prompt is cached. Needs `pip install langgraph`."""

from __future__ import annotations

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from two_keys import get_weather, two_keys

from apikeyrouter.langchain import ChatApiKeyRouter

with two_keys() as (router, _):
    llm = ChatApiKeyRouter(model="gpt-4o-mini", router=router)
    model = llm.bind_tools([get_weather])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([get_weather]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    agent = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "7", "apikeyrouter": {"tenant": "acme"}}}
    last = agent.invoke({"messages": [("human", "Use get_weather for Oslo")]}, config)["messages"][-1]
    asked = llm.explain(last).request
    print(last.text, asked.session, asked.tenant)
