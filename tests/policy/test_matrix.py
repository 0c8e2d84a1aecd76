"""Every effect against every pair of scopes: what the stronger one says and what the weaker one still does.

The order is default < global < provider < model < route < tenant < user < request. Choices go to the stronger scope,
restrictions of both hold, preferences are added; a provider's or a model's policy is decided with the candidate, so it
cannot choose what is settled before one is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pytest

from apikeyrouter.core.facts import request_facts
from apikeyrouter.core.model import Request
from apikeyrouter.core.policy import EARLY, EFFECTS, SCOPES, Policy, Rule, compiled
from apikeyrouter.core.rulebook import Rulebook, Verdict
from apikeyrouter.errors import InvalidConfigurationError

NAMED = {
    "default": "default",
    "global": "global",
    "provider": "provider:maker",
    "model": "model:gpt-4o",
    "route": "route:fast",
    "tenant": "tenant:acme",
    "user": "user:ada",
    "request": "request",
}
LATE = ("provider", "model")
PAIRS = list(combinations(SCOPES, 2))
EARLY_PAIRS = [pair for pair in PAIRS if not set(pair) & set(LATE)]
REQUEST = Request(model="fast", tenant="acme", user="ada")
KEYS: Mapping[str, Mapping[str, object]] = {
    name: {"id": name, "provider": "maker", "model": "gpt-4o", "tier": tier, "tags": {}, "cost": 0.01}
    for tier, name in enumerate("abc", start=1)
}


def rule(name: str, scope: str, **fields: object) -> Rule:
    return compiled(Policy.of(name, {"scope": NAMED[scope], **fields}))


def judged(*rules: Rule) -> Verdict:
    return Rulebook(rules).judge(request_facts(REQUEST), 1_795_435_200.0)


def both(weak: str, strong: str, weaker: Mapping[str, object], stronger: Mapping[str, object]) -> Verdict:
    """The weaker is named and weighted so that neither name nor priority nor order could let it win."""
    return judged(rule("z-weak", weak, priority=99, **weaker), rule("a-strong", strong, **stronger))


def let_through(verdict: Verdict, cost: int | None = None) -> str:
    return "".join(name for name, facts in KEYS.items() if verdict.refusal(facts, cost=cost) is None)


def test_the_scopes_are_in_the_documented_order() -> None:
    assert tuple(NAMED) == SCOPES
    assert len(PAIRS) == 28


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("effect", "value", "left"),
    [("require", {"id": "a"}, "a"), ("deny", {"id": "a"}, "bc"), ("allow", {"id": ["a", "b"]}, "ab")],
)
def test_each_condition_works_at_each_scope(scope: str, effect: str, value: object, left: str) -> None:
    assert let_through(judged(rule("p", scope, **{effect: value}))) == left


@pytest.mark.parametrize("scope", SCOPES)
def test_a_preference_and_a_cap_work_at_each_scope(scope: str) -> None:
    assert judged(rule("p", scope, prefer={"id": "a"}, weight=0.3)).preference(KEYS["a"]) == pytest.approx(0.3)
    verdict = judged(rule("p", scope, max_cost="0.01"))
    assert verdict.caps
    late = scope in LATE
    assert (verdict.max_cost, verdict.capped_by) == ((None, "") if late else (10_000_000, "policy p v1"))
    assert let_through(verdict, cost=10_000_001) == ("" if late else "abc")
    assert let_through(verdict, cost=10_000_000) == "abc"


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("effect", "value"),
    [("objective", "cost"), ("split", {"one": 1}), ("downgrade", {"fast": "slow"}), ("actions", {"max_attempts": 7})],
)
def test_each_choice_works_at_each_scope_that_is_known_in_time(scope: str, effect: str, value: object) -> None:
    if scope in LATE and effect != "actions":
        with pytest.raises(InvalidConfigurationError, match=f"sets {effect} for one {scope}"):
            rule("p", scope, **{effect: value})
        return
    verdict = judged(rule("p", scope, **{effect: value}))
    said = {
        "objective": verdict.objective is not None and verdict.objective.name == "cost",
        "split": dict(verdict.split) == {"one": 1},
        "downgrade": verdict.model("fast", "ada") == "slow",
        "actions": verdict.actions.max_attempts == 7,
    }
    assert said[effect]


def test_no_effect_is_left_out() -> None:
    assert {"require", "deny", "allow", "prefer", "max_cost", "objective", "split", "downgrade", "actions"} == set(
        EFFECTS
    )
    assert set(EARLY) < set(EFFECTS)


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
def test_requirements_of_both_hold(weak: str, strong: str) -> None:
    assert let_through(both(weak, strong, {"require": {"id": ["a", "b"]}}, {"require": {"id": ["b", "c"]}})) == "b"


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
def test_a_denial_of_either_is_enough_and_no_allow_undoes_it(weak: str, strong: str) -> None:
    assert let_through(both(weak, strong, {"deny": {"id": "a"}}, {"deny": {"id": "b"}})) == "c"
    assert let_through(both(weak, strong, {"deny": {"id": "a"}}, {"allow": {"id": ["a", "b"]}})) == "b"
    assert let_through(both(weak, strong, {"allow": {"id": ["a", "b"]}}, {"deny": {"id": "a"}})) == "b"


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
def test_the_stronger_scope_decides_who_is_allowed(weak: str, strong: str) -> None:
    assert let_through(both(weak, strong, {"allow": {"id": ["a", "b"]}}, {"allow": {"id": ["b", "c"]}})) == "bc"


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
def test_preferences_are_added(weak: str, strong: str) -> None:
    verdict = both(weak, strong, {"prefer": {"id": "a"}, "weight": 0.3}, {"prefer": {"id": ["a", "b"]}, "weight": 0.2})
    assert [verdict.preference(KEYS[name]) for name in "abc"] == pytest.approx([0.5, 0.2, 0.0])


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
@pytest.mark.parametrize("least", ["weak", "strong"])
def test_the_least_cost_cap_counts_whoever_sets_it(weak: str, strong: str, least: str) -> None:
    costs = {"max_cost": "0.01"}, {"max_cost": "0.05"}
    verdict = both(weak, strong, *(costs if least == "weak" else costs[::-1]))

    def passes(cost: int) -> bool:
        early = verdict.max_cost is None or cost <= verdict.max_cost
        return early and let_through(verdict, cost=cost) == "abc"

    assert passes(10_000_000)
    assert not passes(10_000_001)
    if weak not in LATE and strong not in LATE:
        assert verdict.capped_by == ("policy z-weak v1" if least == "weak" else "policy a-strong v1")


@pytest.mark.parametrize(("weak", "strong"), EARLY_PAIRS)
def test_the_stronger_scope_decides_what_is_chosen(weak: str, strong: str) -> None:
    verdict = both(
        weak,
        strong,
        {"objective": "quality", "split": {"fast": 0, "dear": 1}, "actions": {"max_attempts": 9, "failover": "never"}},
        {"objective": "cost", "split": {"fast": 0, "cheap": 1}, "actions": {"max_attempts": 2}},
    )
    assert verdict.objective is not None
    assert verdict.objective.name == "cost"
    assert verdict.model("fast", "ada") == "cheap"
    assert (verdict.actions.max_attempts, verdict.actions.failover) == (2, "never")  # field by field
    assert [name for name, _, _ in verdict.applied] == ["z-weak", "a-strong"]


@pytest.mark.parametrize(("weak", "strong"), EARLY_PAIRS)
def test_a_downgrade_is_decided_by_model(weak: str, strong: str) -> None:
    verdict = both(weak, strong, {"downgrade": {"fast": "dear", "big": "small"}}, {"downgrade": {"fast": "cheap"}})
    assert [verdict.lower(model, "") for model in ("fast", "big", "other")] == [
        ("cheap", "policy a-strong"),
        ("small", "policy z-weak"),
        ("other", ""),
    ]
