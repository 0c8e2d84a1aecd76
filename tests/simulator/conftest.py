"""One small world on a virtual clock, served over real HTTP on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from apikeyrouter.simulator import Key, LimitGroup, Organisation, VirtualClock, World, limits, serve


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def world(clock: VirtualClock) -> World:
    return World(
        [
            Organisation(
                id="org-a", keys=("a1", "a2", Key(id="dead", status="dead")), limits=limits(rpm=60, tpm=6_000)
            ),
            Organisation(
                id="org-b",
                keys=("b1",),
                models=("gpt-4o*",),
                groups=(
                    LimitGroup(
                        models=("gpt-4o*",), limits=limits(rpm=60, tpm=60_000, burst_s=15, start=0.5), shared=True
                    ),
                ),
            ),
            Organisation(id="geo", keys=("g1",), dialect="plain", limits=limits(rpm=3, rpd=5, shape="fixed")),
        ],
        clock=clock,
    )


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(world) as url, httpx.AsyncClient(base_url=url, timeout=5.0) as client:
        yield client


class Talk:
    """Requests as a client of the OpenAI dialect sends them."""

    def __init__(self, client: httpx.AsyncClient, world: World) -> None:
        self.client = client
        self.world = world

    def key(self, key_id: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.world.secret(key_id)}"}

    async def chat(self, key_id: str = "a1", **body: object) -> httpx.Response:
        sent = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 100, **body}
        return await self.client.post("/v1/chat/completions", headers=self.key(key_id), json=sent)

    async def geocode(self, **params: str) -> httpx.Response:
        headers = {"x-api-key": self.world.secret("g1")}
        return await self.client.get("/geo/v1/geocode", headers=headers, params={"q": "Oslo", **params})


@pytest.fixture
def talk(http: httpx.AsyncClient, world: World) -> Talk:
    return Talk(http, world)
