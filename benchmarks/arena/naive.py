"""Routers as people write them in an afternoon: a rule for the next key, and retries on 429 with a growing pause.

They know no limits. A request is tried at most ATTEMPTS times within its deadline; a retry goes to another key where
there is one, after a random pause of up to 50 ms that doubles each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from random import Random

import httpx

from arena.play import Player
from arena.profiles import DEADLINE_S, MODEL, Access
from arena.workload import Job

ATTEMPTS = 8
PAUSE_S = 0.05

Rule = Callable[[list[int]], int]
"""The next key's number, from how many requests each has in flight."""


class GaveUpError(Exception):
    """Every attempt was refused."""


def round_robin() -> Rule:
    turns = count()
    return lambda flying: next(turns) % len(flying)


def at_random() -> Rule:
    rng = Random(1)
    return lambda flying: rng.randrange(len(flying))


def least_busy() -> Rule:
    rng = Random(1)
    return lambda flying: min(range(len(flying)), key=lambda i: (flying[i], rng.random()))


@asynccontextmanager
async def naive(
    access: Access, transport: httpx.AsyncBaseTransport | None, rule: Callable[[], Rule]
) -> AsyncIterator[Player]:
    keys = [material for _, _, material in access.flat()]
    flying, choose, rng = [0] * len(keys), rule(), Random(2)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=access.url, transport=transport, timeout=DEADLINE_S, limits=limits) as client:

        async def send(job: Job, at: int) -> int:
            flying[at] += 1
            try:
                headers = {"authorization": f"Bearer {keys[at]}"}
                return (await client.post("/v1/chat/completions", json=job.body(MODEL), headers=headers)).status_code
            finally:
                flying[at] -= 1

        async def player(job: Job) -> None:
            async with asyncio.timeout(DEADLINE_S):
                for attempt in range(ATTEMPTS):
                    if attempt:
                        await asyncio.sleep(rng.uniform(0, PAUSE_S * 2**attempt))
                    if await send(job, choose(flying)) == 200:
                        return
            raise GaveUpError

        yield player
