"""The table: for each world and load, what each admits as a share of the bound.

A planner that counts tokens alone refuses small requests where requests are scarce, one that counts requests alone
refuses large ones. So there are three bounds, and the one that counts both halves (`work`) is the one to be judged by.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from admitted.bound import Unit, bound
from admitted.play import Score, at_random, engine, most_room, naive
from admitted.world import Task, task

START = 0.25
"""Buckets hold a quarter of a minute at the beginning: a full start would hide an overload for ten minutes."""
ROUTERS = ("apikeyrouter", "random among those with room", "most room")
UNITS: tuple[Unit, ...] = ("work", "requests", "tokens")

Shares = dict[Unit, float]


@dataclass(slots=True)
class Tally:
    """For each router and seed, the share of the bound of each unit; `most` are the bounds themselves."""

    shares: dict[str, list[Shares]] = field(default_factory=dict)
    most: list[Shares] = field(default_factory=list)

    def mean(self, router: str, unit: Unit) -> float:
        return _mean(self.shares[router], unit)


def _mean(rows: list[Shares], unit: Unit) -> float:
    return sum(row[unit] for row in rows) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/admitted", description="Admitted work beside its bound.")
    parser.add_argument("--pools", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--loads", type=float, nargs="+", default=[0.9, 1.1])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=240.0, help="of 10 pools; of 100 a third")
    options = parser.parse_args()
    print(f"Shares of each column's own bound, mean of {options.seeds} seeds.\n")
    print("| pools | load | router | work | requests | tokens | worst seed (work) |\n|--:|--:|--|--:|--:|--:|--:|")
    for count in options.pools:
        seconds = options.seconds if count <= 10 else options.seconds / 3
        for load in options.loads:
            tally = played(count, load, seeds=range(options.seeds), seconds=seconds)
            for router in ROUTERS:
                worst = min(row["work"] for row in tally.shares[router])
                means = " | ".join(f"{tally.mean(router, unit):.1%}" for unit in UNITS)
                print(f"| {count} | {load} | {router} | {means} | {worst:.1%} |", flush=True)
            means = " | ".join(f"{_mean(tally.most, unit):.1%}" for unit in UNITS)
            print(f"| {count} | {load} | the bound, of what was offered | {means} | |", flush=True)


def played(count: int, load: float, *, seeds: range, seconds: float) -> Tally:
    """Every router on the same tasks."""
    tally = Tally()
    for seed in seeds:
        each = task(count=count, load=load, seconds=seconds, seed=seed)
        most = {unit: bound(each, unit, start=START) for unit in UNITS}
        tally.most.append(most)
        for router in ROUTERS:
            got = shares(admitted(router, each), each)
            tally.shares.setdefault(router, []).append({unit: got[unit] / most[unit] for unit in UNITS})
    return tally


def shares(got: Score, each: Task) -> Shares:
    """Of what was offered."""
    requests, tokens = (part / whole for part, whole in zip(got, each.offered, strict=True))
    return {"requests": requests, "tokens": tokens, "work": (requests + tokens) / 2}


def admitted(router: str, each: Task) -> Score:
    if router == "apikeyrouter":
        return engine(each, start=START)
    return naive(each, at_random if router.startswith("random") else most_room, start=START)
