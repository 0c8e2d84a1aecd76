"""Errors are ours and LangChain's at once, and say rightly whether asking again helps."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelError,
    ModelInvalidRequestError,
    ModelRateLimitError,
)
from langchain_core.messages import FunctionMessage
from langchain_rig import chat
from langchain_stage import Sim, at_rest

from apikeyrouter import Budget, errors
from apikeyrouter.langchain import ChatApiKeyRouter
from apikeyrouter.langchain.errors import spoken
from apikeyrouter.simulator import Fault

HELLO = "Tell me about the sea"
WAYS = pytest.mark.parametrize("way", ["native", "delegated"])


def refused(model: Any, **options: Any) -> Any:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is what is tested
        model.invoke(HELLO, **options)
    assert at_rest(model.engine)
    return caught.value


@WAYS
@pytest.mark.parametrize(
    ("key", "theirs", "ours", "again"),
    [
        ("o-401", ModelAuthenticationError, errors.AuthenticationError, False),
        ("o-500", ModelAPIError, errors.ServiceUnavailableError, True),
    ],
)
def test_what_the_last_provider_said(way: str, sim: Sim, key: str, theirs: type, ours: type, again: bool) -> None:
    error = refused(chat(way, sim, [key]))
    assert isinstance(error, theirs)
    assert error.is_retryable is again
    assert isinstance(error, ours) is (way == "native")
    assert sim.world.secret(key) not in f"{error!r}{error.__notes__ if hasattr(error, '__notes__') else ''}"


@WAYS
def test_no_room_is_a_rate_limit_with_the_time_to_come_back(way: str, sim: Sim) -> None:
    model = chat(way, sim, ["o-429"])
    assert isinstance(refused(model, timeout=0.5), ModelRateLimitError)
    error = refused(model, timeout=0.5)
    assert isinstance(error, errors.QuotaExhaustedError)
    assert isinstance(error, ModelRateLimitError)
    assert error.retry_after
    assert error.is_retryable


@WAYS
def test_no_money_is_not_to_be_asked_again(way: str, sim: Sim) -> None:
    poor = [Budget(scope="global", limit=Decimal("0.0000001"), period="day", mode="hard")]
    error = refused(chat(way, sim, ["o-ok"], engine={"budgets": poor}))
    assert isinstance(error, errors.BudgetExceededError)
    assert isinstance(error, ModelError)
    assert not error.is_retryable


@WAYS
def test_a_request_at_fault_is_tried_once(way: str, sim: Sim) -> None:
    fault = sim.world.faults.add(Fault(kind="error", key="o-ok", error="bad_request"))
    try:
        error = refused(chat(way, sim, ["o-ok", "o-500"]))
    finally:
        fault.stop()
    assert isinstance(error, ModelInvalidRequestError)
    assert fault.hits == 1


def test_options_that_nobody_knows_are_refused_by_name(sim: Sim) -> None:
    model = chat("native", sim, ["o-ok"])
    with pytest.raises(errors.InvalidRequestError, match="tenent"):
        model.with_routing(tenent="x")
    with pytest.raises(errors.InvalidRequestError, match="configurable"):
        model.invoke(HELLO, {"configurable": {"apikeyrouter": {"tenent": "x"}}})
    with pytest.raises(errors.MissingConfigurationError, match="from_config"):
        ChatApiKeyRouter(model="x").invoke(HELLO)
    with pytest.raises(ModelInvalidRequestError, match="ToolMessage"):
        model.invoke([FunctionMessage(content="1", name="f")])


@pytest.mark.parametrize(
    ("kind", "theirs", "again"),
    [("no_money", ModelRateLimitError, False), ("rate_limited", ModelRateLimitError, True)],
)
def test_money_that_is_gone_does_not_come_back(kind: str, theirs: type, again: bool) -> None:
    made = spoken(errors.RateLimitError("no", details={"kind": kind}, status=429))
    assert isinstance(made, theirs)
    assert made.is_retryable is again  # type: ignore[attr-defined]
    assert spoken(made) is made


def test_no_key_helps_only_where_time_does() -> None:
    assert spoken(errors.NoEligibleKeysError("none", retry_after=3.0)).is_retryable  # type: ignore[attr-defined]
    assert not spoken(errors.NoEligibleKeysError("none")).is_retryable  # type: ignore[attr-defined]


def test_the_package_loads_no_langchain() -> None:
    script = "import sys, apikeyrouter, apikeyrouter.langchain; sys.exit('langchain_core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
