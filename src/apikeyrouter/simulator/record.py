"""What the simulator saw: a bounded record of requests, exact counters, and the proof that no limit was exceeded.

Keys appear by their id; material never gets here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from apikeyrouter.simulator.wire import Json

__all__ = ["Counters", "Record", "Seen", "excess"]


@dataclass(slots=True)
class Seen:
    """One request. `at` is nanoseconds since the epoch, of the decision; `taken` is what its windows were charged.

    `outcome` is admitted, throttled (a limit refused it), refused (key, model, body) or fault (an injected failure);
    `left` says that the client went away before the end. `status` 0: no answer was sent.
    """

    at: int
    key: str
    organisation: str
    model: str
    operation: str
    outcome: str = "admitted"
    status: int = 0
    reason: str = ""
    taken: Mapping[str, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    took_s: float = 0.0
    left: bool = False


@dataclass(slots=True)
class Counters:
    """Totals of one key or one organisation; they forget nothing."""

    requests: int = 0
    admitted: int = 0
    throttled: int = 0
    refused: int = 0
    faults: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    charged: dict[str, int] = field(default_factory=dict)

    def enter(self) -> None:
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def leave(self, seen: Seen) -> None:
        self.in_flight -= 1
        if seen.outcome == "admitted":
            self.admitted += 1
        elif seen.outcome == "throttled":
            self.throttled += 1
        elif seen.outcome == "refused":
            self.refused += 1
        else:
            self.faults += 1
        self.input_tokens += seen.input_tokens
        self.output_tokens += seen.output_tokens
        for counts, amount in seen.taken.items():
            self.charged[counts] = self.charged.get(counts, 0) + amount

    def as_json(self) -> dict[str, Json]:
        return {
            "requests": self.requests,
            "admitted": self.admitted,
            "throttled": self.throttled,
            "refused": self.refused,
            "faults": self.faults,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "charged": dict(self.charged),
        }


class Record:
    """The last `size` requests, oldest first."""

    def __init__(self, size: int) -> None:
        self._seen: deque[Seen] = deque(maxlen=size)

    def add(self, seen: Seen) -> None:
        self._seen.append(seen)

    def __len__(self) -> int:
        return len(self._seen)

    def clear(self) -> None:
        self._seen.clear()

    def all(
        self,
        *,
        key: str | None = None,
        organisation: str | None = None,
        model: str | None = None,
        outcome: str | None = None,
    ) -> list[Seen]:
        """Those that match everything given."""
        return [
            seen
            for seen in list(self._seen)
            if (key is None or seen.key == key)
            and (organisation is None or seen.organisation == organisation)
            and (model is None or seen.model == model)
            and (outcome is None or seen.outcome == outcome)
        ]

    def charges(self, counts: str, **which: str | None) -> list[tuple[int, int]]:
        """(nanoseconds, amount) of everything charged to windows that count `counts`; see `all` for the filters."""
        found = [(seen.at, seen.taken[counts]) for seen in self.all(**which) if seen.taken.get(counts)]
        return sorted(found)


def excess(charges: Iterable[tuple[int, int]], *, limit: int, per_ns: int, capacity: int) -> Fraction:
    """By how much the worst interval exceeded capacity + rate x time; zero or less means that no interval did.

    For every pair i <= j: the sum of charges i..j minus limit x (t_j - t_i) / per_ns minus capacity; the largest of
    these, in one pass and in exact arithmetic. `charges` are (nanoseconds, amount) in order of time.
    """
    before, lowest, worst = 0, None, -capacity * per_ns
    for at, amount in charges:
        start = before - limit * at
        lowest = start if lowest is None else min(lowest, start)
        before += amount * per_ns
        worst = max(worst, before - limit * at - lowest - capacity * per_ns)
    return Fraction(worst, per_ns)
