"""The environment a configuration sees: the process's own, and below it a `.env` beside the file, which never wins.

`${NAME}` stands for a variable anywhere in a configuration, `${NAME:-text}` has a default and `$${` is a plain `${`.
A key's `secret` is left alone: its material is read in one place (credentials.py), and never becomes a plain text here.
"""

from __future__ import annotations

import os
import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node

Environ = Mapping[str, str]

_VARIABLE: Final = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_LINE: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$")
_ESCAPES: Final = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_WORTH_HIDING: Final = 6
"""Characters from which on a variable's value is taken out of sentences."""


def environ_for(folder: Path | None, environ: Environ | None = None) -> Environ:
    """The variables in force: `environ` (by default the process's) over the folder's `.env`."""
    own = os.environ if environ is None else environ
    return ChainMap(dict(own), dotenv(folder / ".env") if folder is not None else {})


def dotenv(path: Path) -> dict[str, str]:
    """What a `.env` file sets; nothing where there is none. Lines that set nothing are passed over."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    found = (_LINE.match(line) for line in text.splitlines())
    return {m.group(1): _unquoted(m.group(2).strip()) for m in found if m}


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] in "'\"" and (end := value.find(value[0], 1)) > 0:
        inner = value[1:end] if value[0] == "'" else value[1 : _closing(value)]
        return inner if value[0] == "'" else re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(0)), inner)
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()


def _closing(value: str) -> int:
    """Where the double quote that opens a value closes; a backslash keeps one from closing."""
    at = 1
    while at < len(value) and value[at] != '"':
        at += 2 if value[at] == "\\" else 1
    return min(at, len(value))


@dataclass(slots=True)
class Expansion:
    """Fills in variables and remembers their values, so that no sentence repeats them."""

    environ: Environ
    reader: Reader
    used: dict[str, str]

    def into(self, node: Node, *, depth: int = 0, keys: bool = False) -> None:
        """Expand every text of a tree in place, except the secrets of keys."""
        if isinstance(node.value, str):
            if "${" in node.value:
                node.value = self.text(node, node.value)
            return
        for name, child in _children(node):
            inside = keys or (depth == 0 and name == "keys")
            if not (inside and depth == 2 and name == "secret"):
                self.into(child, depth=depth + 1, keys=inside)

    def text(self, node: Node, text: str) -> str:
        return _VARIABLE.sub(lambda m: self._value(node, m), text)

    def _value(self, node: Node, match: re.Match[str]) -> str:
        if match.group(1):
            return "${"
        name, default = match.group(2), match.group(3)
        value = self.environ.get(name) or default
        if value is None:
            self.reader.add(
                node, f"the environment variable {name} is not set; export it, or write ${{{name}:-DEFAULT}}"
            )
            return ""
        if len(value) >= _WORTH_HIDING:
            self.used[value] = name
        return value

    def hide(self, sentence: str) -> str:
        """A sentence in which variables stand for their values again."""
        for value, name in self.used.items():
            for form in (value, repr(value)[1:-1]):
                sentence = sentence.replace(form, f"${{{name}}}")
        return sentence


def _children(node: Node) -> list[tuple[str, Node]]:
    if isinstance(node.value, dict):
        return list(node.value.items())
    return [("", child) for child in node.value] if isinstance(node.value, list) else []
