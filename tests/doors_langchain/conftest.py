"""What every test of this door starts from: one attentive world on loopback, and no network for the standard tests."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from langchain_stage import AttentiveApp, Sim, world
from langchain_tests.integration_tests import chat_models

from apikeyrouter.simulator import serve


@pytest.fixture(scope="session")
def sim() -> Iterator[Sim]:
    app = AttentiveApp(world())
    with serve(app, thread=True) as url:
        yield Sim(app.world, url)


class _Files:
    """Stands where the standard tests would fetch public pictures and documents."""

    @staticmethod
    def get(url: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(content=b"%PDF-1.4 a document or a picture", url=url)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_models, "httpx", _Files)
