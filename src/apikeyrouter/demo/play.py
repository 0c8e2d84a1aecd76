"""Plays a stage: the simulator in a thread of its own, the router from a file, every request over HTTP."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from apikeyrouter.core.model import dollars
from apikeyrouter.demo.report import BudgetRow, KeyRow, PoolRow, Report
from apikeyrouter.demo.stage import Plan, Stage
from apikeyrouter.demo.tally import Tally
from apikeyrouter.demo.workload import Task
from apikeyrouter.dispatch import RoutingMetadata
from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.simulator import serve
from apikeyrouter.summary import PoolStatus, StateSummary

LOOK_S = 0.25
"""How often the watcher is told."""
WORTH_A_WAIT_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The run at one moment: requests come so far, served and under way, and the state of the router."""

    elapsed_s: float
    seconds: float
    requests: int
    come: int
    served: int
    failed: int
    state: StateSummary
    tally: Tally

    @property
    def under_way(self) -> int:
        return self.come - self.served - self.failed


Watch = Callable[[Snapshot], object]


@dataclass(slots=True)
class _Run:
    """What is known of the requests of a run."""

    come: int = 0
    served: int = 0
    errors: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    replies: list[RoutingMetadata] = field(default_factory=list)


def play(plan: Plan, watch: Watch) -> Report:
    """Run it and report; `watch` is told four times a second. Bounded by the plan's time and the requests' timeout.

    Raises MissingDependencyError where the simulator's server is not installed.
    """
    return asyncio.run(_play(Stage(plan), watch))


async def _play(stage: Stage, watch: Watch) -> Report:
    with tempfile.TemporaryDirectory(prefix="apikeyrouter-demo-") as folder:
        async with serve(stage.world, thread=True) as url:
            path = Path(folder) / "apikeyrouter.yaml"
            path.write_text(stage.configuration(url), encoding="utf-8")
            async with ApiKeyRouter.from_config(path, environ=stage.secrets, log=False) as router:
                return await _perform(stage, router, watch)


async def _perform(stage: Stage, router: ApiKeyRouter, watch: Watch) -> Report:
    tally = Tally(router, router.enrolment.router.now)
    run = _Run()
    started = time.monotonic()
    watching = asyncio.create_task(_watch(stage, router, run, tally, started, watch))
    try:
        async with asyncio.TaskGroup() as group:
            for task in stage.tasks:
                await asyncio.sleep(max(0.0, started + task.at - time.monotonic()))
                run.come += 1
                group.create_task(_ask(router, task, run))
    finally:
        watching.cancel()
    watch(_snapshot(stage, router, run, tally, started))
    return _report(stage, router, run, tally, time.monotonic() - started)


async def _ask(router: ApiKeyRouter, task: Task, run: _Run) -> None:
    """Send one request; what goes wrong is counted, not raised."""
    began = time.monotonic()
    try:
        metadata = await _send(router, task)
    except ApiKeyRouterError as error:
        run.errors.append(f"{type(error).__name__}: {error.message}")
        return
    run.latencies.append(time.monotonic() - began)
    run.served += 1
    if metadata is not None:
        run.replies.append(metadata)


async def _send(router: ApiKeyRouter, task: Task) -> RoutingMetadata | None:
    if task.kind == "stream":
        stream = router.stream(task.body)
        async for _ in stream:
            pass
        return stream.metadata
    if task.kind == "geocode":
        return (await router.route(task.body, provider="geo", operation="geocode")).metadata
    return (await router.route(task.body)).metadata


async def _watch(stage: Stage, router: ApiKeyRouter, run: _Run, tally: Tally, started: float, watch: Watch) -> None:
    while True:
        watch(_snapshot(stage, router, run, tally, started))
        await asyncio.sleep(LOOK_S)


def _snapshot(stage: Stage, router: ApiKeyRouter, run: _Run, tally: Tally, started: float) -> Snapshot:
    state = router.get_state_summary()
    tally.look({pool.id: _share_left(pool) for pool in state.pools})
    return Snapshot(
        elapsed_s=time.monotonic() - started,
        seconds=stage.plan.seconds,
        requests=stage.plan.requests,
        come=run.come,
        served=run.served,
        failed=len(run.errors),
        state=state,
        tally=tally,
    )


def _share_left(pool: PoolStatus) -> float:
    return min((max(0.0, w.remaining) / w.limit for w in pool.windows if w.limit), default=1.0)


def _report(stage: Stage, router: ApiKeyRouter, run: _Run, tally: Tally, seconds: float) -> Report:
    state = router.get_state_summary()
    seen = stage.world.record.all()
    waits = [reply.waited_s for reply in run.replies]
    latencies = sorted(run.latencies) or [0.0]
    return Report(
        requests=stage.plan.requests,
        served=run.served,
        streamed=sum(task.kind == "stream" for task in stage.tasks),
        geocoded=sum(task.kind == "geocode" for task in stage.tasks),
        errors=tuple(run.errors),
        seconds=seconds,
        load=stage.load,
        seen=len(seen),
        throttled=sum(each.status == 429 for each in seen),
        failovers=sum(reply.attempts > 1 for reply in run.replies),
        waited=sum(wait > WORTH_A_WAIT_S for wait in waits),
        longest_wait_s=max(waits, default=0.0),
        latency_p50_s=latencies[len(latencies) // 2],
        latency_p95_s=latencies[min(len(latencies) - 1, len(latencies) * 95 // 100)],
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        cost=dollars(sum(tally.cost.values())),
        keys=_keys(state, tally),
        pools=_pools(state, tally),
        budgets=tuple(
            BudgetRow(id=b.id, scope=b.scope, limit=b.limit, spent=b.spent, remaining=b.remaining)
            for b in state.budgets
        ),
        events=tuple(tally.notes),
        decisions=_told(router, run),
    )


def _keys(state: StateSummary, tally: Tally) -> tuple[KeyRow, ...]:
    return tuple(
        KeyRow(
            id=key.id,
            provider=key.provider,
            pool=key.pools[-1],
            requests=tally.requests[key.id],
            tokens=tally.tokens[key.id],
            throttled=tally.throttled[key.id],
            failed=tally.failed[key.id],
            cost=dollars(tally.cost[key.id]),
            state=str(key.state),
        )
        for key in state.keys
    )


def _pools(state: StateSummary, tally: Tally) -> tuple[PoolRow, ...]:
    rows = []
    for pool in state.pools:
        tightest = min(pool.windows, key=lambda w: w.remaining / w.limit if w.limit else 1.0, default=None)
        rows.append(
            PoolRow(
                id=pool.id,
                keys=tuple(key.id for key in state.keys if pool.id in key.pools),
                window=tightest.name if tightest else "",
                limit=tightest.limit if tightest else 0.0,
                remaining=max(0.0, tightest.remaining) if tightest else 0.0,
                lowest=tally.lowest.get(pool.id, 1.0),
                state=str(pool.state),
            )
        )
    return tuple(rows)


def _told(router: ApiKeyRouter, run: _Run) -> tuple[str, ...]:
    """Two decisions worth reading: the one with the most different reasons against other keys, and the longest wait."""
    known = [(reply, router.explain(reply.decision_id)) for reply in run.replies]
    if not known:
        return ()
    hardest = max(known, key=lambda pair: len({r.code for r in pair[1].rejected}) + pair[0].attempts)
    others = [pair for pair in known if pair[1] is not hardest[1]]
    longest = max(others, key=lambda pair: pair[0].waited_s, default=hardest)
    return tuple(dict.fromkeys((str(hardest[1]), str(longest[1]))))
