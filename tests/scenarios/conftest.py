"""Every scenario opens its stage here, and is held to what must be true after any of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path

import pytest
from stage import Opener, assert_at_rest, assert_explained, assert_nothing_leaked

HERE = Path(__file__).parent
LONGEST_S = 15.0
"""Where time stands still a request that waits for it waits for ever; better told soon than by a hanging run."""


@pytest.fixture
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens routers from a configuration file, or (parameter "by hand") by the verbs a program would use."""
    async with AsyncExitStack() as stack:
        opener = Opener(stack, tmp_path, by_hand=getattr(request, "param", "file") == "by hand")
        yield opener
        for stage in opener.stages:
            assert_at_rest(stage)
            assert_explained(stage)
            assert_nothing_leaked(stage)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and HERE in item.path.parents and iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def bounded(**arguments: object) -> None:
        async with asyncio.timeout(LONGEST_S):
            await test(**arguments)

    return bounded
