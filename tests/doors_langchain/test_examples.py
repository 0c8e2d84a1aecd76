"""The examples of this door run as a user would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "agents"
EXAMPLES = {"langchain_agent.py": "b1 chosen", "langgraph_agent.py": "7 acme"}


@pytest.mark.parametrize(("name", "said"), EXAMPLES.items(), ids=list(EXAMPLES))
def test_an_example_runs(name: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert "b1: 2 answered" in done.stdout
