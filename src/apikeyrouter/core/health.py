"""How a provider is doing: healthy, degraded or down; and how often somebody asks it so that traffic need not find out.

Traffic is the first witness: its failures open breakers, its successes close them. A probe (a cheap request of our own)
is the second, for when traffic stays away. What probing may spend is bounded here: each key once in `every_s`, and no
provider more than once a second, however many keys it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from apikeyrouter.core.breaker import Breaker, Breaking

LEAST_GAP_S: Final = 1.0
"""Between two probes of one provider, unless a single key is to be asked more often."""


class Standing(StrEnum):
    """What a person is told of a provider."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Ask each key every `every_s` seconds, give or take the share `jitter`; an answer has `timeout_s` to come."""

    every_s: float
    jitter: float = 0.1
    timeout_s: float = 5.0

    def gap(self, keys: int, chance: float) -> float:
        """Seconds to the next probe of a provider with so many keys. `chance` in [0, 1) is the jitter."""
        even = max(self.every_s / max(1, keys), min(self.every_s, LEAST_GAP_S))
        return even * (1.0 - self.jitter + 2.0 * self.jitter * chance)


@dataclass(slots=True)
class Health:
    """What the last probes of a provider said. `failing_since` is set while they blame the provider."""

    last_check: float | None = None
    last_ok: float | None = None
    ok_key: str = ""
    failing_since: float | None = None
    reason: str = ""

    def good(self, key: str, now: float) -> bool:
        """A probe succeeded; True when those before had failed."""
        back = self.failing_since is not None
        self.last_check = self.last_ok = now
        self.ok_key, self.failing_since, self.reason = key, None, ""
        return back

    def bad(self, reason: str, now: float, *, provider: bool) -> None:
        """A probe failed, by the provider's fault or by somebody else's."""
        self.last_check, self.reason = now, reason
        if provider and self.failing_since is None:
            self.failing_since = now


def standing(health: Health, breakers: Iterable[Breaker], *, usable: bool) -> Standing:
    """By probes and breakers; without a usable key a provider serves nobody, though it may be well itself."""
    states = [breaker.state for breaker in breakers]
    if health.failing_since is not None or (states and all(state is Breaking.OPEN for state in states)):
        return Standing.DOWN
    well = usable and not health.reason and all(state is Breaking.CLOSED for state in states)
    return Standing.HEALTHY if well else Standing.DEGRADED
