"""The two shapes of limit providers enforce: a continuous token bucket and a fixed window. Exact, in integers.

The level of a bucket is kept in units of 1/per_ns of what it counts, so that a refill over any number of nanoseconds
is an integer and nothing drifts. No window knows who is asking, which header shows it, or what time it is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from apikeyrouter.simulator.clock import NS

__all__ = ["NEVER", "Bucket", "FixedWindow", "Window", "day_end", "month_end", "period_end"]

NEVER = -1
"""The wait of a request that is larger than the window itself."""


class Window(Protocol):
    """One limit. `now` is nanoseconds since the epoch; amounts are whole requests or tokens.

    `counts` names what it counts: requests, tokens, input or output. `limit` is what is advertised, `capacity` what it
    can hold at once, `per_ns` the length of its period (nominal where months and days differ).
    """

    name: str
    counts: str
    limit: int
    capacity: int
    per_ns: int

    def fits(self, now: int, amount: int) -> bool: ...

    def take(self, now: int, amount: int) -> None: ...

    def wait(self, now: int, amount: int) -> int:
        """Nanoseconds until `amount` fits if nobody else asks; NEVER if it cannot."""
        ...

    def remaining(self, now: int) -> int: ...

    def reset(self, now: int) -> int:
        """Nanoseconds until the window is as good as new."""
        ...


class Bucket:
    """Refills by `limit` per `per_ns`, continuously, up to `capacity` (default: the limit).

    `start` is the level at `born`, as a share of the capacity. `take` does not ask whether there is room: what is
    charged as it is produced may leave the level below zero, and then nothing fits until it has risen again.
    """

    __slots__ = ("_at", "_level", "capacity", "counts", "limit", "name", "per_ns")

    def __init__(
        self,
        name: str,
        counts: str,
        *,
        limit: int,
        per_ns: int,
        capacity: int | None = None,
        born: int = 0,
        start: float = 1.0,
    ) -> None:
        self.name = name
        self.counts = counts
        self.limit = limit
        self.per_ns = per_ns
        self.capacity = limit if capacity is None else capacity
        self._level = self.capacity * per_ns * round(start * 1_000_000) // 1_000_000
        self._at = born

    def _refill(self, now: int) -> int:
        if now > self._at:
            self._level = min(self.capacity * self.per_ns, self._level + (now - self._at) * self.limit)
            self._at = now
        return self._level

    def fits(self, now: int, amount: int) -> bool:
        return amount * self.per_ns <= self._refill(now)

    def take(self, now: int, amount: int) -> None:
        self._level = self._refill(now) - amount * self.per_ns

    def holds_fraction(self, now: int, scaled: int) -> bool:
        """Whether `scaled`/per_ns of the unit is there."""
        return scaled <= self._refill(now)

    def take_fraction(self, now: int, scaled: int) -> None:
        """Take `scaled`/per_ns of the unit."""
        self._level = self._refill(now) - scaled

    def wait(self, now: int, amount: int) -> int:
        missing = amount * self.per_ns - self._refill(now)
        if missing <= 0:
            return 0
        return NEVER if amount > self.capacity or self.limit == 0 else -(-missing // self.limit)

    def remaining(self, now: int) -> int:
        return max(0, self._refill(now) // self.per_ns)

    def reset(self, now: int) -> int:
        """Time to full, of the level that is shown: (capacity - remaining) / rate, so the header law holds exactly."""
        missing = self.capacity - self.remaining(now)
        return missing * self.per_ns // self.limit if self.limit else 0

    def __repr__(self) -> str:
        return (
            f"<Bucket {self.name} {self._level // self.per_ns}/{self.capacity} +{self.limit} per {self.per_ns / NS:g}s>"
        )


class FixedWindow:
    """Counts up to `limit` until `end_of(now)`, then starts from nothing: Azure's minutes, days of a zone."""

    __slots__ = ("_end", "_end_of", "_used", "capacity", "counts", "limit", "name", "per_ns")

    def __init__(
        self, name: str, counts: str, *, limit: int, per_ns: int, end_of: Callable[[int], int], used: int = 0
    ) -> None:
        self.name = name
        self.per_ns = per_ns
        self.counts = counts
        self.limit = limit
        self.capacity = limit
        self._end_of = end_of
        self._end = 0
        self._used = used

    def _roll(self, now: int) -> int:
        if now >= self._end:
            if self._end:
                self._used = 0
            self._end = self._end_of(now)
        return self._used

    def fits(self, now: int, amount: int) -> bool:
        return self._roll(now) + amount <= self.limit

    def take(self, now: int, amount: int) -> None:
        self._used = self._roll(now) + amount

    def wait(self, now: int, amount: int) -> int:
        if self.fits(now, amount):
            return 0
        return NEVER if amount > self.limit else self._end - now

    def remaining(self, now: int) -> int:
        return max(0, self.limit - self._roll(now))

    def reset(self, now: int) -> int:
        self._roll(now)
        return self._end - now

    def __repr__(self) -> str:
        return f"<FixedWindow {self.name} {self._used}/{self.limit} used>"


def period_end(per_ns: int) -> Callable[[int], int]:
    """Windows aligned to the epoch: minutes end when the clock says :00."""
    return lambda now: (now // per_ns + 1) * per_ns


def day_end(zone: str) -> Callable[[int], int]:
    """Windows that end at midnight of a zone, daylight saving included (a day is not always 86,400 s)."""
    place = _place(zone)
    return lambda now: _midnight(_date(now, place) + timedelta(days=1), place)


def month_end(zone: str) -> Callable[[int], int]:
    """Windows that end at midnight before the first day of a month, in a zone."""
    place = _place(zone)

    def end(now: int) -> int:
        today = _date(now, place)
        return _midnight(date(today.year + today.month // 12, today.month % 12 + 1, 1), place)

    return end


def _place(zone: str) -> tzinfo:
    return UTC if zone == "UTC" else ZoneInfo(zone)  # a slim system may have no database of zones


def _date(now: int, place: tzinfo) -> date:
    return datetime.fromtimestamp(now // NS, UTC).astimezone(place).date()


def _midnight(day: date, place: tzinfo) -> int:
    return int(datetime.combine(day, datetime.min.time(), place).timestamp()) * NS
