"""The queue that knows everything: first come, first served, looking LOOK behind the head, every bucket in sight.

It is what a router could do if every provider told it every level at every moment; nobody can, so it is the yardstick.
It spends no time on anything, and its buckets are the simulator's by construction: continuous, charged at admission.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from arena.workload import Job

LOOK = 50


@dataclass(slots=True)
class Bucket:
    cap: float
    rate: float
    level: float
    at: float = 0.0

    def free(self, now: float) -> float:
        self.level = min(self.cap, self.level + (now - self.at) * self.rate)
        self.at = now
        return self.level


@dataclass(slots=True)
class Organisation:
    requests: Bucket
    tokens: Bucket

    def wait(self, charge: int, now: float) -> float:
        """Seconds until a request fits; infinite when it is larger than the bucket."""
        lacking = max(
            (1 - self.requests.free(now)) / self.requests.rate, (charge - self.tokens.free(now)) / self.tokens.rate
        )
        return max(0.0, lacking) if charge <= self.tokens.cap else float("inf")

    def load(self, charge: int) -> float:
        return (1 / self.requests.cap) * (1 - self.requests.level / self.requests.cap) + (charge / self.tokens.cap) * (
            1 - self.tokens.level / self.tokens.cap
        )

    def take(self, charge: int) -> None:
        self.requests.level -= 1
        self.tokens.level -= charge


def organisations(
    limits: list[tuple[int, int]], burst_s: float = 60.0, foreign: dict[int, float] | None = None
) -> list[Organisation]:
    """Full buckets of (rpm, tpm) each; `foreign` takes a share of an organisation's refill."""
    found = []
    for i, (rpm, tpm) in enumerate(limits):
        share = 1.0 - (foreign or {}).get(i, 0.0)
        size = burst_s / 60.0
        found.append(
            Organisation(
                Bucket(max(1, rpm * size), rpm / 60 * share, max(1, rpm * size)),
                Bucket(tpm * size, tpm / 60 * share, tpm * size),
            )
        )
    return found


def serve(
    jobs: list[Job], pools: list[Organisation], *, deadline_s: float, look: int = LOOK
) -> list[tuple[Job, float | None]]:
    """(job, seconds it waited, None when it was never served) for every job; `look` 0 never overtakes."""
    queue: list[Job] = []
    results: list[tuple[Job, float | None]] = []
    wakes: list[float] = []
    arrivals = iter([*jobs])
    coming = next(arrivals, None)
    while coming is not None or queue:
        times = [coming.at] if coming is not None else []
        times += wakes[:1]
        if not times:
            results += [(job, None) for job in queue]
            break
        now = min(times)
        while wakes and wakes[0] <= now:
            heappop(wakes)
        if coming is not None and coming.at <= now:
            queue.append(coming)
            coming = next(arrivals, None)
        soonest = _drain(queue, pools, results, now, (deadline_s, look))
        if soonest is not None:
            heappush(wakes, soonest)
    return results


def _drain(
    queue: list[Job],
    pools: list[Organisation],
    results: list[tuple[Job, float | None]],
    now: float,
    patience: tuple[float, int],
) -> float | None:
    """Serve what fits; when to look again, None when nobody waits. Who asks for more than was just refused waits."""
    deadline_s, look = patience
    left: list[Job] = []
    refused, soonest = 1 << 62, float("inf")
    for i, job in enumerate(queue):
        late = job.at + deadline_s + 1e-6
        if now > job.at + deadline_s:
            results.append((job, None))
        elif len(left) > look:
            left += queue[i:]
            break
        elif job.charge >= refused:
            left.append(job)
            soonest = min(soonest, late)
        else:
            waits = [pool.wait(job.charge, now) for pool in pools]
            fits = [pool for pool, wait in zip(pools, waits, strict=True) if wait == 0.0]
            if fits:
                min(fits, key=lambda pool: pool.load(job.charge)).take(job.charge)
                results.append((job, now - job.at))
            else:
                left.append(job)
                refused = job.charge
                soonest = min(soonest, late, now + max(min(waits), 1e-4))
    queue[:] = left
    return soonest if left else None
