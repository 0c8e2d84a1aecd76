"""This library as the arena plays it: `route()` with a deadline, one pool for each organisation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import httpx

from apikeyrouter import ApiKeyRouter, Limit, OpenAIAdapter
from apikeyrouter.core.price import FREE, PriceBook
from arena.play import Player
from arena.profiles import DEADLINE_S, MODEL, Access
from arena.workload import Job


class LoopTime:
    """The loop's time, which in virtual time is the only one there is."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def apikeyrouter(access: Access, transport: httpx.AsyncBaseTransport | None) -> AsyncIterator[Player]:
    prices = PriceBook()
    prices.override(None, "*", FREE)
    clock = LoopTime()
    router = ApiKeyRouter(prices=prices, log=False, clock=clock, rng=Random(3))
    adapter = OpenAIAdapter(f"{access.url}/v1", transport=transport, clock=clock.now)
    await router.register_provider("openai", adapter)
    for organisation, key, material in access.flat():
        rpm, tpm = access.limits.get(organisation, (0, 0))
        said = [Limit.rpm(rpm), Limit.tpm(tpm)] if rpm else []
        await router.register_key(material, "openai", id=key, pool=organisation, limits=said)

    async def player(job: Job) -> None:
        await router.route(job.body(MODEL), timeout=DEADLINE_S, tenant=job.tenant)

    yield player
    left = router.get_state_summary().open_leases
    await router.aclose()
    if left:
        raise AssertionError(f"{left} leases are open after the last answer")
