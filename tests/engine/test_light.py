"""`import apikeyrouter` is light in the full environment: it loads nothing heavy and takes no time to speak of."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = [
    "aiohttp",
    "asyncio",
    "boto3",
    "fastapi",
    "httpcore",
    "httpx",
    "httpx2",
    "langchain",
    "langchain_core",
    "litellm",
    "numpy",
    "openai",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "pymongo",
    "redis",
    "rich",
    "scipy",
    "sqlalchemy",
    "ssl",
    "structlog",
    "typer",
    "uvicorn",
    "yaml",
]
LOADED = "import sys; {}; print(*sorted(set(sys.argv[1:]) & set(sys.modules)))"
TIMED = """
import time
started = time.perf_counter()
import asyncio
reference = time.perf_counter() - started
started = time.perf_counter()
import apikeyrouter
print(time.perf_counter() - started, reference)
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    "what",
    [
        "import apikeyrouter",
        "import apikeyrouter; dir(apikeyrouter)",
        "from apikeyrouter import Budget, Limit, Objective, Policy, Request, Usage",
        "from apikeyrouter import ApiKeyRouter",
        "from apikeyrouter import ApiKeyRouter; ApiKeyRouter(log=False)",
    ],
)
def test_nothing_heavy_is_loaded(what: str) -> None:
    assert run(LOADED.format(what), *HEAVY).split() == []


def test_what_sends_is_loaded_when_somebody_sends() -> None:
    """The check above can fail: an adapter does load its HTTP library."""
    assert "httpx" in run(LOADED.format("from apikeyrouter.adapters import OpenAIAdapter"), *HEAVY).split()


def test_the_import_takes_less_than_its_150_ms() -> None:
    """The best of five; where the machine is busy, no longer than twice what asyncio takes there."""
    times = [tuple(map(float, run(TIMED).split())) for _ in range(5)]
    best, reference = min(ours for ours, _ in times), min(theirs for _, theirs in times)
    assert best < max(0.150, 2 * reference)
