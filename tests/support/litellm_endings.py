"""How LiteLLM calls end, and what must hold after each: leases ended once, rightly, and counted upstream.

A scenario is a coroutine over a stage, kept by `Endings.ends` with the outcomes its leases must have, in the order in
which they were taken, and the Router's settings.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import httpx
from litellm_stage import Opener, Stage, deployment, until

from apikeyrouter.simulator import Fault, World

Scenario = Callable[[Stage], Awaitable[None]]
EXACT: dict[str, Any] = {"limits": [{"of": "requests", "amount": 500, "per": "minute", "window": "rolling"}]}
"""Nothing refills while a scenario plays, so that what is charged can be counted."""

UNANSWERED = httpx.Timeout(30.0, read=0.3)
"""Seconds without an answer after the whole call was sent, however long that took."""


class Endings:
    """Scenarios by name. `beyond` is how many requests more (or fewer) than leases kept reach the provider."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Scenario, list[str], dict[str, Any]]] = {}
        self.beyond: dict[str, int] = {}

    def ends(self, *outcomes: str, beyond: int = 0, **router: Any) -> Callable[[Scenario], Scenario]:
        def keep(scenario: Scenario) -> Scenario:
            self.known[scenario.__name__] = (scenario, list(outcomes), router)
            self.beyond[scenario.__name__] = beyond
            return scenario

        return keep

    async def play(self, opened: Opener, name: str) -> None:
        """Play one and demand what must hold: outcomes, nothing open, charged what was kept, seen what was sent."""
        scenario, outcomes, router = self.known[name]
        stage = await opened(models=models, **router)
        await scenario(stage)
        gc.collect()
        await stage.settled()
        assert stage.outcomes == outcomes
        kept = sum(outcome != "released" for outcome in outcomes)
        assert sum(stage.used(pool.id) for pool in stage.engine.get_state_summary().pools) == kept
        with suppress(TimeoutError):
            await until(lambda: upstream(stage) == kept + self.beyond[name])
        assert upstream(stage) == kept + self.beyond[name]


def upstream(stage: Stage) -> int:
    """Requests that the provider has counted."""
    return sum(one.counters.requests for one in stage.world.organisations.values())


def hang(stage: Stage, **where: Any) -> None:
    stage.world.faults.add(Fault(kind="hang", seconds=30.0, **where))


async def failing(call: Awaitable[Any], *kinds: type[BaseException]) -> None:
    with suppress(*(kinds or (Exception,))):
        await call
        raise AssertionError("the call should have failed")


async def overdue(stage: Stage, call: Coroutine[Any, Any, Any]) -> None:
    """Its caller's time is over as soon as the provider has the call. Raises TimeoutError."""
    task = asyncio.ensure_future(call)
    await stage.arrived()
    await asyncio.wait_for(task, 0.01)


def models(world: World, url: str) -> list[Any]:
    return [
        deployment(world, url, "a1", **EXACT),
        deployment(world, url, "b1", **EXACT),
        deployment(world, url, "b1", id="spare", group="spare", **EXACT),
        deployment(world, url, "b1", id="slow", group="slow", model="openai/gpt-4o", **EXACT),
        deployment(world, url, "b1", id="claude", group="claude", model="anthropic/claude-haiku-4-5", **EXACT),
        deployment(world, url, "b1", id="narrow", group="narrow", params={"max_parallel_requests": 1}, **EXACT),
        deployment(world, url, "b1", id="strict", group="strict", params={"rpm": 1}, **EXACT),
    ]
