"""Providers that really enforce their limits, over HTTP on loopback."""

from __future__ import annotations

from apikeyrouter.simulator.app import SimulatorApp
from apikeyrouter.simulator.clock import Clock, LoopClock, VirtualClock, run_virtual
from apikeyrouter.simulator.config import load
from apikeyrouter.simulator.faults import Fault
from apikeyrouter.simulator.presets import arena, demo
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
    "run",
    "run_virtual",
    "serve",
]
