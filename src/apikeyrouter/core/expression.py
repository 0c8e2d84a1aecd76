"""What a policy's expression may be: its words, its size and what it may cost, known before it is ever evaluated.

The evaluator behind the language has no cost limit (a comprehension over a long literal list ran for more than a
minute), and a misspelt word is only noticed when it is evaluated. So the source is read here first, token by token:
everything it names must be in the vocabulary of `facts`, everything it may do is bounded, and each complaint has a line
and a column. What an expression means is the evaluator's (`apikeyrouter.cel`); this module knows no evaluator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, NoReturn

from apikeyrouter.core.facts import FIELDS, OPEN

MAX_BYTES: Final = 4096
MAX_TOKENS: Final = 1_000
MAX_ELEMENTS: Final = 100
MAX_DEPTH: Final = 32
MAX_LOOPS: Final = 4
MAX_STEPS: Final = 20_000
"""Tokens that may be evaluated, a loop's body counted a hundred times: some milliseconds."""
MAX_PATTERN: Final = 100

LOOPS: Final = frozenset({"all", "exists", "exists_one", "filter", "map"})
METHODS: Final = frozenset({"startsWith", "endsWith", "contains", "matches", "size"})
FUNCTIONS: Final = frozenset({"size", "has", "int", "double", "string", "bool"})
WORDS: Final = frozenset({"true", "false", "null", "in"})


class ExpressionError(ValueError):
    """An expression that may not be; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message, self.line, self.column = message, line, column


class Token(NamedTuple):
    """A piece of source: kind is name, string, number or sign; `at` its offset."""

    kind: str
    text: str
    at: int


class Chain(NamedTuple):
    """A value the expression reads: a path such as ("key", "tags", "region"). `tested` when only `has` asks for it."""

    path: tuple[str, ...]
    tested: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """An expression that was read: the values it takes, and whether it loops."""

    source: str
    chains: tuple[Chain, ...]
    loops: int

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(chain.path[0] for chain in self.chains)


_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>0[xX][0-9a-fA-F]+u?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?u?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
_OPENING: Final = {"(": ")", "[": "]", "{": "}"}


def read(source: str) -> Reading:
    """Read an expression; raises ExpressionError for the first thing it may not be."""
    size = len(source.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ExpressionError(f"the expression has {size} bytes; {MAX_BYTES} are allowed, so split the policy", 1, 1)
    return _Reader(source).read()


def where(source: str, at: int) -> tuple[int, int]:
    """Line and column of an offset."""
    return source.count("\n", 0, at) + 1, at - (source.rfind("\n", 0, at) + 1) + 1


def _tokens(source: str) -> Iterator[Token]:
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None or found.lastgroup is None:
            sign = source[at]
            sentence = "the string has no end" if sign in "\"'" else f"{sign!r} means nothing here"
            raise ExpressionError(sentence, *where(source, at))
        if found.lastgroup != "space":
            yield Token(found.lastgroup, found.group(), at)
        at = found.end()


class _Reader:
    """Walks the tokens once, with a stack of open brackets and the names that loops bind."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens: Sequence[Token] = list(islice(_tokens(source), MAX_TOKENS + 1))
        self.closing: dict[int, int] = {}
        self.chains: dict[Chain, None] = {}
        self.loops = 0
        self.bound: list[tuple[str, int]] = []
        """Names bound by loops, with the token at which each loop ends."""

    def read(self) -> Reading:
        if not self.tokens:
            self.refuse("the expression is empty", 0)
        if len(self.tokens) > MAX_TOKENS:
            self.refuse(f"the expression has more than {MAX_TOKENS} words and signs; split the policy", MAX_TOKENS)
        self.closing = self._match()
        at = 0
        while at < len(self.tokens):
            self.bound = [(name, end) for name, end in self.bound if end > at]
            at = self._step(at)
        self._bound_steps()
        return Reading(self.source, tuple(self.chains), self.loops)

    def refuse(self, message: str, token: int) -> NoReturn:
        at = self.tokens[token].at if token < len(self.tokens) else 0
        raise ExpressionError(message, *where(self.source, at))

    def _match(self) -> dict[int, int]:
        """The closing bracket of each opening one; depth and literal sizes are bounded on the way."""
        closing: dict[int, int] = {}
        stack: list[tuple[int, int]] = []
        for at, token in enumerate(self.tokens):
            if token.kind != "sign":
                continue
            if token.text in _OPENING:
                stack.append((at, 0))
                if len(stack) > MAX_DEPTH:
                    self.refuse(f"brackets are nested deeper than {MAX_DEPTH}", at)
            elif token.text in ")]}":
                if not stack or _OPENING[self.tokens[stack[-1][0]].text] != token.text:
                    self.refuse(f"{token.text!r} closes nothing", at)
                closing[stack.pop()[0]] = at
            elif token.text == "," and stack:
                opened, commas = stack[-1]
                stack[-1] = (opened, commas + 1)
                if commas + 2 > MAX_ELEMENTS:
                    self.refuse(f"a list has more than {MAX_ELEMENTS} elements; use a tag instead", opened)
        if stack:
            self.refuse(f"{self.tokens[stack[-1][0]].text!r} is never closed", stack[-1][0])
        return closing

    def text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def kind(self, at: int) -> str:
        return self.tokens[at].kind if at < len(self.tokens) else ""

    def _step(self, at: int) -> int:
        token = self.tokens[at]
        if token.text == "{":
            self.refuse("maps cannot be written here; compare fields instead", at)
        if token.kind == "string" and token.text[0] in "bB":
            self.refuse("bytes cannot be written here; write a string", at)
        if token.kind != "name" or token.text in WORDS:
            return at + 1
        if self.text(at - 1) == ".":
            return self._method(at)
        if self.text(at + 1) == "(":
            return self._function(at)
        if any(token.text == name for name, _ in self.bound):
            return self._skip_fields(at + 1)
        return self._chain(at)

    def _skip_fields(self, at: int) -> int:
        """Past the fields of a loop's own name."""
        while self.text(at) == "." and self.text(at + 2) != "(":
            at += 2
        return at

    def _function(self, at: int) -> int:
        name = self.text(at)
        if name not in FUNCTIONS:
            self.refuse(f"there is no function {name!r}{_known(FUNCTIONS)}", at)
        if name == "has":
            chain = self._path(at + 2)
            if chain is None or len(chain[0]) < 3 or self.text(chain[1]) != ")":
                self.refuse("has() takes a tag or a field of metadata, such as has(request.tags.region)", at)
            self._check(chain[0], at + 2)
            self.chains[Chain(chain[0], tested=True)] = None
            return chain[1] + 1
        return at + 1

    def _method(self, at: int) -> int:
        name = self.text(at)
        if self.text(at + 1) != "(":
            self.refuse(f"{name!r} is a field of something that has none", at)
        if name in LOOPS:
            return self._loop(at)
        if name not in METHODS:
            self.refuse(f"there is no method {name!r}{_known(METHODS | LOOPS)}", at)
        if name == "matches":
            self._pattern(at)
        return at + 1

    def _loop(self, at: int) -> int:
        self.loops += 1
        if self.loops > MAX_LOOPS:
            self.refuse(f"more than {MAX_LOOPS} loops; split the policy", at)
        if self.bound:
            self.refuse("a loop inside a loop is not allowed; use a tag instead", at)
        if self.kind(at + 2) != "name" or self.text(at + 3) != ",":
            self.refuse(f"{self.text(at)}() takes a name and a condition, such as exists(x, x == 'a')", at)
        self.bound.append((self.text(at + 2), self.closing[at + 1]))
        return at + 4

    def _pattern(self, at: int) -> None:
        """A regular expression is compiled at each evaluation, so it is small, constant, and not repeated by a loop."""
        pattern = self.text(at + 2)
        if self.kind(at + 2) != "string" or self.closing[at + 1] != at + 3:
            self.refuse("matches() takes a pattern written as a string", at)
        if len(pattern) > MAX_PATTERN or "{" in pattern:
            self.refuse(f"a pattern has at most {MAX_PATTERN} characters and no counted repetition", at + 2)
        if self.bound:
            self.refuse("matches() is not allowed in a loop; use startsWith, endsWith or contains", at)

    def _path(self, at: int) -> tuple[tuple[str, ...], int] | None:
        """A dotted path from a token on, and the token after it. A tag may be named by an index: tags['x-y']."""
        if self.kind(at) != "name":
            return None
        path, at = [self.text(at)], at + 1
        while True:
            if self.text(at) == "." and self.kind(at + 1) == "name" and self.text(at + 2) != "(":
                path.append(self.text(at + 1))
                at += 2
            elif (
                self.text(at) == "["
                and self.closing[at] == at + 2
                and (name := _plain(self.tokens[at + 1])) is not None
            ):
                path.append(name)
                at += 3
            else:
                return tuple(path), at

    def _chain(self, at: int) -> int:
        found = self._path(at)
        assert found is not None, "called at a name"
        path, after = found
        self._check(path, at)
        if self.text(after) == "[" and ".".join(path[:2]) in OPEN:
            self.refuse(f"{'.'.join(path[:2])} takes a name written as a string, such as ['region']", after)
        self.chains[Chain(path, tested=False)] = None
        return after

    def _check(self, path: tuple[str, ...], at: int) -> None:
        """A path must be made of known words."""
        root = path[0]
        if root not in FIELDS:
            self.refuse(f"there is no {root!r}{_known(FIELDS)}", at)
        if len(path) == 1:
            self.refuse(f"{root!r} is not a value; ask for a field, such as {root}.{next(iter(FIELDS[root]))}", at)
        if path[1] not in FIELDS[root]:
            self.refuse(f"{root} has no {path[1]!r}{_known(FIELDS[root])}", at)
        if len(path) > 2 and ".".join(path[:2]) not in OPEN:
            self.refuse(f"{'.'.join(path[:2])} has no fields", at)
        if len(path) > 3 and path[1] == "tags":
            self.refuse(f"{'.'.join(path[:3])} is a string and has no fields", at)

    def _bound_steps(self) -> None:
        """What an evaluation may cost: every token once, those in a loop a hundred times."""
        steps = len(self.tokens)
        for at, token in enumerate(self.tokens):
            if token.kind == "name" and token.text in LOOPS and self.text(at + 1) == "(" and self.text(at - 1) == ".":
                steps += MAX_ELEMENTS * (self.closing[at + 1] - at)
        if steps > MAX_STEPS:
            self.refuse(f"the loops may take {steps} steps, {MAX_STEPS} are allowed; make their conditions shorter", 0)


def _plain(token: Token) -> str | None:
    """The text of a string without escapes or prefixes, None for anything else."""
    text = token.text
    simple = token.kind == "string" and text[0] in "\"'" and text[1:3] not in ('""', "''") and "\\" not in text
    return text[1:-1] if simple or text in ('""', "''") else None


def _known(names: Iterable[str]) -> str:
    return f"; there is {', '.join(sorted(names))}"
