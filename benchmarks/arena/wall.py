"""A run on the wall clock over HTTP: every router in a process of its own, every world served by this one.

Those who play at once start together, so that whatever else the machine does disturbs them alike. More at once than
the machine keeps up with would measure the machine: see the loop lag in the table.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

from apikeyrouter.simulator import World, serve
from arena.contestants import NATIVE
from arena.profiles import DEADLINE_S, Access, Profile, as_json, world_spec
from arena.result import Result

ROOT = Path(__file__).resolve().parents[2]
SEAT = Path(__file__).with_name("seat.py")
LITELLM = ROOT / ".venv-litellm" / "bin" / "python"
BUILD_S = 120.0
MARGIN_S = 60.0


def has_litellm() -> bool:
    """Whether LiteLLM's environment is there (`make doors`)."""
    return LITELLM.exists()


async def run(
    profile: Profile,
    seeds: Sequence[int],
    *,
    routers: Sequence[str],
    seconds: float = 240.0,
    warm_s: float = 60.0,
    at_once: int = 8,
) -> list[Result]:
    """Every router with every seed, `at_once` of them at the same time."""
    wanted = [(seed, router) for seed in seeds for router in routers]
    found: list[Result] = []
    for first in range(0, len(wanted), at_once):
        found += await _batch(profile, wanted[first : first + at_once], (seconds, warm_s))
    return found


async def _batch(profile: Profile, wanted: list[tuple[int, str]], span: tuple[float, float]) -> list[Result]:
    async with AsyncExitStack() as stack:
        seats = [await _Seat.taken(stack, profile, seed, router, span) for seed, router in wanted]
        await asyncio.gather(*(seat.ready() for seat in seats))
        for seat in seats:
            seat.begin()
        return await asyncio.gather(*(seat.result(*span) for seat in seats))


class _Seat:
    """A router's process and its world."""

    def __init__(self, router: str, seed: int, world: World, process: Process) -> None:
        self.router = router
        self.seed = seed
        self.world = world
        self.process = process
        self.born = 0.0

    @classmethod
    async def taken(
        cls, stack: AsyncExitStack, profile: Profile, seed: int, router: str, span: tuple[float, float]
    ) -> _Seat:
        world = World(world_spec(profile))
        url = await stack.enter_async_context(serve(world))
        python = sys.executable if router in NATIVE else str(LITELLM)
        process = await asyncio.create_subprocess_exec(python, str(SEAT), stdin=PIPE, stdout=PIPE, limit=1 << 24)
        stack.push_async_callback(_end, process)
        task = {
            "profile": as_json(profile),
            "access": asdict(Access.to(world, url, profile)),
            "router": router,
            "seed": seed,
            "seconds": span[0],
            "warm_s": span[1],
        }
        seat = cls(router, seed, world, process)
        seat._tell(json.dumps(task))
        return seat

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def _heard(self) -> str:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        if not line:
            raise ChildProcessError(f"the process of {self.router} ended without a word; its errors are above")
        return line

    async def ready(self) -> None:
        async with asyncio.timeout(BUILD_S):
            while await self._heard() != "ready":
                pass

    def begin(self) -> None:
        self.world.reset()
        self.born = self.world.now_ns() / 1e9
        self._tell("begin")

    async def result(self, seconds: float, warm_s: float) -> Result:
        async with asyncio.timeout(seconds + DEADLINE_S + MARGIN_S):
            line = await self._heard()
            while not line.startswith("{"):
                line = await self._heard()
        found = Result(router=self.router, seed=self.seed, **json.loads(line))
        found.count_throttled(self.world, self.born, warm_s)
        return found


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()
