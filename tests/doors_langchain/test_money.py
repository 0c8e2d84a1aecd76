"""Under a hard budget a call through LangChain spends no more than was held for it, both ways of sending."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_rig import chat
from langchain_stage import Sim, at_rest

from apikeyrouter import Budget, Settings
from apikeyrouter.core.model import OUTPUT

HELLO = "Tell me about the sea"
WAYS = pytest.mark.parametrize("way", ["native", "delegated"])
KEYS = pytest.mark.parametrize("key", ["o-ok", "a-ok"])
MOST = 10
"""The simulator's answers have 32 tokens if nothing bounds them."""


def limited(way: str, sim: Sim, key: str) -> Any:
    budgets = [Budget(scope="global", limit=1, period="total")]
    return chat(way, sim, [key], engine={"budgets": budgets, "settings": Settings(default_max_output=MOST)})


@WAYS
@KEYS
def test_an_answer_that_nobody_bounds_is_bounded_by_what_is_held(way: str, key: str, sim: Sim) -> None:
    model = limited(way, sim, key)
    assert model.invoke(HELLO).usage_metadata["output_tokens"] <= MOST
    whole = None
    for chunk in model.stream(HELLO):
        whole = chunk if whole is None else whole + chunk
    assert whole.usage_metadata["output_tokens"] <= MOST
    assert model.invoke(HELLO, max_tokens=3).usage_metadata["output_tokens"] <= 3
    (budget,) = model.engine.budget_status()
    assert budget.overrun == 0
    needs = [decision.need[OUTPUT] for decision in model.engine.enrolment.router.decisions.values()]
    assert needs == [MOST, MOST, 3]
    assert at_rest(model.engine)


@WAYS
@KEYS
def test_without_a_limit_nothing_is_bounded(way: str, key: str, sim: Sim) -> None:
    assert chat(way, sim, [key]).invoke(HELLO).usage_metadata["output_tokens"] == 32


@WAYS
@KEYS
def test_who_leaves_a_stream_pays_what_was_held(way: str, key: str, sim: Sim) -> None:
    """Some providers tell the input at once; that is not the bill."""
    model = limited(way, sim, key)
    for _ in model.stream(HELLO):
        break
    (decision,) = model.engine.enrolment.router.decisions.values()
    (budget,) = model.engine.budget_status()
    assert (budget.held, budget.spent * 10**9) == (0, decision.cost)


@WAYS
def test_text_of_any_script_is_held_by_its_bytes(way: str, sim: Sim) -> None:
    model = limited(way, sim, "o-ok")
    costs = []
    for text in ("a" * 900, "海" * 300):
        model.invoke(text)
        costs.append(list(model.engine.enrolment.router.decisions.values())[-1].cost)
    assert costs[0] <= costs[1]
