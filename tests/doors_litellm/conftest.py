"""What every test of this door starts from: LiteLLM's globals as in a fresh process, a stage that ends at rest."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from litellm_stage import LISTS, Opener, litellm


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:
        opener = Opener(stack)
        yield opener
        for stage in opener.stages:
            await stage.settled()


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LiteLLM's globals as a fresh process has them; its expected failures not on the screen."""
    before: Mapping[str, list[Any]] = {name: list(getattr(litellm, name)) for name in LISTS if hasattr(litellm, name)}
    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    logging.getLogger("LiteLLM Router").setLevel(logging.CRITICAL)
    yield
    for name, kept in before.items():
        getattr(litellm, name)[:] = kept
    litellm.cache = None
