"""Draws pages on a terminal. The only user of Rich, imported when somebody is looking."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from apikeyrouter.cli.page import Line, Page, Style, Table

_STYLES: Final[dict[Style, str]] = {
    "plain": "",
    "title": "bold",
    "good": "bold green",
    "bad": "bold red",
    "warn": "yellow",
    "dim": "dim",
}
_STATES: Final = {
    "available": "green",
    "recovering": "cyan",
    "throttled": "yellow",
    "exhausted": "red",
    "disabled": "dim",
    "invalid": "red",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
}


def draw(page: Page, out: TextIO) -> None:
    """Write a page to a terminal once."""
    Console(file=out, highlight=False).print(_group(page))


class Moving:
    """A page that is redrawn in place: `with Moving(out) as show: show(page)`; the last one is wiped at the end."""

    def __init__(self, out: TextIO) -> None:
        self._live = Live(console=Console(file=out, highlight=False), refresh_per_second=8, transient=True)

    def __enter__(self) -> Callable[[Page], None]:
        self._live.start()
        return self._show

    def _show(self, page: Page) -> None:
        self._live.update(_group(page))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def _group(page: Page) -> Group:
    return Group(*(_text(part) if isinstance(part, Line) else _table(part) for part in page))


def _text(line: Line) -> Text:
    return Text(line.text, style=_STYLES[line.style])


def _table(table: Table) -> RichTable:
    drawn = RichTable(
        title=table.title or None,
        title_justify="left",
        title_style="bold",
        show_header=any(table.columns),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for i, name in enumerate(table.columns):
        drawn.add_column(name, justify="right" if i in table.right else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell, style=_STATES.get(cell, "")) for cell in row))
    return drawn
