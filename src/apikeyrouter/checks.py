"""Keyword arguments, checked where they come in: an unknown name or a wrong kind is one sentence, not a silent default.

Values are never quoted, because anything may be pasted into the wrong place, a key too; kinds and names are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Final, NamedTuple

from apikeyrouter.errors import ApiKeyRouterError

LONGEST_ID: Final = 256


class Rule(NamedTuple):
    """What an option must be; `example` ends the sentence "write ..."."""

    holds: Callable[[object], bool]
    example: str


Rules = Mapping[str, Rule]


def check(options: Mapping[str, object], rules: Rules, error: type[ApiKeyRouterError], verb: str) -> None:
    """Raise `error` for the first option that is unknown or of a wrong kind."""
    for name, value in options.items():
        rule = rules.get(name)
        if rule is None:
            close = get_close_matches(name, list(rules), n=1)
            meant = f"did you mean '{close[0]}'?" if close else f"it takes {', '.join(rules)}."
            raise error(f"{verb} has no option '{name[:40]}'; {meant}")
        if not rule.holds(value):
            raise error(f"{name} is {kind_of(value)}; write {rule.example}.")


def kind_of(value: object) -> str:
    """What a value is, without quoting texts."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float) and len(str(value)) < 20:
        return str(value)
    if isinstance(value, str) and not value:
        return "empty"
    if isinstance(value, str):
        return f"a text of {len(value):,} characters"
    return f"a {type(value).__name__}"


def anything(value: object) -> bool:
    return True


def is_truth(value: object) -> bool:
    return isinstance(value, bool)


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_name(value: object) -> bool:
    """A text that names something, or None."""
    return value is None or (isinstance(value, str) and 0 < len(value) <= LONGEST_ID)


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def is_texts(value: object) -> bool:
    """Several texts; one alone is a frequent mistake, which would be read letter by letter."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) and all(map(is_text, value))


def is_tags(value: object) -> bool:
    return isinstance(value, Mapping) and all(is_text(k) and is_text(v) for k, v in value.items())


def is_table(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def named(value: object, what: str, error: type[ApiKeyRouterError]) -> str:
    """A name that was passed to a verb; `error` for what is no text."""
    if not isinstance(value, str):
        raise error(f"{what} is {kind_of(value)}; give its text.")
    return value
