"""Reads nodes as what they should be, noting what they are not. It never raises: one run finds every mistake.

Each method gives a usable value even for a node that is wrong, so that reading goes on; whoever asked for the
configuration gets none when there is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Final

from apikeyrouter.config.problems import Problem, cleaned, harmless, meant, shown, step
from apikeyrouter.config.tree import Node
from apikeyrouter.core.headers import duration
from apikeyrouter.errors import ConfigurationError, InvalidConfigurationError

_WHOLE: Final = re.compile(r"[+-]?\d[\d_,]*")
_TRUTH: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
WEEK_S: Final = 604_800.0


class Reader:
    """Collects problems of one file; `file` is what sentences call it, empty for a mapping."""

    def __init__(self, file: str = "", problems: Iterable[Problem] = ()) -> None:
        self.file = file
        self.problems = list(problems)
        self.warnings: list[Problem] = []

    def add(self, node: Node, sentence: str) -> None:
        self.problems.append(Problem(self.file, node.path, sentence, node.line))

    def warn(self, node: Node, sentence: str) -> None:
        """Something that works, but hardly as meant."""
        self.warnings.append(Problem(self.file, node.path, sentence, node.line))

    def add_error(self, node: Node, error: ConfigurationError) -> None:
        """Problems that another part of the project found in this node."""
        found = error.problems if isinstance(error, InvalidConfigurationError) else (error.message,)
        for sentence in found:
            self.add(node, cleaned(sentence))

    # -- structure --------------------------------------------------------------------------------------------------

    def mapping(self, node: Node | None, example: str) -> dict[str, Node]:
        """The named children; nothing, with a problem, where there is something else."""
        if node is None or node.value is None:
            return {}
        if isinstance(node.value, dict):
            return node.value
        self.add(node, f"is {_kind(node)}; write a mapping such as {example}")
        return {}

    def fields(self, node: Node, known: Collection[str], example: str) -> dict[str, Node]:
        """Children under known names only; another name is a problem with the nearest known one."""
        given = self.mapping(node, example)
        for name, child in given.items():
            if name not in known:
                self.add(child, f"is not known here{meant(name, known) or f'; use {_listed(known)}'}")
        return {name: child for name, child in given.items() if name in known}

    def items(self, node: Node | None, example: str) -> list[Node]:
        if node is None or node.value is None:
            return []
        if isinstance(node.value, list):
            return node.value
        self.add(node, f"is {_kind(node)}; write a list such as {example}")
        return []

    # -- scalars ----------------------------------------------------------------------------------------------------

    def text(self, node: Node | None, example: str) -> str:
        """A text; numbers are taken as they are written."""
        if node is None or node.value is None:
            return ""
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, int | float | Decimal) and not isinstance(node.value, bool):
            return str(node.value)
        self.add(node, f"is {_kind(node)}; write a text such as {example}")
        return ""

    def texts(self, node: Node | None, example: str) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        if node is not None and isinstance(node.value, str):
            return (node.value,)
        found = (self.text(each, example) for each in self.items(node, f"[{example}]"))
        return tuple(text for text in found if text)

    def table(self, node: Node | None, example: str) -> dict[str, str]:
        """A mapping of texts."""
        return {name: self.text(child, "eu") for name, child in self.mapping(node, example).items()}

    def choice(self, node: Node | None, known: Collection[str], default: str) -> str:
        if node is None or node.value is None:
            return default
        if isinstance(node.value, str) and node.value in known:
            return node.value
        self.add(node, f"is {_seen(node)}; use {_listed(known)}{_nearest(node.value, known)}")
        return default

    def truth(self, node: Node | None, default: bool = False) -> bool:
        if node is None or node.value is None:
            return default
        if isinstance(node.value, bool):
            return node.value
        found = _TRUTH.get(node.value.strip().lower()) if isinstance(node.value, str) else None
        if found is None:
            self.add(node, f"is {_seen(node)}; write true or false")
        return default if found is None else found

    def whole(self, node: Node | None, default: int = 0, *, least: int = 0) -> int:
        """A whole number; `200_000`, `200,000` and 2e5 are one too."""
        if node is None or node.value is None:
            return default
        found = _whole(node.value)
        if found is None or found < least:
            self.add(node, f"is {_seen(node)}; write a whole number of at least {least}")
            return default
        return found

    def number(self, node: Node | None, default: float, *, least: float = 0.0, most: float | None = None) -> float:
        """A finite number within the bounds; `least` above zero is included, zero itself too."""
        if node is None or node.value is None:
            return default
        found = _number(node.value)
        if found is None or found < least or (most is not None and found > most):
            bounds = f"of at least {least:g}" if most is None else f"from {least:g} to {most:g}"
            self.add(node, f"is {_seen(node)}; write a number {bounds}")
            return default
        return found

    def positive(self, node: Node | None, default: float) -> float:
        if node is None or node.value is None:
            return default
        found = _number(node.value)
        if found is None or found <= 0:
            self.add(node, f"is {_seen(node)}; write a number greater than 0")
            return default
        return found

    def seconds(self, node: Node | None, default: float) -> float:
        """A time: seconds as a number, or `90s`, `1m30s`, `30d`. More than 0."""
        if node is None or node.value is None:
            return default
        found = _seconds(node.value)
        if found is None or found <= 0:
            self.add(node, f"is {_seen(node)}; write seconds, or a time such as 90s, 1m30s or 30d")
            return default
        return found

    # -- names that must lead somewhere -------------------------------------------------------------------------------

    def refer(self, node: Node, name: str, known: Collection[str], section: str) -> bool:
        """Whether `name` is one of a section; otherwise a problem."""
        if name in known:
            return True
        what = f"'{name}'" if harmless(name) else "this"
        others = f", or use {_listed(known)}" if known else ""
        self.add(node, f"{what} is not among the {section}{meant(name, known) or f'; add it there{others}'}")
        return False


def _kind(node: Node) -> str:
    """What a node is, without quoting it: a text may be a key in the wrong place."""
    return "a text" if isinstance(node.value, str) else shown(node.value)


def _seen(node: Node) -> str:
    """A node's value as a sentence may show it; among keys no text is quoted at all."""
    return _kind(node) if node.path.startswith("keys.") else shown(node.value)


def _listed(known: Iterable[str]) -> str:
    names = sorted(step(name) for name in known)
    more = f" or {len(names) - 12} others" if len(names) > 13 else ""
    shortened = names[:12] if more else names
    return f"one of {', '.join(shortened)}{more}" if len(names) > 1 else (names[0] if names else "nothing")


def _nearest(value: object, known: Collection[str]) -> str:
    return meant(value, known) if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float | Decimal):
        return int(value) if isfinite(value) and value == int(value) else None
    if isinstance(value, str) and len(value) <= 30 and _WHOLE.fullmatch(value.strip()):
        return int(value.replace(",", "").replace("_", ""))
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str) or len(str(value)) > 40:
        return None
    try:
        found = float(Decimal(str(value).strip().replace("_", "")))
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def _seconds(value: object) -> float | None:
    plain = _number(value)
    if plain is not None or not isinstance(value, str):
        return plain
    text = value.strip()
    weeks = _number(text.removesuffix("w")) if text.endswith("w") else None
    return duration(text) if weeks is None else weeks * WEEK_S
