"""Paths find what they name, and nothing where nothing is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.jsonpath import Each, find, first, parse

BODY = {"a": {"b": [{"c": 1}, {"c": None}, {"c": 3}], "odd name": "x"}, "list": [[1, 2], [3]]}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [BODY]),
        ("$.a.b[0].c", [1]),
        ("a.b[-1].c", [3]),
        ("$.a.b[*].c", [1, None, 3]),
        ("$.list[*][0]", [1, 3]),
        ("$.a['odd name']", ["x"]),
        ('$.a["odd name"]', ["x"]),
        ("$.a.*", [BODY["a"]["b"], "x"]),  # type: ignore[index]
        ("$.a.b[9].c", []),
        ("$.a.missing.c", []),
        ("$.a.b.c", []),
    ],
)
def test_paths(path: str, found: list[object]) -> None:
    assert list(find(parse(path), BODY)) == found


def test_the_first_value_is_not_null() -> None:
    assert first(parse("$.a.b[*].c"), {"a": {"b": [{"c": None}, {"c": 2}]}}) == 2
    assert first(parse("$.nothing"), BODY) is None


@given(
    st.sampled_from(["$", "$.a", "$.a.b", "$.a[0]", "$.a[-1].b", "$.a[*].b", "$.*"]),
    st.recursive(
        st.none() | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
        max_leaves=8,
    ),
)
def test_the_first_is_the_first_of_all(path: str, value: object) -> None:
    assert first(parse(path), value) == next((one for one in find(parse(path), value) if one is not None), None)


def test_steps() -> None:
    assert parse("$.a[0][*].b-c") == ("a", 0, Each.EACH, "b-c")


@pytest.mark.parametrize("path", ["$.", "$a", "$..a", "$.a[", "$.a[x]", "$.a[1:2]", "$.a[?(@.b)]", "$." + "a" * 600])
def test_what_is_no_path_is_named(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse(path)


@given(st.text(max_size=40), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_text_parses_or_is_refused(text: str, value: object) -> None:
    try:
        path = parse(text)
    except ValueError:
        return
    list(find(path, value))
