"""Objectives and constraints as their owner writes them, and every way to write them wrongly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.score import DEFAULT, NAMED, NO_CONSTRAINTS, STATIC, TERMS, Constraints, Objective
from apikeyrouter.errors import InvalidConfigurationError


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_named_objective_has_its_weights(name: str) -> None:
    objective = Objective.of(name)
    assert (objective.name, dict(objective.weights)) == (name, dict(NAMED[name]))
    assert sum(objective.weights.values()) == pytest.approx(1.0)
    assert set(objective.weights) <= set(TERMS)
    assert not objective.constraints.any


def test_the_default_is_reliability_with_room_as_tie_break() -> None:
    assert Objective.of(None) is DEFAULT
    assert DEFAULT.weights["reliability"] > DEFAULT.weights["capacity"] > 0


def test_an_objective_is_itself() -> None:
    objective = Objective(weights={"cost": 1.0})
    assert Objective.of(objective) is objective


def test_weights_are_split_into_what_all_keys_share_and_the_rest() -> None:
    weights = {"cost": 0.5, "latency": 0.2, "quality": 0.0, "fairness": 0.3, "capacity": 0.1, "risk": 0.4}
    objective = Objective.of(weights)
    assert objective.static == ((STATIC.index("cost"), 0.5), (STATIC.index("latency"), 0.2))
    assert (objective.fairness, objective.capacity, objective.risk) == (0.3, 0.1, 0.4)


def test_an_order_makes_each_term_worth_more_than_all_that_follow() -> None:
    objective = Objective.of({"order": ["cost", "reliability", "latency"]})
    assert dict(objective.weights) == {"cost": 1.0, "reliability": 0.05, "latency": pytest.approx(0.0025)}
    rest = sum(weight for name, weight in objective.weights.items() if name != "cost")
    assert objective.weights["cost"] * 0.1 > rest


def test_constraints_alone_leave_the_default_weights() -> None:
    objective = Objective.of({"constraints": {"min_reliability": 0.9}})
    assert objective.weights == DEFAULT.weights
    assert objective.constraints.any


@pytest.mark.parametrize(
    ("given_", "constraints"),
    [
        ({"min_reliability": 0.95}, Constraints(min_reliability=0.95)),
        ({"max_cost": "0.05 USD"}, Constraints(max_cost=50_000_000)),
        ({"max_cost": "$0.05"}, Constraints(max_cost=50_000_000)),
        ({"max_cost": Decimal("0.000000001")}, Constraints(max_cost=1)),
        ({"max_cost": 1}, Constraints(max_cost=1_000_000_000)),
        ({"max_latency": 3}, Constraints(max_latency=3.0)),
        ({"min_quality": 0.5}, Constraints(min_quality=0.5)),
        ({"capabilities": ["tools", "images"]}, Constraints(capabilities=frozenset({"tools", "images"}))),
        ({"tags": {"region": "eu"}}, Constraints(tags={"region": "eu"})),
        ({}, NO_CONSTRAINTS),
    ],
)
def test_constraints(given_: dict[str, object], constraints: Constraints) -> None:
    read = Objective.of({"constraints": given_}).constraints
    assert read == constraints
    assert read.any == (constraints != NO_CONSTRAINTS)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("speed", "speed"),
        (42, "int"),
        (["cost"], "list"),
        ({"speed": 1}, "speed"),
        ({"cost": -1}, "-1"),
        ({"cost": float("nan")}, "nan"),
        ({"cost": float("inf")}, "inf"),
        ({"cost": "much"}, "much"),
        ({"cost": True}, "True"),
        ({"order": "cost"}, "order"),
        ({"order": ["speed"]}, "speed"),
        ({"constraints": 3}, "constraints"),
        ({"constraints": {"min_speed": 3}}, "min_speed"),
        ({"constraints": {"min_quality": "high"}}, "high"),
        ({"constraints": {"min_quality": -1}}, "-1"),
        ({"constraints": {"min_quality": float("nan")}}, "nan"),
        ({"constraints": {"max_cost": "5 EUR"}}, "EUR"),
        ({"constraints": {"max_cost": "5 cents"}}, "5 cents"),
        ({"constraints": {"max_cost": "much"}}, "much"),
        ({"constraints": {"max_cost": "nan"}}, "nan"),
        ({"constraints": {"max_cost": "inf"}}, "inf"),
        ({"constraints": {"max_cost": -1}}, "-1"),
        ({"constraints": {"capabilities": "tools"}}, "capabilities"),
        ({"constraints": {"tags": ["eu"]}}, "tags"),
    ],
)
def test_what_is_no_objective_is_refused_in_a_sentence(what: object, told: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=told.replace(".", r"\.")) as caught:
        Objective.of(what)
    assert str(caught.value).endswith(".")


weights = st.dictionaries(st.sampled_from(TERMS), st.floats(0, 100), max_size=7)


@given(weights)
def test_any_weights_of_known_terms_are_taken_as_they_are(given_: dict[str, float]) -> None:
    objective = Objective.of(given_)
    assert dict(objective.weights) == (given_ or dict(DEFAULT.weights))
    assert len(objective.static) == sum(1 for name in STATIC if objective.weights.get(name))
