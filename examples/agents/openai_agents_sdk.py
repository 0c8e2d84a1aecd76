"""OpenAI Agents SDK: its client gets the router's transport. Needs `pip install openai-agents`."""

from __future__ import annotations

import asyncio

import httpx
from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from two_keys import get_weather, two_keys

from apikeyrouter.transport import AsyncRouterTransport


async def main() -> None:
    set_tracing_disabled(True)  # traces go to OpenAI otherwise
    with two_keys() as (router, url):
        async with httpx.AsyncClient(transport=AsyncRouterTransport(router)) as http:
            client = AsyncOpenAI(api_key="routed", base_url=url, http_client=http, max_retries=0)
            model = OpenAIChatCompletionsModel("gpt-4o-mini", openai_client=client)
            agent = Agent(name="reporter", model=model, tools=[function_tool(get_weather)])
            done = await Runner.run(agent, "Use get_weather for Oslo")
            print(done.final_output)


asyncio.run(main())
