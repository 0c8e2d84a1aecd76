"""One live counter of money: what is spent and held in its period, and how the period turns.

A calendar counter starts anew when its period turns; holds that were open then stay with the period they were taken
in, whose total is kept. A rolling counter forgets its oldest part instead: spend lies in a ring of sub-periods and is
counted until the whole sub-period has left the window, so it is never counted too short. Which counters a request falls
under is not known here, see `budget`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp, inf
from typing import Final

from apikeyrouter.core.allowance import Budget
from apikeyrouter.core.period import SECONDS, ends_at

RING: Final = 24
"""Sub-periods of a rolling window: spend is counted up to a 24th of the window too long."""
PAST: Final = 8
MOST_PAST: Final = 1_000
"""Closed periods whose totals are kept; more only while holds of theirs are open."""
HUGE: Final = 1 << 62
"""More nano-dollars than there is money."""
TOTAL_MEMORY: Final = 86_400.0
"""Memory of the spend rate of a total, in seconds; other periods remember an eighth of themselves."""
FOLDS: Final = 8
"""How often in that memory the rate is computed."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A limit met: `fraction` of it was reached (a threshold), or `overrun` nano-dollars went beyond a hold.

    `budget` is its id, `key` the scope instance; `spent` and `limit` are nano-dollars of the period.
    """

    budget: str
    key: str
    fraction: float
    spent: int
    limit: int
    overrun: int = 0


@dataclass(slots=True)
class Past:
    """A closed period: its epoch, when it ended (epoch seconds), what it spent and what is still held of it."""

    epoch: int
    ended_at: float
    spent: int
    held: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A counter as it is stored: enough to count on after a restart.

    `turns_at` tells which period it was (epoch seconds, infinite for a total); `ring` is a rolling window's spend by
    sub-period, the newest last. `held` is what was promised to requests that were in flight.
    """

    budget: str
    key: str
    turns_at: float
    spent: int
    held: int
    ring: tuple[int, ...] = ()


class Node:
    """A live counter of `budget` for the scope instance `key`; all amounts integer nano-dollars.

    `epoch` rises at each turn of a calendar period; `turns_at` is when the next turn (of a rolling window: sub-period)
    comes, epoch seconds; from `due` on, which is no later, `roll` must be called. `mark` is the spend at which the next
    threshold is met, `fresh` what was spent since the rate was last computed or the sub-period began, `overrun` what
    commits of this period took beyond their holds. From `lowers_at` on (spend plus holds) downgrades apply.
    """

    __slots__ = (
        "_rate",
        "_rated_at",
        "_ring",
        "_since",
        "_step",
        "budget",
        "due",
        "epoch",
        "fresh",
        "hard",
        "held",
        "key",
        "limit",
        "lowers_at",
        "mark",
        "overrun",
        "past",
        "spent",
        "turns_at",
    )

    def __init__(self, budget: Budget, key: str, now: float) -> None:
        self.key, self.spent, self.held, self.epoch, self.overrun = key, budget.spent_nano, 0, 0, 0
        self.past: deque[Past] = deque()
        self._since = self._rated_at = now
        self._rate = 0.0
        self.budget = budget
        self._start(now)
        self.declare(budget, now)

    def _start(self, now: float) -> None:
        """Begin to count by the budget's period; what is spent belongs to it."""
        rolling = self.budget.rolling_seconds
        self._step = rolling / RING if rolling else 0.0
        self._ring: deque[int] = deque([0] * RING, maxlen=RING)
        self.fresh = self.spent if rolling else 0
        self.turns_at = now + self._step if rolling else _turns_at(self.budget, now)
        self._set_due()

    def declare(self, budget: Budget, now: float) -> None:
        """Count for a budget declared anew: limit, mode and period may differ, what is spent and held stays."""
        self.roll(now)
        moved = (budget.period, budget.timezone) != (self.budget.period, self.budget.timezone)
        self.budget, self.limit, self.hard = budget, budget.limit_nano, budget.mode == "hard"
        if moved:
            self._start(now)
        self.lowers_at = int(self.limit * _lowering(budget)) if budget.downgrade else HUGE
        self._set_mark()

    def retire(self) -> None:
        """Stop binding: the budget is gone, but somebody may still hold the counter."""
        self.hard, self.mark, self.lowers_at = False, HUGE, HUGE

    def roll(self, now: float) -> None:
        """Turn the period when it is over; before that, and when time runs backwards, only the rate is brought up."""
        if self._step:
            self._slide(now)
            return
        if now >= self.turns_at:
            self._turn(now)
        if now >= self.due:
            self._fold(now)

    def _turn(self, now: float) -> None:
        self.past.append(Past(self.epoch, self.turns_at, self.spent, self.held))
        while len(self.past) > PAST and (self.past[0].held <= 0 or len(self.past) > MOST_PAST):
            self.past.popleft()
        self.epoch += 1
        self.spent = self.held = self.overrun = 0
        self.turns_at = _turns_at(self.budget, now)
        self._set_mark()

    def _slide(self, now: float) -> None:
        if now < self.turns_at:
            return
        steps = int((now - self.turns_at) // self._step) + 1
        for _ in range(min(steps, RING + 1)):
            self.spent -= self._ring[0]
            self._ring.append(self.fresh)
            self.fresh = 0
        self.turns_at += steps * self._step
        self._set_mark()
        self._set_due()

    def _set_due(self) -> None:
        self.due = self.turns_at if self._step else min(self.turns_at, self._rated_at + self._memory() / FOLDS)

    def _set_mark(self) -> None:
        marks = (max(1, int(self.limit * fraction)) for fraction in self.budget.thresholds)
        self.mark = min((mark for mark in marks if mark > self.spent), default=HUGE)

    def meet(self, beyond: int) -> Crossing | None:
        """What is worth telling after a commit that reached `mark` or took `beyond` more than its hold."""
        over = max(0, beyond)
        self.overrun += over
        if self.spent >= self.mark:
            self._set_mark()
        elif not (over and self.hard and self.spent + self.held > self.limit):
            return None
        reached = [fraction for fraction in self.budget.thresholds if self.spent >= max(1, int(self.limit * fraction))]
        return Crossing(self.budget.name, self.key, reached[-1] if reached else 0.0, self.spent, self.limit, over)

    def commit_past(self, epoch: int, held: int, actual: int) -> None:
        """Commit to a period that has closed: its total is recorded, the running one is not touched."""
        for past in self.past:
            if past.epoch == epoch:
                past.held -= held
                past.spent += actual

    def _fold(self, now: float) -> None:
        """Take what was spent since into the rate, which forgets with time."""
        elapsed = now - self._rated_at
        if elapsed <= 0.0:
            return
        keep = exp(-elapsed / self._memory())
        # The spend lies somewhere in the elapsed time: as if spread evenly over it.
        self._rate = self._rate * keep + (1.0 - keep) * self.fresh / elapsed
        self.fresh, self._rated_at = 0, now
        self._set_due()

    def rate(self, now: float) -> float:
        """Nano-dollars a second spent of late; 0.0 before anything is known."""
        if self._step:
            return self.spent / max(self._step, min(now - self._since, RING * self._step))
        self._fold(now)
        known = 1.0 - exp(-max(now - self._since, 0.0) / self._memory())
        return self._rate / known if known > 0.0 else 0.0

    def _memory(self) -> float:
        """Seconds after which a spend counts a third in the rate."""
        return TOTAL_MEMORY if self.budget.period == "total" else SECONDS[self.budget.period] / 8

    def exhausted_at(self, now: float) -> float | None:
        """When the limit is reached if spending goes on as of late; None where it resets before, or never will."""
        left = self.limit - self.spent - self.held
        if left <= 0:
            return now
        rate = self.rate(now)
        if rate <= 0.0 or (self._step and rate * self._step * RING <= self.limit):
            return None
        at = now + left / rate
        return at if self._step or at < self.turns_at else None

    def save(self) -> Saved:
        """What to store of it."""
        ring = (*self._ring, self.fresh) if self._step else ()
        return Saved(self.budget.name, self.key, self.turns_at, self.spent, self.held, ring)

    def restore(self, saved: Saved, now: float) -> None:
        """Count on from a stored state of the same period; a state of another one is over and changes nothing.

        What was held is counted as spent, because nobody knows whether it was.
        """
        if self._step and len(saved.ring) == RING + 1:
            self._ring = deque(saved.ring[:-1], maxlen=RING)
            self.fresh, self.spent = saved.ring[-1] + saved.held, saved.spent + saved.held
            self.turns_at = min(saved.turns_at, now + self._step)
            self._set_due()
            self.roll(now)
        elif not self._step and saved.turns_at == self.turns_at:
            self.spent = max(self.spent, saved.spent + saved.held)
        self._set_mark()

    def __repr__(self) -> str:
        return f"<Node {self.key} {self.spent / 1e9:g}+{self.held / 1e9:g} of {self.limit / 1e9:g} $>"


def _turns_at(budget: Budget, now: float) -> float:
    return inf if budget.period == "total" else ends_at(budget.period, now, budget.timezone)


def _lowering(budget: Budget) -> float:
    """The fraction from which a budget downgrades: a soft one at its limit, a hard one at the last threshold before."""
    before = [fraction for fraction in budget.thresholds if fraction < 1.0]
    return 1.0 if budget.mode == "soft" or not before else before[-1]
