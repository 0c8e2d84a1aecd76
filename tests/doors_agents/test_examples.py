"""The examples for agent frameworks run, and stay short; one whose framework is not in this environment is skipped."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "agents"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "two_keys")
ELSEWHERE = {
    "crewai": "crewai is 137 packages of 800 MB, more than all the other frameworks together: pip install crewai",
    "langchain": "LangChain has an environment of its own, where tests/doors_langchain runs this",
    "langgraph": "LangGraph is in LangChain's environment, where tests/doors_langchain runs this",
}
MOST_LINES = 30


def missing(path: Path) -> str | None:
    """The first package that an example imports and that is not here."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    packages = [name.partition(".")[0] for name in names]
    return next((name for name in packages if name != "two_keys" and find_spec(name) is None), None)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path) -> None:
    absent = missing(path)
    if absent is not None:
        assert absent in ELSEWHERE, f"{absent} belongs into requirements/agents.txt"
        pytest.skip(ELSEWHERE[absent])
    quiet = {**os.environ, "CREWAI_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=240, check=False, env=quiet
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "a1: 0 answered" in done.stdout
    assert "b1: 2 answered" in done.stdout


def test_each_is_short() -> None:
    lines = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES}
    assert len(lines) >= 9
    assert {name for name, count in lines.items() if count > MOST_LINES} == set()
