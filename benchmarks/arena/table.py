"""The figures of a profile as people read them: one line for each router, ours first, the yardsticks last."""

from __future__ import annotations

from arena.result import Row

HEAD = ("router", "429 per success", "failed", "goodput", "served", "wait p50", "wait p95", "cold start 429s", "errors")


def lines(title: str, rows: list[Row], note: str) -> list[str]:
    """A Markdown table under its title."""
    table = [f"{title} ({note})", "", _line(HEAD), _line("--" for _ in HEAD)]
    return [*table, *(_line(_cells(row)) for row in rows), ""]


def _cells(row: Row) -> list[str]:
    if row.router == "linear bound":
        return [row.router, "", "", f"{row.goodput:.3f}", "", "", "", "", ""]
    cold = f"{row.cold:.0f}" + (f" (+{row.warm:.1f} warming up)" if row.warm else "")
    return [
        row.router,
        f"{row.throttled:.4f}",
        f"{100 * row.failed:.1f} %",
        f"{row.goodput:.3f}",
        f"{row.served:.3f}",
        f"{row.p50_s:.2f} s",
        f"{row.p95_s:.2f} s",
        "" if "queue" in row.router else cold,
        ", ".join(f"{name} {count}" for name, count in sorted(row.errors.items())),
    ]


def _line(cells: object) -> str:
    return "| " + " | ".join(cells) + " |"  # type: ignore[arg-type]  # any iterable of text
