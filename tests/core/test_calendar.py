"""Calendar windows on the days that are not like others, under a clock that is not always right."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.period import ends_at, starts_at
from apikeyrouter.core.window import Limit, Per, Shape, Window

HOUR = 3600.0
CHANGES = [
    ("Europe/Berlin", "2026-03-29", 23),
    ("Europe/Berlin", "2026-10-25", 25),
    ("America/Los_Angeles", "2026-03-08", 23),
    ("America/Los_Angeles", "2026-11-01", 25),
    ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ("Australia/Lord_Howe", "2026-10-04", 23.5),
    ("Asia/Kolkata", "2026-03-29", 24),
]


def midnight(day: date, zone: str) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_a_day_that_changes_its_clocks_admits_its_limit_once(zone: str, day: str, hours: float) -> None:
    begin = midnight(date.fromisoformat(day), zone)
    w = Window(Limit(of="tokens", amount=24, per="day", window="fixed", zone=zone), begin)
    admitted = [0, 0]
    for half in range(int(2 * (hours + 24))):
        now = begin + half * HOUR / 2
        if w.free(now) >= 1:
            w.take(1, now)
            admitted[now >= begin + hours * HOUR] += 1
    assert admitted == [24, 24]
    assert ends_at("day", begin + 1, zone) - begin == hours * HOUR
    assert starts_at("day", begin + hours * HOUR - 0.001, zone) == begin


periods = st.sampled_from(["day", "week", "month"])
zones = st.sampled_from([zone for zone, _, _ in CHANGES] + ["UTC", "America/Havana", "Pacific/Apia"])
starts = st.sampled_from(["2026-03-28", "2026-10-24", "2026-01-30", "2028-02-28", "2026-12-31", "2026-11-01"])
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.4, 1.0, 5.0, 12.0, 23.0, 24.0, 25.0, 700.0, -0.5, -1.0, -30.0]), st.integers(1, 9)
    ),
    max_size=60,
)


def name(at: float, per: str, zone: str) -> tuple[int, ...]:
    """The calendar's own name for the period that a time falls in."""
    local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone))
    if per == "week":
        return tuple(local.isocalendar())[:2]
    return (local.year, local.month, local.day if per == "day" else 0)


@given(steps=steps, per=periods, zone=zones, day=starts)
def test_no_calendar_period_admits_more_than_its_limit_whatever_the_clock_does(
    steps: list[tuple[float, int]], per: Per, zone: str, day: str
) -> None:
    now = furthest = midnight(date.fromisoformat(day), zone)
    w = Window(Limit(of="tokens", amount=12, per=per, window="fixed", zone=zone), now)
    admitted: dict[tuple[int, ...], int] = {}
    for hours, n in steps:
        now += hours * HOUR
        turned, furthest = name(now, per, zone) != name(furthest, per, zone) and now > furthest, max(now, furthest)
        assert w.free(now) >= 0
        assert not turned or w.free(now) == 12, "a new period is whole"
        if n <= w.free(now):
            w.take(n, now)
            admitted[name(furthest, per, zone)] = admitted.get(name(furthest, per, zone), 0) + n
    assert all(total <= 12 for total in admitted.values())


@pytest.mark.parametrize("shape", ["bucket", "fixed", "rolling"])
@pytest.mark.parametrize(
    "step", [-1.0, -0.5, 0.5, 1.0], ids=["a second twice", "half back", "half on", "a second less"]
)
def test_a_leap_second_lets_nobody_in_and_keeps_nobody_out(shape: Shape, step: float) -> None:
    """However a clock takes it: repeated, smeared over, or left out at midnight."""
    end = datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    w = Window(Limit(of="tokens", amount=60, per="minute", window=shape), end - 30)
    assert w.free(end) == 60
    w.take(60, end)
    gained = w.free(end + step)
    assert 0 <= gained <= (60 if shape == "fixed" and step == 1.0 else max(0.0, step) + 1e-3)
    assert w.wait_for(60, end + step) <= 62
    assert w.free(end + 62) == 60


@given(st.dates(date(2000, 1, 1), date(2060, 12, 31)), zones)
def test_days_follow_each_other_without_a_gap(day: date, zone: str) -> None:
    begin, following = midnight(day, zone), midnight(day + timedelta(days=1), zone)
    if following - begin > HOUR:  # one zone once left out a whole day
        assert ends_at("day", begin, zone) == following
        assert starts_at("day", following - 0.01, zone) == begin
