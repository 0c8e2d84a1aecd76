"""Fills `{name}` in paths, parameters and bodies from a caller's values, for providers described by configuration.

A text that is one placeholder takes the value with its type; inside a longer text it becomes text. `{name?}` may be
absent, and then takes its field away with it. In a path a value is percent-encoded, so that it cannot leave its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final
from urllib.parse import quote

from apikeyrouter.errors import InvalidRequestError

_PLACE: Final = re.compile(r"\{([A-Za-z_][\w.-]{0,63})(\?)?\}")
_MAX_DEPTH: Final = 32


class Absent(Enum):
    """What a placeholder gives whose value is not there and need not be."""

    ABSENT = "absent"


def names(template: object) -> frozenset[str]:
    """Every placeholder in a template, however deep."""
    if isinstance(template, str):
        return frozenset(found.group(1) for found in _PLACE.finditer(template))
    if isinstance(template, Mapping):
        return frozenset[str]().union(*(names(inner) for inner in template.values()))
    if isinstance(template, list):
        return frozenset[str]().union(*(names(inner) for inner in template))
    return frozenset()


def fill(template: object, values: Mapping[str, object], depth: int = 0) -> object:
    """A template with its places filled. Raises InvalidRequestError for a value that is missing."""
    if depth > _MAX_DEPTH:
        raise InvalidRequestError(f"the body template is nested deeper than {_MAX_DEPTH}")
    if isinstance(template, str):
        return _fill_text(template, values)
    if isinstance(template, Mapping):
        filled = {name: fill(inner, values, depth + 1) for name, inner in template.items()}
        return {name: value for name, value in filled.items() if value is not Absent.ABSENT}
    if isinstance(template, list):
        return [value for inner in template if (value := fill(inner, values, depth + 1)) is not Absent.ABSENT]
    return template


def _fill_text(template: str, values: Mapping[str, object]) -> object:
    whole = _PLACE.fullmatch(template)
    if whole is not None:
        return _value(whole, values)
    return _PLACE.sub(lambda found: plain(_value(found, values), found.group(1)), template)


def _value(found: re.Match[str], values: Mapping[str, object]) -> object:
    value = values.get(found.group(1))
    if value is not None:
        return value
    if found.group(2):
        return Absent.ABSENT
    raise InvalidRequestError(f"the value '{found.group(1)}' is missing from the body; add it")


def fill_path(template: str, values: Mapping[str, object]) -> str:
    """A path with its places filled, each value percent-encoded. Raises InvalidRequestError."""
    return _PLACE.sub(lambda found: _segment(found, values), template)


def _segment(found: re.Match[str], values: Mapping[str, object]) -> str:
    value = plain(_value(found, values), found.group(1))
    if value in ("", ".", ".."):
        raise InvalidRequestError(f"the value '{found.group(1)}' cannot be a part of a path; give another")
    return quote(value, safe="")


def plain(value: object, name: str) -> str:
    """A value as text: true and false as JSON writes them. Raises InvalidRequestError for lists and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if value is Absent.ABSENT:
        return ""
    raise InvalidRequestError(f"the value '{name}' is a {type(value).__name__}; a text or number is needed there")
