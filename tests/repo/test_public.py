"""The public face: names that the contract promises, each with a docstring, behind an import that costs little."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

pytest.importorskip("apikeyrouter.facade", reason="the facade is not there yet")
import apikeyrouter
import apikeyrouter.errors

PROMISED = """
    ApiKeyRouter Budget Limit Objective Policy Request Usage
    ApiKeyRouterError ProviderError RateLimitError AuthenticationError ServiceUnavailableError ProviderTimeoutError
    InvalidRequestError RoutingError NoEligibleKeysError QuotaExhaustedError BudgetExceededError PolicyViolationError
    StateError InvalidStateTransitionError StateCorruptionError
    ConfigurationError InvalidConfigurationError MissingConfigurationError
    KeyAlreadyExistsError
"""
HEAVY = """
    asyncio fastapi httpx httpx2 langchain langchain_core litellm pydantic pymongo redis rich sqlalchemy structlog
    typer yaml
"""
WEIGH = "import sys, apikeyrouter; print(*sorted(set(sys.argv[1:]) & set(sys.modules)))"


def test_promised_names_are_there() -> None:
    assert set(PROMISED.split()) <= set(apikeyrouter.__all__)


def test_names_are_sorted_and_listed_by_dir() -> None:
    assert list(apikeyrouter.__all__) == sorted(apikeyrouter.__all__)
    assert set(apikeyrouter.__all__) <= set(dir(apikeyrouter))


def test_every_public_name_resolves() -> None:
    assert not [name for name in apikeyrouter.__all__ if not hasattr(apikeyrouter, name)]


def test_every_public_class_and_function_says_what_it_is() -> None:
    public = [getattr(apikeyrouter, name) for name in apikeyrouter.__all__]
    errors = apikeyrouter.ApiKeyRouterError
    described = [
        each for each in public if inspect.isfunction(each) or (inspect.isclass(each) and not issubclass(each, errors))
    ]
    silent = [each.__name__ for each in described if not (each.__doc__ or "").strip()]
    generated = [each.__name__ for each in described if (each.__doc__ or "").startswith(f"{each.__name__}(")]
    assert not [*silent, *generated]


def test_every_error_is_drawn_in_the_tree() -> None:
    tree = set(re.findall(r"\w+", apikeyrouter.errors.__doc__ or ""))
    drawn = [name for name in apikeyrouter.__all__ if name.endswith("Error")]
    assert len(drawn) > 15
    assert not set(drawn) - tree


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = apikeyrouter.no_such_name


def test_importing_loads_nothing_heavy() -> None:
    weighed = subprocess.run([sys.executable, "-c", WEIGH, *HEAVY.split()], capture_output=True, text=True, check=True)
    assert weighed.stdout.split() == []
