"""Acquire, settle, refuse and explain with 3 to 10,000 keys; each result is checked where it is made."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import grounds
import pytest

from apikeyrouter import ApiKeyRouter, QuotaExhaustedError
from apikeyrouter.core.roster import DRAW

SIZES = [3, 12, 100, 1_000, 10_000]
ROUNDS = {"rounds": 3_000, "warmup_rounds": 200}
made: dict[tuple[str, int], ApiKeyRouter] = {}


def router(kind: str, keys: int) -> ApiKeyRouter:
    """One router for each kind and size in a run: ten thousand keys take a second to register."""
    if (kind, keys) not in made:
        limits = grounds.FULL_AFTER_ONE if kind == "full" else grounds.NEVER_FULL
        made[kind, keys] = grounds.router(keys, limits)
    return made[kind, keys]


def saturated(keys: int) -> ApiKeyRouter:
    full = router("full", keys)
    while True:
        try:
            full.acquire(grounds.REQUEST)
        except QuotaExhaustedError:
            return full


@pytest.mark.benchmark(group="acquire and settle")
def bench_acquire_and_settle_reference(benchmark: Any) -> None:
    assert benchmark.pedantic(grounds.fixed_work, **ROUNDS) == grounds.WORK


@pytest.mark.benchmark(group="acquire and settle")
@pytest.mark.parametrize("keys", SIZES)
def bench_acquire_and_settle(benchmark: Any, keys: int) -> None:
    free = router("free", keys)
    before = sum(key.usage_count for key in free.list_keys())
    benchmark.pedantic(grounds.settle_one, (free,), **ROUNDS)
    assert sum(key.usage_count for key in free.list_keys()) - before == 3_200
    assert free.get_state_summary().open_leases == 0


@pytest.mark.benchmark(group="acquire and settle")
@pytest.mark.parametrize("keys", [100, 1_000])
def bench_acquire_and_settle_where_room_is_scarce(benchmark: Any, keys: int) -> None:
    """Half of every window is used, so that eight keys are drawn and not two."""
    scarce = router("scarce", keys)
    for pool in scarce.enrolment.router.registry.pools.values():
        for window in pool.windows:
            window.level = window.full / 2
    benchmark.pedantic(grounds.settle_one, (scarce,), **ROUNDS)
    lease = scarce.acquire(grounds.REQUEST)
    assert len(lease.decision.scanned) == DRAW
    scarce.release(lease)


@pytest.mark.benchmark(group="acquire and settle")
def bench_settle_alone(benchmark: Any) -> None:
    free = router("free", 100)

    def setup() -> tuple[tuple[object, ...], dict[str, object]]:
        return (free.acquire(grounds.REQUEST), grounds.USED), {}

    benchmark.pedantic(free.settle, setup=setup, rounds=3_000)
    assert free.get_state_summary().open_leases == 0


@pytest.mark.benchmark(group="refuse")
def bench_refuse_reference(benchmark: Any) -> None:
    assert benchmark.pedantic(grounds.fixed_work, **ROUNDS) == grounds.WORK


@pytest.mark.benchmark(group="refuse")
@pytest.mark.parametrize("keys", [3, 1_000, 10_000])
def bench_refuse(benchmark: Any, keys: int) -> None:
    """Every pool is full until midnight; the refusal says until when."""
    full = saturated(keys)

    def refuse() -> float | None:
        try:
            full.acquire(grounds.REQUEST)
        except QuotaExhaustedError as error:
            return error.retry_after
        raise AssertionError("there was room")

    wait = benchmark.pedantic(refuse, **ROUNDS)
    assert 0 < wait <= 86_400
    assert benchmark.stats.stats.median < (100e-6 if keys <= 1_000 else 200e-6) * slack()


@pytest.mark.benchmark(group="explain")
def bench_explain_reference(benchmark: Any) -> None:
    assert benchmark.pedantic(grounds.fixed_work, **ROUNDS) == grounds.WORK


@pytest.mark.benchmark(group="explain")
@pytest.mark.parametrize("keys", [3, 1_000])
def bench_explain(benchmark: Any, keys: int) -> None:
    free = router("free", keys)
    names = cycle([free.acquire(grounds.REQUEST).decision.id for _ in range(50)])
    text = benchmark.pedantic(lambda: str(free.explain(next(names))), rounds=1_000, warmup_rounds=50)
    assert " chosen for p/m for at most $0.000375" in text
    assert f"of {keys:,}" in text


@pytest.mark.benchmark(group="preview")
def bench_preview_reference(benchmark: Any) -> None:
    assert benchmark.pedantic(grounds.fixed_work, **ROUNDS) == grounds.WORK


@pytest.mark.benchmark(group="preview")
@pytest.mark.parametrize("keys", [3, 1_000])
def bench_preview(benchmark: Any, keys: int) -> None:
    free = router("free", keys)
    decision = benchmark.pedantic(free.preview, (grounds.REQUEST,), **ROUNDS)
    assert decision.key is not None
    assert free.get_state_summary().open_leases == len(free._router.ledger.open_leases)


def slack() -> float:
    """How much slower than usual this machine is just now, by the fixed work; never less than 1."""
    from time import perf_counter

    times = []
    for _ in range(200):
        started = perf_counter()
        grounds.fixed_work()
        times.append(perf_counter() - started)
    return max(1.0, sorted(times)[100] / 12e-6)
