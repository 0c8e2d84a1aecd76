"""Admitted work beside a planner's that knows all arrivals (benchmarks/admitted), on short tasks."""

from __future__ import annotations

import pytest
from admitted.bound import bound
from admitted.play import at_random, engine, naive
from admitted.report import START, shares
from admitted.world import PLANS, Task, task


def of_bound(each: Task, *, random: bool = False) -> float:
    """The share of the most work that could be admitted."""
    got = naive(each, at_random, start=START) if random else engine(each, start=START)
    return shares(got, each)["work"] / bound(each, "work", start=START)


@pytest.mark.parametrize(("count", "load", "seconds", "least"), [(10, 0.9, 90, 0.99), (10, 1.1, 90, 0.99)])
def test_a_few_pools_admit_nearly_what_a_planner_admits(count: int, load: float, seconds: float, least: float) -> None:
    each = task(count=count, load=load, seconds=seconds, seed=2)
    assert of_bound(each) >= least
    assert of_bound(each, random=True) < least - 0.03, "the task must not be one that any rule solves"


def test_drawing_a_few_of_many_pools_admits_nearly_as_much() -> None:
    """Twice the load, so that most pools are full within the few seconds of a test."""
    each = task(count=100, load=2.0, seconds=25, seed=0)
    assert len(each.pools) == 100
    assert of_bound(each) >= 0.86
    assert of_bound(each, random=True) < 0.84


@pytest.mark.parametrize("seed", range(2))
def test_nobody_admits_more_than_the_bound(seed: int) -> None:
    each = task(count=10, load=3.0, seconds=30, seed=seed)
    for unit in ("requests", "tokens", "work"):
        most = bound(each, unit, start=START)
        assert 0.5 < most < 1.0
        for got in (engine(each, start=START), naive(each, at_random, start=START)):
            assert shares(got, each)[unit] <= most + 1e-6


def test_the_world_is_heterogeneous() -> None:
    known = task(count=10, load=0.9, seconds=5, seed=1).pools
    shapes = sorted(pool.tpm / pool.rpm for pool in known)
    assert shapes[-1] > 10 * shapes[0]
    assert len({pool.models for pool in known}) > PLANS // 2
