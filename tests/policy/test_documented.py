"""The reference of policies names every word there is, with its type, and every effect."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from apikeyrouter.core.facts import FIELDS
from apikeyrouter.core.policy import Actions, Policy
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
