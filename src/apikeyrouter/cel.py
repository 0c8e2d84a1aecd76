"""Policy expressions compiled to predicates: the only user of the CEL library (extra `policy`).

What an expression may be is decided in `core.expression` before the library sees it. Evaluating costs ten microseconds,
most of it for handing values over, so a predicate hands over only the values its expression reads, and remembers its
answers by them: the same tenant, key and hour get the same answer from a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Final, Protocol, cast

from apikeyrouter.core.expression import ExpressionError, Reading, read
from apikeyrouter.core.facts import FIELDS, OPEN, VOLATILE, Facts, Get, getter
from apikeyrouter.core.policy import PredicateError
from apikeyrouter.errors import MissingDependencyError

MEMORY: Final = 2_048
"""Answers a predicate remembers before it forgets them all."""
MAX_ENTRIES: Final = 64
"""Elements of a tag table or a list that a loop may go through."""
LISTS: Final = OPEN | {"request.needs", "key.pools"}
"""Fields whose values are tables or lists."""

_POSITION: Final = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_FAILURES: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What the library raises when an expression cannot be evaluated."""


class _Program(Protocol):
    def execute(self, context: dict[str, object]) -> object: ...


class Predicate:
    """An expression that answers true or false about facts; raises PredicateError where it cannot."""

    __slots__ = ("_keys", "_lasting", "_memory", "_program", "_tested", "_values", "reads", "roots", "source")

    def __init__(self, reading: Reading, program: _Program) -> None:
        self.source, self._program = reading.source, program
        self.roots = reading.roots
        # What has() asks for stays away where it is absent; anything else absent is filled in.
        tested = {each.path for each in reading.chains if each.tested}
        self._tested = tuple((path, getter(path)) for path in sorted(tested))
        # Sorted, a table comes before its own entries, which may have to be added to it.
        filled = {each.path for each in reading.chains} - tested
        self._values = tuple((path, getter(path)) for path in sorted(filled))
        self.reads = frozenset(".".join(each.path[:2]) for each in reading.chains)
        # Free JSON may hold 1 and true, which a dictionary takes for the same.
        self._lasting = not ((self.reads | self.roots) & (VOLATILE | {"key.metadata"}))
        self._keys = tuple(_fixed(get) if ".".join(path) in LISTS else get for path, get in self._values + self._tested)
        self._memory: dict[tuple[object, ...], bool] = {}

    def __call__(self, facts: Facts) -> bool:
        if not self._lasting:
            return self._evaluate(facts)
        values = tuple([get(facts) for get in self._keys])
        answer = self._memory.get(values)
        if answer is None:
            if len(self._memory) >= MEMORY:
                self._memory.clear()
            answer = self._memory[values] = self._evaluate(facts)
        return answer

    def _evaluate(self, facts: Facts) -> bool:
        context: dict[str, object] = {root: {} for root in self.roots}
        for path, get in self._values:
            _reach(context, path[:-1])[path[-1]] = _plain(get(facts), path)
        for path, get in self._tested:
            value = get(facts)
            table = _reach(context, path[:-1])
            if value not in ("", None):
                table[path[-1]] = _plain(value, path)
        try:
            answer = self._program.execute(context)
        except KeyError:
            return False  # an entry that has() asked for, and that is not there
        except _FAILURES as error:
            raise PredicateError(f"{_short(self.source)} cannot be evaluated: {_reason(error)}") from None
        if type(answer) is not bool:
            raise PredicateError(f"{_short(self.source)} is {type(answer).__name__}, not true or false")
        return answer

    def __repr__(self) -> str:
        return f"<Predicate {_short(self.source)}>"


@lru_cache(maxsize=512)
def compile_expression(source: str) -> Predicate:
    """The predicate of an expression.

    Raises ExpressionError, with line and column, for one that is malformed, too large, names what is not there or is
    not about true and false; MissingDependencyError where the CEL library is not installed.
    """
    reading = read(source)
    try:
        compile_source = import_module("cel").compile
    except ImportError:
        raise MissingDependencyError(
            "Policy expressions need the CEL library, which is not installed; run: pip install 'apikeyrouter[policy]'"
        ) from None
    try:
        predicate = Predicate(reading, cast(_Program, compile_source(source)))
    except ValueError as error:
        raise _located(str(error)) from None
    _check_types(predicate)
    return predicate


def _check_types(predicate: Predicate) -> None:
    """Evaluate once over typical values: a comparison of a number with a text fails now, not at night."""
    if "key.metadata" in predicate.reads:
        return  # free JSON: nobody knows its types
    try:
        predicate._evaluate(FIELDS)
    except PredicateError as error:
        if "overload" in str(error) or "not true or false" in str(error):
            raise ExpressionError(str(error), 1, 1) from None


def _located(text: str) -> ExpressionError:
    found = _POSITION.search(text)
    if found is None:
        return ExpressionError("the expression is malformed", 1, 1)
    message = re.sub(r" expecting \{.*", "", found[3]).replace("'<EOF>'", "end")
    return ExpressionError(message, int(found[1]), int(found[2]))


def _reach(context: dict[str, object], names: tuple[str, ...]) -> dict[str, object]:
    """The table at a path, made where it is missing."""
    table = context
    for name in names:
        inner = table.get(name)
        if not isinstance(inner, dict):
            inner = table[name] = {}
        table = inner
    return table


def _plain(value: object, path: tuple[str, ...]) -> object:
    """A value in the library's types; tables and lists that a loop could be kept busy with are refused."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping | list | tuple | frozenset | set) and len(value) > MAX_ENTRIES:
        raise PredicateError(f"{'.'.join(path)} has {len(value)} entries; a policy takes {MAX_ENTRIES} at most")
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, path) for name, inner in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [_plain(inner, path) for inner in value]
    raise PredicateError(f"{'.'.join(path)} is a {type(value).__name__}, which no policy can compare")


def _fixed(get: Get) -> Get:
    """The same value as part of a dictionary's key."""

    def fixed(facts: Facts) -> object:
        value = get(facts)
        if isinstance(value, Mapping):
            return frozenset(value.items())
        return tuple(value) if isinstance(value, list | set | frozenset) else value

    return fixed


def _reason(error: Exception) -> str:
    """The library's complaint up to its first full stop."""
    return str(error).split(". ", 1)[0].split("\n", 1)[0][:200] or type(error).__name__


def _short(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 80 else line[:77] + "..."
