"""A configuration as a tree of nodes that know where they stand, whatever format it was written in.

YAML is composed, not loaded, because only its nodes know their lines; this is also where names given twice, merge keys
and anchors that contain themselves are dealt with. Only here are files of a configuration parsed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, Union

import yaml

from apikeyrouter.config.problems import Problem, failure, step
from apikeyrouter.errors import InvalidConfigurationError, MissingConfigurationError

LARGEST_BYTES: Final = 32 * 1024 * 1024
MOST_COPIES: Final = 100_000
"""What anchors may add to a file."""

Value = Union[None, bool, int, float, str, "dict[str, Node]", "list[Node]", object]
_LOADER: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE: Final = "tag:yaml.org,2002:merge"
_LONG_QUOTE: Final = re.compile(r"'[^']{4,}'")


class Node:
    """A value at a place. `value` is a plain scalar, a dict of nodes or a list of nodes; `path` is for sentences."""

    __slots__ = ("line", "path", "value")

    def __init__(self, value: Value, path: str, line: int | None = None) -> None:
        self.value = value
        self.path = path
        self.line = line

    def plain(self) -> object:
        """The value without nodes."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, name: str) -> Node | None:
        return self.value.get(name) if isinstance(self.value, dict) else None

    def find(self, path: str) -> Node:
        """The node at `path`, or the nearest above it that exists."""
        if isinstance(self.value, dict | list):
            children = self.value.values() if isinstance(self.value, dict) else self.value
            for node in children:
                if path == node.path or path.startswith((f"{node.path}.", f"{node.path}[")):
                    return node.find(path)
        return self


def below(path: str, name: str) -> str:
    return f"{path}.{step(name)}" if path else step(name)


def of_mapping(value: Mapping[str, object]) -> Node:
    """A tree of what is already parsed. Raises InvalidConfigurationError for names that are no text."""
    return _of_value(value, "")


def _of_value(value: object, path: str) -> Node:
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise failure("", [Problem("", path, f"the name {name} is a {type(name).__name__}; write a text")])
        return Node({name: _of_value(each, below(path, name)) for name, each in value.items()}, path)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node([_of_value(each, f"{path}[{at}]") for at, each in enumerate(value)], path)
    return Node(_scalar(value), path)


def _scalar(value: object) -> object:
    """Dates become the text they were written as; what no format has (a Secret) stays."""
    if value is None or isinstance(value, bool | int | float | str | Decimal):
        return value
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if callable(isoformat) else str(value) if isinstance(value, Path) else value


def of_file(path: Path) -> tuple[Node, list[Problem]]:
    """The tree of a YAML, TOML or JSON file, and its problems; the ending decides.

    Raises MissingConfigurationError for a file that cannot be read, InvalidConfigurationError for a broken one.
    """
    file = str(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InvalidConfigurationError(
                f"{file} is larger than {LARGEST_BYTES // 2**20} MiB; is it the right file?"
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidConfigurationError(f"{file} is not UTF-8 text; save it as UTF-8.") from None
    except OSError as error:
        raise MissingConfigurationError(
            f"The configuration {file} cannot be read ({error.strerror}); `apikeyrouter init` writes one to start from."
        ) from None
    readers: dict[str, Callable[[str, str], Node]] = {".toml": _of_toml, ".json": _of_json}
    reader = readers.get(path.suffix.lower())
    return of_yaml(text, file) if reader is None else (reader(text, file), [])


def _of_toml(text: str, file: str) -> Node:
    try:
        return of_mapping(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise failure(file, [Problem(file, "", f"this is not TOML: {_unquoted(str(error))}")]) from None


def _of_json(text: str, file: str) -> Node:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise failure(file, [Problem(file, "", f"this is not JSON: {error.msg}", error.lineno)]) from None
    except RecursionError:
        raise failure(file, [Problem(file, "", "this is nested too deeply")]) from None
    if not isinstance(value, dict):
        raise failure(file, [Problem(file, "", "a configuration is an object with providers, keys and more")])
    return of_mapping(value)


def of_yaml(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The tree of a YAML text, with lines, and what YAML itself allows to go wrong. No text, an empty tree."""
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        builder = _Builder(loader, file)
        tree = Node({}, "", 1) if root is None else builder.build(root, "", 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = _unquoted(str(error.problem or error.context or "broken"))
        at = mark.line + 1 if mark else None
        raise failure(file, [Problem(file, "", f"this is not YAML: {said}", at)]) from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise failure(file, [Problem(file, "", "this is not YAML, or nested too deeply")]) from None
    finally:
        loader.dispose()
    return tree, builder.problems


def _unquoted(text: str) -> str:
    """A parser's complaint without the words it quotes: one of them may be a key."""
    return _LONG_QUOTE.sub("that", text)


class _Builder:
    """From YAML's own nodes to ours."""

    def __init__(self, loader: yaml.SafeLoader, file: str) -> None:
        self.loader = loader
        self.file = file
        self.problems: list[Problem] = []
        self.open: set[int] = set()
        self.seen: set[int] = set()
        self.copies = 0

    def build(self, node: yaml.Node, path: str, line: int) -> Node:
        self.copies += id(node) in self.seen
        self.seen.add(id(node))
        if id(node) in self.open or self.copies > MOST_COPIES:
            if not self.problems or self.copies <= MOST_COPIES:
                self.note(path, line, "an anchor contains itself, or multiplies without end; write it out")
            return Node(None, path, line)
        self.open.add(id(node))
        try:
            return Node(self.value(node, path), path, line)
        finally:
            self.open.discard(id(node))

    def value(self, node: yaml.Node, path: str) -> Value:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(each, f"{path}[{at}]", _line(each)) for at, each in enumerate(node.value)]
        try:
            return _scalar(self.loader.construct_object(node))
        except ValueError:
            return str(node.value)

    def mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Node]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not isinstance(key, yaml.ScalarNode):
                self.note(path, _line(key), "a name is a text, not a list or mapping")
            elif key.tag != _MERGE and name in seen:
                self.note(below(path, name), _line(key), f"is given twice, first on line {seen[name]}; keep one")
            seen.setdefault(name, _line(key))
        self.loader.flatten_mapping(node)
        return {
            key.value: self.build(each, below(path, key.value), _line(key))
            for key, each in node.value
            if isinstance(key, yaml.ScalarNode)
        }

    def note(self, path: str, line: int, sentence: str) -> None:
        self.problems.append(Problem(self.file, path, sentence, line))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
