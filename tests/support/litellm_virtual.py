"""LiteLLM in virtual time: no socket, no thread, and seconds that pass at once, so that deadlines are exact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
from litellm_stage import Stage, deployment, litellm, two_organisations

from apikeyrouter import ApiKeyRouter
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.simulator import SimulatorApp, World

URL = "http://127.0.0.1:1"


class LoopTime:
    """The loop's time, which in virtual time is the only one there is."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Inline(ThreadPoolExecutor):
    """Runs at once what LiteLLM gives to threads: virtual time would pass by while a thread works."""

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*given, **named))
        except BaseException as error:  # noqa: BLE001 - it is told to whoever waits
            done.set_exception(error)
        return done


@asynccontextmanager
async def virtual_stage(*given: dict[str, Any], **router: Any) -> AsyncIterator[Stage]:
    """A stage inside run_virtual(); each of `given` is a deployment's words, its `key` among them."""
    asyncio.get_running_loop().set_default_executor(Inline())
    world = World(two_organisations())
    models = [deployment(world, URL, **each) for each in given]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=SimulatorApp(world))) as session:
        litellm.aclient_session = session
        made = litellm.Router(**{"model_list": models, "num_retries": 0, **router})
        engine = ApiKeyRouter(log=False, clock=LoopTime())
        yield Stage(world, URL, made, ApiKeyRoutingStrategy.install(made, engine))
        litellm.aclient_session = None
