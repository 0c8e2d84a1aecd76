"""The task: pools that differ in size, in shape and in what they serve, and traffic in bursts.

Ten plans have 30,000 to 400,000 tokens and 30 to 300 requests a minute, drawn apart, so that some pools lack requests
where others lack tokens; each serves a few of the models, and each model has requests of its own size. A hundred pools
are ten organisations of each plan, from half to twice its size. Nothing waits here: who finds no room is gone.

Load 1 is the most that could be served of this mix for ever if every request were placed with foresight, which is less
than the sum of all limits. Sizes come from a grid, so that the linear programme can count requests alike together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

MODELS = ("small", "chat", "code", "long", "batch", "vision")
MEDIAN_INPUT = {"small": 120, "chat": 400, "code": 1200, "long": 2000, "batch": 600, "vision": 1000}
MOST_INPUT = 3_500
"""About a ninth of the smallest bucket: the programme may cut requests, which must not be what decides."""
SHARE = {"small": 5.0, "chat": 6.0, "code": 2.0, "long": 1.0, "batch": 2.0, "vision": 1.0}
SERVED_BY = 4
"""Plans that serve a model at least."""
OUTPUTS = (50, 100, 200, 400, 800)
GRID = 1.25
"""Input lengths are powers of it."""
CALM_S, BURST_S, CALM, BURST = 16.0, 4.0, 0.5, 3.0
PLANS = 10


@dataclass(frozen=True, slots=True)
class Pool:
    """An organisation's limits a minute, and the models its key serves. Pools of one `plan` serve the same."""

    id: str
    plan: int
    rpm: int
    tpm: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One request at `at` seconds."""

    at: float
    model: str
    input_tokens: int
    max_tokens: int

    @property
    def charge(self) -> int:
        """Tokens that a provider takes at admission."""
        return self.input_tokens + self.max_tokens


@dataclass(frozen=True, slots=True)
class Task:
    pools: tuple[Pool, ...]
    jobs: tuple[Job, ...]
    seconds: float

    @property
    def offered(self) -> tuple[int, int]:
        """(requests, tokens)."""
        return len(self.jobs), sum(job.charge for job in self.jobs)


def pools(count: int, rng: Random) -> tuple[Pool, ...]:
    """`count` pools of PLANS plans; every model is served by SERVED_BY plans, every plan serves some model."""
    each = count // PLANS
    models = [{rng.choice(MODELS)} for _ in range(PLANS)]
    for model in MODELS:
        for plan in rng.sample(range(PLANS), SERVED_BY):
            models[plan].add(model)
    found = []
    for plan in range(PLANS):
        rpm, tpm = 30 * 10 ** rng.random(), 30_000 * (400 / 30) ** rng.random()
        for i in range(each):
            size = 1.0 if each == 1 else 0.5 * 4.0 ** rng.random()
            found.append(Pool(f"plan{plan}-{i}", plan, int(rpm * size), int(tpm * size), tuple(sorted(models[plan]))))
    return tuple(found)


def task(*, count: int, load: float, seconds: float, seed: int) -> Task:
    """About `seconds` of traffic; its exact length is what makes the load exact."""
    from admitted.bound import steady  # it needs scipy

    rng = Random(f"admitted {count} {seed}")
    known = pools(count, rng)
    sample = [size(rng) for _ in range(4000)]
    rate = len(sample) * steady(known, Counter(sample))
    sizes = [size(rng) for _ in range(int(load * rate * seconds))]
    length = 1.0 / (load * steady(known, Counter(sizes)))
    times = arrivals(len(sizes), length, rng)
    return Task(known, tuple(Job(at, *what) for at, what in zip(times, sizes, strict=True)), length)


def size(rng: Random) -> tuple[str, int, int]:
    """(model, input tokens, bound of the output) of one request."""
    model = rng.choices(MODELS, [SHARE[name] for name in MODELS])[0]
    wanted = max(20.0, min(MOST_INPUT, MEDIAN_INPUT[model] * rng.lognormvariate(0.0, 0.8)))
    on_grid = 20.0
    while on_grid * GRID <= wanted:
        on_grid *= GRID
    return model, int(on_grid), rng.choice(OUTPUTS)


def arrivals(count: int, seconds: float, rng: Random) -> list[float]:
    """So many times within `seconds`: calm spells at half the mean rate, bursts at three times it."""
    found: list[float] = []
    now, calm_until, burst_until = 0.0, rng.expovariate(1 / CALM_S), 0.0
    burst_until = calm_until + rng.expovariate(1 / BURST_S)
    while len(found) < count:
        if now >= burst_until:
            calm_until = now + rng.expovariate(1 / CALM_S)
            burst_until = calm_until + rng.expovariate(1 / BURST_S)
        now += rng.expovariate(count / seconds * (BURST if now >= calm_until else CALM))
        found.append(now)
    return [at * seconds / now for at in found]
