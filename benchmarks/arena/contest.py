"""One run: a world, a workload, and one router that plays it; what upstream saw and what the callers got.

In virtual time (in-process, hours in seconds) or over HTTP on the wall clock; the router's code is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import httpx
from workload import Job

from apikeyrouter import ApiKeyRouter, Limit, OpenAIAdapter
from apikeyrouter.core.price import Price, PriceBook
from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.simulator import Foreign, SimulatorApp, World, WorldSpec, arena, limits

MODEL = "gpt-4o-mini"
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A task. `burst_s` is the providers' true bucket in seconds of refill; `stated` what the router is told."""

    name: str
    load: float = 0.9
    burst_s: float | None = None
    foreign: float = 0.0
    stated: bool = True
    trace: bool = False


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a run, after the warm-up; waits in seconds, beside the service itself."""

    router: str
    offered: int = 0
    served: int = 0
    failed: int = 0
    throttled: int = 0
    cold: dict[str, int] = field(default_factory=dict)
    goodput: int = 0
    waits: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def per_success(self) -> float:
        return self.throttled / self.served if self.served else float("inf")

    def wait(self, share: float) -> float:
        ranked = sorted(self.waits)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")


def world_spec(profile: Profile) -> WorldSpec:
    """The arena's world under a profile."""
    spec = arena()
    organisations = []
    for i, o in enumerate(spec.organisations):
        rpm = next(x.amount for x in o.limits if x.counts == "requests")
        tpm = next(x.amount for x in o.limits if x.counts == "tokens")
        o = replace(o, limits=limits(rpm=rpm, tpm=tpm, burst_s=profile.burst_s))
        if profile.foreign and i == 1:
            o = replace(o, foreign=Foreign(share=profile.foreign))
        organisations.append(o)
    return replace(spec, organisations=tuple(organisations))


def stated_limits(spec: WorldSpec) -> dict[str, tuple[int, int]]:
    """(requests, tokens) a minute of each organisation."""
    return {
        o.id: (
            next(x.amount for x in o.limits if x.counts == "requests"),
            next(x.amount for x in o.limits if x.counts == "tokens"),
        )
        for o in spec.organisations
    }


async def build(
    world: World, spec: WorldSpec, profile: Profile, adapter: OpenAIAdapter, **options: object
) -> ApiKeyRouter:
    """Our router over every key of the world: limits as stated, or none at all."""
    prices = PriceBook()
    prices.override(None, "*", Price.of("model", input="0.15", output="0.60"))
    router = ApiKeyRouter(prices=prices, log=False, **options)  # type: ignore[arg-type]
    await router.register_provider("openai", adapter)
    told = stated_limits(spec)
    for o in spec.organisations:
        rpm, tpm = told[o.id]
        said = [Limit.rpm(rpm), Limit.tpm(tpm)] if profile.stated else []
        for key in o.keys:
            name = key if isinstance(key, str) else key.id
            await router.register_key(world.secret(name), "openai", id=name, pool=o.id, limits=said)
    return router


Player = Callable[[Job], Awaitable[None]]


async def play(
    jobs: list[Job],
    player: Player,
    result: Result,
    *,
    warm_s: float,
    sleep: Callable[[float], Awaitable[None]],
    now: Callable[[], float],
) -> None:
    """Send each job at its time, whatever became of the others."""
    start, tasks = now(), []
    for job in jobs:
        pause = start + job.at - now()
        if pause > 0:
            await sleep(pause)
        tasks.append(asyncio.create_task(_one(job, player, result, warm_s=warm_s, now=now)))
    await asyncio.gather(*tasks)


async def _one(job: Job, player: Player, result: Result, *, warm_s: float, now: Callable[[], float]) -> None:
    counted, began = job.at >= warm_s, now()
    try:
        await player(job)
    except ApiKeyRouterError as error:
        name = error.code
    except Exception as error:  # rivals raise their own
        name = type(error).__name__
    else:
        name = ""
    if not counted:
        return
    result.offered += 1
    if name:
        result.failed += 1
        result.errors[name] = result.errors.get(name, 0) + 1
    else:
        result.served += 1
        result.goodput += job.charge
        result.waits.append(now() - began)


async def ours(profile: Profile, jobs: list[Job], *, warm_s: float) -> Result:
    """Our router in virtual time, in process."""
    spec = world_spec(profile)
    world = World(spec)
    loop = asyncio.get_running_loop()
    adapter = OpenAIAdapter(
        "http://127.0.0.1:1/v1", transport=httpx.ASGITransport(app=SimulatorApp(world)), clock=loop.time
    )
    router = await build(world, spec, profile, adapter, clock=_LoopClock(loop))
    result = Result(router="apikeyrouter")

    async def player(job: Job) -> None:
        await router.route(job.body(MODEL), timeout=DEADLINE_S, tenant=job.tenant)

    born = world.clock.now()
    await play(jobs, player, result, warm_s=warm_s, sleep=asyncio.sleep, now=loop.time)
    count_throttled(world, result, born, warm_s)
    assert router.get_state_summary().open_leases == 0
    await router.aclose()
    return result


class _LoopClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def count_throttled(world: World, result: Result, born: float, warm_s: float) -> None:
    """429s after the warm-up, and apart from them those before an organisation's first answer."""
    for seen in world.record.all(outcome="throttled"):
        if seen.at / 1e9 - born >= warm_s:
            result.throttled += 1
        else:
            result.cold[seen.organisation] = result.cold.get(seen.organisation, 0) + 1
