"""The rules of the house that a linter does not know, read off the source itself.

What a linter or import-linter can say is in pyproject.toml; only what they cannot say is here. An exception is declared
in this file, with its reason, or it does not exist.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "apikeyrouter"
SOURCES = sorted(PACKAGE.rglob("*.py"))
CORE = sorted((PACKAGE / "core").rglob("*.py"))

FILE_LINES = 400
FUNCTION_LINES = 40
LONG_FUNCTIONS: dict[str, str] = {}
"""`file:function` -> why its lines are needed in one place."""

PROVIDERS = (
    "openai|anthropic|claude|gemini|vertex|google|azure|bedrock|mistral|groq|cohere|deepseek|openrouter|perplexity|grok"
    "|together|fireworks|cerebras|ollama|huggingface|litellm|langchain"
)
PURE = """
    __future__ abc bisect calendar collections copy dataclasses datetime decimal email enum fnmatch fractions functools
    hashlib heapq hmac itertools json math operator re statistics string struct textwrap types typing zlib zoneinfo
"""
CORE_MAY_IMPORT = frozenset(PURE.split()) | {"apikeyrouter"}
EVERYWHERE = frozenset({"httpx", "pydantic", "structlog", "yaml"})
"""Core dependencies; every other third party is optional and has one home."""
DOORS = ("litellm", "langchain")
"""Packages whose own third party may be imported in any of their files."""


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[str]:
    """The top names of everything a file imports, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring not counted."""
    first = function.body[0]
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def words_in_code(path: Path) -> Iterator[tuple[int, str]]:
    """Names and strings of a file with their lines; comments and docstrings may cite their sources."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        line
        for node in ast.walk(tree(path))
        if isinstance(node, (*documented, ast.Expr))
        for statement in (node.body[:1] if isinstance(node, documented) else [node])
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.NAME, tokenize.STRING) and token.start[0] not in docstrings:
            yield token.start[0], token.string


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_a_file_is_one_idea() -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {file: lines for file, lines in lengths.items() if lines > FILE_LINES}


def test_a_function_fits_the_screen() -> None:
    lengths = {f"{name(path)}:{node.name}": body_lines(node) for path in SOURCES for node in functions(path)}
    long = {where: lines for where, lines in lengths.items() if lines > FUNCTION_LINES}
    assert long.keys() == LONG_FUNCTIONS.keys(), long


def test_nothing_is_left_to_do() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    assert not [
        f"{name(path)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if unfinished.search(line)
    ]


def test_classes_are_not_called_after_the_starting_documents() -> None:
    classes = [
        (name(path), node.name) for path in SOURCES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)
    ]
    assert not [(file, each) for file, each in classes if re.search(r"(Manager|Engine|Handler)$", each)]


def test_the_core_names_no_provider() -> None:
    named = re.compile(rf"(?<![a-z])({PROVIDERS})(?![a-z])", re.IGNORECASE)
    found = [
        f"{name(path)}:{line}: {word}" for path in CORE for line, word in words_in_code(path) if named.search(word)
    ]
    assert not found


def test_the_core_imports_only_itself_and_pure_modules() -> None:
    assert not {name(path): extra for path in CORE if (extra := sorted(set(imports(path)) - CORE_MAY_IMPORT))}


def test_the_core_awaits_nothing_and_reads_no_clock() -> None:
    waits = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    clock = re.compile(r"\b(date|datetime)\.(now|utcnow|today)$")
    found = [
        f"{name(path)}:{node.lineno}"
        for path in CORE
        for node in ast.walk(tree(path))
        if isinstance(node, waits) or (isinstance(node, ast.Call) and clock.search(ast.unparse(node.func)))
    ]
    assert not found


def test_an_optional_third_party_has_one_home() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        home = next((door for door in DOORS if name(path).startswith(f"{door}/")), name(path))
        for top in imports(path):
            if top not in sys.stdlib_module_names and top not in EVERYWHERE and top != "apikeyrouter":
                homes[top].add(home)
    assert not {party: sorted(files) for party, files in homes.items() if len(files) > 1}
