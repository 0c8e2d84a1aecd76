"""A run in virtual time: routers in process, minutes in seconds, every router in a world of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from apikeyrouter.simulator import SimulatorApp, World, run_virtual
from arena.bound import bound
from arena.contestants import NATIVE
from arena.play import play
from arena.profiles import DEADLINE_S, Access, Profile, jobs_of, known_pools, world_spec
from arena.reference import LOOK, serve
from arena.result import Result
from arena.workload import Job

URL = "http://127.0.0.1:1"
"""Nobody listens there: the transport hands requests to the simulator itself."""


def run(
    profile: Profile, seed: int, *, routers: Sequence[str], seconds: float = 240.0, warm_s: float = 60.0
) -> list[Result]:
    """One workload, played by each router in turn."""
    jobs = jobs_of(profile, seed, seconds=seconds, warm_s=warm_s)
    return [run_virtual(_played(profile, Result(router=name, seed=seed), jobs, warm_s)) for name in routers]


async def _played(profile: Profile, result: Result, jobs: list[Job], warm_s: float) -> Result:
    world = World(world_spec(profile))
    born = world.now_ns() / 1e9
    transport = httpx.ASGITransport(app=SimulatorApp(world))
    async with NATIVE[result.router](Access.to(world, URL, profile), transport) as player:
        await play(jobs, player, result, warm_s=warm_s)
        await asyncio.sleep(0)
    result.count_throttled(world, born, warm_s)
    return result


def yardsticks(
    profile: Profile, seed: int, *, seconds: float = 240.0, warm_s: float = 60.0, with_bound: bool = True
) -> list[Result]:
    """The queue that knows everything, the same without overtaking, and the linear programme's bound."""
    jobs = jobs_of(profile, seed, seconds=seconds, warm_s=warm_s)
    found = []
    for name, look in (("reference queue", LOOK), ("queue without overtaking", 0)):
        result = Result(router=name, seed=seed)
        for job, wait in serve(jobs, known_pools(profile), deadline_s=DEADLINE_S, look=look):
            if job.at >= warm_s:
                result.note(job, wait, "late")
        found.append(result)
    if with_bound:
        found.append(_bound(profile, jobs, warm_s, seed))
    return found


def _bound(profile: Profile, jobs: list[Job], warm_s: float, seed: int) -> Result:
    counted = [job for job in jobs if job.at >= warm_s]
    offered = sum(job.charge for job in counted)
    share = bound(jobs, known_pools(profile), deadline_s=DEADLINE_S, warm_s=warm_s)
    return Result(
        router="linear bound", seed=seed, offered=len(counted), offered_tokens=offered, tokens=int(share * offered)
    )
