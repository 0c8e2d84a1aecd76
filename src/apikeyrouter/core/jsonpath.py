"""The small part of JSONPath that tables and configuration need: `$.a.b[0].c`, `$['odd name']`, `$.list[*].x`.

Error tables, usage tables and declarative costs all point into answers by path; they share this one reader, so that a
path means the same everywhere. No filters, no recursion, no slices: a path is data, not a program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final


class Each(Enum):
    """The step `[*]`: every item of a list, every value of an object."""

    EACH = "*"


Step = str | int | Each
Path = tuple[Step, ...]

_STEP: Final = re.compile(r"""\.([^.\[\]\s'"]+)|\[(-?\d{1,9})\]|\[(\*)\]|\['([^']*)'\]|\["([^"]*)"\]""")
_MAX_LENGTH: Final = 512


def parse(text: str) -> Path:
    """Steps of a path; ValueError says which character is not understood. `a.b` is read as `$.a.b`."""
    source = text if text.startswith("$") else f"$.{text}"
    if len(source) > _MAX_LENGTH:
        raise ValueError(f"the path is {len(source)} characters long, at most {_MAX_LENGTH} are read")
    steps: list[Step] = []
    at = 1
    while at < len(source):
        found = _STEP.match(source, at)
        if found is None:
            raise ValueError(f"the path {text!r} is not understood at character {at}; write it like $.a.b[0].c")
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    name, index, star, single, double = found.groups()
    if name is not None:
        return Each.EACH if name == "*" else name
    if index is not None:
        return int(index)
    if star is not None:
        return Each.EACH
    return single if single is not None else double


def find(path: Path, value: object) -> Iterator[object]:
    """Every value at a path, in order; nothing where the path leads nowhere."""
    if not path:
        yield value
        return
    head, rest = path[0], path[1:]
    for inner in _inside(head, value):
        yield from find(rest, inner)


def first(path: Path, whole: object) -> object:
    """The first value at a path that is not null, or None. Usage is read often: without `[*]` it walks straight."""
    value = whole
    for step in path:
        if isinstance(step, Each):
            return next((found for found in find(path, whole) if found is not None), None)
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list | tuple) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def _inside(step: Step, value: object) -> Iterator[object]:
    if isinstance(value, dict):
        if isinstance(step, Each):
            yield from value.values()
        elif step in value:
            yield value[step]
    elif isinstance(value, list | tuple):
        if isinstance(step, Each):
            yield from value
        elif isinstance(step, int) and -len(value) <= step < len(value):
            yield value[step]
