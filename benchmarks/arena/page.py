"""The reference page of the arena, written from kept runs of the wall clock: `make arena ARGS=--page`."""

from __future__ import annotations

import os
import platform
import subprocess
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
    """A table for each set of seeds that somebody played, most first: ours and the yardsticks stand in each."""
    played: dict[str, dict[int, Row]] = {}
    for run in sorted(runs, key=lambda run: (RANK.index(run.row.router), run.seed)):
        played.setdefault(run.row.router, {})[run.seed] = run.row
    sets = {tuple(rows) for router, rows in played.items() if router not in YARDSTICKS}
    found = [f"Asked of ours: {sentence(name)}."]
    for seeds in sorted(sets, key=len, reverse=True):
        rows = {
            router: mean([own[seed] for seed in seeds])
            for router, own in played.items()
            if tuple(own) == seeds or (router in {OURS, *YARDSTICKS} and set(seeds) <= set(own))
        }
        found += [
            "",
            f"{_counted(seeds)}. {_verdict(name, rows) if tuple(played.get(OURS, ())) == seeds else ''}".rstrip(),
        ]
        found += ["", line(HEAD), line("--" for _ in HEAD), *(line(cells(row)) for row in rows.values())]
    return [*found, ""]


def _counted(seeds: tuple[int, ...]) -> str:
    return f"Seed {seeds[0]}" if len(seeds) == 1 else f"Mean of seeds {', '.join(map(str, seeds))}"


def _verdict(name: str, rows: dict[str, Row]) -> str:
    short = missed(name, rows[OURS], rows[REFERENCE])
    return f"Missed: {'; '.join(short)}." if short else "Reached."


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}"


def _litellm() -> str:
    """The version that played; its environment is not this one."""
    ask = "from importlib.metadata import version; print(version('litellm'))"
    done = subprocess.run([LITELLM, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "(not installed)"
