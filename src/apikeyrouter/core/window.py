"""One limit over one period: how much is free now, and when more will be.

Three shapes share one representation, `free = level - held`. A bucket refills continuously (level grows lazily with
time), a fixed window turns to full at its calendar end, a rolling window gets back what it gave a period ago. Three
charging modes decide what a request moves: `admission` debits the estimate when it is sent (providers that charge
max_tokens up front), `real` holds the estimate and debits what was really used at the end, `concurrency` holds a slot.
There are no timers: every method takes `now`, and a clock that stands still or steps back refills nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, get_args
from zoneinfo import ZoneInfoNotFoundError

from apikeyrouter.core.allowance import amount as dollars_of
from apikeyrouter.core.model import CONCURRENCY, COST, DIMENSIONS, nano
from apikeyrouter.core.period import SECONDS, ends_at, starts_at, zone_of
from apikeyrouter.errors import InvalidConfigurationError

if TYPE_CHECKING:
    from apikeyrouter.core.forecast import Outlook

Shape = Literal["bucket", "fixed", "rolling"]
Charge = Literal["admission", "real", "concurrency"]
Per = Literal["second", "minute", "hour", "day", "week", "month"]

NEVER: Final = float("inf")
MOST: Final = 10**15
"""No provider grants more of anything; beyond, floating point could not count one by one."""
RING_SLOTS: Final = 60
"""A rolling window forgets in sixtieths of its period; a slot counts whole until all of it is a period old."""
TICK_S: Final = 1e-6
"""More than a time near 2e9 s is rounded by, so that what is waited for fits when a clock moves by just the wait."""

_OF: Final = {name: index for index, name in enumerate(DIMENSIONS)} | {"input": 2, "output": 3, "spend": COST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit as its owner states it; `amount` requests, tokens, slots, or dollars (`of="cost"`).

    `window` None takes the provider's way: continuous buckets up to a day, calendar months. `burst_s` caps a bucket at
    that many seconds of refill, where the provider enforces a minute's limit in smaller steps. `models` restricts the
    limit to models matching one of the globs. `refund` returns an unused estimate at the end (`charge="admission"`).
    """

    of: str
    amount: int
    per: Per = "minute"
    window: Shape | None = None
    zone: str = "UTC"
    charge: Charge = "admission"
    burst_s: float | None = None
    models: tuple[str, ...] = ()
    refund: bool = False

    def __post_init__(self) -> None:
        problem = _number_problem(self) or _word_problem(self)
        if problem:
            raise InvalidConfigurationError(f"A {problem}.", details={"of": self.of, "amount": self.amount})

    @classmethod
    def rps(cls, amount: int) -> Limit:
        return cls(of="requests", amount=amount, per="second")

    @classmethod
    def rpm(cls, amount: int) -> Limit:
        return cls(of="requests", amount=amount)

    @classmethod
    def rph(cls, amount: int) -> Limit:
        return cls(of="requests", amount=amount, per="hour")

    @classmethod
    def rpd(cls, amount: int) -> Limit:
        return cls(of="requests", amount=amount, per="day")

    @classmethod
    def tpm(cls, amount: int) -> Limit:
        return cls(of="tokens", amount=amount)

    @classmethod
    def tpd(cls, amount: int) -> Limit:
        return cls(of="tokens", amount=amount, per="day")

    @classmethod
    def itpm(cls, amount: int) -> Limit:
        return cls(of="input_tokens", amount=amount)

    @classmethod
    def otpm(cls, amount: int) -> Limit:
        """Output tokens per minute, charged as they are produced: the estimate is held, the truth debited."""
        return cls(of="output_tokens", amount=amount, charge="real")

    @classmethod
    def concurrency(cls, amount: int) -> Limit:
        return cls(of="concurrency", amount=amount, charge="concurrency")

    @classmethod
    def spend(cls, amount: Decimal | str | int, per: Per = "month") -> Limit:
        """The provider's own spend cap in dollars, charged at real cost."""
        return cls(of="cost", amount=nano(dollars_of(amount, "A spend limit")), per=per, window="fixed", charge="real")


def _number_problem(limit: Limit) -> str:
    if type(limit.amount) is not int or limit.amount < 0:
        return f"{limit.of} limit of {limit.amount}; it must be a whole number of at least 0"
    if limit.amount > MOST:
        return f"{limit.of} limit of more than {MOST:,}; leave the limit out where there is none"
    number = type(limit.burst_s) in (int, float)
    if limit.burst_s is not None and not (number and 0 < limit.burst_s < NEVER):
        return f"{limit.of} limit with burst_s {limit.burst_s}; it must be more than 0 seconds"
    return ""


def _word_problem(limit: Limit) -> str:
    globs: object = limit.models
    if not isinstance(globs, tuple | list) or not all(isinstance(glob, str) and glob for glob in globs):
        return f"{limit.of} limit for the models {globs!r}; write a tuple of names, as ('gpt-4o*',)"
    of: object = limit.of
    if not isinstance(of, str) or of not in _OF:
        return f"limit of '{limit.of}'; use one of {', '.join(DIMENSIONS)}"
    if limit.per not in get_args(Per):
        return f"{limit.of} limit per '{limit.per}'; use one of {', '.join(get_args(Per))}"
    if limit.window is not None and limit.window not in get_args(Shape):
        return f"{limit.of} limit with the window '{limit.window}'; use one of {', '.join(get_args(Shape))}"
    if limit.charge not in get_args(Charge):
        return f"{limit.of} limit charged '{limit.charge}'; use one of {', '.join(get_args(Charge))}"
    try:
        zone_of(limit.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        return f"{limit.of} limit in the unknown time zone '{limit.zone}'; use a name such as Europe/Berlin or UTC"
    return ""


class Window:
    """The live counter of one limit. Invariant: what is admitted in any interval never exceeds cap + rate * time.

    `charged` is the running total of what was consumed here (where the truth is billed, at its end), `corrected` of
    what the provider's word has moved the level by; `refused_at` is when a request last found no room, `refused_from`
    when the first did since the last forecast. `flight` is the sum of charges whose answers have not come, `told` the
    freshest number of the provider (at `merged_at`). `gross` is the refill the limit grants, `rate` what is left of it
    beside `foreign`, other clients' use of the same limit. `known` collects samples of a bucket's true size until they
    agree, `full` is the latest (it prices the room, `cap` bounds it), `seen` the (remaining, reset) that a later one is
    compared with; `learned` marks a window that no configuration named. `told_until`: until then its end was told.
    """

    __slots__ = (
        "at",
        "began",
        "cap",
        "ceiling",
        "charge",
        "charged",
        "corrected",
        "flight",
        "foreign",
        "full",
        "gross",
        "held",
        "holds",
        "known",
        "learned",
        "level",
        "limit",
        "merged_at",
        "merged_seq",
        "of",
        "outlook",
        "per",
        "period_s",
        "rate",
        "refund",
        "refused_at",
        "refused_from",
        "ring",
        "seen",
        "shape",
        "shown",
        "told",
        "told_until",
        "turns_at",
        "zone",
    )

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self.of = _OF[limit.of]
        self.per = limit.per
        self.zone = limit.zone
        self.charge: Charge = "concurrency" if self.of == CONCURRENCY else limit.charge
        self.holds = self.charge != "admission"
        self.refund = limit.refund
        self.shape: Shape = limit.window if limit.window else "fixed" if limit.per == "month" else "bucket"
        self.period_s = SECONDS[limit.per]
        self.held = 0
        self.charged = 0
        self.flight = 0
        self.shown = ""
        self.outlook: Outlook | None = None
        self.refused_at = -NEVER
        self.refused_from = NEVER
        self.told_until = -NEVER
        self.corrected = 0.0
        self.foreign = 0.0
        self.learned = False
        self.known: list[float] = []
        self.seen: tuple[int, float] | None = None
        self.merged_seq = -1
        self.merged_at = now
        self.at = self.began = now
        self.turns_at = NEVER
        self.ring: deque[list[float]] | None = None
        self.rate = self.gross = 0.0
        self.told = NEVER
        self.resize(limit.amount, limit.burst_s)
        self.ceiling = self.cap
        self.level = self.cap
        if self.charge == "concurrency":
            pass
        elif self.shape == "fixed":
            self.began, self.turns_at = starts_at(self.per, now, self.zone), ends_at(self.per, now, self.zone)
        elif self.shape == "rolling":
            self.ring = deque()

    def resize(self, amount: float, burst_s: float | None = None) -> None:
        """Give the window another size; the caller scales the level."""
        self.cap = self.full = float(amount)
        if self.shape == "bucket" and self.charge != "concurrency":
            self.gross = amount / self.period_s
            self.notice(self.foreign)
            if burst_s is not None:
                self.cap = self.full = min(self.cap, max(burst_s * self.gross, 1.0))

    def last(self, per: Per) -> None:
        """The limit turned out to be for another period; the level stays."""
        self.limit = replace(self.limit, per=per)
        self.per, self.period_s = per, SECONDS[per]
        self.resize(self.limit.amount)
        self.ceiling = self.cap
        self.level = min(self.level, self.cap)

    def notice(self, foreign: float) -> None:
        """Others use `foreign` units a second of this bucket; at least a twentieth of the refill stays ours."""
        self.foreign = max(0.0, min(foreign, 0.95 * self.gross))
        self.rate = self.gross - self.foreign

    def refill(self, now: float) -> None:
        """Believe the window to be full."""
        self.advance(now)
        if self.ring is not None:
            self.ring.clear()
        self.corrected += self.cap - self.level
        self.level = self.cap

    def correct(self, difference: float, now: float) -> None:
        """Move the level by what the provider's word differs from ours."""
        before = self.level
        if difference < 0 and self.ring is not None:
            self.debit(-difference, now)
        else:
            self.level = min(self.cap, self.level + difference)
        self.corrected += self.level - before

    @property
    def name(self) -> str:
        if self.charge == "concurrency":
            return "concurrency"
        return f"{DIMENSIONS[self.of]}/{self.per}"

    def free(self, now: float) -> float:
        """What fits now; negative when the provider charged more than was held."""
        self.advance(now)
        return self.level - self.held

    def advance(self, now: float) -> None:
        """Bring the level to `now`. Pool.fits_and_load inlines the bucket's half of this."""
        if self.rate:
            if now > self.at:
                self.level = min(self.cap, self.level + (now - self.at) * self.rate)
                self.at = now
        elif now >= self.turns_at:
            self.turn(now)

    def turn(self, now: float) -> None:
        """A fixed window begins anew; a rolling one forgets what is a period old."""
        if self.ring is None:
            self.began, self.level = self.turns_at, self.cap
            self.turns_at = ends_at(self.per, now, self.zone)
            return
        while self.ring and self.ring[0][0] <= now:
            self.level = min(self.cap, self.level + self.ring.popleft()[1])
        self.turns_at = self.ring[0][0] if self.ring else NEVER

    def take(self, amount: int, now: float) -> None:
        """Charge a request that is about to be sent; the caller has checked that it fits."""
        if self.holds:
            self.held += amount
        else:
            self.debit(amount, now)
            self.charged += amount

    def debit(self, amount: float, now: float) -> None:
        self.level -= amount
        if self.ring is not None and amount > 0:
            self._remember(amount, now)

    def _remember(self, amount: float, now: float) -> None:
        ring = self.ring
        assert ring is not None
        slot = self.period_s / RING_SLOTS
        forgets_at = (now // slot + 1) * slot + self.period_s
        if ring and ring[-1][0] >= forgets_at:
            ring[-1][1] += amount
        else:
            ring.append([forgets_at, amount])
        self.turns_at = ring[0][0]

    def settle(self, held: int, actual: int, taken_at: float, level_after: float, now: float) -> None:
        """A request ended: give back the hold, debit the truth where the provider bills the truth.

        `level_after` is the level right after its charge at `taken_at`, which tells how much of a refund is still due.
        """
        self.advance(now)
        if self.charge == "concurrency":
            self.held -= held
        elif self.holds:
            self.held -= held
            self.debit(actual, now)
            self.charged += actual
        elif self.refund:
            self.charged += actual - held
            if actual > held:
                self.debit(actual - held, now)
            else:
                self._return(held - actual, level_after, taken_at, now)

    def give_back(self, amount: int, level_after: float, taken_at: float, now: float) -> None:
        """A request was never sent: undo its charge, but never more than the limit would now hold without it."""
        self.advance(now)
        before = self.level
        if self.holds:
            self.held -= amount
        else:
            self.charged -= amount
            self._return(amount, level_after, taken_at, now)
        self.corrected += self.level - before

    def _return(self, amount: int, level_after: float, taken_at: float, now: float) -> None:
        """Undo a charge of `taken_at`, as far as it still weighs on the level.

        A bucket that has meanwhile refilled towards its cap would have overflowed without the charge, so only the
        part that surely did not overflow returns; a window that has turned owes nothing.
        """
        if self.ring is not None:
            self._forget(amount, taken_at)
        elif self.gross:
            room = self.cap - level_after - self.gross * max(0.0, now - taken_at)
            self.level = min(self.cap, self.level + max(0.0, min(amount, room)))
        elif taken_at >= self.began:
            self.level = min(self.cap, self.level + amount)

    def _forget(self, amount: float, taken_at: float) -> None:
        slot = self.period_s / RING_SLOTS
        forgets_at = (taken_at // slot + 1) * slot + self.period_s
        for entry in self.ring or ():
            if entry[0] == forgets_at and entry[1] >= amount:
                entry[1] -= amount
                self.level += amount
                return

    def wait_for(self, amount: int, now: float) -> float:
        """Seconds until `amount` fits if nothing else happens; NEVER when it exceeds the cap.

        Slots of a concurrency window free when somebody finishes, which no clock tells: 0 then, and the caller waits
        for the release.
        """
        short = amount - self.free(now)
        if short <= 0:
            return 0.0
        if amount > self.cap:
            return NEVER
        if self.charge == "concurrency":
            return 0.0
        if self.rate:
            return short / self.rate + TICK_S
        return self._turn_that_frees(short) - now

    def _turn_that_frees(self, short: float) -> float:
        for forgets_at, amount in self.ring or ():
            short -= amount
            if short <= 0:
                return forgets_at
        return self.turns_at

    def __repr__(self) -> str:
        return f"<{self.name} {self.shape} {self.level - self.held:.0f}/{self.cap:.0f} free, {self.held} held>"
