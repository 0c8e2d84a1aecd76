"""`demo`: the demonstration on a screen: what is happening while it happens, then a report worth reading."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from apikeyrouter.cli.output import Output
from apikeyrouter.cli.page import Line, Page, Table, bar, count, dollars
from apikeyrouter.demo import KeyRow, Plan, PoolRow, Report, Snapshot, Stage, play
from apikeyrouter.demo.report import MOST_THROTTLED
from apikeyrouter.summary import PoolStatus

SAY_EVERY_S = 5.0
EVENTS_SHOWN = 14


def run(plan: Plan, out: Output) -> Report:
    """Play it, showing progress as the output allows."""
    stage = Stage(plan)
    keys, organisations = len(stage.world.keys), len(stage.world.organisations)
    out.say(
        f"{plan.requests} requests in {plan.seconds:g} s, in bursts, over HTTP to simulated providers on loopback:\n"
        f"{keys} keys in {organisations} organisations, asked for {stage.load:.0%} of the tokens that they grant.\n"
        f"Meanwhile {', '.join(stage.trouble)}.\n"
    )
    with _progress(out) as watch:
        return play(plan, watch)


@contextmanager
def _progress(out: Output) -> Iterator[Watcher]:
    if not out.terminal:
        yield Watcher(out)
        return
    from apikeyrouter.cli.screen import Moving

    with Moving(sys.stdout) as show:
        yield Watcher(out, show=show)


class Watcher:
    """Is told how it goes: redraws a table, or says a line every few seconds."""

    def __init__(self, out: Output, *, show: object = None) -> None:
        self._out = out
        self._show = show
        self._next = 0.0

    def __call__(self, now: Snapshot) -> None:
        if callable(self._show):
            self._show(moving(now))
        elif now.elapsed_s >= self._next and now.come:
            self._next = now.elapsed_s + SAY_EVERY_S
            self._out.say(line(now))


def line(now: Snapshot) -> str:
    """How it goes, in one line."""
    stopped = [f"{pool.id} {pool.state}" for pool in now.state.pools if pool.state != "available"]
    throttled = sum(now.tally.throttled.values())
    return (
        f"{now.elapsed_s:5.1f} s  {now.served:>5} of {now.requests} served, {now.under_way} under way, "
        f"{throttled} answered 429{', ' + ', '.join(stopped) if stopped else ''}"
    )


def moving(now: Snapshot) -> Page:
    """How it goes, as a page that is redrawn; it fits a small terminal."""
    levels = {pool.id: bar(_left(pool), 8) for pool in now.state.pools}
    rows = [
        (
            key.id,
            key.pools[-1],
            levels[key.pools[-1]],
            str(now.tally.requests[key.id]),
            count(now.tally.tokens[key.id]),
            str(now.tally.throttled[key.id]),
            str(now.tally.failed[key.id]),
            str(key.state),
        )
        for key in now.state.keys
    ]
    columns = ("key", "pool", "quota left", "requests", "tokens", "429s", "failed", "state")
    return [
        Line(f"{bar(now.served / now.requests, 40)}   {now.under_way} under way   {now.elapsed_s:.0f} s", "title"),
        Table(columns, rows, right=frozenset({3, 4, 5, 6})),
        *(Line(note, "dim") for note in now.tally.notes[-4:]),
    ]


def _left(pool: PoolStatus) -> float:
    return min((max(0.0, w.remaining) / w.limit for w in pool.windows if w.limit), default=1.0)


def report_page(r: Report) -> Page:
    """The report, for people."""
    events = r.events[-EVENTS_SHOWN:]
    more = len(r.events) - len(events)
    return [
        _keys(r),
        _pools(r),
        _sharing(r),
        _budgets(r),
        Line("What happened", "title"),
        *([Line(f"  ({more} earlier changes)", "dim")] if more else []),
        *(Line(f"  {event}") for event in events),
        Line(""),
        Line("Two decisions, explained", "title"),
        *(Line(f"{told}\n") for told in r.decisions),
        *(Line(f"  not served: {error}", "bad") for error in r.errors[:5]),
        Line(_totals(r)),
        _throttled(r),
        Line(f"{r.served} of {r.requests} requests served in {r.seconds:.1f} s.", "good" if r.ok else "bad"),
    ]


def _keys(r: Report) -> Table:
    rows = [_key(row) for row in r.keys]
    columns = ("key", "provider", "pool", "requests", "tokens", "429s", "failed", "cost", "state")
    return Table(columns, rows, "Keys", frozenset({3, 4, 5, 6, 7}))


def _key(row: KeyRow) -> tuple[str, ...]:
    numbers = (str(row.requests), count(row.tokens), str(row.throttled), str(row.failed))
    return (row.id, row.provider, row.pool, *numbers, dollars(row.cost), row.state)


def _pools(r: Report) -> Table:
    columns = ("pool", "keys", "quota left", "least left", "of", "state")
    return Table(columns, [_pool(row) for row in r.pools if row.keys], "Quotas")


def _sharing(r: Report) -> Line:
    """What the demonstration is about: keys are not quota."""
    shared = ", ".join(f"{len(row.keys)} keys of {row.id} = 1 quota" for row in r.pools if len(row.keys) > 1)
    return Line(f"{shared}: what stops one key stops its pool.\n")


def _pool(row: PoolRow) -> tuple[str, ...]:
    now = bar(row.remaining / row.limit if row.limit else 1.0)
    return (
        row.id,
        " ".join(row.keys),
        now,
        f"{row.lowest:.0%}",
        f"{count(row.limit)} {row.window.partition('/')[0]}",
        row.state,
    )


def _budgets(r: Report) -> Table:
    rows = [(b.id, b.scope, dollars(b.limit), dollars(b.spent), dollars(b.remaining)) for b in r.budgets]
    return Table(("budget", "scope", "limit", "spent", "left"), rows, "Budgets", frozenset({2, 3, 4}))


def _totals(r: Report) -> str:
    tokens = f"{count(r.input_tokens)} tokens in, {count(r.output_tokens)} out"
    return (
        f"{r.streamed} streamed, {r.geocoded} geocoded; {tokens}, {dollars(r.cost)}.\n"
        f"Half the answers within {r.latency_p50_s:.2f} s, 95 % within {r.latency_p95_s:.2f} s; "
        f"{r.waited} waited for quota (at most {r.longest_wait_s:.1f} s), {r.failovers} were moved to another key."
    )


def _throttled(r: Report) -> Line:
    """The figure that counts: what the simulator had to refuse at this load."""
    good = r.throttled_share <= MOST_THROTTLED
    figure = f"429s: {r.throttled} of {r.seen} requests that the simulator saw, {r.throttled_share:.2%}"
    return Line(
        f"{figure}, at {r.load:.0%} load; at most {MOST_THROTTLED:.0%} is the aim.",
        "good" if good else "warn",
    )


def data(r: Report) -> dict[str, object]:
    """The report, for programs."""
    return {**asdict(r), "ok": r.ok, "throttled_share": r.throttled_share}
