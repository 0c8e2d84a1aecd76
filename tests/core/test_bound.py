"""The bound of plain messages is what the walk over any body finds: the short way is no other rule."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apikeyrouter.core import bound
from apikeyrouter.core.bound import Bound, most_of
from apikeyrouter.core.measure import measure

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


def walked(body: dict[str, object]) -> Bound:
    walk = bound._Walk()
    walk.all_of(body)
    return Bound(walk.tokens, walk.audio, walk.unseen)


@given(MESSAGES, FIELDS)
@example([], {})
@example([{"role": "user", "content": "h\u00e9 \u4f60\u597d \ud83d\ude00"}], {"stream": True})
@example([{"role": "user", "content": "x", "type": "image"}], {})
@example([{"content": "x", "image_url": "y"}], {})
def test_the_short_way_finds_what_the_walk_finds(messages: list[object], fields: dict[str, object]) -> None:
    body = {**fields, "messages": messages}
    assert most_of(body) == walked(body)


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
    assert (bound._plain(body) is not None) is short


def test_a_body_beside_its_messages_is_read_as_well() -> None:
    plain = {"messages": [{"role": "user", "content": "x"}]}
    assert measure("chat", {**plain, "system": "Be brief."}).chars == 10
    assert measure("chat", {**plain, "tools": [{"type": "function"}]}).features == {"tools"}
    assert measure("chat", {**plain, "modalities": ["text", "audio"]}).features == {"audio"}
    assert measure("chat", {**plain, "response_format": {"type": "json_schema"}}).features == {"json_schema"}
