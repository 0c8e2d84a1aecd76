"""What a command has to show, as data: tables, lines, texts. One page is drawn in two ways, rich or plain.

The plain way is here: aligned columns, no colours, no boxes, never cut off, because another program may read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

Style = Literal["plain", "title", "good", "bad", "warn", "dim"]

GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence or several lines; `style` is for terminals only."""

    text: str
    style: Style = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts. Columns whose number is in `right` are numbers."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""
    right: frozenset[int] = field(default_factory=frozenset)


Page = Sequence[Line | Table]


def plain(page: Page) -> str:
    """A page without colours or boxes."""
    return "\n".join(line for part in page for line in _lines(part)) + "\n"


def _lines(part: Line | Table) -> Iterator[str]:
    if isinstance(part, Line):
        yield part.text
        return
    if part.title:
        yield part.title
    table = [part.columns, *part.rows] if any(part.columns) else list(part.rows)
    widths = [max(len(row[i]) for row in table) for i in range(len(part.columns))] if table else []
    for row in table:
        cells = [
            cell.rjust(w) if i in part.right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"{GAP}{GAP.join(cells)}".rstrip()
    yield ""


def dollars(amount: Decimal, places: int = 4) -> str:
    """An amount as a person reads it; small ones keep their first digits."""
    if not amount:
        return "$0"
    if abs(amount) < Decimal(1).scaleb(-places):
        return f"${amount:.2g}" if abs(amount) >= Decimal("0.000001") else f"${amount:f}"
    return f"${amount:.{places}f}"


def count(number: float) -> str:
    """A number with separators and without needless decimals; what can never be is a dash."""
    if number != number or number in (float("inf"), float("-inf")):
        return "-"
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:,.1f}"


def bar(share: float, width: int = 12) -> str:
    """A share as a bar and a percentage."""
    full = round(max(0.0, min(1.0, share)) * width)
    return f"{'█' * full}{'░' * (width - full)} {share:4.0%}"
