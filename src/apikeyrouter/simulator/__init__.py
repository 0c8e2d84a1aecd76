"""Providers that really enforce their limits, over HTTP on loopback.

    from apikeyrouter.simulator import Fault, Organisation, World, excess, limits, serve

    world = World([Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=500, tpm=200_000))])
    async with serve(world) as url:                                  # or `with serve(world) as url:` in a thread
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=world.secret("a1"))
        world.faults.fail_next(3, key="a2", error="overloaded")      # in the dialect's own words
        world.faults.add(Fault(kind="drop", rate=0.01, after=3))     # breaks one stream in a hundred
        world.revoke("a2")
        ...
        world.key("a1").counters                                     # requests, admitted, throttled, charged, in flight
        world.record.all(outcome="throttled")                        # what was seen, and when
        excess(world.record.charges("tokens"), limit=200_000, per_ns=60 * 10**9, capacity=200_000)   # never above 0

Four dialects: `openai`, `anthropic`, `gemini`, and `plain` (an ordinary HTTP API with keys and quotas). In process,
without a socket, mount `SimulatorApp(world)` in an ASGI transport; under `run_virtual` an hour of load takes
seconds. Its quota arithmetic is its own and exact: it must be able to judge a router, so it shares nothing with one.
Documentation: docs/reference/simulator.md.
"""

from __future__ import annotations

from apikeyrouter.simulator.app import SimulatorApp
from apikeyrouter.simulator.clock import Clock, LoopClock, VirtualClock, run_virtual
from apikeyrouter.simulator.config import load
from apikeyrouter.simulator.faults import Fault
from apikeyrouter.simulator.presets import arena, demo, providers
from apikeyrouter.simulator.record import Seen, excess
from apikeyrouter.simulator.server import run, serve
from apikeyrouter.simulator.spec import (
    Foreign,
    Key,
    Latency,
    LimitGroup,
    LimitSpec,
    Model,
    Organisation,
    OutputLength,
    WorldSpec,
    limits,
)
from apikeyrouter.simulator.world import World

__all__ = [
    "Clock",
    "Fault",
    "Foreign",
    "Key",
    "Latency",
    "LimitGroup",
    "LimitSpec",
    "LoopClock",
    "Model",
    "Organisation",
    "OutputLength",
    "Seen",
    "SimulatorApp",
    "VirtualClock",
    "World",
    "WorldSpec",
    "arena",
    "demo",
    "excess",
    "limits",
    "load",
    "providers",
    "run",
    "run_virtual",
    "serve",
]
