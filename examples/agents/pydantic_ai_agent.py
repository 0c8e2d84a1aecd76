"""PydanticAI: its provider takes a client with the router's transport. Needs `pydantic-ai-slim[openai]`."""

from __future__ import annotations

import asyncio

import httpx
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from two_keys import get_weather, two_keys

from apikeyrouter.transport import AsyncRouterTransport


async def main() -> None:
    with two_keys() as (router, url):
        async with httpx.AsyncClient(transport=AsyncRouterTransport(router)) as http:
            client = AsyncOpenAI(api_key="routed", base_url=url, http_client=http, max_retries=0)
            model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client))
            done = await Agent(model, tools=[get_weather]).run("Use get_weather for Oslo")
            print(done.output, done.usage)


asyncio.run(main())
