"""Who shares a limit: several windows that move together, and whether the provider has told us to stop.

A pool, not a key, owns quota: the keys of one organisation draw from the same limits, so a 429 for one is a 429 for
all. `fits_and_load` is the one place where windows are inlined, because it runs once for each candidate of each
request (measured 2026-11-23: 0.8 us for two windows); everything else goes through Window's methods.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from apikeyrouter.core.forecast import Forecast, Outlook, forecast
from apikeyrouter.core.key import State, Transition, Trigger, after
from apikeyrouter.core.model import NO_NEED, REQUESTS, Need
from apikeyrouter.core.window import NEVER, Limit, Window

if TYPE_CHECKING:
    from apikeyrouter.core.roster import Stand

REFUSED: Final = -1.0
FORECAST_EVERY_S: Final = 1.0
LASTING_S: Final = 3600.0
"""A window of less than an hour that runs out is back before anybody would plan for it."""
PROBES: Final = 4
DECREASE: Final = 0.7
UNBOUNDED: Final = 1000.0
"""A bound that has grown this far says nothing any more."""
STEEPNESS: Final = 5
"""The power of a window's use in the load."""
ROOMY: Final = 2 / 3
"""A third of a window in use is priced at a two hundred and fiftieth of what it costs when it is all in use."""
RECOVERING_SHARE: Final = 0.9
"""An exhausted pool shows `recovering` in the last tenth of its wait."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a pool refuses a need: the window that binds, and seconds until the need fits (NEVER: it cannot).

    `cause` is "window", or the pool's blocked state.
    """

    pool: str
    cause: str
    need: int
    free: float
    cap: float
    wait_s: float
    window: str = ""


class Pool:
    """Shared limits. `until` is when the provider's stop ends (0 when there is none).

    `dated` tells that the provider named that time; else it is our guess, which a probe may find too long.
    `bound` limits the requests in flight where no number does: PROBES while `probing`, until a first answer tells what
    the limits are; later, for a provider that refuses without numbers, by additive increase, multiplicative decrease.
    """

    __slots__ = (
        "alarms",
        "blocked_at",
        "bound",
        "dated",
        "id",
        "in_flight",
        "mean_hold_s",
        "parked",
        "probing",
        "reason",
        "recovers_at",
        "refusals_in_row",
        "risk",
        "soonest",
        "state",
        "state_updated_at",
        "throttles",
        "ticks_at",
        "until",
        "windows",
    )

    def __init__(self, name: str, limits: Iterable[Limit] = (), *, now: float) -> None:
        self.id = name
        self.windows = tuple(Window(limit, now) for limit in limits)
        self.state = State.AVAILABLE
        self.state_updated_at = now
        self.until = 0.0
        self.blocked_at = 0.0
        self.recovers_at = 0.0
        self.dated = True
        self.reason = ""
        self.throttles = 0
        self.ticks_at = now + FORECAST_EVERY_S
        self.risk = 0.0
        self.soonest: Forecast | None = None
        self.alarms: list[Forecast] = []
        self.refusals_in_row = 0
        self.in_flight = 0
        self.mean_hold_s = 1.0
        self.bound = 0.0
        self.probing = False
        self.parked: dict[Stand, None] = {}

    # -- the hot path -------------------------------------------------------------------------------------------

    def fits_and_load(self, need: Need, now: float) -> float:
        """REFUSED when a window (or the provider's stop) has no room, else the load: lower is better.

        The load is the dot product of the request's shape with a price of each window, sum(need/cap * (used/cap)^5):
        it sends token-heavy requests where tokens are slack (Panigrahy 2011). Room costs next to nothing until it gets
        scarce, as in primal-dual prices (Buchbinder, Naor 2009): with the plain share as the price an overload of a
        tenth left 2 % more of the work undone (docs/reference/admitted.md).
        """
        if now < self.until or 0 < self.bound <= self.in_flight:
            return REFUSED
        load = 0.0
        for w in self.windows:
            rate, cap = w.rate, w.cap
            if rate:
                passed = now - w.at
                if passed > 0.0:
                    level = w.level + passed * rate
                    w.level = level if level < cap else cap
                    w.at = now
            elif now >= w.turns_at:
                w.turn(now)
            n = need[w.of]
            if n:
                free = w.level - w.held
                if n > free:
                    if n <= cap:
                        _short(w, now)
                    return REFUSED
                full = w.full
                if free < full:
                    part = n / cap * ((full - free) / full) ** STEEPNESS
                    load += part if rate else part * _lasting(w, now)
        return load

    @property
    def roomy(self) -> bool:
        """Whether every window has most of its room, as of the last look: then the load says next to nothing."""
        for w in self.windows:
            if w.level - w.held < ROOMY * w.full:
                return False
        return not self.bound

    def take(self, need: Need, now: float) -> list[float]:
        """Charge a need that fits; returns each window's (level after, corrections so far), for the end.

        A window learned while the request is under way is not among them, so it owes that request nothing.
        """
        self.in_flight += 1
        if now >= self.ticks_at:
            self.look_ahead(now)
        marks: list[float] = []
        for w in self.windows:
            n = need[w.of]
            if w.holds:
                w.held += n
            else:
                w.charged += n
                if w.ring is None:
                    w.level -= n
                else:
                    w.debit(n, now)
            w.flight += n
            marks += (w.level, w.corrected)
        return marks

    def look_ahead(self, now: float) -> None:
        """Forecast every window. At most once in FORECAST_EVERY_S.

        `risk` is the greatest probability of them, `soonest` what is forecast of the window that may run out first, of
        those whose end lasts and that were seen for long enough. What is to be told goes to `alarms`, once for each
        window and period.
        """
        self.ticks_at = now + FORECAST_EVERY_S
        found: list[Forecast] = []
        lasting: list[Forecast] = []
        for w in self.windows:
            if w.charge == "concurrency":
                continue
            if w.outlook is None:
                w.outlook = Outlook(now, w.charged)
                continue
            f = forecast(w, w.outlook, now)
            found.append(f)
            if w.period_s >= LASTING_S and not f.cold:
                lasting.append(f)
            if f.near and now >= w.told_until:
                w.told_until = f.reset_at or now + w.period_s
                self.alarms.append(f)
        self.soonest = max(lasting, key=_urgency, default=None)
        self.risk = max((f.probability for f in found), default=0.0)

    # -- the end of a request -----------------------------------------------------------------------------------

    def settle(self, need: Need, actual: Need, marks: list[float], taken_at: float, now: float) -> bool:
        """Give back holds, debit the truth; True when something became free."""
        freed = self._ended(taken_at, now)
        if self.bound:
            self.bound = self.bound + 1.0 / self.bound if self.bound < UNBOUNDED else 0.0
        for w, level in zip(self.windows, marks[::2], strict=False):
            n = need[w.of]
            w.flight -= n
            if w.holds or w.refund:
                w.settle(n, actual[w.of], taken_at, level, now)
                freed = True
        return freed

    def _ended(self, taken_at: float, now: float) -> bool:
        """Count a request out; True when that alone may let another in."""
        self.in_flight -= 1
        self.mean_hold_s += 0.1 * (max(0.0, now - taken_at) - self.mean_hold_s)
        if self.probing:
            self.probing, self.bound = False, 0.0
            return True
        return self.bound > 0

    def give_back(self, need: Need, marks: list[float], taken_at: float, now: float, *, sent: bool = False) -> None:
        """Undo `take`: for a request never sent, or (`sent`) refused by the provider, which counts it as a request."""
        self._ended(taken_at, now)
        for i, w in enumerate(self.windows[: len(marks) // 2]):
            w.flight -= need[w.of]
            if sent and w.of == REQUESTS and not w.holds:
                continue
            w.give_back(need[w.of], marks[2 * i], taken_at, now)

    # -- refusals -----------------------------------------------------------------------------------------------

    def shortfall(self, need: Need, now: float) -> Shortfall | None:
        """The window that frees last, or the provider's stop; None when the need fits."""
        if now < self.until:
            return Shortfall(self.id, str(self.state), 0, 0.0, 0.0, self.until - now, self.reason)
        if 0 < self.bound <= self.in_flight:
            return Shortfall(self.id, "in_flight", 1, self.bound - self.in_flight, self.bound, self.mean_hold_s)
        worst: Shortfall | None = None
        for w in self.windows:
            n = need[w.of]
            if n and n > w.free(now):
                wait = w.wait_for(n, now) or self.mean_hold_s
                if worst is None or wait > worst.wait_s:
                    worst = Shortfall(self.id, "window", n, w.level - w.held, w.cap, wait, w.name)
        return worst

    def probe(self) -> None:
        """Nothing is known of the limits, but the provider's answers will tell: few at a time until the first."""
        self.probing, self.bound = True, float(PROBES)

    def crowded(self) -> None:
        """The provider refused for load without a number: fewer at a time."""
        self.probing = False
        self.bound = max(1.0, DECREASE * (self.in_flight + 1))

    # -- the provider's word ------------------------------------------------------------------------------------

    def throttle(self, now: float, until: float, reason: str) -> list[Transition]:
        """The provider said: not now. A later time wins over an earlier one; an exhausted pool stays exhausted."""
        self.throttles += 1
        self.refusals_in_row += 1
        if until <= self.until:
            return []
        self.until, self.reason = until, reason
        if self.state is State.AVAILABLE:
            self.blocked_at = now
            return [self._move(Trigger.RATE_LIMIT, now, reason)]
        return []

    def exhaust(self, now: float, until: float, reason: str) -> list[Transition]:
        """A long window or the money is gone, until a reset."""
        moves = []
        if self.state is State.THROTTLED:
            moves.append(self._move(Trigger.SUPERSEDED, now, reason))
        if self.state is not State.EXHAUSTED:
            moves.append(self._move(Trigger.QUOTA_EXHAUSTED, now, reason))
            self.blocked_at = now
        self.until = max(self.until, until)
        self.recovers_at = self.blocked_at + RECOVERING_SHARE * (self.until - self.blocked_at)
        self.reason = reason
        return moves

    def refresh(self, now: float) -> list[Transition]:
        """The moves that time alone makes."""
        moves = []
        if self.state is State.THROTTLED and now >= self.until:
            moves.append(self._move(Trigger.COOLDOWN_OVER, now))
        if self.state is State.EXHAUSTED and now >= self.recovers_at:
            moves.append(self._move(Trigger.RESET_NEAR, now))
        if self.state is State.RECOVERING and now >= self.until:
            moves.append(self._move(Trigger.RESET, now))
            self.probe()  # a few find out whether it is true before everybody comes
        return moves

    def reopen(self, now: float) -> list[Transition]:
        """End a stop by hand or by a successful answer."""
        self.until = self.recovers_at = now
        return self.refresh(now)

    def _move(self, trigger: Trigger, now: float, context: str = "") -> Transition:
        before, self.state = self.state, after("pool", self.id, self.state, trigger)
        self.state_updated_at = now
        return Transition("pool", self.id, before, self.state, now, trigger, context)

    @property
    def idle(self) -> bool:
        return self.in_flight == 0 and all(w.held == 0 and w.flight == 0 for w in self.windows)

    def __repr__(self) -> str:
        return f"<Pool {self.id} {self.state} {' '.join(map(repr, self.windows))}>"


def _short(w: Window, now: float) -> None:
    """Remember that a request found no room."""
    w.refused_at = now
    w.refused_from = min(now, w.refused_from)


def _lasting(w: Window, now: float) -> float:
    """Use it or lose it: what returns soon is cheaper than what must last."""
    return 1.0 if w.turns_at == NEVER else (w.turns_at - now) / w.period_s


def _urgency(f: Forecast) -> tuple[float, float]:
    """Sooner is more urgent; among windows that will last, the likelier to run out."""
    return (-f.p50 if f.p50 is not None else float("-inf"), f.probability)


def need_of(
    *, input_tokens: int = 0, output_tokens: int = 0, cost: int = 0, requests: int = 1, concurrency: int = 1
) -> Need:
    """A need from its parts; TOKENS is their sum."""
    if not (requests or input_tokens or output_tokens or cost or concurrency):
        return NO_NEED
    return (requests, input_tokens + output_tokens, input_tokens, output_tokens, concurrency, cost)
