"""Every scenario opens its stage here, and is held to what must be true after any of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from stage import Opener, assert_at_rest, assert_explained, assert_nothing_leaked


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:
        opener = Opener(stack, tmp_path)
        yield opener
        for stage in opener.stages:
            assert_at_rest(stage)
            assert_explained(stage)
            assert_nothing_leaked(stage)
