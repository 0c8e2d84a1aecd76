"""A minute of the arena in virtual time: no request is refused upstream, and what can be served is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from arena.bound import bound
from arena.profiles import DEADLINE_S, PROFILES, Profile, jobs_of, known_pools
from arena.reference import serve
from arena.result import Row
from arena.virtual import run, yardsticks
from arena.workload import Job

SPAN = {"seconds": 75.0, "warm_s": 15.0}
TIGHT = replace(PROFILES["smooth-1.1"], load=1.8)
"""Quarter-minute buckets and four fifths more load than they refill: requests must wait, and some cannot be served."""


def row(profile: Profile, router: str = "apikeyrouter", seed: int = 1) -> Row:
    return run(profile, seed, routers=[router], **SPAN)[0].row()


def reference(profile: Profile, seed: int = 1) -> Row:
    return yardsticks(profile, seed, **SPAN, with_bound=False)[0].row()


def test_below_the_limits_nobody_is_refused_or_waits() -> None:
    ours = row(PROFILES["0.9"])
    assert ours.offered > 400
    assert (ours.throttled, ours.failed, ours.warm, ours.cold) == (0, 0, 0, 0)
    assert ours.p95_s <= 0.1


def test_above_the_limits_we_serve_what_a_queue_that_knows_everything_serves() -> None:
    ours, theirs = row(TIGHT), reference(TIGHT)
    assert theirs.failed > 0.01, "the task must be one that cannot be served whole"
    assert ours.throttled <= 0.01
    assert ours.goodput >= 0.95 * theirs.goodput
    assert ours.p95_s <= theirs.p95_s + 1.0


@pytest.mark.parametrize("name", ["foreign", "unknown", "unknown-smooth"])
def test_what_nobody_told_is_learned(name: str) -> None:
    ours = row(PROFILES[name])
    assert ours.throttled <= 0.01
    assert ours.cold <= 2
    assert ours.goodput >= 0.95 * reference(PROFILES[name]).goodput


def test_a_router_that_knows_no_limits_is_refused_on_the_same_task() -> None:
    """Else the figures above would say nothing."""
    theirs = row(PROFILES["smooth-1.1"], "round robin")
    assert theirs.throttled > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_nobody_beats_the_linear_bound(seed: int) -> None:
    jobs = jobs_of(TIGHT, seed, **SPAN)
    most = bound(jobs, known_pools(TIGHT), deadline_s=DEADLINE_S, warm_s=SPAN["warm_s"])
    for look in (0, 50):
        served = serve(jobs, known_pools(TIGHT), deadline_s=DEADLINE_S, look=look)
        assert share(served, SPAN["warm_s"]) <= most + 1e-6
    assert most < 1.0


def share(served: list[tuple[Job, float | None]], warm_s: float) -> float:
    later = [(job.charge, wait) for job, wait in served if job.at >= warm_s]
    return sum(charge for charge, wait in later if wait is not None) / sum(charge for charge, _ in later)


def test_the_reference_behaves_as_the_published_row() -> None:
    """Nobody waits at 0.9; at 1.4 goodput is about 0.916 and the p95 wait about 15.5 s, and 0.97 in strict order."""
    fair = [yardsticks(PROFILES["0.9"], seed, with_bound=False)[0].row() for seed in range(4)]
    assert max(each.p95_s for each in fair) == 0
    tight = [yardsticks(PROFILES["1.4"], seed, with_bound=False) for seed in range(4)]
    overtaking = [each[0].row() for each in tight]
    in_order = [each[1].row() for each in tight]
    assert sum(each.goodput for each in overtaking) / 4 == pytest.approx(0.916, abs=0.02)
    assert sum(each.p95_s for each in overtaking) / 4 == pytest.approx(15.5, abs=3)
    assert sum(each.goodput for each in in_order) / 4 == pytest.approx(0.97, abs=0.02)


def test_the_workload_offers_exactly_its_load() -> None:
    for name, load in (("0.9", 0.9), ("1.4", 1.4)):
        jobs = jobs_of(PROFILES[name], 3, seconds=240, warm_s=60)
        granted = sum(pool.tokens.rate for pool in known_pools(PROFILES[name]))
        for begin, end in ((0, 60), (60, 240)):
            offered = sum(job.charge for job in jobs if begin < job.at <= end)
            assert offered / (granted * (end - begin)) == pytest.approx(load, rel=0.02)
