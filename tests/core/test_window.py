"""Windows of each shape and charging mode, against what a provider with exact arithmetic would admit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.model import COST, NANO
from apikeyrouter.core.window import NEVER, RING_SLOTS, Limit, Per, Shape, Window
from apikeyrouter.errors import InvalidConfigurationError

START = 1_767_225_600.0
TOLERANCE = Fraction(1, 1000)
"""Of one unit. A time near 2e9 s is exact to 2.4e-7 s; a limit of 1,000 units a second thus to a few 1e-4 units."""


def window(amount: int, per: Per = "minute", shape: Shape | None = None, **more: object) -> Window:
    return Window(Limit(of="tokens", amount=amount, per=per, window=shape, **more), START)  # type: ignore[arg-type]


def epoch(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


# -- limits as their owner states them -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "of", "amount", "per", "charge"),
    [
        (Limit.rps, "requests", 5, "second", "admission"),
        (Limit.rpm, "requests", 5, "minute", "admission"),
        (Limit.rph, "requests", 5, "hour", "admission"),
        (Limit.rpd, "requests", 5, "day", "admission"),
        (Limit.tpm, "tokens", 5, "minute", "admission"),
        (Limit.tpd, "tokens", 5, "day", "admission"),
        (Limit.itpm, "input_tokens", 5, "minute", "admission"),
        (Limit.otpm, "output_tokens", 5, "minute", "real"),
        (Limit.concurrency, "concurrency", 5, "minute", "concurrency"),
    ],
)
def test_short_forms(make: Callable[[int], Limit], of: str, amount: int, per: str, charge: str) -> None:
    limit = make(amount)
    assert (limit.of, limit.amount, limit.per, limit.charge) == (of, amount, per, charge)


def test_a_spend_limit_is_in_nano_dollars_and_charged_as_spent() -> None:
    limit = Limit.spend("12.5")
    assert (limit.of, limit.amount, limit.per, limit.window, limit.charge) == (
        "cost", 25 * NANO // 2, "month", "fixed", "real",
    )  # fmt: skip
    assert Window(limit, START).of == COST


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"of": "bytes", "amount": 1}, "bytes"),
        ({"of": "tokens", "amount": -1}, "-1"),
        ({"of": "tokens", "amount": 1.5}, "1.5"),
        ({"of": "tokens", "amount": True}, "True"),
        ({"of": "tokens", "amount": 1, "per": "fortnight"}, "fortnight"),
        ({"of": "tokens", "amount": 1, "burst_s": 0}, "burst_s 0"),
        ({"of": "tokens", "amount": 1, "burst_s": float("nan")}, "nan"),
        ({"of": "tokens", "amount": 1, "window": "sliding"}, "sliding"),
        ({"of": "tokens", "amount": 1, "charge": "later"}, "later"),
        ({"of": "tokens", "amount": 1, "window": "fixed", "zone": "Mars/Olympus"}, "Mars/Olympus"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_what_was_said(fields: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=told):
        Limit(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["much", "nan", "-1"])
def test_a_spend_limit_is_an_amount(text: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=text):
        Limit.spend(text)


# -- buckets ---------------------------------------------------------------------------------------------------------


def test_a_bucket_starts_full_and_refills_continuously() -> None:
    w = window(60)
    w.take(60, START)
    assert w.free(START) == 0
    assert w.free(START + 1.5) == pytest.approx(1.5)
    assert w.free(START + 3600) == 60


@pytest.mark.parametrize("step", [0.0, -10.0])
def test_a_clock_that_stands_or_steps_back_refills_nothing(step: float) -> None:
    w = window(60)
    w.take(60, START)
    assert w.free(START + step) == 0
    assert w.free(START) == 0
    assert w.free(START + 2) == pytest.approx(2)


def test_burst_caps_a_bucket_at_so_many_seconds_of_refill() -> None:
    assert window(600, burst_s=1.0).free(START) == 10
    assert window(6, burst_s=1.0).free(START) == 1, "at least one request must fit"
    assert window(600, burst_s=120.0).free(START) == 600


def test_a_limit_of_nothing_admits_nothing() -> None:
    w = window(0)
    assert w.free(START + 1000) == 0
    assert w.wait_for(1, START) == NEVER


actions = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.5, 7.0, 59.9, 61.0, -3.0]), st.integers(1, 40)), min_size=1, max_size=60
)


@given(actions, st.sampled_from([1, 40, 100, 60_000]), st.sampled_from(["second", "minute", "hour", "day"]))
def test_a_bucket_admits_what_exact_arithmetic_admits(steps: list[tuple[float, int]], amount: int, per: Per) -> None:
    w = window(amount, per)
    rate = Fraction(amount) / Fraction(w.period_s)
    level, at, now = Fraction(amount), Fraction(START), START
    for step, n in steps:
        now += step
        exact = max(at, Fraction(now))
        level = min(Fraction(amount), level + (exact - at) * rate)
        at = exact
        assert abs(Fraction(w.free(now)) - level) < TOLERANCE
        if n <= w.free(now):
            w.take(n, now)
            level -= n
            assert level > -TOLERANCE


# -- fixed windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per", "zone", "now", "ends"),
    [
        ("second", "UTC", "2026-01-01T00:00:00.25", "2026-01-01T00:00:01"),
        ("minute", "UTC", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("hour", "UTC", "2026-01-01T00:30:00", "2026-01-01T01:00:00"),
        ("day", "UTC", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("day", "America/Los_Angeles", "2026-01-01T00:30:00", "2026-01-02T00:00:00"),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00", "2026-03-30T00:00:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00", "2026-10-26T00:00:00"),
        ("day", "America/Havana", "2026-10-31T12:00:00", "2026-11-01T00:00:00"),
        ("week", "UTC", "2026-01-01T12:00:00", "2026-01-05T00:00:00"),
        ("month", "UTC", "2026-01-31T23:59:59", "2026-02-01T00:00:00"),
        ("month", "UTC", "2026-12-31T12:00:00", "2027-01-01T00:00:00"),
        ("month", "UTC", "2028-02-29T12:00:00", "2028-03-01T00:00:00"),
        ("month", "Asia/Tokyo", "2026-02-28T23:00:00", "2026-03-01T00:00:00"),
    ],
)
def test_a_fixed_window_turns_by_the_calendar_of_its_zone(per: Per, zone: str, now: str, ends: str) -> None:
    at, end = epoch(now, zone), epoch(ends, zone)
    w = Window(Limit(of="tokens", amount=10, per=per, window="fixed", zone=zone), at)
    w.take(10, at)
    assert w.wait_for(1, at) == end - at
    assert w.free(end - 0.001) == 0
    assert w.free(end) == 10
    assert w.turns_at > end


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)], ids=["spring", "autumn", "plain"]
)
def test_a_day_is_as_long_as_its_zone_makes_it(day: str, hours: int) -> None:
    start = epoch(f"{day}T00:00:00", "Europe/Berlin")
    w = Window(Limit(of="tokens", amount=1, per="day", window="fixed", zone="Europe/Berlin"), start)
    assert (w.turns_at - w.began) / 3600 == hours


def test_a_months_limit_is_a_calendar_months_unless_said_otherwise() -> None:
    assert window(10, "month").shape == "fixed"
    assert window(10, "month", "rolling").shape == "rolling"
    assert window(10, "day").shape == "bucket"


def test_windows_that_nobody_looked_at_are_skipped() -> None:
    w = window(10, "day", "fixed")
    w.take(10, START)
    assert w.free(START + 40 * 86_400 + 5) == 10
    assert w.turns_at == START + 41 * 86_400


zones = st.sampled_from(
    ["UTC", "America/Los_Angeles", "Europe/Berlin", "America/Havana", "Africa/Cairo", "Asia/Kolkata", "Pacific/Apia",
     "America/Sao_Paulo", "Australia/Lord_Howe"]
)  # fmt: skip


@given(st.floats(1.0e9, 2.0e9), zones, st.sampled_from(["day", "week", "month"]))
def test_a_window_always_ends_after_now_and_began_before(now: float, zone: str, per: Per) -> None:
    w = Window(Limit(of="tokens", amount=1, per=per, window="fixed", zone=zone), now)
    assert w.began <= now < w.turns_at


@given(actions, st.sampled_from([30, 100]), st.sampled_from(["second", "minute"]))
def test_a_fixed_window_never_admits_more_than_its_limit(steps: list[tuple[float, int]], amount: int, per: Per) -> None:
    w = window(amount, per, "fixed")
    now, furthest, admitted = START, START, dict[int, int]()
    for step, n in steps:
        now += step
        furthest = max(furthest, now)
        if n <= w.free(now):
            w.take(n, now)
            period = int(furthest // w.period_s)
            admitted[period] = admitted.get(period, 0) + n
    assert all(total <= amount for total in admitted.values())


# -- rolling windows -------------------------------------------------------------------------------------------------


@given(actions, st.sampled_from([30, 100]), st.sampled_from(["second", "minute"]), st.booleans())
def test_a_rolling_window_never_admits_more_than_its_limit_in_any_period(
    steps: list[tuple[float, int]], amount: int, per: Per, giving_back: bool
) -> None:
    w = window(amount, per, "rolling")
    now, furthest, admitted = START, START, list[tuple[float, int]]()
    for turn, (step, n) in enumerate(steps):
        now += step
        furthest = max(furthest, now)
        if n <= w.free(now):
            w.take(n, now)
            if giving_back and turn % 3 == 0:
                w.give_back(n, w.level, now, now)
            else:
                admitted.append((furthest, n))
        assert w.level <= amount
    for end, _ in admitted:
        assert sum(n for at, n in admitted if end - w.period_s < at <= end) <= amount


def test_a_rolling_window_gives_back_a_period_later_at_the_latest_slot() -> None:
    w = window(60, "minute", "rolling")
    w.take(60, START)
    slot = w.period_s / RING_SLOTS
    assert w.free(START + w.period_s) == 0
    assert w.free(START + w.period_s + slot) == 60
    assert w.turns_at == NEVER


def test_a_rolling_window_counts_a_slot_until_all_of_it_is_old() -> None:
    w = window(60, "minute", "rolling")
    w.take(30, START + 0.1)
    w.take(30, START + 0.9)
    assert len(w.ring or ()) == 1
    assert w.wait_for(1, START + 1) == pytest.approx(60.0)


# -- holds, refunds and what is given back ---------------------------------------------------------------------------


def test_a_real_charge_is_held_first_and_debited_as_used() -> None:
    w = window(100, charge="real")
    w.take(80, START)
    assert (w.free(START), w.held, w.level) == (20, 80, 100)
    w.settle(80, 30, START, w.level, START)
    assert (w.free(START), w.held, w.level) == (70, 0, 70)


def test_a_real_charge_beyond_its_hold_makes_the_room_negative() -> None:
    w = window(100, charge="real")
    w.take(80, START)
    w.settle(80, 130, START, w.level, START)
    assert w.free(START) == -30
    assert w.wait_for(1, START) == pytest.approx(31 / (100 / 60), abs=1e-5)


def test_slots_come_back_when_somebody_ends() -> None:
    w = Window(Limit.concurrency(2), START)
    w.take(1, START)
    w.take(1, START)
    assert w.free(START + 1e6) == 0
    assert w.wait_for(1, START) == 0.0, "no clock tells"
    w.settle(1, 1, START, w.level, START + 5)
    assert w.free(START) == 1


def test_an_admission_charge_stays_charged_unless_it_is_refunded() -> None:
    kept, refunded = window(100), window(100, refund=True)
    for w in (kept, refunded):
        w.take(80, START)
        mark = w.level
        w.settle(80, 30, START, mark, START)
    assert kept.free(START) == 20
    assert refunded.free(START) == 70


def test_a_refund_of_more_than_was_charged_is_a_further_charge() -> None:
    w = window(100, refund=True)
    w.take(80, START)
    w.settle(80, 95, START, w.level, START)
    assert w.free(START) == 5


def test_a_refund_is_no_present_for_the_next_fixed_window() -> None:
    w = window(100, "minute", "fixed", refund=True)
    w.take(80, START + 59)
    mark = w.level
    w.take(0, START + 60)
    w.advance(START + 60)
    w.take(50, START + 60)
    w.settle(80, 0, START + 59, mark, START + 61)
    assert w.free(START + 61) == 50, "the window that was charged is gone"


def test_a_refund_does_not_lift_a_rolling_window_above_its_limit_later() -> None:
    w = window(100, "minute", "rolling", refund=True)
    w.take(80, START)
    w.settle(80, 0, START, w.level, START)
    assert w.free(START) == 100
    assert w.free(START + 200) == 100


def test_a_refund_does_not_return_what_would_have_overflowed() -> None:
    w = window(60, refund=True)
    w.take(60, START)
    mark = w.level
    w.advance(START + 60)
    w.take(60, START + 60)
    w.settle(60, 0, START, mark, START + 60)
    assert w.free(START + 60) == 0, "without the first charge the bucket would have been full at 60 s, too"


@pytest.mark.parametrize(
    ("shape", "after", "back"),
    [
        ("bucket", 0.0, 100),
        ("bucket", 6.0, 100),
        ("bucket", 60.0, 100),
        ("fixed", 0.0, 100),
        ("rolling", 0.0, 100),
        ("rolling", 30.0, 100),
    ],
)
def test_what_was_never_sent_comes_back(shape: Shape, after: float, back: float) -> None:
    w = window(100, "minute", shape)
    w.take(60, START)
    w.give_back(60, w.level, START, START + after)
    assert w.free(START + after) == back


def test_what_was_taken_in_a_window_that_has_turned_is_gone() -> None:
    w = window(100, "minute", "fixed")
    w.take(60, START + 50)
    mark = w.level
    w.advance(START + 60)
    w.take(10, START + 60)
    w.give_back(60, mark, START + 50, START + 60)
    assert w.free(START + 60) == 90


def test_holds_come_back_whole() -> None:
    w = window(100, charge="real")
    w.take(60, START)
    w.give_back(60, w.level, START, START)
    assert (w.held, w.free(START), w.charged) == (0, 100, 0)


step = st.tuples(
    st.sampled_from([0.0, 0.3, 5.0, 20.0, 61.0]),
    st.integers(1, 50),
    st.sampled_from(["take", "back", "settle"]),
    st.integers(0, 60),
)
moves = st.lists(step, min_size=1, max_size=40)


def _walk(w: Window, steps: list[tuple[float, int, str, int]]) -> Iterator[tuple[float, float]]:
    """Take, give back and settle; yields what stays charged as (when it was sent, how much)."""
    now, open_ = START, list[tuple[int, float, float]]()
    for step, n, what, used in steps:
        now += step
        if what == "take" or not open_:
            if n <= w.free(now):
                w.take(n, now)
                open_.append((n, w.level, now))
            continue
        amount, mark, taken = open_.pop(len(open_) // 2)
        if what == "back":
            w.give_back(amount, mark, taken, now)
        else:
            w.settle(amount, min(used, amount), taken, mark, now)
            yield (taken, min(used, amount) if w.refund else amount)
        assert w.level <= w.cap + 1e-6
    yield from ((taken, amount) for amount, _, taken in open_)


@given(moves, st.booleans())
def test_no_interval_admits_more_than_a_buckets_size_and_refill(
    steps: list[tuple[float, int, str, int]], refund: bool
) -> None:
    w = window(60, refund=refund)
    kept = list(_walk(w, steps))
    for start, _ in kept:
        for end in {at for at, _ in kept if at >= start}:
            sent = sum(n for at, n in kept if start <= at <= end)
            assert Fraction(sent) <= 60 + Fraction(end - start) + TOLERANCE


@given(moves, st.booleans())
def test_no_fixed_window_admits_more_than_its_limit_whatever_comes_back(
    steps: list[tuple[float, int, str, int]], refund: bool
) -> None:
    w = window(60, "minute", "fixed", refund=refund)
    totals: dict[int, float] = {}
    for at, n in _walk(w, steps):
        totals[int(at // 60)] = totals.get(int(at // 60), 0) + n
    assert all(total <= 60 for total in totals.values())


@given(moves, st.booleans())
def test_no_rolling_window_admits_more_than_its_limit_whatever_comes_back(
    steps: list[tuple[float, int, str, int]], refund: bool
) -> None:
    kept = list(_walk(window(60, "minute", "rolling", refund=refund), steps))
    for end, _ in kept:
        assert sum(n for at, n in kept if end - 60 < at <= end) <= 60


# -- waiting ---------------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 200_000),
    st.sampled_from(["second", "minute", "hour", "day"]),
    st.sampled_from(["bucket", "fixed", "rolling"]),
    st.lists(st.tuples(st.floats(0, 500), st.floats(0.01, 1)), min_size=1, max_size=5),
    st.floats(0.01, 1),
)
def test_what_is_waited_for_fits_after_the_wait(
    amount: int, per: Per, shape: Shape, taken: list[tuple[float, float]], share: float
) -> None:
    """Exactly: a clock that is moved by the wait, and no further, must find room. Otherwise a waiter never gets on."""
    w, now = window(amount, per, shape), START
    for step, part in taken:
        now += step
        n = min(int(w.free(now)), max(1, int(part * amount)))
        if n > 0:
            w.take(n, now)
    n = max(1, int(share * amount))
    wait = w.wait_for(n, now)
    assert wait != NEVER
    assert n <= w.free(now + wait)
    if wait > 0.01:
        assert n > w.free(now + wait - 0.01) or shape == "rolling" or n <= w.free(now), "it waited for nothing"


def test_more_than_the_window_holds_never_fits() -> None:
    for shape in ("bucket", "fixed", "rolling"):
        assert window(10, "minute", shape).wait_for(11, START) == NEVER  # type: ignore[arg-type]


def test_a_window_says_what_it_is() -> None:
    w = window(60)
    w.take(10, START)
    assert repr(w) == "<tokens/minute bucket 50/60 free, 0 held>"
    assert Window(Limit.concurrency(3), START).name == "concurrency"
    assert datetime.fromtimestamp(START, UTC).weekday() == 3
