"""LlamaIndex: `OpenAILike` takes both kinds of client. Needs `pip install llama-index-llms-openai-like`."""

from __future__ import annotations

import asyncio

import httpx
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike
from two_keys import get_weather, two_keys

from apikeyrouter.transport import AsyncRouterTransport, RouterTransport


async def main() -> None:
    with two_keys() as (router, url), httpx.Client(transport=RouterTransport(router)) as http:
        async with httpx.AsyncClient(transport=AsyncRouterTransport(router)) as async_http:
            both = {"http_client": http, "async_http_client": async_http, "max_retries": 0}
            able = {"is_chat_model": True, "is_function_calling_model": True}
            model = OpenAILike(model="gpt-4o-mini", api_key="routed", api_base=url, **able, **both)
            print(await FunctionAgent(tools=[get_weather], llm=model).run("Use get_weather for Oslo"))


asyncio.run(main())
