"""The engine, and rules people use instead of it, on a task: admit a request now or lose it.

The engine is the real one: `acquire`, one key and one pool for each organisation, a clock that jumps from event to
event; answers come after a while and are settled. The other rules see the same buckets exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random

from admitted.world import Pool, Task
from apikeyrouter import ApiKeyRouter, Limit, QuotaExhaustedError, Request, Usage
from apikeyrouter.core.price import FREE, PriceBook

START_S = 1_767_225_600.0
FIRST_S, PER_TOKEN_S = 0.5, 0.01
"""How long an answer takes."""

Score = tuple[int, int]
"""Admitted requests and tokens."""


class Now:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.time = START_S

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


def engine(task: Task, *, start: float, objective: object = None) -> Score:
    """What this library admits with every pool's buckets at `start` of a minute."""
    clock = Now()
    router = _router(task.pools, clock, objective)
    for pool in router._router.registry.pools.values():
        for window in pool.windows:
            window.debit((1.0 - start) * window.cap, clock.time)
    ends: list[tuple[float, int, Callable[[], object]]] = []
    requests = tokens = 0
    for number, job in enumerate(task.jobs):
        while ends and ends[0][0] <= START_S + job.at:
            clock.time, _, settle = heappop(ends)
            settle()
        clock.time = START_S + job.at
        try:
            lease = router.acquire(
                Request(model=job.model, input_tokens=job.input_tokens, max_output_tokens=job.max_tokens)
            )
        except QuotaExhaustedError:
            continue
        requests, tokens = requests + 1, tokens + job.charge
        used = Usage(input_tokens=job.input_tokens, output_tokens=job.max_tokens // 2)
        ends_at = clock.time + FIRST_S + PER_TOKEN_S * used.output_tokens
        heappush(ends, (ends_at, number, lambda lease=lease, used=used: router.settle(lease, used)))
    return requests, tokens


def _router(pools: Sequence[Pool], clock: Now, objective: object) -> ApiKeyRouter:
    prices = PriceBook()
    prices.override(None, "*", FREE)
    router = ApiKeyRouter(prices=prices, log=False, clock=clock, rng=Random(3), objective=objective)
    router.enrolment.add_provider("openai", "openai")
    for pool in pools:
        router.enrolment.add_key(
            f"sk-admitted-{pool.id}",
            "openai",
            {"id": pool.id, "limits": [Limit.rpm(pool.rpm), Limit.tpm(pool.tpm)], "models": list(pool.models)},
        )
    return router


# -- other rules -----------------------------------------------------------------------------------------------------


class Buckets:
    """A pool's two buckets."""

    def __init__(self, pool: Pool, start: float) -> None:
        self.caps = (float(pool.rpm), float(pool.tpm))
        self.levels = [start * cap for cap in self.caps]
        self.at = 0.0

    def fits(self, charge: int, now: float) -> bool:
        passed, self.at = now - self.at, now
        self.levels = [min(c, x + passed * c / 60.0) for x, c in zip(self.levels, self.caps, strict=True)]
        return self.levels[0] >= 1.0 and self.levels[1] >= charge

    def take(self, charge: int) -> None:
        self.levels[0] -= 1.0
        self.levels[1] -= charge

    @property
    def room(self) -> float:
        """The fuller of the two, as a share."""
        return min(level / cap for level, cap in zip(self.levels, self.caps, strict=True))


Rule = Callable[[list[Buckets], Random], Buckets]


def at_random(fitting: list[Buckets], rng: Random) -> Buckets:
    return rng.choice(fitting)


def most_room(fitting: list[Buckets], rng: Random) -> Buckets:
    return max(fitting, key=lambda buckets: (buckets.room, rng.random()))


def naive(task: Task, rule: Rule, *, start: float) -> Score:
    """What a rule admits that chooses among the pools that have room."""
    buckets = [(set(pool.models), Buckets(pool, start)) for pool in task.pools]
    rng, requests, tokens = Random(5), 0, 0
    for job in task.jobs:
        fitting = [b for models, b in buckets if job.model in models and b.fits(job.charge, job.at)]
        if fitting:
            rule(fitting, rng).take(job.charge)
            requests, tokens = requests + 1, tokens + job.charge
    return requests, tokens
