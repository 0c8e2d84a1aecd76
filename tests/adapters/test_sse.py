"""Events come out whole however the bytes are cut, and the decoder never raises but for its bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters.sse import Decoder, Event, EventTooLongError


def decoded(*chunks: bytes) -> list[Event]:
    decoder = Decoder()
    found = [event for chunk in chunks for event in decoder.feed(chunk)]
    return found + decoder.finish()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [Event("", "a"), Event("", "b")]),
        (b"event: x\ndata: a\n\n", [Event("x", "a")]),
        (b"data: a\ndata: b\n\n", [Event("", "a\nb")]),
        (b"data:a\r\n\r\ndata: b\r\rdata: c\n\n", [Event("", "a"), Event("", "b"), Event("", "c")]),
        (b": keep-alive\n\n: again\r\n\r\ndata: a\n\n", [Event("", "a")]),
        (b"event: x\n\ndata: a\n\n", [Event("", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("", "a")]),
        (b"id: 1\nretry: 5\nunknown\ndata\n\n", [Event("", "")]),
        (b"data:  two spaces\n\n", [Event("", " two spaces")]),
        (b"data: last", [Event("", "last")]),
        (b"data: last\n", [Event("", "last")]),
        (b"data: \xff\xfe\n\n", [Event("", "\ufffd\ufffd")]),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
def test_streams(stream: bytes, events: list[Event]) -> None:
    assert decoded(stream) == events
    assert decoded(*(bytes([byte]) for byte in stream)) == events


TEXTS = st.text(alphabet=st.characters(blacklist_characters="\r\n\ufeff", blacklist_categories=["Cs"]), min_size=1)


@given(st.lists(TEXTS, max_size=5), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_any_cut_gives_the_same_events(texts: list[str], ending: bytes, data: st.DataObject) -> None:
    stream = b"".join(b"data: " + text.encode() + ending * 2 for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert [event.data for event in decoded(*chunks)] == texts


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_decoded(chunks: list[bytes]) -> None:
    joined = decoded(b"".join(chunks))
    assert decoded(*chunks) == joined


@pytest.mark.parametrize("chunk", [b"x" * 60, b"data: " + b"x" * 60 + b"\n", b"data: " + b"x" * 10 + b"\n"])
def test_an_endless_event_is_bounded(chunk: bytes) -> None:
    decoder = Decoder(limit=100)

    def endless() -> None:
        for _ in range(20):
            decoder.feed(chunk)

    with pytest.raises(EventTooLongError):
        endless()
