"""`make arena ARGS='...'`: which profiles, which routers, how many seeds, virtual time or the wall clock."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from arena import virtual, wall
from arena.contestants import NATIVE, WITH_LITELLM
from arena.kept import FILE, Run, keep, kept, today
from arena.page import PAGE, write
from arena.profiles import PROFILES, TRACED, Profile
from arena.required import missed
from arena.result import Result, Row, mean
from arena.table import lines

OURS, REFERENCE = "apikeyrouter", "reference queue"


def main() -> None:
    options = _options()
    if options.page:
        write(kept(options.runs), options.page)
        return
    short = [f"{profile.name}: {each}" for profile in _profiles(options) for each in _report(profile, options)]
    if OURS in _routers(options):
        print("\n".join(["Not reached:", *short] if short else ["Every figure is reached."]))
    sys.exit(bool(short))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make arena ARGS=", description="Routers against each other.")
    parser.add_argument("profiles", nargs="*", help=f"of {', '.join(PROFILES)}; all when none is named")
    parser.add_argument("--wall", action="store_true", help="over HTTP on the wall clock, with LiteLLM if installed")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=240.0, help="arrivals last this long")
    parser.add_argument("--warm", type=float, default=60.0, help="seconds at the beginning that do not count")
    parser.add_argument("--trace", type=Path, help="play recorded traffic, too: a CSV as of the Azure LLM traces")
    parser.add_argument("--routers", help="comma separated; the default is all that can play")
    parser.add_argument("--at-once", type=int, default=4 * (os.cpu_count() or 1), help="players on the wall clock")
    parser.add_argument("--runs", type=Path, default=FILE, help="where every run is kept, one line of JSON each")
    parser.add_argument("--page", type=Path, nargs="?", const=PAGE, help="write the page from kept runs; play nothing")
    return parser.parse_args()


def _profiles(options: argparse.Namespace) -> list[Profile]:
    unknown = sorted(set(options.profiles) - {*PROFILES, TRACED.name})
    if unknown:
        raise SystemExit(f"Profile '{unknown[0]}' is unknown; use one of {', '.join(PROFILES)}.")
    found = [PROFILES[name] for name in options.profiles if name in PROFILES]
    if not options.profiles:
        found = list(PROFILES.values())
    if options.trace:
        named = not options.profiles or TRACED.name in options.profiles
        found += [replace(TRACED, trace=str(options.trace))] if named else []
    elif TRACED.name in options.profiles:
        raise SystemExit("The profile 'trace' needs --trace PATH.")
    return found


def _routers(options: argparse.Namespace) -> list[str]:
    able = [*NATIVE, *(WITH_LITELLM if options.wall and wall.has_litellm() else ())]
    if options.routers is None:
        return able
    named = [name.strip() for name in options.routers.split(",")]
    unknown = sorted(set(named) - set(able))
    if unknown:
        raise SystemExit(f"Router '{unknown[0]}' cannot play here; these can: {', '.join(able)}.")
    return named


def _report(profile: Profile, options: argparse.Namespace) -> list[str]:
    """Play a profile, keep and print what came of it; the figures that ours missed."""
    began = time.time()
    results = _played(profile, options)
    clock = "wall" if options.wall else "virtual"
    span = f"{options.seconds:.0f} s of which {options.warm:.0f} s warm-up"
    keep(
        [Run(profile=profile.name, seed=r.seed, clock=clock, day=today(), span=span, row=r.row()) for r in results],
        options.runs,
    )
    rows = _means(results)
    note = f"{clock} clock, mean of {options.seeds} seeds, {span}; took {time.time() - began:.0f} s"
    print("\n".join(lines(profile.title, rows.values(), note)), flush=True)
    return missed(profile.name, rows[OURS], rows[REFERENCE]) if OURS in rows else []


def _played(profile: Profile, options: argparse.Namespace) -> list[Result]:
    """Every router's run of every seed, in the order of play."""
    seeds = range(options.first, options.first + options.seeds)
    span = {"seconds": options.seconds, "warm_s": options.warm}
    routers = _routers(options)
    results: list[Result] = []
    if options.wall:
        results += asyncio.run(wall.run(profile, seeds, routers=routers, at_once=options.at_once, **span))
    for seed in seeds:
        if not options.wall:
            results += virtual.run(profile, seed, routers=routers, **span)
        results += virtual.yardsticks(profile, seed, **span)
    return results


def _means(results: list[Result]) -> dict[str, Row]:
    """One row for each router, its mean over the seeds."""
    names = list(dict.fromkeys(result.router for result in results))
    return {name: mean([result.row() for result in results if result.router == name]) for name in names}
