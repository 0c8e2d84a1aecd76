"""Two tenants through the whole router, one of which floods: in virtual time against a simulated provider."""

from __future__ import annotations

import asyncio

import httpx
from arena.ours import apikeyrouter
from arena.play import play
from arena.profiles import Access, service_s
from arena.result import Result
from arena.workload import Job

from apikeyrouter.simulator import Latency, Organisation, SimulatorApp, World, WorldSpec, limits, run_virtual

TOKENS = 300
RPM, TPM = 6000, 60_000
"""A thousand tokens a second, and a bucket of half a second: nobody finds room saved up."""
SPEC = WorldSpec(
    organisations=(Organisation(id="org-a", keys=("a1",), limits=limits(rpm=RPM, tpm=TPM, burst_s=0.5)),),
    latency=Latency(first_s=service_s()),
)


def jobs(tenant: str, times: list[float]) -> list[Job]:
    return [Job(i, at, TOKENS - 100, 100, tenant) for i, at in enumerate(times)]


QUIET = jobs("quiet", [8.0 * burst + 0.01 * i for burst in range(1, 15) for i in range(10)])
"""Ten at once every eight seconds: three eighths of what there is."""
LOUD = jobs("loud", [0.15 * i for i in range(800)])
"""Twice what there is."""


async def waits(wanted: list[Job]) -> tuple[dict[str, list[float]], int]:
    """Each tenant's waits, in order, and the 429s."""
    world = World(SPEC)
    access = Access(url="http://127.0.0.1:1", keys={"org-a": {"a1": world.secret("a1")}}, limits={"org-a": (RPM, TPM)})
    found: dict[str, list[float]] = {}
    loop = asyncio.get_running_loop()
    async with apikeyrouter(access, httpx.ASGITransport(app=SimulatorApp(world))) as player:

        async def timed(job: Job) -> None:
            began = loop.time()
            await player(job)
            found.setdefault(job.tenant, []).append(loop.time() - began - service_s())

        await play(sorted(wanted, key=lambda job: job.at), timed, Result(router="ours"), warm_s=0.0)
    return {name: sorted(each) for name, each in found.items()}, len(world.record.all(outcome="throttled"))


def test_the_quiet_tenant_waits_at_most_twice_as_long_as_alone() -> None:
    alone, _ = run_virtual(waits(QUIET))
    beside, throttled = run_virtual(waits([*QUIET, *LOUD]))
    p95 = int(0.95 * len(QUIET))
    assert len(alone["quiet"]) == len(beside["quiet"]) == len(QUIET), "every request of the quiet tenant is served"
    assert alone["quiet"][p95] > 1.5, "it must have to wait even alone"
    assert beside["quiet"][p95] <= 2 * alone["quiet"][p95]
    assert beside["loud"][len(beside["loud"]) // 2] > 10, "the flood waits for itself"
    assert throttled <= 2
