"""Turns `object` into what the reader expects, or into nothing: answers come from the network and may hold anything.

What JSON gives is asked for by its exact type first: these are called some dozen times for every event of a stream,
and asking an abstract class takes several times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def mapping(value: object) -> Mapping[str, object]:
    return value if type(value) is dict or isinstance(value, Mapping) else NOTHING


def items(value: object) -> list[object]:
    return value if isinstance(value, list) else list(value) if isinstance(value, tuple) else []


def mappings(value: object) -> Iterator[Mapping[str, object]]:
    """The objects of a list; what is not an object is passed over."""
    return (item for item in items(value) if type(item) is dict or isinstance(item, Mapping))


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def integer(value: object) -> int:
    """A token count: non-negative, 0 for anything that is none, a million million included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value < 10**12 else 0


def without(body: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    dropped = frozenset(names)
    return {name: value for name, value in body.items() if name not in dropped}
