"""A run on the wall clock over HTTP: every router in a process of its own, every world served by this one.

All start together, so that whatever else the machine does disturbs all alike.
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
    profile: Profile, seeds: Sequence[int], *, routers: Sequence[str], seconds: float = 240.0, warm_s: float = 60.0
) -> list[Result]:
    """Every router with every seed, all at the same time."""
    async with AsyncExitStack() as stack:
        seats = [
            await _Seat.taken(stack, profile, seed, router, (seconds, warm_s)) for seed in seeds for router in routers
        ]
        await asyncio.gather(*(seat.ready() for seat in seats))
        for seat in seats:
            seat.begin()
        return await asyncio.gather(*(seat.result(seconds, warm_s) for seat in seats))


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
