"""Tests of this folder replay cassettes: nothing in the process reaches a network meanwhile, not even loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sealed import sealed


@pytest.fixture(autouse=True)
def _sealed() -> Iterator[None]:
    with sealed():
        yield
