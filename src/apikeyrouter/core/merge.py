"""The provider's word about its own quota, merged into our counters.

A response's `remaining` is old when it arrives, and requests sent since have changed the truth. So it is compared with
what WE believed right after charging the request that carried it: the difference, less what has been corrected since,
is what we did not know. Worse news is believed at once; better news a quarter at a time, if it is newer than what was
merged before, and only as far as requests still under way cannot explain it: the provider may not have seen them yet,
although they were charged here first. Overwriting the level with `remaining`, as most code does, costs 1.9 % 429s in
the simulation of the algorithms page (2b); comparing at the moment of the charge needs no clock and no latency.

What we did not know is other clients' use (a rate is learned from it), a bucket smaller than its limit (its size is
learned as remaining + reset * rate, from three samples that agree at different levels), or a limit changed for a while.
A limit its owner set below the provider's is not the provider's to speak of: its word is kept in a window beside it.
"""

from __future__ import annotations

from typing import Final

from apikeyrouter.core.model import CONCURRENCY, DIMENSIONS, Reading
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.window import MOST, Limit, Per, Window

TRUST_UP: Final = 0.25
FOREIGN_GAIN: Final = 0.05
FOREIGN_FADE: Final = 0.98
SAME_PERIOD: Final = 0.05
SAME_SIZE: Final = 0.02
SAMPLES: Final = 3
STALE_S: Final = 30.0
"""After this long without fresh news any number is."""
_PERIODS: Final[dict[float, Per]] = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}
_IMPLIED: Final = (60.0, 3600.0, 86_400.0)
"""A single reading never implies a second: a minute's bucket that is smaller than its limit looks the same."""
TELLING: Final = 0.01
"""Of a limit: two readings this far apart tell the period between them."""


def merge(pool: Pool, readings: tuple[Reading, ...], marks: list[float], seq: int, now: float) -> bool:
    """Merge one response's readings; `marks` are the pool's (level, corrections) pairs at the lease's taking.

    True when some level rose, so that waiting requests are worth a look. Never raises for odd numbers.
    """
    rose = False
    for reading in readings:
        if reading.of == CONCURRENCY or (reading.remaining is not None and reading.remaining < 0):
            continue
        index = window_for(pool, reading)
        if index is None:
            _learn_window(pool, reading, seq, now)
        elif reading.remaining is not None and 2 * index < len(marks):
            w = pool.windows[index]
            size = w.cap
            rose = _apply(w, reading, marks[2 * index], marks[2 * index + 1], seq, now) or rose or w.cap > size
    return rose


def window_for(pool: Pool, reading: Reading) -> int | None:
    """The window a reading speaks of: the only one of its dimension, or the one whose period or size agrees."""
    same = [i for i, w in enumerate(pool.windows) if w.of == reading.of]
    period = reading.period_s or implied_period(reading)
    if period is not None:
        same = [i for i in same if abs(pool.windows[i].period_s - period) <= SAME_PERIOD * period]
    stricter = [i for i in same if _is_stricter(pool.windows[i], reading)]
    same = [i for i in same if i not in stricter]
    if len(same) == 1 or (same and period is not None):
        return same[0]
    sized = [i for i in same if pool.windows[i].limit.amount == reading.limit]
    return sized[0] if len(sized) == 1 else None


def _is_stricter(w: Window, reading: Reading) -> bool:
    """A limit that its owner set below the provider's: the provider's number is of another window, beside it."""
    said = reading.limit if reading.limit is not None else reading.remaining
    return not w.learned and said is not None and said > w.limit.amount


def implied_period(reading: Reading) -> float | None:
    """Seconds of the window, from the law of continuous buckets: reset = (limit - remaining) / rate.

    Recorded responses obey it exactly (limit 60000, remaining 55904, reset 4.096 s: one minute). None when the bucket
    is too full for the reading to tell, or is smaller than its limit.
    """
    if not reading.limit or reading.remaining is None or not reading.reset_s:
        return None
    used = reading.limit - reading.remaining
    if used <= 0 or used < 0.0005 * reading.limit:
        return None
    period = reading.reset_s * reading.limit / used
    for known in _IMPLIED:
        if abs(period - known) <= SAME_PERIOD * known:
            return known
    return None


def _apply(w: Window, reading: Reading, level_then: float, corrected_then: float, seq: int, now: float) -> bool:
    w.advance(now)
    if reading.limit:
        _follow_limit(w, reading.limit)
    if w.shape == "bucket":
        _learn_period(w, reading)
        _learn_size(w, reading)
    elif w.shape == "fixed" and reading.reset_s and reading.remaining != reading.limit:
        w.turns_at = now + reading.reset_s
    told = float(reading.remaining or 0)
    fresh = told <= w.told + w.gross * (now - w.merged_at) + 0.5
    unknown = _surprise(w, told, level_then + (w.corrected - corrected_then), fresh=fresh)
    if unknown > 0 and not fresh and (seq < w.merged_seq or now - w.merged_at <= STALE_S):
        return False  # requests overtake each other: the provider said this before it said what is known
    _notice_others(w, unknown, now)
    if fresh or now - w.merged_at > STALE_S:
        w.told, w.merged_at = told, now
    w.merged_seq = max(w.merged_seq, seq)
    if unknown < 0:
        w.correct(unknown, now)
    elif unknown > 0 and w.ring is None:
        w.correct(TRUST_UP * unknown, now)
    return unknown > 0


def _surprise(w: Window, told: float, believed: float, *, fresh: bool) -> float:
    """What the provider has more than we believed it to have at the same moment; negative: less.

    Requests under way may or may not be in the provider's number, whatever the order they were charged in here. So a
    fresh number bounds the level from below by `told` less all of them; and more is only believed beyond them. Where
    output is billed as it is produced, the number lies between all holds produced and none of them.
    """
    floor = told - w.flight - (w.level if fresh else believed)
    if floor > 0:
        return floor
    less = told - believed + (w.held if w.holds else 0)
    return min(0.0, max(less, floor) if fresh else less)


def _notice_others(w: Window, unknown: float, now: float) -> None:
    """Learn the rate at which others use the same limit from what was missing; it fades when nothing is."""
    if w.shape != "bucket" or w.charge == "real":
        return
    elapsed = max(now - w.merged_at, 0.05)
    if unknown < 0:
        w.notice(w.foreign + FOREIGN_GAIN * (min(-unknown / elapsed, w.gross) - w.foreign))
    else:
        w.notice(w.foreign * FOREIGN_FADE)


def _follow_limit(w: Window, limit: int) -> None:
    """A provider may lower its limit for hours; a configured one stays the ceiling, a learned one follows freely."""
    amount = float(limit) if w.learned else min(float(limit), float(w.limit.amount))
    now_granted = w.gross * w.period_s if w.shape == "bucket" else w.cap
    if abs(amount - now_granted) > 1e-6 * amount:
        share = w.level / w.cap if w.cap else 1.0
        w.resize(amount, w.limit.burst_s)
        if not w.learned:
            w.cap = min(w.cap, w.ceiling)
        w.level = min(w.level, share * w.cap)
        w.known.clear()
        w.seen = None


def _learn_period(w: Window, reading: Reading) -> None:
    """The period of a learned bucket from two readings: `reset` falls by what `remaining` gains over the rate.

    Unlike the law of one reading that holds for a bucket of any size, so it corrects what the first one suggested.
    """
    if not w.learned or reading.period_s or not reading.reset_s or reading.remaining is None or not reading.limit:
        return
    before, here = w.seen, (reading.remaining, reading.reset_s)
    gained = 0 if before is None else here[0] - before[0]
    if before is not None and abs(gained) < TELLING * reading.limit:
        return
    w.seen = here
    if before is None:
        return
    period = (before[1] - here[1]) * reading.limit / gained
    per = next((per for known, per in _PERIODS.items() if abs(period - known) <= SAME_PERIOD * known), None)
    if per is not None and per != w.per:
        w.last(per)
        w.known.clear()


def _learn_size(w: Window, reading: Reading) -> None:
    """A bucket's true size is remaining + reset * rate; three agreeing samples at different levels are believed.

    One is enough to price the room that is left: a bucket that is nearly full must not look nearly spent, or nobody
    would ask it and learn its size, and what it refills would be lost.
    """
    if not reading.reset_s or reading.remaining is None or w.gross <= 0:
        return
    size = reading.remaining + reading.reset_s * w.gross
    if not 1 <= size <= 1.001 * w.ceiling:
        return
    if w.known and abs(size - w.known[0]) > SAME_SIZE * size:
        w.known.clear()
    w.full = min(w.cap, size)
    if len(w.known) < SAMPLES:
        w.known.append(size)
    if len(w.known) < SAMPLES:
        return
    w.cap = w.full = min(w.ceiling, size)
    w.level = min(w.level, w.cap)


def _learn_window(pool: Pool, reading: Reading, seq: int, now: float) -> None:
    """A limit nobody configured, taken from the provider's own words: a bucket, corrected by every later reading."""
    if not reading.limit or reading.limit > MOST or reading.remaining is None or reading.remaining > reading.limit:
        return
    period = reading.period_s or implied_period(reading) or 60.0
    own = [w for w in pool.windows if w.of == reading.of and not w.learned]
    if any(w.period_s != period or not _is_stricter(w, reading) for w in own):
        return
    per = _PERIODS.get(period)
    if per is None:
        return
    w = Window(Limit(of=DIMENSIONS[reading.of], amount=reading.limit, per=per), now)
    w.learned = True
    w.merged_seq = seq
    if reading.reset_s and implied_period(reading) is None and reading.period_s is None:
        w.cap = w.full = min(w.cap, max(1.0, reading.remaining + reading.reset_s * w.gross))
    w.level = min(w.cap, float(reading.remaining))
    pool.windows = (*(x for x in pool.windows if not (x.learned and x.of == w.of and x.per == w.per)), w)


def shared_out(pools: tuple[Pool, ...], readings: tuple[Reading, ...]) -> list[tuple[Reading, ...]]:
    """Which of an answer's readings each of a candidate's pools takes in, the most specific pool last.

    A provider speaks of one window. So a reading goes to the pools whose window it fits, of those with its very limit
    if there are any, else to the most specific; what fits nowhere is for the most specific to learn from. Otherwise the
    quota of one model would be learned as everybody's, or a key's own cap as its organisation's.
    """
    if len(pools) == 1:
        return [readings]
    found: list[list[Reading]] = [[] for _ in pools]
    for reading in readings:
        for at in _takers(pools, reading):
            found[at].append(reading)
    return [tuple(each) for each in found]


def _takers(pools: tuple[Pool, ...], reading: Reading) -> list[int]:
    windows = [(at, window_for(pool, reading)) for at, pool in enumerate(pools)]
    fitting = [at for at, index in windows if index is not None]
    exact = [at for at, index in windows if index is not None and _is_exact(pools[at].windows[index], reading)]
    return exact or fitting[-1:] or [len(pools) - 1]


def _is_exact(w: Window, reading: Reading) -> bool:
    return reading.limit is not None and w.limit.amount == reading.limit
