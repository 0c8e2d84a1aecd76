"""One router of a wall-clock run, in a process of its own: `python seat.py` reads its task as one line of JSON.

It says "ready" once it is built, waits for a line, plays, and says its result. The world is the parent's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

LAG_EVERY_S = 0.1
HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [str(Path(HERE).parent), *(p for p in sys.path if p != HERE)]


class Lag:
    """How late the loop wakes up who sleeps: whether a router, or the machine, could keep up."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.seen.append(loop.time() - due)

    def p99(self) -> float:
        ranked = sorted(self.seen)
        return ranked[int(0.99 * len(ranked))] if ranked else 0.0


async def sit(task: dict[str, object]) -> dict[str, object]:
    from arena.contestants import opened
    from arena.play import play
    from arena.profiles import Access, Profile, jobs_of
    from arena.result import Result

    profile = Profile(**task["profile"])  # type: ignore[arg-type]  # written by wall.py from the same class
    access = Access(**task["access"])  # type: ignore[arg-type]
    seconds, warm_s = float(str(task["seconds"])), float(str(task["warm_s"]))
    jobs = jobs_of(profile, int(str(task["seed"])), seconds=seconds, warm_s=warm_s)
    result = Result(router=str(task["router"]))
    async with opened(result.router, access) as player:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        lag = Lag()
        watch = asyncio.create_task(lag.watch())
        await play(jobs, player, result, warm_s=warm_s)
        watch.cancel()
    result.lag_s = lag.p99()
    return {
        "offered": result.offered,
        "offered_tokens": result.offered_tokens,
        "tokens": result.tokens,
        "waits": [round(wait, 4) for wait in result.waits],
        "errors": result.errors,
        "lag_s": result.lag_s,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(sit(json.loads(sys.stdin.readline())))), flush=True)
