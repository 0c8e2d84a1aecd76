"""Sending each job at its time, whatever became of the others, and how long each took."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from apikeyrouter.errors import ApiKeyRouterError
from arena.profiles import service_s
from arena.result import Result
from arena.workload import Job

Player = Callable[[Job], Awaitable[None]]
"""Serves one job, or raises."""


async def play(jobs: list[Job], player: Player, result: Result, *, warm_s: float) -> None:
    """Open loop: jobs start at their times by the loop's clock."""
    loop = asyncio.get_running_loop()
    start, tasks = loop.time(), []
    for job in jobs:
        pause = start + job.at - loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(_one(job, player, result, counted=job.at >= warm_s)))
    await asyncio.gather(*tasks)


async def _one(job: Job, player: Player, result: Result, *, counted: bool) -> None:
    loop = asyncio.get_running_loop()
    began, error, took = loop.time(), "", None
    try:
        await player(job)
    except ApiKeyRouterError as problem:
        error = problem.code
    except Exception as problem:
        error = type(problem).__name__
    else:
        took = loop.time() - began - service_s()
    if counted:
        result.note(job, took, error)
