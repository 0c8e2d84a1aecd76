"""Consumption traces to forecast on: generated ones of several tempers, and the recorded one of the arena."""

from __future__ import annotations

import csv
from datetime import datetime
from math import pi, sin
from pathlib import Path
from random import Random

Trace = list[tuple[float, int]]
"""(seconds from the start, tokens) of each request, in order."""


def azure(path: Path) -> Trace:
    """An Azure LLM inference trace (Azure/AzurePublicDataset, CC-BY 4.0): TIMESTAMP, ContextTokens, GeneratedTokens."""
    found: Trace = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            found.append((at, int(row["ContextTokens"]) + int(row["GeneratedTokens"])))
    return [(at - found[0][0], tokens) for at, tokens in found]


def synthetic(kind: str, seed: int, seconds: float = 7200.0) -> Trace:
    """Log-normal costs; arrivals steady, in bursts (mmpp), by the hour (diurnal), growing (ramp), or stepped."""
    rng = Random(f"{kind}{seed}")
    sigma, base = rng.uniform(0.5, 1.4), rng.uniform(0.5, 6.0)
    now, found, high_until, low_until = 0.0, [], 0.0, 0.0
    step_at = rng.uniform(0.3, 0.7) * seconds
    while now < seconds:
        rate = base
        if kind == "mmpp":
            if now >= high_until and now >= low_until:
                low_until = now + rng.expovariate(1 / 60.0)
                high_until = low_until + rng.expovariate(1 / 20.0)
            rate = base * (4.0 if now >= low_until else 0.4)
        elif kind == "diurnal":
            rate = base * (1.0 + 0.8 * sin(2 * pi * now / 3600.0))
        elif kind == "ramp":
            rate = base * (0.3 + 1.7 * now / seconds)
        elif kind == "step":
            rate = base * (2.5 if now > step_at else 0.7)
        now += rng.expovariate(max(0.02, rate))
        found.append((now, max(1, int(rng.lognormvariate(6.0, sigma)))))
    return found


KINDS = ("poisson", "mmpp", "diurnal", "ramp", "step")
BURSTY = ("mmpp", "step")
