"""Every form in which providers write limits and waits, and everything that is no such form."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.headers import (
    MAX_WAIT,
    LimitRow,
    LimitTable,
    count,
    duration,
    moment,
    read_limits,
    retry_after,
    structured_limits,
    wait,
)
from apikeyrouter.core.model import CONCURRENCY, REQUESTS, TOKENS, Reading

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("8.64s", 8.64),
        ("18ms", 0.018),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("38.203s", 38.203),
        ("2d", 172_800.0),
        ("150us", 0.00015),
        (" 1s ", 1.0),
        ("1", None),
        ("", None),
        ("s", None),
        ("1x", None),
        ("1s garbage", None),
        ("-1s", None),
        ("1.2.3s", None),
        ("٣s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10000", 10_000),
        ("2,000,000", 2_000_000),
        ("0", 0),
        ("12.0", 12),
        ("12.5", None),
        ("-1", None),
        ("1e3", None),
        ("", None),
        ("many", None),
        ("9" * 40, None),
        (None, None),
    ],
)
def test_counts(text: str | None, value: int | None) -> None:
    assert count(text) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("0.5", 0.5),
        ("6m0s", 360.0),
        (str(int(NOW) + 90), 90.0),
        (str((int(NOW) + 90) * 1000), 90.0),
        ("2026-11-23T12:01:30Z", 90.0),
        ("2026-11-23T13:01:30+01:00", 90.0),
        ("2026-11-23T12:01:30.500Z", 90.5),
        ("Mon, 23 Nov 2026 12:01:30 GMT", 90.0),
        ("2026-11-23T11:59:50Z", 0.0),
        ("2026-11-23T11:00:00Z", None),
        ("2027-11-23T12:00:00Z", None),
        ("-5", None),
        (str(int(MAX_WAIT) + 1), None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Mon, 99 Nov 2026 12:01:30 GMT", None),
        ("2026-13-23T12:01:30Z", None),
        ("", None),
        (None, None),
    ],
)
def test_waits_in_every_form(text: str | None, seconds: float | None) -> None:
    assert wait(text, NOW) == pytest.approx(seconds)


def test_the_exact_wait_beats_the_rounded_one() -> None:
    assert retry_after({"retry-after-ms": "250", "retry-after": "1"}, NOW) == 0.25
    assert retry_after({"retry-after-ms": "soon", "retry-after": "1"}, NOW) == 1.0
    assert retry_after({}, NOW) is None


def test_a_date_is_read_against_the_providers_clock() -> None:
    headers = {"retry-after": "Mon, 23 Nov 2026 14:00:30 GMT", "date": "Mon, 23 Nov 2026 14:00:00 GMT"}
    assert retry_after(headers, NOW) == 30.0


def test_an_absolute_reset_is_read_against_the_providers_clock() -> None:
    table = LimitTable(rows=(LimitRow(of=TOKENS, limit="l", remaining="r", reset="x", absolute=True),))
    headers = {"l": "100", "r": "40", "x": "2026-11-23T14:00:30Z", "date": "Mon, 23 Nov 2026 14:00:00 GMT"}
    assert read_limits(table, headers, NOW) == (Reading(TOKENS, 100, 40, 30.0),)


def test_of_two_limits_on_one_thing_the_tighter_counts() -> None:
    rows = (
        LimitRow(of=TOKENS, limit="l", remaining="r"),
        LimitRow(of=TOKENS, limit="project-l", remaining="project-r"),
        LimitRow(of=TOKENS, limit="day-l", remaining="day-r", period_s=86_400.0),
    )
    headers = {"l": "100", "r": "90", "project-l": "50", "project-r": "10", "day-l": "9", "day-r": "8"}
    assert read_limits(LimitTable(rows=rows), headers, NOW) == (
        Reading(TOKENS, 50, 10),
        Reading(TOKENS, 9, 8, None, 86_400.0),
    )


def test_a_summary_is_left_out_beside_its_parts() -> None:
    table = LimitTable(rows=(LimitRow(of=TOKENS, limit="sum", remaining="sum-left", unless="part"),))
    assert read_limits(table, {"sum": "5", "sum-left": "4"}, NOW) == (Reading(TOKENS, 5, 4),)
    assert read_limits(table, {"sum": "5", "sum-left": "4", "part": "1"}, NOW) == ()


def test_unreadable_headers_are_no_reading() -> None:
    table = LimitTable(rows=(LimitRow(of=REQUESTS, limit="l", remaining="r", reset="x"),), structured=True)
    assert read_limits(table, {"l": "lots", "r": "", "x": "1s"}, NOW) == ()
    assert read_limits(table, {"l": "5", "r": "?", "x": "?"}, NOW) == (Reading(REQUESTS, 5),)


@pytest.mark.parametrize(
    ("headers", "readings"),
    [
        (
            {"ratelimit-policy": '"burst";q=100;w=60, "day";q=1000;w=86400', "ratelimit": '"burst";r=50;t=30'},
            (Reading(REQUESTS, 100, 50, 30.0, 60.0),),
        ),
        (
            {"ratelimit-policy": '"x";q=9;qu="concurrent-requests";pk=:abc:', "ratelimit": '"x";r=0;pk=:abc:'},
            (Reading(CONCURRENCY, 9, 0),),
        ),
        ({"ratelimit-policy": '"b";q=5;qu="content-bytes"', "ratelimit": '"b";r=1;t=1'}, ()),
        ({"ratelimit": "default;r=3;t=7"}, (Reading(REQUESTS, None, 3, 7.0),)),
        (
            {"ratelimit": "limit=100, remaining=50, reset=30", "ratelimit-policy": "100;w=60"},
            (Reading(REQUESTS, 100, 50, 30.0, 60.0),),
        ),
        ({"ratelimit": '"burst";r=x;t=30'}, ()),
        ({"ratelimit": '";;;===,,,"'}, ()),
        ({}, ()),
    ],
)
def test_the_standard_drafts(headers: dict[str, str], readings: tuple[Reading, ...]) -> None:
    assert structured_limits(headers, NOW) == readings


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    for reader in (duration, count, moment):
        value = reader(text)
        assert value is None or math.isfinite(value)
    waiting = wait(text, NOW)
    assert waiting is None or 0.0 <= waiting <= MAX_WAIT


_NAMES = ("retry-after", "retry-after-ms", "date", "ratelimit", "ratelimit-policy", "l", "r", "x")


@given(st.dictionaries(st.sampled_from(_NAMES), st.text(alphabet='0123456789.,;="smhd:TZ- GMTab', max_size=80)))
def test_any_headers_are_read_without_an_exception(headers: dict[str, str]) -> None:
    table = LimitTable(
        rows=(LimitRow(of=REQUESTS, limit="l", remaining="r", reset="x", absolute=True),), structured=True
    )
    for reading in read_limits(table, headers, NOW):
        assert reading.limit is None or reading.limit >= 0
        assert reading.reset_s is None or 0.0 <= reading.reset_s <= MAX_WAIT
    pause = retry_after(headers, NOW)
    assert pause is None or 0.0 <= pause <= MAX_WAIT
