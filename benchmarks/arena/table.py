"""The figures of a profile as people read them: one line for each router, ours first, the yardsticks last."""

from __future__ import annotations

from collections.abc import Iterable

from arena.result import Row

YARDSTICKS = ("reference queue", "queue without overtaking", "linear bound")
HEAD = (
    "router",
    "429 per success",
    "failed",
    "goodput",
    "served",
    "wait p50",
    "wait p95",
    "cold start 429s",
    "loop lag p99",
    "errors",
)


def lines(title: str, rows: Iterable[Row], note: str) -> list[str]:
    """A Markdown table under its title."""
    table = [f"{title} ({note})", "", line(HEAD), line("--" for _ in HEAD)]
    return [*table, *(line(cells(row)) for row in rows), ""]


def cells(row: Row) -> list[str]:
    """A row's figures in the order of HEAD; what a yardstick does not have is left empty."""
    if row.router == "linear bound":
        return [row.router, "", "", f"{row.goodput:.3f}", *([""] * (len(HEAD) - 4))]
    plays = row.router not in YARDSTICKS
    cold = f"{row.cold:.0f}" + (f" (+{row.warm:.1f} warming up)" if row.warm else "")
    return [
        row.router,
        f"{row.throttled:.4f}",
        f"{100 * row.failed:.1f} %",
        f"{row.goodput:.3f}",
        f"{row.served:.3f}",
        f"{row.p50_s:.2f} s",
        f"{row.p95_s:.2f} s",
        cold if plays else "",
        f"{row.lag_s:.2f} s" if plays and row.lag_s else "",
        ", ".join(f"{name} {count}" for name, count in sorted(row.errors.items())),
    ]


def line(found: Iterable[str]) -> str:
    return "| " + " | ".join(found) + " |"
