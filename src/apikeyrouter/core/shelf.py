"""Where a price list keeps its lines, and how a model's name finds one.

Models go by many names: with a date or without, with their maker before a slash, under a provider the user named
himself. Every rule of naming is here; the names themselves are data that comes with the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from apikeyrouter.core.frozen import Frozen
from apikeyrouter.core.rates import Row, worst_steps

_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=[-:]|$)")
"""A date without dashes, as some gateways write it; lists write 2025-12-11."""


MAX_NAME: Final = 256
"""Characters of a model's name beyond which nobody has heard of it."""


class _Names(NamedTuple):
    """One provider's rows: by exact name the position of the first, and the patterns that are no names, in order."""

    rows: list[Row]
    exact: dict[str, int]
    patterns: list[tuple[int, str]]

    def find(self, model: str) -> Row | None:
        at = self.exact.get(model, len(self.rows))
        for position, pattern in self.patterns:
            if position > at:
                break
            if matches(pattern, model):
                return self.rows[position]
        return self.rows[at] if at < len(self.rows) else None

    def add(self, row: Row) -> None:
        position = len(self.rows)
        self.rows.append(row)
        if not row.match:
            self.exact.setdefault(row.id.lower(), position)
        for pattern in row.match:
            if pattern[0] == "~" or any(sign in pattern for sign in "*?["):
                self.patterns.append((position, pattern))
            else:
                self.exact.setdefault(pattern, position)


class Shelf:
    """One price list: its rows by provider, in the order in which they are tried.

    `aliases` are patterns of other names for a provider, `claims` patterns of models that are its own wherever they are
    asked for by bare name, `fallback` the providers whose models it resells at their prices.
    """

    __slots__ = ("_aliases", "_claims", "_fallback", "_rows", "date", "name")

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        name: str = "rows",
        date: str = "",
        aliases: Mapping[str, Iterable[str]] = Frozen({}),
        claims: Mapping[str, Iterable[str]] = Frozen({}),
        fallback: Mapping[str, Iterable[str]] = Frozen({}),
    ) -> None:
        self.name, self.date = name, date
        self._rows: dict[str, _Names] = {}
        for row in rows:
            if row.provider not in self._rows:
                self._rows[row.provider] = _Names([], {}, [])
            self._rows[row.provider].add(row)
        self._aliases, self._claims = _tuples(aliases), _tuples(claims)
        self._fallback = dict(_tuples(fallback))

    def knows(self, provider: str) -> bool:
        """Whether the list has this provider, under any of its names."""
        return self._home(provider) is not None

    def find(self, provider: str, model: str) -> Row | None:
        """The row of a lower-case model name at a provider this list has, or None."""
        home = self._home(provider)
        return self._dated(lambda name: self._at(home, name), model) if home else None

    def find_anywhere(self, model: str) -> Row | None:
        """The row of a lower-case model name at its own provider, else the dearest of that name, or None."""
        return self._dated(self._bare, model)

    @staticmethod
    def _dated(find: Callable[[str], Row | None], model: str) -> Row | None:
        if len(model) > MAX_NAME:
            return None
        row = find(model)
        if row is None and (respelt := _DATE.sub(r"-\1-\2-\3", model)) != model:
            row = find(respelt)
        return row

    def _at(self, home: str, model: str) -> Row | None:
        providers = (home, *self._fallback.get(home, ()))
        return next((row for name in providers if (row := self._row(name, model))), None)

    def _bare(self, model: str) -> Row | None:
        for name, patterns in self._claims:
            if any(matches(pattern, model) for pattern in patterns) and (row := self._row(name, model)):
                return row
        maker, slash, rest = model.partition("/")
        if slash and (home := self._home(maker)) and (row := self._row(home, rest)):
            return row
        found = [row for name in self._rows if (row := self._row(name, model))]
        return max(found, key=_dearness, default=None)

    def _home(self, provider: str) -> str | None:
        if provider in self._rows:
            return provider
        named = (name for name, patterns in self._aliases if any(matches(p, provider) for p in patterns))
        return next(named, None) if provider else None

    def _row(self, provider: str, model: str) -> Row | None:
        names = self._rows.get(provider)
        return names.find(model) if names else None

    def __iter__(self) -> Iterator[Row]:
        return (row for names in self._rows.values() for row in names.rows)

    def __len__(self) -> int:
        return sum(len(names.rows) for names in self._rows.values())


def _dearness(row: Row) -> int:
    worst = worst_steps((row,))[-1][1]
    return worst.input + worst.output + worst.request


def _tuples(table: Mapping[str, Iterable[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(values)) for name, values in table.items())


def matches(pattern: str, name: str) -> bool:
    """Whether a lower-case name matches a pattern: a name, a glob, or a regular expression after `~`.

    The frequent globs are told apart here because fnmatch remembers only 256 patterns, and a list has thousands.
    """
    if pattern.startswith("~"):
        return re.search(pattern[1:], name) is not None
    core = pattern.strip("*")
    if any(sign in core for sign in "*?["):
        return fnmatchcase(name, pattern)
    if pattern.endswith("*"):
        return core in name if pattern.startswith("*") else name.startswith(core)
    return name.endswith(core) if pattern.startswith("*") else name == core
