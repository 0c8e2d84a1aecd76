"""The provider's word against ours: bad news at once, good news slowly, and never more than the provider can have."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.merge import STALE_S, implied_period, merge, window_for
from apikeyrouter.core.model import CONCURRENCY, REQUESTS, TOKENS, Reading
from apikeyrouter.core.pool import Pool, need_of
from apikeyrouter.core.window import Limit

NOW = 1_767_225_600.0


def pool(*limits: Limit) -> Pool:
    return Pool("org", limits, now=NOW)


def taken(p: Pool, tokens: int, now: float = NOW) -> list[float]:
    need = need_of(input_tokens=tokens)
    assert p.fits_and_load(need, now) >= 0
    return p.take(need, now)


def told(remaining: int, *, of: int = TOKENS, limit: int | None = 1_000, reset: float | None = None) -> Reading:
    return Reading(of, limit, remaining, reset)


# -- which window ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reading", "index"),
    [
        ((Limit.tpm(1_000),), told(900), 0),
        ((Limit.tpm(1_000), Limit.rpm(10)), told(9, of=REQUESTS, limit=10), 1),
        ((Limit.tpm(1_000), Limit.tpd(50_000)), told(49_000, limit=50_000), 1),
        ((Limit.tpm(1_000), Limit.tpd(50_000)), Reading(TOKENS, 1_000, 500, 30.0), 0),
        ((Limit.tpm(1_000), Limit.tpd(1_000)), told(500), None),
        ((Limit.tpm(1_000), Limit.tpd(1_000)), Reading(TOKENS, 1_000, 500, 43_200.0), 1),
        ((Limit.tpm(1_000),), Reading(TOKENS, 1_000, 500, None, 3_600.0), None),
        ((Limit.tpm(1_000),), told(1_500, limit=2_000), None),
        ((Limit.tpm(2_000),), told(900, limit=1_000), 0),
        ((Limit.rpm(10),), told(900), None),
    ],
)
def test_a_reading_speaks_of_one_window(limits: tuple[Limit, ...], reading: Reading, index: int | None) -> None:
    assert window_for(pool(*limits), reading) == index


@pytest.mark.parametrize(
    ("reading", "period"),
    [
        (Reading(TOKENS, 60_000, 55_904, 4.096), 60.0),
        (Reading(TOKENS, 1_000, 500, 1_800.0), 3_600.0),
        (Reading(TOKENS, 1_000, 999, 0.06), 60.0),
        (Reading(TOKENS, 1_000, 1_000, 0.0), None),
        (Reading(TOKENS, 1_000, 500, 7.0), None),
        (Reading(TOKENS, 1_000, 500), None),
        (Reading(TOKENS, None, 500, 30.0), None),
        (Reading(TOKENS, 1_000, 1_500, 30.0), None),
    ],
)
def test_the_law_of_continuous_buckets_tells_the_period(reading: Reading, period: float | None) -> None:
    assert implied_period(reading) == period


# -- how far it is believed ------------------------------------------------------------------------------------------


def test_what_we_know_already_changes_nothing() -> None:
    p = pool(Limit.tpm(1_000))
    marks = taken(p, 100)
    assert not merge(p, (told(900),), marks, 1, NOW)
    assert p.windows[0].level == 900


def test_bad_news_is_believed_at_once() -> None:
    p = pool(Limit.tpm(1_000))
    marks = taken(p, 100)
    assert not merge(p, (told(300),), marks, 1, NOW)
    assert p.windows[0].level == 300


def test_good_news_is_believed_a_quarter_at_a_time() -> None:
    p = pool(Limit.tpm(1_000))
    marks = taken(p, 800)
    p.windows[0].flight = 0
    assert merge(p, (told(600),), marks, 1, NOW)
    assert p.windows[0].level == pytest.approx(300)


def test_good_news_that_requests_under_way_explain_is_no_news() -> None:
    p = pool(Limit.tpm(1_000))
    first = taken(p, 100)
    taken(p, 500)
    assert not merge(p, (told(900),), first, 1, NOW)
    assert p.windows[0].level == 400


def test_old_good_news_is_not_believed_after_newer() -> None:
    p = pool(Limit.tpm(1_000))
    old, new = taken(p, 100), taken(p, 100)
    p.windows[0].flight = 0
    merge(p, (told(400),), new, 2, NOW)
    before = p.windows[0].level
    assert not merge(p, (told(1_000),), old, 1, NOW)
    assert p.windows[0].level == before


def test_old_bad_news_counts_all_the_same() -> None:
    p = pool(Limit.tpm(1_000))
    old, new = taken(p, 100), taken(p, 100)
    merge(p, (told(800),), new, 2, NOW)
    merge(p, (told(100),), old, 1, NOW)
    assert p.windows[0].level < 400


def test_a_lowered_limit_is_followed_and_its_return_too() -> None:
    p = pool(Limit.tpm(1_000))
    w = p.windows[0]
    merge(p, (told(400, limit=500),), taken(p, 100), 1, NOW)
    assert (w.cap, w.gross * 60) == (500, pytest.approx(500))
    later = NOW + STALE_S + 40
    assert merge(p, (told(990, limit=1_000),), taken(p, 10, later), 2, later), "a larger size is worth a look"
    assert w.cap == 1_000


def test_a_provider_never_raises_what_was_configured() -> None:
    p = pool(Limit.tpm(1_000))
    for seq in range(20):
        merge(p, (told(5_000, limit=5_000),), taken(p, 1, NOW + seq), seq, NOW + seq)
    assert p.windows[0].cap == 1_000
    assert p.windows[0].level <= 1_000


def test_a_fixed_window_turns_when_the_provider_says() -> None:
    p = pool(Limit(of="tokens", amount=1_000, per="day", window="fixed"))
    merge(p, (told(500, reset=7_200.0),), taken(p, 500), 1, NOW)
    assert p.windows[0].turns_at == NOW + 7_200


def test_limits_nobody_named_are_learned() -> None:
    p = pool()
    merge(
        p, (Reading(TOKENS, 60_000, 55_904, 4.096), Reading(REQUESTS, 500, 499, 0.12)), p.take(need_of(), NOW), 1, NOW
    )
    assert [(w.name, w.cap, w.learned) for w in p.windows] == [
        ("tokens/minute", 60_000, True),
        ("requests/minute", 500, True),
    ]
    assert p.windows[0].level == 55_904


def test_a_request_from_before_a_window_was_learned_owes_it_nothing() -> None:
    p = pool()
    need = need_of(input_tokens=100)
    early, marks = p.take(need, NOW), p.take(need, NOW)
    merge(p, (Reading(TOKENS, 60_000, 55_904, 4.096),), marks, 2, NOW)
    p.settle(need, need, early, NOW, NOW)
    p.give_back(need, marks, NOW, NOW)
    assert (p.in_flight, p.windows[0].held, p.windows[0].flight, p.windows[0].level) == (0, 0, 0, 55_904)


# -- laws ------------------------------------------------------------------------------------------------------------

readings = st.builds(
    Reading,
    of=st.integers(0, 5),
    limit=st.one_of(st.none(), st.integers(0, 2_000), st.integers(0, 1 << 60)),
    remaining=st.one_of(st.none(), st.integers(-5, 2_000), st.integers(-5, 1 << 60)),
    reset_s=st.one_of(st.none(), st.floats(0, 1e5), st.sampled_from([-1.0, 1e-9, 1e12])),
    period_s=st.one_of(st.none(), st.sampled_from([1.0, 60.0, 86_400.0, 0.5, 1e9])),
)


@given(
    st.lists(st.tuples(st.lists(readings, max_size=3), st.floats(-5, 100), st.integers(0, 20)), max_size=25),
    st.booleans(),
)
def test_odd_numbers_never_break_a_window(answers: list[tuple[list[Reading], float, int]], unknown: bool) -> None:
    limits = () if unknown else (Limit.rpm(50), Limit.tpm(1_000), Limit.otpm(500), Limit.concurrency(50),
                                 Limit(of="tokens", amount=5_000, window="rolling"),
                                 Limit(of="requests", amount=500, per="day", window="fixed"))  # fmt: skip
    p, now = pool(*limits), NOW
    for given_, step, seq in answers:
        now += step
        need = need_of(input_tokens=5, output_tokens=5)
        marks = p.take(need, now)
        merge(p, tuple(given_), marks, seq, now)
        p.settle(need, need, marks, now, now)
        assert p.fits_and_load(need, now) < float("inf")
        for w in p.windows:
            assert isfinite(w.level)
            assert isfinite(w.cap)
            assert w.level <= w.cap + 1e-6
            assert w.learned or w.cap <= w.ceiling
            assert w.of == CONCURRENCY or w.shape != "bucket" or w.rate >= 0.0499 * w.gross
            assert w.held >= 0


@dataclass
class Server:
    """A provider that keeps an exact continuous bucket and says what is left."""

    size: float
    rate: float
    level: float
    at: float = NOW

    def serve(self, n: int, at: float) -> int:
        self.level = min(self.size, self.level + (at - self.at) * self.rate)
        self.at = at
        self.level -= n
        return int(self.level)


@pytest.mark.parametrize("seed", range(20))
def test_we_never_believe_in_more_than_the_provider_has(seed: int) -> None:
    """Requests travel, overtake each other, and answers are late: what we think is free stays within what is there.

    Beyond the provider's own level only what refilled here while a request was on its way can be believed in.
    """
    rng = Random(seed)
    limit, slowest, served = 6_000, 0.4, 0
    p, server = pool(Limit.tpm(limit)), Server(limit, limit / 60, limit)
    w, now = p.windows[0], NOW
    events: list[tuple[float, int, str, object]] = []
    for seq in range(600):
        now += rng.expovariate(1 / 0.25)
        events.append((now, seq, "send", rng.randint(1, 90)))
    way: dict[int, int] = {}
    while events:
        events.sort()
        now, seq, what, given_ = events.pop(0)
        if what == "send":
            need = need_of(input_tokens=given_)  # type: ignore[arg-type]
            if p.fits_and_load(need, now) < 0:
                continue
            way[seq] = need[TOKENS]
            events.append((now + rng.uniform(0.01, slowest), seq, "arrive", (need, p.take(need, now), now)))
        elif what == "arrive":
            remaining = server.serve(way.pop(seq), now)
            served += 1
            events.append((now + rng.uniform(0.01, 1.5), seq, "answer", (*given_, max(0, remaining))))  # type: ignore[misc]
        else:
            need, marks, at, remaining = given_  # type: ignore[misc]
            p.settle(need, need, marks, at, now)
            merge(p, (Reading(TOKENS, limit, remaining, (limit - remaining) / server.rate),), marks, seq, now)
        there = min(server.size, server.level + (now - server.at) * server.rate) - sum(way.values())
        assert w.free(now) <= there + server.rate * slowest + 1
    assert served > 200


trips = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.3, 2.0, 15.0]),  # after the one before
        st.integers(1, 200),  # tokens
        st.sampled_from([0.01, 0.2, 1.0, 5.0]),  # on the way there
        st.sampled_from([0.01, 0.2, 1.0, 20.0]),  # on the way back
        st.sampled_from([0, 0, 0, 40, 300]),  # what another client takes before it arrives
    ),
    max_size=40,
)


@given(trips)
def test_a_merge_never_raises_the_level_above_what_was_said_and_refilled_less_later_charges(
    trips: list[tuple[float, int, float, float, int]],
) -> None:
    """Requests overtake each other both ways. Later charges: ours that the provider took in after it had spoken."""
    limit, now = 1_000, NOW
    p, server = pool(Limit.tpm(limit)), Server(limit, limit / 60, limit)
    w = p.windows[0]
    events: list[tuple[float, int, str]] = []
    for seq, (gap, *_) in enumerate(trips):
        now += gap
        events.append((now, seq, "send"))
    sent: dict[int, tuple[list[float], float]] = {}
    arrived: dict[int, float] = {}
    said: dict[int, int] = {}
    while events:
        events.sort()
        now, seq, what = events.pop(0)
        _, tokens, there, back, foreign = trips[seq]
        need = need_of(input_tokens=tokens)
        if what == "send":
            if p.fits_and_load(need, now) >= 0:
                sent[seq] = (p.take(need, now), now)
                events.append((now + there, seq, "arrive"))
        elif what == "arrive":
            server.serve(min(foreign, int(max(0.0, server.level))), now)
            said[seq], arrived[seq] = max(0, server.serve(tokens, now)), now
            events.append((now + back, seq, "answer"))
        else:
            marks, at = sent[seq]
            p.settle(need, need, marks, at, now)
            w.advance(now)
            before = w.level
            rose = merge(p, (Reading(TOKENS, limit, said[seq]),), marks, seq, now)
            later = sum(trips[other][1] for other in sent if arrived.get(other, now + 1) > arrived[seq])
            if w.level > before + 1e-9:
                assert rose
                assert w.level <= said[seq] + server.rate * (now - arrived[seq]) - later + 1.5
            assert w.level <= max(before, limit)
