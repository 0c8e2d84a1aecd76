"""The demonstration: a real workload, in bursts, through the router to simulated providers that enforce their limits.

Nothing is staged but the world: the router is built from a configuration file, speaks HTTP on loopback, and knows of
its providers what their answers say. How it is shown is the command line's business; here it is played and counted.
"""

from __future__ import annotations

from apikeyrouter.demo.play import Snapshot, play
from apikeyrouter.demo.report import BudgetRow, KeyRow, PoolRow, Report
from apikeyrouter.demo.stage import Plan, Stage

__all__ = ["BudgetRow", "KeyRow", "Plan", "PoolRow", "Report", "Snapshot", "Stage", "play"]
