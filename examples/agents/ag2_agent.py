"""AG2 (1.0 and later): its configuration takes an http client. Needs `pip install 'ag2[openai]'`."""

from __future__ import annotations

import asyncio

import httpx
from ag2 import Agent
from ag2.config import OpenAIConfig
from two_keys import get_weather, two_keys

from apikeyrouter.transport import AsyncRouterTransport


async def main() -> None:
    with two_keys() as (router, url):
        async with httpx.AsyncClient(transport=AsyncRouterTransport(router)) as http:
            config = OpenAIConfig("gpt-4o-mini", api_key="routed", base_url=url, http_client=http, max_retries=0)
            agent = Agent("reporter", config=config, tools=[get_weather])
            reply = await agent.ask("Use get_weather for Oslo")
            print(reply.body)


asyncio.run(main())
