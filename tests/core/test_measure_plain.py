"""Plain messages are measured as any other body is: the short way is no other rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apikeyrouter.core.bound import most_of
from apikeyrouter.core.measure import Measure, _plain, measure
from apikeyrouter.errors import InvalidRequestError

TEXTS = st.text(max_size=40)
PLAIN = st.fixed_dictionaries({"role": TEXTS, "content": TEXTS})
ODD = st.dictionaries(
    st.sampled_from(["role", "content", "name", "type", "tool_calls", "image_url", "text"]),
    st.one_of(TEXTS, st.none(), st.integers(), st.lists(TEXTS, max_size=2), st.booleans()),
    max_size=3,
)
FIELDS = st.dictionaries(
    st.sampled_from(["model", "max_tokens", "stream", "temperature", "user", "system", "tools", "unknown", "n"]),
    st.one_of(TEXTS, st.integers(), st.none(), st.lists(ODD, max_size=2)),
    max_size=4,
)
MESSAGES = st.one_of(st.lists(PLAIN, max_size=6), st.lists(st.one_of(PLAIN, ODD), max_size=6))


def the_long_way(operation: str, body: dict[str, object]) -> Measure:
    """The same with messages in a tuple, for which there is no short way."""
    messages = body["messages"]
    assert isinstance(messages, list)
    return measure(operation, {**body, "messages": tuple(messages)})


def found(way: Callable[[str, dict[str, object]], Measure], body: dict[str, object]) -> object:
    """What a way finds, or the sentence it refuses with."""
    try:
        return way("chat", body)
    except InvalidRequestError as error:
        return str(error)


@given(MESSAGES, FIELDS)
@example([{"role": "user", "content": "h\u00e9 \u4f60\u597d \ud83d\ude00"}], {"stream": True})
@example([{"role": "user", "content": "x" * 3_000}, {"role": "user", "content": "y" * 3_000}], {"n": 2})
@example([{"role": "us\u00e9r", "content": "x"}], {})
@example([{"role": "user", "content": "x", "type": "image"}], {})
@example([{"content": "x", "image_url": "y"}], {})
def test_the_short_way_finds_what_the_long_way_finds(messages: list[object], fields: dict[str, object]) -> None:
    body = {**fields, "messages": messages}
    assert found(measure, body) == found(the_long_way, body)


@pytest.mark.parametrize(
    ("more", "short"),
    [
        ({}, True),
        ({"max_tokens": 5, "temperature": 0.1, "stream": True}, True),
        ({"system": "Be brief."}, False),
        ({"tools": []}, False),
    ],
)
def test_plain_messages_go_the_short_way(more: dict[str, object], short: bool) -> None:
    body = {"messages": [{"role": "user", "content": "What does the sea say?"}], **more}
    assert (_plain(body) is not None) is short


@pytest.mark.parametrize("part", [{"type": []}, {"type": {}}, {"type": 7}, {"type": None}])
def test_a_part_whose_type_is_no_text_is_bounded_all_the_same(part: dict[str, object]) -> None:
    body = {"messages": [{"role": "user", "content": [part]}], "tools": [part]}
    assert most_of(body).tokens > 0
    assert measure("chat", body).most > 0
