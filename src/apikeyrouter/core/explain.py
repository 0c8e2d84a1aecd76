"""A decision in words: who was chosen, why, who lost by how much, and what would have changed it.

Reads only what the decision recorded; it decides nothing and is never on the path of a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from apikeyrouter.core import decision as why
from apikeyrouter.core.counterfactual import Parts, parts, verdict
from apikeyrouter.core.decision import Decision, Rejection
from apikeyrouter.core.model import dollars
from apikeyrouter.core.pool import Shortfall
from apikeyrouter.core.window import NEVER

SHOWN = 12
"""Losers and rejections a text lists before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate that could have served. Lower `score` wins; `cost` in nano-dollars; `terms` are weighted parts."""

    key: str
    provider: str
    model: str
    score: float
    load: float
    cost: int | None
    terms: dict[str, float]


def scored(d: Decision) -> list[Scored]:
    """Every scanned candidate, the chosen one first, then by score."""
    rows = [_row(each) for each in parts(d)]
    return sorted(rows, key=lambda r: (r.key != d.key, r.score) if d.objective.order else (r.score, r.key != d.key))


def _row(p: Parts) -> Scored:
    c = p.candidate
    return Scored(c.key.id, c.deployment.provider, c.deployment.model, p.score, p.load, p.cost, p.terms)


def rejections(d: Decision) -> list[Rejection]:
    """Every key that could not serve, with its numbers; duplicates by retries removed."""
    found = {(r.who, r.code): r for r in d.rejected}
    for c, s in d.shortfalls:
        code = why.QUOTA if s.cause == "window" else s.cause
        where = f"{s.pool} {s.window}".strip()
        found.setdefault((c.key.id, code), Rejection(c.key.id, code, s.free, s.need, s.wait_s, where))
    for code, count in d.untold.items():
        found["", code] = Rejection(f"{count:,} more", code, count=count)
    for e in d.roster.excluded:
        found.setdefault((e.key, e.code), Rejection(e.key, e.code, where=e.why))
    return list(found.values())


def render(d: Decision) -> str:
    """Several lines of plain text."""
    return "\n".join(_lines(d))


def _lines(d: Decision) -> Iterator[str]:
    rows, refused = scored(d), rejections(d)
    if d.chosen is None:
        yield _refused(d)
    else:
        yield _won(d, rows)
    yield f"  {_need(d)}; objective {d.objective.name} {_weights(d)}; looked at {d.drawn:,} of {d.total:,}."
    yield from _price(d)
    yield from _rules(d)
    for row in rows[1:SHOWN]:
        yield f"  {row.key}: score {row.score:.3f}, {row.score - rows[0].score:+.3f} behind ({_parts(row)})."
    if len(rows) > SHOWN:
        yield f"  {len(rows) - SHOWN:,} more scored worse."
    for r in refused[:SHOWN]:
        yield f"  {r.who}{_times(r)}: {sentence(r)}."
    if len(refused) > SHOWN:
        yield f"  {len(refused) - SHOWN:,} more were refused."
    for stratum, count, opens in d.parked:
        if count:
            yield (
                f"  {count:,} keys of {stratum.deployment.provider}/{stratum.deployment.model} are without room; "
                f"the first may have some in {_seconds(opens - d.at)}."
            )
    change = _what_would_change(d, rows)
    if change:
        yield f"  {change}"


def _price(d: Decision) -> Iterator[str]:
    """Whose price it is by which the chosen one is held, and of when."""
    price = d.chosen.deployment.price if d.chosen is not None and d.cost is not None else None
    if price is not None:
        since = f", in force since {price.date}" if price.date else ""
        yield f"  price of {price.id} by {price.source}{since}."


def _rules(d: Decision) -> Iterator[str]:
    """The policies in force, and the model that was used instead of the one asked for."""
    if d.verdict.applied:
        names = ", ".join(f"{name} v{version} ({scope})" for name, version, scope in d.verdict.applied)
        yield f"  policies in force: {names}."
    for note in d.verdict.notes:
        yield f"  {note}"
    if d.lowered is not None:
        saved = ""
        if d.lowered.cost is not None and d.cost is not None:
            saved = f", which saves up to ${dollars(max(0, d.lowered.cost - d.cost)):f}"
        yield f"  {d.lowered.used} instead of {d.lowered.asked} by {d.lowered.by}{saved}."


def _won(d: Decision, rows: list[Scored]) -> str:
    best = rows[0]
    cost = "at an unknown price" if d.cost is None else f"for at most ${dollars(d.cost):f}"
    alone = "the only one that could serve" if len(rows) == 1 else f"best of {len(rows)} that could serve"
    waited = f" after waiting {_seconds(d.waited_s)}" if d.waited_s else ""
    again = f" (attempt {d.attempt})" if d.attempt > 1 else ""
    return (
        f"{d.id}: {best.key} chosen for {best.provider}/{best.model} {cost}{waited}{again}: "
        f"{alone}, score {best.score:.3f} ({_parts(best)})."
    )


def _refused(d: Decision) -> str:
    after = d.retry_after
    when = "" if after is None else f"; room again in {_seconds(after)}"
    return f"{d.id}: no key for {d.roster.model}: {d.total} candidates, none could serve{when}."


def _parts(row: Scored) -> str:
    parts = [f"{name} {value:.3f}" for name, value in row.terms.items()]
    return ", ".join([*parts, f"load {row.load:.4f}"])


def _need(d: Decision) -> str:
    return f"needs {d.need[2]:,} input and up to {d.need[3]:,} output tokens"


def _weights(d: Decision) -> str:
    return "(" + ", ".join(f"{name} {w:g}" for name, w in d.objective.weights.items()) + ")"


def _times(r: Rejection) -> str:
    return f" ({r.count} keys)" if r.count > 1 else ""


def _seconds(s: float) -> str:
    if s == NEVER:
        return "no time"
    if s < 120:
        return f"{s:.1f} s"
    return f"{s / 60:.0f} min" if s < 7200 else f"{s / 3600:.1f} h"


def sentence(r: Rejection) -> str:
    """Why one key could not serve, with the number that ruled it out."""
    wait = "" if r.wait_s is None else f", in {_seconds(r.wait_s)}"
    if r.code == why.QUOTA:
        if r.wait_s == NEVER:
            return f"{r.where} can never hold {r.bound:,.0f} at once"
        return f"{r.where} has {max(0, int(r.value)):,} free of the {r.bound:,.0f} needed{wait}"
    if r.code in (why.BUDGET, why.MAX_COST):
        return f"costs up to ${dollars(int(r.value)):f}, {limit_of(r)} has ${dollars(int(r.bound)):f}"
    simple = {
        why.BREAKER: f"breaker {r.where}{wait}",
        why.PRICE_UNKNOWN: "its price is unknown and a hard limit on cost applies; give it a price, or `price: free`",
        why.MIN_RELIABILITY: f"reliability {r.value:.3f} is below the minimum of {r.bound:.3f}",
        why.MAX_LATENCY: f"expected {r.value:.2f} s, more than the maximum of {r.bound:.2f} s",
        why.MIN_QUALITY: f"quality {r.value:.2f} is below the minimum of {r.bound:.2f}",
        why.OUTPUT_TOO_LONG: f"can answer {r.bound:,.0f} tokens at most, {r.value:,.0f} were asked",
        why.POLICY: f"policy {r.where}",
        why.FORECAST: f"{r.where} is as likely as not to run out in {_seconds(r.value)}, "
        f"sooner than the minimum of {_seconds(r.bound)}; its reset is {wait[2:] or 'unknown'}",
        why.CAPABILITY: r.where if " lacks " in r.where else f"lacks {r.where}",
        why.TAGS: f"is not tagged {r.where}",
        why.AVOIDED: f"failed this request before ({r.where})",
        "in_flight": f"{r.where} has {max(0.0, r.value):.0f} places free of those it offers until it answers",
        "throttled": f"throttled by the provider{wait} ({r.where})",
        "exhausted": f"exhausted{wait} ({r.where})",
        "recovering": f"recovering{wait} ({r.where})",
    }
    return simple.get(r.code, f"{r.code.replace('_', ' ')} {r.where}".strip())


def limit_of(r: Rejection) -> str:
    """The limit on cost that a rejection is about."""
    if r.code == why.BUDGET:
        return f"budget {r.where}"
    return f"max_cost of {r.where}" if r.where else "max_cost"


def _what_would_change(d: Decision, rows: list[Scored]) -> str:
    """The nearest alternative and the smallest change that would have made it win."""
    if d.chosen is not None and len(rows) > 1:
        by_key = {(p.candidate.key.id, p.candidate.deployment.name): p for p in parts(d)}
        best, other = (by_key[r.key, f"{r.provider}/{r.model}"] for r in rows[:2])
        return f"{rows[0].key}: {rows[0].score:.2f}. {verdict(d, best, other)}"
    nearest = min(d.shortfalls, key=lambda pair: pair[1].wait_s, default=None)
    if nearest is None or nearest[1].wait_s == NEVER:
        return ""
    c, s = nearest
    return f"{c.key.id} would serve with {_missing(s)}."


def _missing(s: Shortfall) -> str:
    if s.cause != "window":
        return f"its stop over, in {_seconds(s.wait_s)}"
    return f"{max(1, int(s.need - s.free)):,} more free in {s.window}, expected in {_seconds(s.wait_s)}"


__all__ = ["Scored", "limit_of", "rejections", "render", "scored", "sentence"]
