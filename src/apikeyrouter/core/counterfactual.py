"""What would have made the runner-up win: the difference of two scores turned back into a price, tokens, seconds.

Computed from the terms that the decision recorded, when somebody asks. Everything else is held as it was, so each
change named here would have been enough by itself. `explain` puts it into the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, inf

from apikeyrouter.core.decision import Decision
from apikeyrouter.core.model import INPUT, OUTPUT, REQUESTS, TOKENS
from apikeyrouter.core.pool import STEEPNESS
from apikeyrouter.core.roster import Candidate
from apikeyrouter.core.score import CAPACITY_SCALE, STATIC, TIE_BREAK
from apikeyrouter.core.terms import LATENCY_REFERENCE_S
from apikeyrouter.core.window import NEVER, Window

SMALLEST = 1e-9
"""A gap below this is a tie."""
_STEPS = 40
_NAMES = {TOKENS: "tokens", INPUT: "input tokens", OUTPUT: "output tokens", REQUESTS: "requests"}


@dataclass(frozen=True, slots=True)
class Parts:
    """A scanned candidate's score taken apart: `terms` are weighted parts by name, which add up to `score`."""

    candidate: Candidate
    score: float
    load: float
    cost: int | None
    raw: dict[str, float]
    terms: dict[str, float]


def parts(d: Decision) -> list[Parts]:
    """Every scanned candidate in the order of the scan."""
    objective, width = d.objective, len(d.objective.static)
    first = {id(s): (i * width, static, cost) for i, (s, static, cost) in enumerate(d.statics)}
    found = []
    for i, (candidate, load) in enumerate(zip(d.scanned, d.loads, strict=True)):
        at, static, cost = first[id(candidate.stratum)]
        score = d.scores[i] if d.scores else static + _room(objective.capacity, load)
        raw = {STATIC[term]: d.terms[at + k] for k, (term, _) in enumerate(objective.static)}
        terms = {name: objective.weights[name] * value for name, value in raw.items()}
        terms["capacity" if objective.capacity else "tie-break"] = _room(objective.capacity, load)
        if objective.keyed or d.verdict.prefers:
            terms[_rest_name(d)] = score - sum(terms.values())
        found.append(Parts(candidate, score, load, cost, raw, terms))
    return found


def _rest_name(d: Decision) -> str:
    o = d.objective
    names = [name for name in ("fairness", "risk", "affinity") if getattr(o, name)] + [name for name, _ in o.own_names]
    return " + ".join([*names, "preference"] if d.verdict.prefers else names)


def verdict(d: Decision, best: Parts, other: Parts) -> str:
    """Why `other` lost to `best`, and each single change that would have been enough."""
    gap, key = other.score - best.score, other.candidate.key.id
    if d.objective.order:
        return _outranked(d, best, other)
    if gap < SMALLEST:
        return f"{key} scored the same; with the least more headroom it would have won."
    lost_on = max(best.terms, key=lambda name: other.terms.get(name, 0.0) - best.terms[name])
    enough = list(_enough(d, best, other, gap))
    more = f"; with {' or '.join(enough)} it would have won" if enough else ""
    return f"{key} lost by {_short(gap)} on {lost_on}{more}."


def _outranked(d: Decision, best: Parts, other: Parts) -> str:
    key = other.candidate.key.id
    for name in d.objective.order:
        behind = other.raw.get(name, other.terms.get(name, 0.0)) - best.raw.get(name, best.terms.get(name, 0.0))
        if behind > SMALLEST:
            return f"{key} lost by {_short(behind)} on {name}, which ranks before what it is better at."
    return f"{key} was equal in every ranked term; load and chance decided, with less load it would have won."


def _enough(d: Decision, best: Parts, other: Parts, gap: float) -> Iterator[str]:
    tokens = _headroom(d, other, gap)
    if tokens:
        yield tokens
    cheaper = _cheaper(d, best, other)
    if cheaper is not None:
        yield f"a {max(1.0, cheaper * 100):.0f} % lower price"
    weights = d.objective.weights
    if "reliability" in other.raw:
        doubt, rise = other.raw["reliability"], gap / weights["reliability"]
        if rise < doubt:
            yield f"a reliability of {1 - doubt + rise:.3f} instead of {1 - doubt:.3f}"
    if "latency" in other.raw:
        faster = other.raw["latency"] - gap / weights["latency"]
        if 0.0 < faster < 1.0:
            yield f"answers in {_seconds(faster):.2f} s instead of {_seconds(other.raw['latency']):.2f} s"


def _seconds(term: float) -> float:
    """Expected seconds of a latency term; the inverse of terms.static_term."""
    return LATENCY_REFERENCE_S * term / (1.0 - term) if term < 1.0 else float("inf")


def _headroom(d: Decision, other: Parts, gap: float) -> str:
    """More free room in the window that counts most, in its unit, if that alone would have been enough."""
    less = _load_after(d.objective.capacity, other.load, gap)
    windows = [w for pool in other.candidate.pools for w in pool.windows if d.need[w.of] and w.cap]
    now = [_part(w, d) for w in windows]
    if less is None or not sum(now):
        return ""
    best: tuple[float, float, str] | None = None
    for w, part in zip(windows, now, strict=True):
        # A decision keeps the sum of its windows' loads; they are taken apart in the proportion they have now.
        part *= other.load / sum(now)
        unit = d.need[w.of] / w.cap * _cheapness(w, d)
        after = part - other.load + less
        if w.of in _NAMES and part > 0.0 and after >= 0.0:
            share = (part / unit) ** (1 / STEEPNESS) - (after / unit) ** (1 / STEEPNESS)
            best = min(best or (inf, 0.0, ""), (share, share * w.full, _NAMES[w.of]))
    return "" if best is None or best[0] > 1.0 else f"+{max(1, round(best[1])):,} {best[2]} of headroom"


def _part(w: Window, d: Decision) -> float:
    """What a window adds to the load of its pool, as in Pool.fits_and_load."""
    used = max(0.0, 1.0 - (w.level - w.held) / w.full)
    return float(d.need[w.of] / w.cap * used**STEEPNESS * _cheapness(w, d))


def _cheapness(w: Window, d: Decision) -> float:
    """What returns soon is cheaper: the part of its period that a window had to last for."""
    return 1.0 if w.rate or w.turns_at == NEVER else min(1.0, max(SMALLEST, (w.turns_at - d.at) / w.period_s))


def _load_after(scale: float, load: float, gap: float) -> float | None:
    """The load at which the score is lower by `gap`, or None where no load is low enough."""
    target = _room(scale, load) - gap
    if target <= 0.0:
        return None
    low, high = 0.0, load
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _room(scale, middle) < target else (low, middle)
    return low


def _room(scale: float, load: float) -> float:
    """What a load adds to a score."""
    return scale * (1.0 - exp(-CAPACITY_SCALE * load)) + TIE_BREAK * load


def _cheaper(d: Decision, best: Parts, other: Parts) -> float | None:
    """The least cut in the price of `other`, as a share, with which it would have won; None where none would do."""
    weight = d.objective.weights.get("cost", 0.0)
    if not weight or not other.cost or best.cost is None or best.candidate.stratum is other.candidate.stratum:
        return None
    rest = [cost or 0 for s, _, cost in d.statics if s is not other.candidate.stratum]

    def wins(cut: float) -> bool:
        price = (other.cost or 0) * (1.0 - cut)
        worst = max([price, *rest])
        own = other.score - other.terms["cost"] + (weight * price / worst if worst else 0.0)
        its = best.score - best.terms["cost"] + (weight * (best.cost or 0) / worst if worst else 0.0)
        return own < its

    if not wins(1.0 - 1e-9):
        return None
    low, high = 0.0, 1.0 - 1e-9
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if wins(middle) else (middle, high)
    return high


def _short(gap: float) -> str:
    return f"{gap:.2f}" if gap >= 0.01 else f"{gap:.2g}"
