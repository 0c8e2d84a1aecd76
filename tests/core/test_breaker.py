"""The breaker's moves, what convinces it, and how carefully it comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from apikeyrouter.core.breaker import MOVES, Breaker, BreakerSettings, Breaking, wilson_low

NOW = 1_767_225_600.0
CLOSED, OPEN, HALF_OPEN = Breaking.CLOSED, Breaking.OPEN, Breaking.HALF_OPEN


def fed(answers: str, *, every: float = 0.1, connect: bool = False) -> Breaker:
    """A breaker after answers: `+` a success, `-` a failure."""
    breaker = Breaker("p/m")
    for i, answer in enumerate(answers):
        breaker.record(answer == "+", NOW + i * every, 0.0, connect=connect)
    return breaker


def opened(chance: float = 0.0) -> Breaker:
    breaker = Breaker("p/m")
    for _ in range(8):
        breaker.record(False, NOW, chance)
    assert breaker.state is OPEN
    return breaker


def test_the_table_of_moves() -> None:
    assert dict(MOVES) == {
        (CLOSED, "too many failures"): OPEN,
        (OPEN, "wait is over"): HALF_OPEN,
        (HALF_OPEN, "probe failed"): OPEN,
        (HALF_OPEN, "probes succeeded"): CLOSED,
    }


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ("", CLOSED),
        ("-------", CLOSED),
        ("--------", OPEN),
        ("++++++++", CLOSED),
        ("-+-+-+-+-+-+-+-+", CLOSED),
        ("++++++++--------", CLOSED),
        ("++++++++----------------", CLOSED),
        ("++++++++" + "-" * 18, OPEN),
        ("+-------", OPEN),
        ("++------", CLOSED),
    ],
)
def test_it_opens_on_evidence_and_not_on_a_count(answers: str, state: Breaking) -> None:
    assert fed(answers).state is state


def test_old_evidence_is_forgotten() -> None:
    assert fed("--------", every=10.0).state is CLOSED
    breaker = fed("-------")
    breaker.record(False, NOW + 31, 0.0)
    assert breaker.state is CLOSED


@pytest.mark.parametrize(("answers", "state"), [("----", CLOSED), ("-----", OPEN), ("----+--", CLOSED)])
def test_failed_connections_in_a_row_need_less(answers: str, state: Breaking) -> None:
    assert fed(answers, connect=True).state is state


def test_other_failures_are_no_failed_connections() -> None:
    breaker = fed("----", connect=True)
    breaker.record(False, NOW, 0.0, connect=False)
    assert breaker.state is CLOSED


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_wilson_bound_is_wilsons(hits: int, more: int) -> None:
    total = hits + more
    if not total:
        assert wilson_low(0, 0) == 0
        return
    exact = binomtest(hits, total).proportion_ci(0.90, "wilson").low
    assert wilson_low(hits, total) == pytest.approx(exact, abs=1e-3)


def test_closed_lets_everything_through_and_open_nothing() -> None:
    assert Breaker("p/m").allows(NOW)
    breaker = opened()
    assert not breaker.allows(NOW)
    assert not breaker.allows(breaker.until - 1e-3)
    assert breaker.allows(breaker.until)
    assert breaker.state is HALF_OPEN


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 0.5), (0.5, 0.75), (0.999, 0.9995)])
def test_the_first_wait_is_between_half_and_a_second(chance: float, wait: float) -> None:
    assert opened(chance).until - NOW == pytest.approx(wait)


def test_each_failed_probe_doubles_the_wait_to_two_minutes() -> None:
    breaker, now, waits = opened(), NOW, list[float]()
    for _ in range(9):
        waits.append((breaker.until - now) * 2)
        now = breaker.until
        assert breaker.allows(now)
        assert breaker.record(False, now, 0.0)
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 64, 120, 120])


def test_the_providers_own_time_wins_when_it_is_longer() -> None:
    breaker = Breaker("p/m")
    for _ in range(8):
        breaker.record(False, NOW, 0.0, retry_after=30.0)
    assert breaker.until == NOW + 30


def test_it_comes_back_by_doubling() -> None:
    breaker = opened()
    now = breaker.until
    allowed = []
    for _ in range(4):
        sent = 0
        while breaker.allows(now):
            breaker.begin()
            sent += 1
        allowed.append(sent)
        for _ in range(sent):
            breaker.end()
        breaker.record(True, now, 0.0)
    assert allowed == [1, 2, 4, 8]
    assert breaker.state is HALF_OPEN


def test_eight_good_answers_close_it_and_forget_the_bad_ones() -> None:
    breaker = opened()
    now = breaker.until
    assert breaker.allows(now)
    moved = [breaker.record(True, now, 0.0) for _ in range(8)]
    assert moved == [False] * 7 + [True]
    assert breaker.state is CLOSED
    assert (sum(breaker.totals), breaker.opened) == (0, 0)
    assert not breaker.record(False, now, 0.0), "one failure of a newcomer is no evidence"


def test_requests_that_end_without_an_answer_free_their_place() -> None:
    breaker = opened()
    assert breaker.allows(breaker.until)
    breaker.begin()
    assert not breaker.allows(breaker.until)
    breaker.end()
    assert breaker.allows(breaker.until)


def test_late_answers_to_an_open_breaker_change_nothing() -> None:
    breaker = opened()
    until = breaker.until
    assert not breaker.record(True, NOW, 0.0)
    assert not breaker.record(False, NOW, 0.9)
    assert (breaker.state, breaker.until) == (OPEN, until)


@given(st.lists(st.tuples(st.booleans(), st.floats(-5, 40)), max_size=60))
def test_counts_never_leave_their_bounds(answers: list[tuple[bool, float]]) -> None:
    """Whatever the clock does: 30 s of evidence at most, never more failures than answers."""
    breaker, now, sent = Breaker("p/m", BreakerSettings(least_samples=10_000)), NOW, list[float]()
    for ok, step in answers:
        now += step
        sent.append(max([now, *sent]))
        breaker.record(ok, now, 0.0)
        assert 0 <= sum(breaker.failures) <= sum(breaker.totals)
        assert sum(breaker.totals) <= sum(at > sent[-1] - 30 for at in sent)
        assert sum(breaker.totals) >= sum(at > sent[-1] - 25 for at in sent)


def test_it_says_what_it_is() -> None:
    assert repr(opened()) == "<Breaker p/m open>"
