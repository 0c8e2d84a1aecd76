"""The reference page of the arena, written from kept runs of the wall clock: `make arena ARGS=--page`."""

from __future__ import annotations

import os
import platform
import subprocess
from itertools import groupby
from pathlib import Path

from arena.contestants import NATIVE, WITH_LITELLM
from arena.kept import Run, version_of
from arena.profiles import PROFILES, TRACED
from arena.required import missed, sentence
from arena.result import Row, mean
from arena.table import HEAD, YARDSTICKS, cells, line
from arena.wall import LITELLM

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "arena.md"
TEXT = Path(__file__).with_name("page.md")
RANK = (*NATIVE, *WITH_LITELLM, *YARDSTICKS)
OURS, REFERENCE = "apikeyrouter", "reference queue"


def write(runs: list[Run], path: Path) -> None:
    """The page from the runs on the wall clock; yardsticks need no clock, so theirs count from any run."""
    runs = [run for run in runs if run.clock == "wall"]
    if not runs:
        raise SystemExit("No run on the wall clock is kept; play one with --wall first.")
    days = sorted({run.day for run in runs})
    text = TEXT.read_text(encoding="utf-8").format(
        days=days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        ours=version_of("apikeyrouter"),
        machine=_machine(),
        litellm=_litellm(),
        span=" / ".join(sorted({run.span for run in runs})),
    )
    found = [text.rstrip(), ""]
    for profile in (*PROFILES.values(), TRACED):
        of_profile = [run for run in runs if run.profile == profile.name]
        if of_profile:
            found += [f"## {profile.title[0].upper()}{profile.title[1:]}", "", *_section(profile.name, of_profile)]
    path.write_text("\n".join(found).rstrip() + "\n", encoding="utf-8")


def _section(name: str, runs: list[Run]) -> list[str]:
    rows: dict[str, tuple[str, Row]] = {}
    runs.sort(key=lambda run: (RANK.index(run.row.router), run.seed))
    for router, each in groupby(runs, key=lambda run: run.row.router):
        of_router = list(each)
        seeds = ", ".join(str(run.seed) for run in of_router)
        rows[router] = seeds, mean([run.row for run in of_router])
    table = [line(("seeds", *HEAD)), line("--" for _ in ("seeds", *HEAD))]
    table += [line((seeds, *cells(row))) for seeds, row in rows.values()]
    return [f"Asked of ours: {sentence(name)}. {_verdict(name, rows)}", "", *table, ""]


def _verdict(name: str, rows: dict[str, tuple[str, Row]]) -> str:
    if OURS not in rows:
        return "Ours has not played."
    short = missed(name, rows[OURS][1], rows[REFERENCE][1])
    return f"Missed: {'; '.join(short)}." if short else "Reached."


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}"


def _litellm() -> str:
    """The version that played; its environment is not this one."""
    ask = "from importlib.metadata import version; print(version('litellm'))"
    done = subprocess.run([LITELLM, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "(not installed)"
