"""What every test of this door starts from: one attentive world on loopback, and no network for the standard tests.

With `--cassettes=replay` nothing is served: each class is answered by its cassette (tests/support/langchain_tape.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from langchain_stage import Sim
from langchain_tape import cassette_of, staged
from langchain_tests.integration_tests import chat_models


@pytest.fixture(scope="session")
def sim(request: pytest.FixtureRequest) -> Iterator[Sim]:
    with staged(request.config.getoption("--cassettes")) as made:
        yield made


@pytest.fixture(scope="class", autouse=True)
def _cassette(request: pytest.FixtureRequest, sim: Sim) -> Iterator[None]:
    name = request.cls.__name__ if request.cls is not None else request.node.name
    with cassette_of(name, sim.world, request.config.getoption("--cassettes")):
        yield


class _Files:
    """Stands where the standard tests would fetch public pictures and documents."""

    @staticmethod
    def get(url: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(content=b"%PDF-1.4 a document or a picture", url=url)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_models, "httpx", _Files)
