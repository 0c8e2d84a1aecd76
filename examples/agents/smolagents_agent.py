"""smolagents: the client's arguments carry the router's transport. Needs `pip install 'smolagents[openai]'`."""

from __future__ import annotations

import httpx
from smolagents import OpenAIServerModel, ToolCallingAgent, tool
from two_keys import get_weather, two_keys

from apikeyrouter.transport import RouterTransport

with two_keys() as (router, url), httpx.Client(transport=RouterTransport(router)) as http:
    routed = {"http_client": http, "max_retries": 0}
    model = OpenAIServerModel("gpt-4o-mini", api_base=url, api_key="routed", client_kwargs=routed)
    agent = ToolCallingAgent(tools=[tool(get_weather)], model=model, max_steps=1, verbosity_level=0)
    print(agent.run("Use get_weather for Oslo"))
