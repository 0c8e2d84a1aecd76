"""What was decided and why, kept as numbers and rendered only when somebody asks.

Every decision is remembered, so this is built for writing: slots, one flat list of floats, references to the strata
that were compared. Names, sentences and counterfactuals are made by `core/explain.py`. It never references a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from apikeyrouter.core.model import Need, Request
from apikeyrouter.core.rulebook import NO_VERDICT, Verdict

if TYPE_CHECKING:
    from apikeyrouter.core.pool import Shortfall
    from apikeyrouter.core.roster import Candidate, Roster, Stratum
    from apikeyrouter.core.score import Objective

# Reason codes of a rejection.
AVOIDED: Final = "already_failed"
BREAKER: Final = "breaker_open"
BUDGET: Final = "budget"
FORECAST: Final = "forecast"
CAPABILITY: Final = "capability"
MAX_COST: Final = "max_cost"
MAX_LATENCY: Final = "max_latency"
MIN_QUALITY: Final = "min_quality"
MIN_RELIABILITY: Final = "min_reliability"
NOT_ON_PLAN: Final = "not_on_plan"
OUTPUT_TOO_LONG: Final = "output_too_long"
POLICY: Final = "policy"
PRICE_UNKNOWN: Final = "price_unknown"
QUOTA: Final = "quota"
STATE: Final = "state"
TAGS: Final = "tags"

MONEY_CODES: Final = frozenset({BUDGET, MAX_COST, PRICE_UNKNOWN})
"""Rejections for want of money: when nothing else rejects, the error is BudgetExceeded."""

MOST_TOLD: Final = 64
"""Rejections a decision keeps one by one."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A key (or every key of a stratum, `count` of them) that could not serve.

    `value` is what it has and `bound` what was asked, in the unit of the code: nano-dollars, seconds, shares, tokens.
    """

    who: str
    code: str
    value: float = 0.0
    bound: float = 0.0
    wait_s: float | None = None
    where: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Lowered:
    """Another model than the one asked for, and who wanted it: a soft budget at its limit, or a policy.

    `cost` is what the model asked for might have cost, in nano-dollars, None where its price is unknown.
    """

    asked: str
    used: str
    by: str
    cost: int | None


_NOTHING: Final[dict[str, int]] = {}


class Decision:
    """One choice. `chosen` is None for a refusal. str() is the human explanation.

    Per stratum `statics` has (stratum, static score, cost in nano-dollars or None), and `terms` the terms of
    `objective.static`, in the same order. `loads` are of those in `scanned`, `scores` where keys of a stratum differ
    by more than load. `drawn` of `total` candidates were looked at. `capped` tells that a
    max_cost bounds the request.
    """

    __slots__ = (
        "actual_cost",
        "at",
        "attempt",
        "capped",
        "chosen",
        "correlation_id",
        "cost",
        "id",
        "loads",
        "lowered",
        "need",
        "objective",
        "outcome",
        "parked",
        "rejected",
        "request",
        "request_id",
        "roster",
        "scanned",
        "scores",
        "shortfalls",
        "statics",
        "terms",
        "untold",
        "verdict",
        "waited_s",
    )

    def __init__(self, request: Request, roster: Roster, objective: Objective, need: Need, at: float) -> None:
        self.id = ""
        self.request_id = request.request_id
        self.correlation_id = request.correlation_id
        self.request = request
        self.roster = roster
        self.objective = objective
        self.need = need
        self.at = at
        self.attempt = 1
        self.capped = False
        self.verdict: Verdict = NO_VERDICT
        self.lowered: Lowered | None = None
        self.waited_s = 0.0
        self.chosen: Candidate | None = None
        self.cost: int | None = None
        self.actual_cost: int | None = None
        self.outcome = "open"
        self.scanned: list[Candidate] = []
        self.loads: list[float] = []
        self.scores: Sequence[float] = ()
        self.statics: list[tuple[Stratum, float, int | None]] = []
        self.terms: list[float] = []
        # Most decisions refuse nobody: what is rare is made when it is needed.
        self.rejected: tuple[Rejection, ...] = ()
        self.untold = _NOTHING
        self.shortfalls: tuple[tuple[Candidate, Shortfall], ...] = ()
        self.parked: tuple[tuple[Stratum, int, float], ...] = ()

    def reject(self, refusal: Rejection) -> None:
        """Keep a rejection; of more than MOST_TOLD only their number by code, as decisions are kept by the thousand."""
        if len(self.rejected) < MOST_TOLD:
            self.rejected += (refusal,)
            return
        if not self.untold:
            self.untold = {}
        self.untold[refusal.code] = self.untold.get(refusal.code, 0) + refusal.count

    @property
    def policies(self) -> tuple[tuple[str, int, str], ...]:
        """(id, version, scope) of the policies that were in force for it, from the weakest to the strongest."""
        return self.verdict.applied

    @property
    def key(self) -> str | None:
        return self.chosen.key.id if self.chosen else None

    @property
    def provider(self) -> str | None:
        return self.chosen.deployment.provider if self.chosen else None

    @property
    def model(self) -> str:
        return self.chosen.deployment.model if self.chosen else self.roster.model

    @property
    def total(self) -> int:
        return self.roster.total

    @property
    def drawn(self) -> int:
        return len(self.scanned) + len(self.shortfalls)

    @property
    def retry_after(self) -> float | None:
        """Seconds until the first candidate that lacks only quota has room; None when time does not help."""
        waits = [s.wait_s for _, s in self.shortfalls]
        waits += [opens - self.at for _, count, opens in self.parked if count]
        waits += [r.wait_s for r in self.rejected if r.wait_s is not None]
        soonest = min(waits, default=None)
        return None if soonest is None or soonest == float("inf") else max(0.0, soonest)

    def __str__(self) -> str:
        from apikeyrouter.core.explain import render  # rendering knows the decision, not the other way round

        return render(self)

    def __repr__(self) -> str:
        return f"<Decision {self.id} {self.key or 'refused'} for {self.roster.model}>"
