"""What is left, said with its doubt: between its bounds, from whom, how old; and in one word that does not flicker."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.estimate import STALE_PERIODS, capacity, estimate
from apikeyrouter.core.merge import merge
from apikeyrouter.core.model import TOKENS, Reading
from apikeyrouter.core.pool import Pool, need_of
from apikeyrouter.core.window import Limit

NOW = 1_767_225_600.0


def pool(*limits: Limit) -> Pool:
    return Pool("org", limits or (Limit.tpm(1_000),), now=NOW)


def hear(p: Pool, tokens: int, remaining: int, seq: int = 1, now: float = NOW) -> None:
    need = need_of(input_tokens=tokens)
    marks = p.take(need, now)
    merge(p, (Reading(TOKENS, 1_000, remaining),), marks, seq, now)
    p.settle(need, need, marks, now, now)


def test_before_the_provider_has_spoken_it_is_our_own_count() -> None:
    e = estimate(pool().windows[0], NOW + 500)
    assert (e.value, e.source, e.method, e.age_s, e.last_verified) == (1_000, "estimated", "own count", None, None)
    assert (e.least, e.most, e.uncertainty) == (800, 1_000, "medium")


def test_what_the_provider_said_ages() -> None:
    p = pool()
    hear(p, 100, 900)
    told = [estimate(p.windows[0], NOW + age) for age in (0.0, 60.0, 150.0, STALE_PERIODS * 60 + 1, 1_000.0)]
    assert [e.source for e in told] == ["observed"] * 3 + ["stale"] * 2
    assert [e.age_s for e in told] == [0, 60, 150, 181, 1_000]
    assert all(a.confidence > b.confidence for a, b in pairwise(told))
    assert [e.uncertainty for e in told] == ["low", "low", "medium", "medium", "high"]
    assert {e.last_verified for e in told} == {NOW}
    assert (told[0].value, told[0].least, told[0].most) == (900, 900, 900)


def test_requests_under_way_may_or_may_not_be_counted_already() -> None:
    p = pool()
    hear(p, 100, 900)
    p.take(need_of(input_tokens=300), NOW)
    e = estimate(p.windows[0], NOW)
    assert (e.value, e.most) == (600, 900)


def test_another_clients_use_widens_the_doubt() -> None:
    alone, beside = pool(), pool()
    for seq in range(6):
        at = NOW + seq
        hear(alone, 10, int(alone.windows[0].free(at)) - 10, seq, at)
        hear(beside, 10, int(beside.windows[0].free(at)) - 60, seq, at)
    later = NOW + 20
    doubts = [e.value - e.least for e in (estimate(p.windows[0], later) for p in (alone, beside))]
    assert doubts[1] > doubts[0] > 0


moves = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 1_200), st.sampled_from([0.0, 0.5, 20.0, 300.0, -5.0])), max_size=20
)


@given(moves=moves, ahead=st.floats(0, 2_000))
def test_the_value_lies_between_its_bounds_whatever_was_heard(
    moves: list[tuple[int, int, float]], ahead: float
) -> None:
    p, now = pool(), NOW
    for seq, (tokens, remaining, step) in enumerate(moves):
        now += step
        hear(p, tokens, remaining, seq, now)
    w = p.windows[0]
    e = estimate(w, now + ahead)
    assert 0 <= e.least <= e.value <= max(e.most, e.value) <= max(w.cap, e.value)
    assert 0 <= e.confidence <= 1
    assert e.source in ("observed", "estimated", "stale")
    assert (e.age_s is None) == (e.last_verified is None) == (e.source == "estimated")


# -- the word --------------------------------------------------------------------------------------------------------


def words(frees: list[float]) -> list[str]:
    """The words for a day's window as its level goes through `frees`, of a hundred."""
    p = pool(Limit(of="tokens", amount=100, per="day", window="fixed"))
    found = []
    for free in frees:
        p.windows[0].level = free
        found.append(capacity(p, p.windows[0], NOW))
    return found


@pytest.mark.parametrize("edge", [80, 50])
def test_the_word_does_not_flicker_at_an_edge(edge: int) -> None:
    falling = words([edge + 5, *([edge - 1, edge + 1] * 10)])
    assert len(set(falling)) == 1, "not beyond the slack, so nothing changes"
    rising = words([edge - 5, *([edge + 1, edge - 1] * 10)])
    assert len(set(rising)) == 1
    assert falling[0] != rising[0]
    assert words([edge + 5, edge - 4])[1] == rising[0]
    assert words([edge - 5, edge + 4])[1] == falling[0]


@given(st.lists(st.floats(0, 100), min_size=2, max_size=40))
def test_a_word_changes_only_with_more_than_the_slack(levels: list[float]) -> None:
    found = words(levels)
    rank = {"abundant": 3, "constrained": 2, "critical": 1, "exhausted": 0}
    for (a, before), (b, after) in pairwise(zip(levels, found, strict=True)):
        if abs(a - b) < 1e-9:
            assert before == after
        elif before != after and "exhausted" not in (before, after):
            assert (rank[after] > rank[before]) == (b > a), "it follows the level"
    assert all((word == "exhausted") == (level < 1) for level, word in zip(levels, found, strict=True))
