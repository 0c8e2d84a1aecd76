"""Reads fenced blocks, directives and links out of Markdown: what the documents' tests run, load and follow.

Directives are HTML comments, invisible to readers, on lines of their own directly before a block (blank lines between
are fine; several may be stacked):

    <!-- no-run: reason -->     the block is compiled, not run
    <!-- config -->             the YAML, TOML or JSON block is a configuration; `config: NAME` also writes it to NAME
    <!-- file: NAME -->         the block is written to NAME in the document's folder before the next block runs
    <!-- raises: ErrorName -->  the Python block must end with that exception

and, anywhere in a document:

    <!-- door: NAME -->         the document's blocks run in that door's environment (.venv-NAME)
    <!-- setup                  Python that runs at this place without being shown
    ...
    -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent>[ >\t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)(?P<rest>[^`]*)$")
_DIRECTIVE = re.compile(r"^\s*<!--\s*(?P<name>[a-z-]+)\s*(?::\s*(?P<value>.*?))?\s*-->\s*$")
_SETUP = re.compile(r"^\s*<!--\s*setup\s*$")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)[^)]*\)")
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*\s*$")
_LANGUAGES = {"py": "python", "python3": "python", "yml": "yaml", "jsonc": "json"}
PER_BLOCK = frozenset({"config", "file", "no-run", "raises"})
PER_DOCUMENT = frozenset({"door"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block (or hidden setup): its language, text, first line's number, and the directives before it."""

    language: str
    text: str
    line: int
    directives: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document; `directives` are those for the whole of it, `unknown` what looks like one and is none."""

    path: Path
    blocks: tuple[Block, ...]
    directives: dict[str, str]
    unknown: tuple[str, ...]
    prose: str


def read_document(path: Path) -> Document:
    """Parses one file."""
    return parse(path, path.read_text(encoding="utf-8"))


def parse(path: Path, source: str) -> Document:
    """Parses the text of a document. An unclosed fence is an error: it would swallow every later block."""
    blocks: list[Block] = []
    whole: dict[str, str] = {}
    unknown: list[str] = []
    prose: list[str] = []
    waiting: dict[str, str] = {}
    lines = iter(enumerate(source.splitlines(), 1))
    for number, line in lines:
        if opening := _FENCE.match(line):
            text = "\n".join(_inside(lines, opening, path, number))
            language = opening["language"].lower()
            blocks.append(Block(_LANGUAGES.get(language, language), text + "\n", number + 1, waiting))
            waiting = {}
        elif _SETUP.match(line):
            text = "\n".join(_hidden(lines, path, number))
            blocks.append(Block("python", text + "\n", number + 1, {"setup": ""}))
        elif directive := _DIRECTIVE.match(line):
            name, value = directive["name"], directive["value"] or ""
            if name in PER_BLOCK:
                waiting[name] = value
            elif name in PER_DOCUMENT:
                whole[name] = value
            else:
                unknown.append(f"line {number}: {line.strip()}")
        elif line.strip():
            unknown.extend(f"line {number}: {name} stands before no block" for name in waiting)
            waiting = {}
            prose.append(line)
    return Document(path, tuple(blocks), whole, tuple(unknown), "\n".join(prose))


def _inside(lines: Iterator[tuple[int, str]], opening: re.Match[str], path: Path, start: int) -> Iterator[str]:
    indent, fence = opening["indent"], opening["fence"]
    for _, line in lines:
        bare = line[len(indent) :] if line.startswith(indent) else line.lstrip(" \t")
        closing = bare.strip()
        if closing.startswith(fence) and not closing.strip(fence[0]):
            return
        yield bare
    raise ValueError(f"{path}:{start}: this fence is never closed.")


def _hidden(lines: Iterator[tuple[int, str]], path: Path, start: int) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == "-->":
            return
        yield line
    raise ValueError(f"{path}:{start}: this setup comment is never closed.")


def links(document: Document) -> list[str]:
    """The targets of the document's links, code spans left out."""
    prose = re.sub(r"`[^`\n]*`", "``", document.prose)
    return [match["target"] for match in _LINK.finditer(prose)]


def anchors(document: Document) -> frozenset[str]:
    """The anchors that a forge makes of the document's headings."""
    found: set[str] = set()
    for line in document.prose.splitlines():
        if heading := _HEADING.match(line):
            text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"])
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-"))
    return frozenset(found)
