"""The arena through this door: as good as without it, in virtual time against the same bursty traffic."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx
import litellm
import pytest
from litellm_virtual import Inline, LoopTime

from apikeyrouter import ApiKeyRouter
from apikeyrouter.core.price import FREE, PriceBook
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.simulator import SimulatorApp, World, run_virtual

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from arena.ours import apikeyrouter
from arena.play import play
from arena.profiles import DEADLINE_S, MODEL, Access, Profile, jobs_of, world_spec
from arena.result import Result

URL = "http://127.0.0.1:1"
SECONDS, WARM_S = 20.0, 5.0
TIGHT = Profile(name="tight", title="buckets of five seconds, load 1.5", load=1.5, burst_s=5.0)
"""Scarce enough that whoever chooses or waits badly serves less."""
SAME = 0.02
HASTY_S = 8.0


@asynccontextmanager
async def through_litellm(
    access: Access, transport: httpx.AsyncBaseTransport, deadline_s: float = DEADLINE_S
) -> AsyncIterator[Any]:
    prices = PriceBook()
    prices.override(None, "*", FREE)
    engine = ApiKeyRouter(prices=prices, log=False, clock=LoopTime(), rng=Random(3))
    models = [
        {
            "model_name": "chat",
            "litellm_params": {"model": f"openai/{MODEL}", "api_key": material, "api_base": f"{access.url}/v1"},
            "model_info": {"id": key, "apikeyrouter": {"pool": organisation, **limits_of(access, organisation)}},
        }
        for organisation, key, material in access.flat()
    ]
    async with httpx.AsyncClient(transport=transport) as session:
        litellm.aclient_session = session
        router = litellm.Router(model_list=models, num_retries=2, timeout=deadline_s)
        ApiKeyRoutingStrategy.install(router, engine, max_wait=deadline_s)

        async def player(job: Any) -> None:
            body = job.body(MODEL)
            async with asyncio.timeout(deadline_s):
                await router.acompletion(model="chat", messages=body["messages"], max_tokens=job.max_tokens)

        yield player
        litellm.aclient_session = None


def limits_of(access: Access, organisation: str) -> dict[str, int]:
    rpm, tpm = access.limits[organisation]
    return {"rpm": rpm, "tpm": tpm}


async def played(opened: Any, jobs: list[Any]) -> Result:
    asyncio.get_running_loop().set_default_executor(Inline())
    world = World(world_spec(TIGHT))
    result = Result(router="")
    born = world.now_ns() / 1e9
    transport = httpx.ASGITransport(app=SimulatorApp(world))
    async with opened(Access.to(world, URL, TIGHT), transport) as player:
        await play(jobs, player, result, warm_s=WARM_S)
    result.count_throttled(world, born, WARM_S)
    return result


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_through_the_door_the_arena_goes_as_without_it() -> None:
    jobs = jobs_of(TIGHT, 1, seconds=SECONDS, warm_s=WARM_S)
    native, door = (run_virtual(played(opened, jobs)).row() for opened in (apikeyrouter, through_litellm))
    assert native.p95_s > 2.0, "where nobody has to wait, nothing is compared"
    assert abs(door.goodput - native.goodput) <= SAME
    assert abs(door.served - native.served) <= SAME
    assert door.throttled - native.throttled <= SAME
    assert door.p95_s == pytest.approx(native.p95_s, rel=0.05)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nobody_runs_into_their_own_deadline() -> None:
    """Whoever cannot be answered in time is refused in time, as without LiteLLM."""
    jobs = jobs_of(TIGHT, 2, seconds=SECONDS, warm_s=WARM_S)
    row = run_virtual(played(partial(through_litellm, deadline_s=HASTY_S), jobs)).row()
    assert row.p95_s > 0.5 * HASTY_S, "where nobody has to wait long, nobody can be late"
    assert set(row.errors) == {"RateLimitError"}
    assert row.served > 0.7
