"""Everything wrong with a configuration, each thing once, with its file, line, path and the sentence that mends it.

A configuration holds secrets, and a mistake may put one anywhere: as a key's id, in an address, under a wrong name. So
sentences quote values only through `shown`, and texts that came from outside pass through `cleaned`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from apikeyrouter.core.scrub import HIDDEN, scrub
from apikeyrouter.errors import InvalidConfigurationError

LONGEST_QUOTE: Final = 60
_QUOTED: Final = re.compile(r"(['\"])((?:(?!\1).)*)\1", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` is None where the format does not tell it (TOML, JSON, a mapping)."""

    file: str
    path: str
    sentence: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return ": ".join(part for part in (place, self.path, self.sentence) if part)


def failure(file: str, problems: Iterable[Problem]) -> InvalidConfigurationError:
    """One error that carries them all, in the order of the file."""
    found = sorted(dict.fromkeys(problems), key=lambda p: p.line or 0)
    lines = tuple(map(str, found))
    if len(lines) == 1:
        return InvalidConfigurationError(lines[0], problems=lines)
    head = f"{file or 'The configuration'} has {len(lines)} problems:"
    return InvalidConfigurationError("\n  ".join((head, *lines)), problems=lines)


def shown(value: object) -> str:
    """A value as a sentence may quote it: short and no key, else only what kind of thing it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "empty"
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e15 else "a very large number"
    if isinstance(value, str):
        return f"'{value}'" if harmless(value) else f"a text of {len(value):,} characters"
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def harmless(text: str) -> bool:
    """Whether a text may be quoted: short, printable, and nothing that looks like a key."""
    return len(text) <= LONGEST_QUOTE and text.isprintable() and scrub(text) == text


def cleaned(sentence: str) -> str:
    """A sentence of another part of the project, with whatever it quotes that may not be quoted taken out."""
    return _QUOTED.sub(lambda m: m.group() if harmless(m.group(2)) else f"{m.group(1)}{HIDDEN}{m.group(1)}", sentence)


@lru_cache(maxsize=4096)
def step(name: str) -> str:
    """A name as a part of a path; a key pasted where a name belongs is not repeated."""
    return name if harmless(name) else HIDDEN


def meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
