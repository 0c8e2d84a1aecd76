"""Every example runs as a user would run it: a program of its own, on loopback, that ends well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("litellm", "langchain")
"""Examples of a door run in the door's own environment."""
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if not path.name.startswith(OTHERS))
SAYS = {
    "acquire_settle.py": "rate_limited, blamed on the pool, again in 20.0 s",
    "generic_http.py": "geo-2  $0.0005",
    "http_search.py": "budget provider:search has $0 left",
    "http_sms.py": "sent by sms-2 for $0.0005 after 3 attempts",
    "quickstart.py": "looked at 3 of 3",
    "streaming.py": "broke the stream (server_error) after 64 characters",
    "sync.py": "20 replies by ['a1', 'a2']",
}
GUARD = """
import runpy, sys
from loopback import only_loopback
only_loopback()
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_the_examples_are_there() -> None:
    assert set(SAYS) | {"custom_adapter.py"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", GUARD, path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support"), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not run.stderr
    assert SAYS.get(path.name, "") in run.stdout
