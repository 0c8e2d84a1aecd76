"""The arena in virtual time: our router is held to its figures in every profile, as `make arena` holds it on the wall.

Where a minute shows what a profile is about, a minute is played; the torture run plays all of them whole, four seeds.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from arena.bound import bound
from arena.profiles import DEADLINE_S, PROFILES, TRACED, Profile, jobs_of, known_pools
from arena.reference import serve
from arena.required import REQUIRED, missed
from arena.result import Row, mean
from arena.virtual import run, yardsticks
from arena.workload import Job

MINUTE = {"seconds": 75.0, "warm_s": 15.0}
WHOLE = {"seconds": 240.0, "warm_s": 60.0}
TIGHT = replace(PROFILES["smooth-1.1"], load=1.8)
"""Quarter-minute buckets and four fifths more load than they refill: requests must wait, and some cannot be served."""


def row(profile: Profile, router: str = "apikeyrouter", seed: int = 1, span: dict[str, float] = MINUTE) -> Row:
    return run(profile, seed, routers=[router], **span)[0].row()


def reference(profile: Profile, seed: int = 1, span: dict[str, float] = MINUTE) -> Row:
    return yardsticks(profile, seed, **span, with_bound=False)[0].row()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", [name for name in PROFILES if name != "1.4"])
def test_a_minute_reaches_every_figure(name: str, seed: int) -> None:
    ours = row(PROFILES[name], seed=seed)
    assert ours.offered > 400
    assert missed(name, ours, reference(PROFILES[name], seed)) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_overload_is_served_as_by_a_queue_that_knows_everything(seed: int) -> None:
    """The buckets of a minute last longer than a minute, so this one is played whole."""
    ours, theirs = row(PROFILES["1.4"], seed=seed, span=WHOLE), reference(PROFILES["1.4"], seed, WHOLE)
    assert theirs.failed > 0.02, "the task must be one that cannot be served whole"
    assert missed("1.4", ours, theirs) == []
    assert ours.p95_s <= theirs.p95_s
    assert ours.served >= 0.97 * theirs.served


def test_the_shortest_buckets_and_the_most_load() -> None:
    ours, theirs = row(TIGHT), reference(TIGHT)
    assert theirs.failed > 0.05
    assert missed("smooth-1.1", ours, theirs) == []


@pytest.fixture
def recorded(tmp_path: Path) -> Profile:
    """Traffic of the Azure traces' form, with bursts beyond any bucket: nine tenths of it in a tenth of the time."""
    rng, path, at, start = Random(5), tmp_path / "trace.csv", 0.0, datetime(2023, 11, 16, 18, 0, tzinfo=UTC)
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("TIMESTAMP", "ContextTokens", "GeneratedTokens"))
        while at < 300:
            at += rng.expovariate(40.0 if at % 40 < 4 else 0.5)
            told = (start + timedelta(seconds=at)).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
            lines.writerow((f"{told}0", min(7400, int(rng.lognormvariate(7.3, 0.8))), int(rng.expovariate(1 / 30)) + 5))
    return replace(TRACED, trace=str(path), burst_s=15.0)


def test_recorded_bursts_beyond_any_bucket(recorded: Profile) -> None:
    ours, theirs = row(recorded, seed=0), reference(recorded, seed=0)
    assert theirs.p95_s > 3, "the bursts must make even the queue that knows everything wait"
    assert missed("trace", ours, theirs) == []


@pytest.mark.torture
@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("name", list(PROFILES))
def test_the_whole_of_every_profile(name: str, seeds: tuple[int, ...]) -> None:
    ours = mean([row(PROFILES[name], seed=seed, span=WHOLE) for seed in seeds])
    assert missed(name, ours, mean([reference(PROFILES[name], seed, WHOLE) for seed in seeds])) == []


def test_a_router_that_knows_no_limits_misses_the_same_figures() -> None:
    """Else the figures above would say nothing."""
    theirs = row(PROFILES["smooth-1.1"], "round robin")
    assert theirs.throttled > 0.1
    assert any("429 per success" in each for each in missed("smooth-1.1", theirs, reference(PROFILES["smooth-1.1"])))


def test_every_figure_can_be_missed() -> None:
    assert set(REQUIRED) == {*PROFILES, TRACED.name}
    bad = replace(reference(PROFILES["0.9"]), throttled=0.5, failed=0.1, goodput=0.5, p95_s=60.0, cold=3, router="none")
    said = missed("0.9", bad, reference(PROFILES["0.9"]))
    assert [each.split()[1] for each in said] == ["429", "429s", "%", "0.5000,", "wait"]
    assert any("longer than" in each for each in missed("1.4", bad, reference(PROFILES["0.9"])))


@pytest.mark.parametrize("seed", range(3))
def test_nobody_beats_the_linear_bound(seed: int) -> None:
    jobs = jobs_of(TIGHT, seed, **MINUTE)
    most = bound(jobs, known_pools(TIGHT), deadline_s=DEADLINE_S, warm_s=MINUTE["warm_s"])
    for look in (0, 50):
        served = serve(jobs, known_pools(TIGHT), deadline_s=DEADLINE_S, look=look)
        assert share(served, MINUTE["warm_s"]) <= most + 1e-6
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
