"""The candidates of a stratum that have room, with their loads: few are scanned whole, of many a few are drawn.

The more are drawn the better the lightest of them is, and the dearer the decision: DRAW where room is scarce, but two
where both have most of theirs. Two choices instead of one take away nearly all of the imbalance that eight do
(Mitzenmacher 2001), and between such keys the choice moves nothing. Who has no room is parked until then. What else
stands against a candidate is `bar`'s, choosing is `pick`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from apikeyrouter.core.bar import barred
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.model import COST, Need
from apikeyrouter.core.question import Ask
from apikeyrouter.core.roster import ANY_SIZE, DRAW, Candidate, Stand, Stratum

WINDOW_OF: Final = {"requests": 0, "tokens": 1, "input_tokens": 2, "output_tokens": 3, "cost": COST}

Chance = Callable[[], float]
"""A source of uniform numbers in [0, 1), such as random.Random().random."""


def scan(  # noqa: PLR0917  (one decision's context, passed flat because this loop is the hot path)
    stratum: Stratum, ask: Ask, need: Need, cost: int | None, d: Decision, now: float, chance: Chance
) -> bool:
    """Put everybody with room into the decision's `scanned`, and their loads into `loads`.

    Returns whether they stand there in a random order and weigh the same.
    """
    scanned, loads = d.scanned, d.loads
    for candidate in stratum.candidates:
        if (ask.picky or candidate.nodes) and barred(candidate, ask, cost, d, now):
            continue
        load = 0.0
        for pool in candidate.pools:
            part = pool.fits_and_load(need, now)
            if part < 0.0:
                shortfall = candidate.shortfall(need, now)
                if shortfall is not None:
                    d.shortfalls += ((candidate, shortfall),)
                break
            load += part
        else:
            scanned.append(candidate)
            loads.append(load)
    return False


def draw(  # noqa: PLR0917  (as scan)
    stratum: Stratum, ask: Ask, need: Need, cost: int | None, d: Decision, now: float, chance: Chance
) -> bool:
    """The same for up to DRAW candidates at random, of as many stands as there are; who has no room is parked."""
    if stratum.heap:
        stratum.wake(now)
    if len(stratum.live) < DRAW:
        stratum.wake_for(need)
    elif _two(stratum, ask, need, d, now, chance):
        return True
    first = len(d.loads)
    seen = _draw(stratum, ask, need, cost, d, now, chance)
    while len(d.loads) == first and not _scan_live(stratum, ask, need, cost, d, now, seen):
        if not stratum.wake_for(need):
            d.parked += ((stratum, stratum.asleep, stratum.opens_at),)
            break
    return False


def _draw(  # noqa: PLR0917  (as scan)
    stratum: Stratum, ask: Ask, need: Need, cost: int | None, d: Decision, now: float, chance: Chance
) -> set[Candidate]:
    """Draw, and return who was looked at for what stands against them."""
    live, scanned, loads = stratum.live, d.scanned, d.loads
    most = len(loads) + DRAW
    seen: set[Candidate] = set()
    looked: set[Stand] = set()
    tries = 3 * DRAW
    each = DRAW // len(live) or 1 if live else 1
    while live and len(loads) < most and tries and len(looked) < len(live):
        stand = live[int(chance() * len(live))]
        if stand in looked:
            tries -= 1
            continue
        able = stand.some(each, chance)
        if ask.picky or len(able) > 1 or able[0].nodes:
            seen.update(able)
            able = [c for c in able if not ((ask.picky or c.nodes) and barred(c, ask, cost, d, now))]
            if not able:
                looked.add(stand)
                tries -= 1
                continue
        load = _load(stand, need, now)
        if load < 0.0:
            _park(stand, need, d, now)
            continue
        looked.add(stand)
        scanned += able
        loads += [load] * len(able)
    return seen


def _two(stratum: Stratum, ask: Ask, need: Need, d: Decision, now: float, chance: Chance) -> bool:
    """Two at random, where both have most of their room and nothing stands against them; else nobody."""
    if ask.picky or not stratum.even:
        return False
    live = stratum.live
    size = len(live)
    at = int(chance() * size)
    one, other = live[at], live[(at + 1 + int(chance() * (size - 1))) % size]
    if not (one.plain and other.plain):
        return False
    loads = []
    for stand in (one, other):
        load = 0.0
        for pool in stand.pools:
            part = pool.fits_and_load(need, now)
            if part < 0.0 or not pool.roomy:
                return False
            load += part
        loads.append(load)
    d.scanned += (one.candidates[0], other.candidates[0])
    d.loads += loads
    return True


def _scan_live(  # noqa: PLR0917  (as scan)
    stratum: Stratum, ask: Ask, need: Need, cost: int | None, d: Decision, now: float, seen: set[Candidate]
) -> bool:
    """Everybody that is left and was not barred before, before refusing; whether anybody has room."""
    before = len(d.loads)
    for stand in list(stratum.live):
        load: float | None = None
        for candidate in stand.candidates:
            if candidate in seen:
                continue
            seen.add(candidate)
            if (ask.picky or candidate.nodes) and barred(candidate, ask, cost, d, now):
                continue
            load = _load(stand, need, now) if load is None else load
            if load < 0.0:
                _park(stand, need, d, now)
                break
            d.scanned.append(candidate)
            d.loads.append(load)
    return len(d.loads) > before


def _load(stand: Stand, need: Need, now: float) -> float:
    load = 0.0
    for pool in stand.pools:
        part = pool.fits_and_load(need, now)
        if part < 0.0:
            return part
        load += part
    return load


def _park(stand: Stand, need: Need, d: Decision, now: float) -> None:
    candidate = stand.candidates[0]
    shortfall = candidate.shortfall(need, now)
    if shortfall is None:
        return
    if len(d.shortfalls) < DRAW:
        d.shortfalls += ((candidate, shortfall),)
    of = WINDOW_OF.get(shortfall.window.partition("/")[0], ANY_SIZE) if shortfall.cause == "window" else ANY_SIZE
    stand.stratum.park(stand, shortfall, need, of, now)
