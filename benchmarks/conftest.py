"""Lets benchmarks import their neighbours, and writes a run's results as a dated table: `--write-table`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "reference" / "benchmarks.md"
KEPT = "## The adapter and the engine over plain httpx"
"""The heading of what is measured by other commands; from it on, writing the table leaves the page as it is."""
RIVAL = HERE.parent / ".reports" / "rival.json"
sys.path.insert(0, str(HERE))

TITLES = {
    "bench_acquire_and_settle": "acquire + settle",
    "bench_acquire_and_settle_where_room_is_scarce": "the same, half of every window used",
    "bench_settle_alone": "settle alone",
    "bench_refuse": "refuse, every pool full until midnight",
    "bench_explain": "explain (the text of a decision)",
    "bench_preview": "preview",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write docs/reference/benchmarks.md from this run")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("--write-table") and exitstatus == 0:
        results: list[Any] = getattr(session.config, "_benchmarksession").benchmarks  # noqa: B009
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text("\n".join([*head(), *decisions(results), *rivals(), *kept()]) + "\n", encoding="utf-8")


def kept() -> list[str]:
    """What other commands measured."""
    old = TABLE.read_text(encoding="utf-8") if TABLE.exists() else ""
    _, mark, rest = old.partition(KEPT)
    return ["", mark + rest.rstrip("\n")] if mark else []


def head() -> list[str]:
    import grounds

    return [
        "# Benchmarks",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} with apikeyrouter {version('apikeyrouter')} on {grounds.machine()}.",
        "Written by `make bench ARGS=--write-table`; the code is in `benchmarks/`. Times vary by more than half",
        "between machines, and between hours on one; `make bench-check` therefore compares ratios within one run.",
        "",
        "Every key has a pool of its own with four windows (requests and tokens per minute, requests per day, output",
        "tokens as produced); a hard budget for all and a soft one for each tenant hold money; every decision is kept",
        "for `explain()`. Each result is checked where it is measured.",
        "",
    ]


def decisions(results: list[Any]) -> list[str]:
    lines = ["| what | keys | median | shortest |", "|--|--:|--:|--:|"]
    for result in results:
        name, _, size = result.name.partition("[")
        if name in TITLES:
            keys = f"{int(size.rstrip(']')):,}" if size else ""
            lines.append(f"| {TITLES[name]} | {keys} | {micro(result.stats.median)} | {micro(result.stats.min)} |")
    return lines


def rivals() -> list[str]:
    """Ours against LiteLLM's pick; nothing when its environment is not there."""
    if not RIVAL.exists():
        return []
    found = json.loads(RIVAL.read_text(encoding="utf-8"))
    lines = [
        "",
        f"## Against LiteLLM {found['litellm']}",
        "",
        "One process, in turns, on the same machine; both know requests and tokens per minute of each key, no",
        "budget. Ours is the whole of acquire and settle, with the hold of quota, the price and the record that",
        "explains it; LiteLLM's is `await Router.async_get_available_deployment(...)` alone, without any hold.",
        "Medians; `make bench` fails when ours takes more than half of the faster pick with 3 keys, or a fiftieth",
        "with 1,000.",
        "",
        "| keys | acquire + settle | LiteLLM simple-shuffle | LiteLLM usage-based-routing-v2 | ratio to the faster |",
        "|--:|--:|--:|--:|--:|",
    ]
    for size, times in found["median_s"].items():
        ours, shuffle, usage = times["ours"], times["simple-shuffle"], times["usage-based-routing-v2"]
        ratio = min(shuffle, usage) / ours
        lines.append(f"| {int(size):,} | {micro(ours)} | {micro(shuffle)} | {micro(usage)} | {ratio:,.1f} |")
    return lines


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 0.01 else f"{seconds * 1e3:,.1f} ms"
