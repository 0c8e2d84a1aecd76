"""The arena in virtual time: seconds instead of minutes, the reference beside ours."""

from __future__ import annotations

import sys
import time

from contest import DEADLINE_S, Profile, ours, stated_limits, world_spec
from reference import organisations, serve
from workload import generate

from apikeyrouter.simulator import run_virtual

PROFILES = {
    "0.9": Profile(name="load 0.9"),
    "1.1": Profile(name="load 1.1", load=1.1),
    "1.4": Profile(name="load 1.4", load=1.4),
    "smooth": Profile(name="quarter-minute buckets, 0.9", burst_s=15),
    "smooth11": Profile(name="quarter-minute buckets, 1.1", burst_s=15, load=1.1),
    "foreign": Profile(name="another client takes 30 %, 0.9", foreign=0.3),
    "foreign11": Profile(name="another client takes 30 %, 1.1", foreign=0.3, load=1.1),
    "unknown": Profile(name="limits unknown, 0.9", stated=False),
    "unknown11": Profile(name="limits unknown, 1.1", stated=False, load=1.1),
    "unknownsmooth": Profile(name="limits unknown, quarter", stated=False, burst_s=15),
}


def run(profile: Profile, seed: int, seconds: float = 240.0, warm: float = 60.0) -> None:
    told = list(stated_limits(world_spec(profile)).values())
    rate = sum(t for _, t in told) / 60
    jobs = generate(load=profile.load, tokens_per_s=rate, seconds=seconds, seed=seed)
    pools = organisations(told, profile.burst_s or 60.0, {1: profile.foreign} if profile.foreign else None)
    best = [(j, w) for j, w in serve(jobs, pools, deadline_s=DEADLINE_S) if j.at >= warm]
    waits = sorted(w for _, w in best if w is not None)
    good = sum(j.charge for j, w in best if w is not None)
    began = time.time()
    r = run_virtual(ours(profile, jobs, warm_s=warm))
    print(
        f"{profile.name:32} seed {seed} jobs {r.offered:5} served {r.served:5} failed {r.failed:4} 429/ok {r.per_success:.4f} "
        f"cold {r.cold} goodput {r.goodput / max(1, good):.3f} (served {r.served / max(1, len(waits)):.3f}) wait p95 {r.wait(0.95):.2f} "
        f"(ref {waits[int(0.95 * len(waits))]:.2f}) {r.errors} [{time.time() - began:.1f} s]",
        flush=True,
    )


if __name__ == "__main__":
    for name in sys.argv[2:] or PROFILES:
        for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
            run(PROFILES[name], seed)
