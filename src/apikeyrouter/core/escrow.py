"""One live counter of money: what is spent and held in its period, and how the period turns.

A calendar counter starts anew when its period turns; holds that were open then stay with the period they were taken
in, whose total is kept. A rolling counter forgets its oldest part instead: spend is kept in a ring of sub-periods and
counted until the whole sub-period has left the window, so it is never counted too short.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

from apikeyrouter.core.allowance import Budget
from apikeyrouter.core.period import ends_at

RING: Final = 24
"""Sub-periods of a rolling window; spend is counted up to 1/24 of the window too long."""
PAST: Final = 8
"""Closed periods whose totals a counter keeps while holds of theirs may still be open."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A limit met: `fraction` of it was reached (a threshold), or `overrun` nano-dollars were charged beyond a hold."""

    budget: str
    key: str
    fraction: float
    spent: int
    limit: int
    overrun: int = 0


@dataclass(slots=True)
class Past:
    """A closed period: its number, when it ended (epoch seconds), what it spent and still holds."""

    epoch: int
    ended_at: float
    spent: int
    held: int


class Node:
    """A live counter of `budget` for the scope instance `key`; all amounts integer nano-dollars.

    `epoch` rises at each turn of a calendar period; `turns_at` is when the next turn (of a rolling window: sub-period)
    is due, in epoch seconds. `overrun` is what this period's commits took beyond their holds.
    """

    __slots__ = (
        "_crossed", "_fresh", "_marks", "_ring", "_seen", "_step", "budget", "epoch", "hard", "held", "key", "limit",
        "overrun", "past", "rate", "seen", "spent", "turns_at",
    )  # fmt: skip

    def __init__(self, budget: Budget, key: str, now: float) -> None:
        self.key, self.spent, self.held, self.epoch, self.overrun = key, budget.spent_nano, 0, 0, 0
        self.past: deque[Past] = deque(maxlen=PAST)
        self._ring: deque[int] = deque([0] * RING, maxlen=RING)
        self._fresh, self._seen, self.seen, self.rate = 0, now, now, 0.0
        self.declare(budget, now)

    def declare(self, budget: Budget, now: float) -> None:
        """Take the limit, mode and period of `budget`, keeping what is spent and held."""
        self.budget, self.limit, self.hard = budget, budget.limit_nano, budget.mode == "hard"
        self._marks = tuple(max(1, int(self.limit * t)) for t in budget.thresholds)
        self._crossed = sum(self.spent >= mark for mark in self._marks)
        rolling = budget.rolling_seconds
        self._step = rolling / RING if rolling else 0.0
        self.turns_at = _turns_at(budget, now, self._step)

    def roll(self, now: float) -> None:
        """Turn the period when it is over; nothing happens before, nor when time runs backwards."""
        self.seen = max(self.seen, now)
        if now < self.turns_at:
            return
        if self._step:
            self._slide(now)
            return
        self.past.append(Past(self.epoch, self.turns_at, self.spent, self.held))
        self.epoch += 1
        self.spent = self.held = self.overrun = self._crossed = 0
        self.turns_at = _turns_at(self.budget, now, 0.0)

    def _slide(self, now: float) -> None:
        steps = int((now - self.turns_at) // self._step) + 1
        for _ in range(min(steps, RING + 1)):
            self.spent -= self._ring[0]
            self._ring.append(self._fresh)
            self._fresh = 0
        self.turns_at += steps * self._step
        self._crossed = min(self._crossed, sum(self.spent >= mark for mark in self._marks))

    def commit(self, epoch: int, held: int, actual: int) -> Crossing | None:
        """Turn a hold of period `epoch` into spend; tells of a threshold crossed or an overrun."""
        if epoch != self.epoch:
            self._commit_past(epoch, held, actual)
            return None
        self.held -= held
        self.spent += actual
        if self._step:
            self._fresh += actual
        if actual > held and self.hard:
            self.overrun += actual - held
            if self.spent + self.held > self.limit:
                return Crossing(self.budget.name, self.key, self._cross(), self.spent, self.limit, actual - held)
        if self._crossed < len(self._marks) and self.spent >= self._marks[self._crossed]:
            return Crossing(self.budget.name, self.key, self._cross(), self.spent, self.limit)
        return None

    def _cross(self) -> float:
        self._crossed = sum(self.spent >= mark for mark in self._marks)
        return self.budget.thresholds[self._crossed - 1] if self._crossed else 0.0

    def _commit_past(self, epoch: int, held: int, actual: int) -> None:
        for past in self.past:
            if past.epoch == epoch:
                past.held -= held
                past.spent += actual

    def __repr__(self) -> str:
        return f"<Node {self.key} {self.spent / 1e9:g}+{self.held / 1e9:g} of {self.limit / 1e9:g} $>"


def _turns_at(budget: Budget, now: float, step: float) -> float:
    if step:
        return now + step
    return inf if budget.period == "total" else ends_at(budget.period, now, budget.timezone)
