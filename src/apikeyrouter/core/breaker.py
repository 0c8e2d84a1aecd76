"""Stop asking a provider's model that does not answer, and come back carefully.

One breaker for each provider x model, never for a key: an overloaded service says nothing about the credential. It
opens on evidence (Wilson lower bound of the failure rate above a half, at least 8 answers in 30 s, or 5 failed
connections in a row), not on a bare count, and comes back by doubling its concurrency. The moves are a table; time and
chance are arguments. Method: Google SRE book ch. 21, Finagle's failure accrual; figures on the algorithms page 2f.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from types import MappingProxyType
from typing import Final


class Breaking(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


MOVES: Final[Mapping[tuple[Breaking, str], Breaking]] = MappingProxyType(
    {
        (Breaking.CLOSED, "too many failures"): Breaking.OPEN,
        (Breaking.OPEN, "wait is over"): Breaking.HALF_OPEN,
        (Breaking.HALF_OPEN, "probe failed"): Breaking.OPEN,
        (Breaking.HALF_OPEN, "probes succeeded"): Breaking.CLOSED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """`window_s` of evidence in `slots` steps; opening lasts base_s * 2^n with jitter, at most longest_s."""

    window_s: float = 30.0
    slots: int = 6
    least_samples: int = 8
    failure_rate: float = 0.5
    connect_failures: int = 5
    base_s: float = 1.0
    longest_s: float = 120.0
    successes_to_close: int = 8


def wilson_low(hits: int, total: int, z: float = 1.645) -> float:
    """Lower 95 % bound of a proportion (Wilson 1927)."""
    if not total:
        return 0.0
    share, z2 = hits / total, z * z
    centre = share + z2 / (2 * total)
    spread = z * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return (centre - spread) / (1 + z2 / total)


class Breaker:
    """Closed lets everything through, open nothing, half open `limit` requests at a time."""

    __slots__ = (
        "connect_failures",
        "failures",
        "good",
        "in_flight",
        "limit",
        "name",
        "opened",
        "opened_at",
        "settings",
        "slot",
        "state",
        "totals",
        "until",
    )

    def __init__(self, name: str, settings: BreakerSettings | None = None) -> None:
        self.name = name
        self.settings = settings or BreakerSettings()
        self.state = Breaking.CLOSED
        self.until = 0.0
        self.opened = 0
        self.opened_at = 0.0
        self.limit = 1
        self.good = 0
        self.in_flight = 0
        self.slot = 0
        self.connect_failures = 0
        self.totals = [0] * self.settings.slots
        self.failures = [0] * self.settings.slots

    def allows(self, now: float) -> bool:
        """May one more be sent? Pure but for the move from open to half open, which time alone makes."""
        if self.state is Breaking.CLOSED:
            return True
        if self.state is Breaking.OPEN:
            if now < self.until:
                return False
            self._move("wait is over")
            self.limit, self.good = 1, 0
        return self.in_flight < self.limit

    def begin(self) -> None:
        self.in_flight += 1

    def end(self) -> None:
        """A request ended without evidence (cancelled, or the request's own fault)."""
        self.in_flight -= 1

    def record(self, ok: bool, now: float, chance: float, *, connect: bool = False, retry_after: float = 0.0) -> bool:
        """Count one answer; True when the state changed. `chance` in [0, 1) is the jitter."""
        before = self.state
        self._count(ok, now, connect)
        if self.state is Breaking.HALF_OPEN:
            self._probe(ok, now, chance, retry_after)
        elif self.state is Breaking.CLOSED and not ok and self._convinced():
            self._open("too many failures", now, chance, retry_after)
        return self.state is not before

    def found_back(self) -> bool:
        """A probe saw it answer again: traffic returns now, not when the wait is over, and one request at first."""
        if self.state is not Breaking.OPEN:
            return False
        self._move("wait is over")
        self.limit, self.good = 1, 0
        return True

    def still_down(self, until: float) -> None:
        """A probe saw it down: traffic stays away until the next one has looked, but never longer than longest_s."""
        if self.state is Breaking.OPEN:
            self.until = max(self.until, min(until, self.opened_at + self.settings.longest_s))

    def _count(self, ok: bool, now: float, connect: bool) -> None:
        slots = self.settings.slots
        slot = int(now * slots / self.settings.window_s)
        if slot > self.slot:
            for gone in range(self.slot + 1, min(slot, self.slot + slots) + 1):
                self.totals[gone % slots] = self.failures[gone % slots] = 0
            self.slot = slot
        at = self.slot % slots
        self.totals[at] += 1
        if not ok:
            self.failures[at] += 1
        self.connect_failures = self.connect_failures + 1 if connect and not ok else 0

    def _convinced(self) -> bool:
        total, failed = sum(self.totals), sum(self.failures)
        many = total >= self.settings.least_samples and wilson_low(failed, total) > self.settings.failure_rate
        return many or self.connect_failures >= self.settings.connect_failures

    def _probe(self, ok: bool, now: float, chance: float, retry_after: float) -> None:
        if not ok:
            self._open("probe failed", now, chance, retry_after)
            return
        self.good += 1
        self.limit *= 2
        if self.good >= self.settings.successes_to_close:
            self._move("probes succeeded")
            self.opened = 0
            self.totals = [0] * self.settings.slots
            self.failures = [0] * self.settings.slots

    def _open(self, why: str, now: float, chance: float, retry_after: float) -> None:
        self._move(why)
        full = min(self.settings.longest_s, self.settings.base_s * 2.0**self.opened)
        self.until = now + max(retry_after, full * (0.5 + 0.5 * chance))
        self.opened += 1
        self.opened_at = now
        self.connect_failures = 0

    def _move(self, why: str) -> None:
        self.state = MOVES[self.state, why]

    def __repr__(self) -> str:
        return f"<Breaker {self.name} {self.state}>"
