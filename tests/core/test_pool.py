"""A pool: several windows that move together, the provider's stops, and what they look like from outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.estimate import capacity
from apikeyrouter.core.key import State
from apikeyrouter.core.pool import REFUSED, Pool, need_of
from apikeyrouter.core.window import NEVER, Limit

NOW = 1_767_225_600.0
A, T, E, R = State.AVAILABLE, State.THROTTLED, State.EXHAUSTED, State.RECOVERING


def pool(*limits: Limit) -> Pool:
    return Pool("org", limits, now=NOW)


def states(p: Pool, *times: float) -> list[State]:
    found = []
    for at in times:
        p.refresh(NOW + at)
        found.append(p.state)
    return found


# -- fitting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "fits", "does_not"),
    [
        (Limit.rpm(1), need_of(input_tokens=9), None),
        (Limit.rpm(0), None, need_of()),
        (Limit.tpm(10), need_of(input_tokens=6, output_tokens=4), need_of(input_tokens=6, output_tokens=5)),
        (Limit.itpm(10), need_of(input_tokens=10, output_tokens=99), need_of(input_tokens=11)),
        (Limit.otpm(10), need_of(input_tokens=99, output_tokens=10), need_of(output_tokens=11)),
        (Limit.concurrency(1), need_of(input_tokens=99), None),
        (Limit.spend("0.00000001"), need_of(cost=10), need_of(cost=11)),
    ],
)
def test_each_limit_counts_its_own_dimension(limit: Limit, fits: object, does_not: object) -> None:
    p = pool(limit)
    if fits is not None:
        assert p.fits_and_load(fits, NOW) >= 0  # type: ignore[arg-type]
        assert p.shortfall(fits, NOW) is None  # type: ignore[arg-type]
    if does_not is not None:
        assert p.fits_and_load(does_not, NOW) == REFUSED  # type: ignore[arg-type]
        assert p.shortfall(does_not, NOW) is not None  # type: ignore[arg-type]


def test_one_full_window_refuses_and_nothing_is_taken() -> None:
    p = pool(Limit.rpm(10), Limit.tpm(100))
    assert p.fits_and_load(need_of(input_tokens=101), NOW) == REFUSED
    assert [w.free(NOW) for w in p.windows] == [10, 100]


def test_the_load_grows_with_use_and_with_the_request() -> None:
    p = pool(Limit.tpm(100))
    small, large = need_of(input_tokens=10), need_of(input_tokens=20)
    assert p.fits_and_load(large, NOW) == 0
    p.take(need_of(input_tokens=50), NOW)
    assert 0 < p.fits_and_load(small, NOW) < p.fits_and_load(large, NOW)
    before = p.fits_and_load(small, NOW)
    p.take(small, NOW)
    assert p.fits_and_load(small, NOW) > before


def test_quota_that_returns_soon_weighs_less_than_quota_that_must_last() -> None:
    early, late = (pool(Limit(of="tokens", amount=100, per="day", window="fixed")) for _ in range(2))
    for p in (early, late):
        p.take(need_of(input_tokens=50), NOW)
    need = need_of(input_tokens=10)
    assert late.fits_and_load(need, NOW + 86_000) < 0.01 * early.fits_and_load(need, NOW)


needs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.floats(0, 40)), max_size=40)


@given(needs)
def test_the_inlined_check_agrees_with_the_windows_own(steps: list[tuple[int, int, float]]) -> None:
    fixed, rolling = (
        Limit(of="input_tokens", amount=150, window="fixed"),
        Limit(of="tokens", amount=300, window="rolling"),
    )
    p = pool(Limit.rpm(20), Limit.tpm(100), Limit.otpm(80), Limit.concurrency(9), fixed, rolling)
    now, open_ = NOW, []
    for input_tokens, output_tokens, step in steps:
        now += step
        need = need_of(input_tokens=input_tokens, output_tokens=output_tokens)
        by_hand = all(not need[w.of] or need[w.of] <= w.free(now) for w in p.windows)
        load = p.fits_and_load(need, now)
        assert (load >= 0) == by_hand == (p.shortfall(need, now) is None)
        assert load == REFUSED or load >= 0
        if load >= 0:
            open_.append((need, p.take(need, now), now))
        elif open_:
            old, marks, at = open_.pop(0)
            p.settle(old, old, marks, at, now)
    for need, marks, at in open_:
        p.give_back(need, marks, at, now)
    assert p.idle


@given(needs, st.integers(1, 60))
def test_what_was_never_sent_leaves_no_trace(steps: list[tuple[int, int, float]], tokens: int) -> None:
    """Take and give back at once: whatever happened before, the pool is as it was."""
    p, now = pool(Limit.rpm(30), Limit.tpm(200), Limit.otpm(80), Limit.concurrency(40)), NOW
    for input_tokens, output_tokens, step in steps:
        now += step
        need = need_of(input_tokens=input_tokens, output_tokens=output_tokens)
        if p.fits_and_load(need, now) >= 0:
            p.take(need, now)
    need = need_of(input_tokens=tokens)
    if p.fits_and_load(need, now) >= 0:
        before = [(w.free(now), w.held, w.flight) for w in p.windows]
        p.give_back(need, p.take(need, now), now, now)
        assert [(w.free(now), w.held, w.flight) for w in p.windows] == before


# -- refusals --------------------------------------------------------------------------------------------------------


def test_the_window_that_frees_last_is_the_reason() -> None:
    p = pool(Limit.rpm(1), Limit(of="requests", amount=1, per="day", window="fixed"))
    p.take(need_of(), NOW)
    found = p.shortfall(need_of(), NOW)
    assert found is not None
    assert (found.window, found.wait_s, found.need, found.cap) == ("requests/day", 86_400, 1, 1)


def test_a_slot_is_expected_after_the_usual_time() -> None:
    p = pool(Limit.concurrency(1))
    for _ in range(60):
        marks = p.take(need_of(), NOW)
        p.settle(need_of(), need_of(), marks, NOW, NOW + 4)
    p.take(need_of(), NOW)
    found = p.shortfall(need_of(), NOW)
    assert found is not None
    assert found.wait_s == pytest.approx(4, rel=0.01)


def test_what_never_fits_never_does() -> None:
    found = pool(Limit.tpm(10)).shortfall(need_of(input_tokens=11), NOW)
    assert found is not None
    assert found.wait_s == NEVER


# -- stops -----------------------------------------------------------------------------------------------------------


def test_a_throttled_pool_refuses_until_its_time() -> None:
    p = pool()
    assert [t.after for t in p.throttle(NOW, NOW + 10, "429")] == [T]
    assert p.fits_and_load(need_of(), NOW + 9.99) == REFUSED
    assert p.fits_and_load(need_of(), NOW + 10) == 0
    assert states(p, 9.99, 10) == [T, A]


def test_the_later_of_two_stops_wins() -> None:
    p = pool()
    p.throttle(NOW, NOW + 10, "first")
    assert p.throttle(NOW + 1, NOW + 5, "shorter") == []
    assert (p.until, p.reason) == (NOW + 10, "first")
    assert p.throttle(NOW + 1, NOW + 20, "longer") == []
    assert (p.until, p.reason, p.throttles) == (NOW + 20, "longer", 3)


def test_a_worse_signal_supersedes_a_throttle_and_the_audit_shows_both() -> None:
    p = pool()
    p.throttle(NOW, NOW + 10, "429")
    assert [(t.before, t.after) for t in p.exhaust(NOW + 1, NOW + 101, "month")] == [(T, A), (A, E)]
    assert states(p, 90.9, 91, 100.9, 101) == [E, R, R, A]


def test_an_exhausted_pool_stays_so_through_a_throttle() -> None:
    p = pool()
    p.exhaust(NOW, NOW + 100, "month")
    assert p.throttle(NOW + 1, NOW + 500, "429") == []
    assert (p.state, p.until) == (E, NOW + 500)


def test_a_recovering_pool_can_be_exhausted_again() -> None:
    p = pool()
    p.exhaust(NOW, NOW + 100, "month")
    assert states(p, 95) == [R]
    assert p.fits_and_load(need_of(), NOW + 95) == REFUSED
    p.exhaust(NOW + 95, NOW + 195, "again")
    assert states(p, 184, 185, 195) == [E, R, A]


def test_all_of_the_way_back_in_one_look() -> None:
    p = pool()
    p.exhaust(NOW, NOW + 100, "month")
    assert [t.after for t in p.refresh(NOW + 1_000)] == [R, A]


def test_a_stop_is_ended_by_hand() -> None:
    for stop in (Pool.throttle, Pool.exhaust):
        p = pool()
        stop(p, NOW, NOW + 1_000, "x")
        p.reopen(NOW + 1)
        assert p.state is A
        assert p.fits_and_load(need_of(), NOW + 1) == 0


stops = st.lists(
    st.tuples(st.sampled_from(["throttle", "exhaust", "look", "reopen"]), st.floats(0, 200), st.floats(0, 50))
)


@given(stops)
def test_whatever_is_said_only_legal_moves_are_made(said: list[tuple[str, float, float]]) -> None:
    p, now = pool(), NOW
    for what, length, step in said:
        now += step
        p.refresh(now)
        if what == "throttle":
            p.throttle(now, now + length, "x")
        elif what == "exhaust":
            p.exhaust(now, now + length, "x")
        elif what == "reopen":
            p.reopen(now)
        assert (p.fits_and_load(need_of(), now) == REFUSED) == (now < p.until)
        if now < p.until:
            assert p.state is not A
    p.refresh(max(now, p.until) + 1)
    assert p.state is A


# -- seen from outside -----------------------------------------------------------------------------------------------


WORDS = {0: "abundant", 19: "abundant", 20: "constrained", 49: "constrained", 50: "critical", 99: "critical"}


@pytest.mark.parametrize(("used", "word"), [*WORDS.items(), (100, "exhausted")])
def test_capacity_in_a_word(used: int, word: str) -> None:
    p = pool(Limit(of="tokens", amount=100, per="day", window="fixed"))
    p.take(need_of(input_tokens=used), NOW)
    assert capacity(p, p.windows[0], NOW) == word


def test_a_stopped_pool_has_no_capacity() -> None:
    p = pool(Limit.tpm(100))
    p.throttle(NOW, NOW + 10, "429")
    assert capacity(p, p.windows[0], NOW) == "exhausted"
    p.exhaust(NOW, NOW + 100, "month")
    p.refresh(NOW + 95)
    assert capacity(p, p.windows[0], NOW + 95) == "recovering"


def test_a_limit_of_nothing_is_exhausted() -> None:
    p = pool(Limit.tpm(0))
    assert capacity(p, p.windows[0], NOW) == "exhausted"


def test_it_says_what_it_is() -> None:
    assert repr(pool(Limit.rpm(5))) == "<Pool org available <requests/minute bucket 5/5 free, 0 held>>"
