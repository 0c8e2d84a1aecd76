"""What every test run shares: loopback only, a search for key material, and how much property tests try.

Nothing else belongs here: fixtures live beside the tests that use them, fakes in `apikeyrouter.testing`.
"""

from __future__ import annotations

import pytest
from canary import Canaries
from hypothesis import HealthCheck, settings
from loopback import only_loopback

settings.register_profile("test", derandomize=True, deadline=None, database=None)
settings.register_profile(
    "fuzz", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("test")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="also run the tests marked torture")
    parser.addoption(
        "--cassettes", choices=("replay", "record"), help="LangChain's standard tests from cassettes/langchain"
    )


def pytest_configure(config: pytest.Config) -> None:
    only_loopback()
    config.pluginmanager.register(Canaries(), "canaries")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--torture"):
        return
    left_out = [item for item in items if item.get_closest_marker("torture")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
