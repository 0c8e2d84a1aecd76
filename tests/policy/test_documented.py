"""The reference of policies names every word there is, with its type, and every effect."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from apikeyrouter.core.facts import FIELDS
from apikeyrouter.core.policy import EFFECTS, FAILOVERS, MAX_ATTEMPTS, SCOPES, Actions, Policy
from apikeyrouter.core.policy import TYPES as TYPES_OF_POLICIES
from apikeyrouter.core.score import NAMED, TERMS

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/policies.md").read_text(encoding="utf-8")
TYPES = {str: "string", int: "int", float: "double", bool: "bool", dict: "map", list: "list(string)"}


@pytest.mark.parametrize("word", [f"{root}.{name}" for root, words in FIELDS.items() for name in words])
def test_every_word_is_documented_with_its_type(word: str) -> None:
    root, name = word.split(".")
    found = re.search(rf"^\| `{re.escape(word)}` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert found is not None
    assert found[1].startswith(TYPES[type(FIELDS[root][name])])


def test_no_word_is_documented_that_there_is_not() -> None:
    told = set(re.findall(r"^\| `((?:request|key|pool|budget|time)\.\w+)` \|", PAGE, re.MULTILINE))
    assert told == {f"{root}.{name}" for root, words in FIELDS.items() for name in words}


def test_every_field_and_action_is_documented() -> None:
    told = set(
        re.findall(r"`([\w.]+)`", " ".join(line.split("|")[1] for line in PAGE.splitlines() if line[:3] == "| `"))
    )
    names = {each.name for each in fields(Policy) if each.name not in ("id", "actions")}
    names |= {"actions." + each.name.removesuffix("_s") for each in fields(Actions)}
    assert names <= told


def test_every_term_is_documented() -> None:
    assert all(f"| `{term}` |" in PAGE for term in TERMS)
    assert set(NAMED) <= {*TERMS, "default"}


RULES = {
    "require": ("condition on keys", "all of them"),
    "deny": ("condition on keys", "one is enough"),
    "allow": ("condition on keys", "the strongest scope"),
    "prefer": ("condition on keys", "weights are added"),
    "weight": ("number, 0 to 1 (0.5)", ""),
    "max_cost": ("dollars", "the least"),
    "objective": ("name, weights", "the strongest scope"),
    "downgrade": ("table", "by model, the strongest scope"),
    "split": ("table", "the strongest scope"),
    "actions.max_attempts": ("whole number, 1 to 20", "the strongest scope"),
    "actions.failover": ("`never`, `same_provider`, `any`", "the strongest scope"),
    "actions.cooldown": ("seconds", "the strongest scope"),
}
"""Each effect with its value's type and its merge rule; test_matrix.py shows that the rules are so."""


def test_every_effect_is_documented_with_its_type_and_what_several_make_together() -> None:
    table = PAGE.split("| field | value | effect |")[1].split("\n\n")[0]
    rows = {cells[1].strip(" `"): cells[2:-1] for line in table.splitlines() if len(cells := line.split("|")) > 4}
    del rows["--"]
    assert list(rows) == list(RULES)
    for name, (value, merged) in RULES.items():
        assert rows[name][0].strip().startswith(value)
        assert rows[name][1].strip()
        assert rows[name][2].strip().startswith(merged)


def test_the_effects_of_the_code_are_these() -> None:
    effects = {name.partition(".")[0] for name in RULES} - {"weight"}
    assert effects == set(EFFECTS)
    assert {name.partition(".")[2] for name in RULES if "." in name} == {
        each.name.removesuffix("_s") for each in fields(Actions)
    }
    assert Policy.of("p", {"deny": {"id": "x"}}).weight == 0.5
    assert MAX_ATTEMPTS == 20
    assert FAILOVERS == ("never", "same_provider", "any")


def test_scopes_are_documented_in_their_order() -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `scope` |")]
    assert [word.rstrip(":") for word in re.findall(r"`(\w+:?)`", row)[1:]] == list(SCOPES)


def test_types_of_policies_are_documented() -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `type` |")]
    assert re.findall(r"`(\w+)`", row)[1:] == list(TYPES_OF_POLICIES)
