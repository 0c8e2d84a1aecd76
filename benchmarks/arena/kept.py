"""Runs on the wall clock take minutes, so they are kept: one line of JSON each, the latest of its kind counts.

Several batches make one table: more seeds, or rivals that the machine could not play at the same time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from arena.result import Row

FILE = Path(__file__).resolve().parents[2] / ".reports" / "arena.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One router in one profile with one seed, on which `clock` ("wall" or "virtual"), and when."""

    profile: str
    seed: int
    clock: str
    day: str
    span: str
    row: Row


def keep(runs: list[Run], path: Path = FILE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(run)) + "\n" for run in runs)


def kept(path: Path = FILE) -> list[Run]:
    """The latest run of each profile, router, seed and clock."""
    found: dict[tuple[str, str, int, str], Run] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        said = json.loads(line)
        run = Run(**{**said, "row": Row(**said["row"])})
        found[run.profile, run.row.router, run.seed, run.clock] = run
    return list(found.values())


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def version_of(package: str) -> str:
    """Of this environment; "" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
