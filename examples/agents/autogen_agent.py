"""AutoGen: its client passes on an http client. Needs `pip install autogen-agentchat 'autogen-ext[openai]'`."""

from __future__ import annotations

import asyncio

import httpx
from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from two_keys import get_weather, two_keys

from apikeyrouter.transport import AsyncRouterTransport


async def main() -> None:
    with two_keys() as (router, url):
        http = httpx.AsyncClient(transport=AsyncRouterTransport(router))
        model = OpenAIChatCompletionClient(
            model="gpt-4o-mini", api_key="routed", base_url=url, http_client=http, max_retries=0
        )
        agent = AssistantAgent("reporter", model, tools=[get_weather], reflect_on_tool_use=True)
        done = await agent.run(task="Use get_weather for Oslo")
        print(done.messages[-1].content)
        await model.close()


asyncio.run(main())
