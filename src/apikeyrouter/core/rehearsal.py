"""What other policies would have done: two rulebooks asked about the same recorded requests, side by side.

A policy is rarely wrong in what it says and often in what it meets. Before one is put in force it is tried on traffic
that was; nothing is held, sent or learned. What policies take away and set is counted from the facts alone; which key
would be chosen, and what that costs, is asked of whoever can choose (`Case.choose`), with both rulebooks under the
same circumstances, so that only the policies can make the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import zip_longest

from apikeyrouter.core.frozen import Frozen
from apikeyrouter.core.model import dollars
from apikeyrouter.core.rulebook import Rulebook, Verdict

Values = Mapping[str, object]
NOTHING: Values = Frozen({})
EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """Who would serve: key and model, "" for a refusal, and the expected cost in nano-dollars, None where unknown."""

    key: str
    model: str
    cost: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A recorded request: its facts, those of the candidates it had and of their pools, the time, an id to show.

    `choose` says who would serve under a rulebook; without it a decision counts as changed where a policy touches it.
    """

    id: str
    request: Values
    keys: Sequence[Values]
    now: float
    budget: Values = field(default_factory=dict)
    pools: Sequence[Values] = ()
    choose: Callable[[Rulebook], Choice] | None = None


@dataclass(slots=True, kw_only=True)
class Impact:
    """Differences over all cases. str() of it is the sentence for a person.

    `changed` of `requests` decisions would have been others, and `cost_nano` nano-dollars dearer (cheaper: negative).
    `newly_refused` and `newly_served` count requests, `examples` name some of the refused; `removed` counts candidates
    the new policies take away, by policy, `returned` those they give back; `objectives`, `models` and `caps` count
    requests whose objective, model or cost cap changes; `notes` are conditions that could not be answered.
    """

    requests: int = 0
    changed: int = 0
    cost_nano: int = 0
    newly_refused: int = 0
    newly_served: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    returned: Counter[str] = field(default_factory=Counter)
    objectives: int = 0
    models: int = 0
    caps: int = 0
    examples: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def touches(self) -> int:
        """How often a policy touched anything."""
        counts = (self.newly_refused, self.newly_served, self.objectives, self.models, self.caps)
        return sum(counts) + self.removed.total() + self.returned.total()

    @property
    def changes_anything(self) -> bool:
        return bool(self.changed or self.touches)

    @property
    def cost(self) -> Decimal:
        """What the cases would have cost more, in dollars."""
        return dollars(self.cost_nano)

    def __str__(self) -> str:
        sign = "-" if self.cost_nano < 0 else "+"
        parts = [f"would have changed {self.changed:,} of {self.requests:,} decisions, {sign}${_cents(self.cost)}"]
        parts += [
            f"{n:,} {what}"
            for n, what in ((self.newly_refused, "newly refused"), (self.newly_served, "newly served"))
            if n
        ]
        parts += [f"{policy} takes {n:,} candidates away" for policy, n in self.removed.most_common(3)]
        return "; ".join([*parts, *self.notes])


def _cents(amount: Decimal) -> str:
    """Cents where there are any, else four digits that mean something."""
    size = abs(amount)
    if not size or size >= Decimal("0.01"):
        return f"{size:.2f}"
    return f"{size:.{3 - size.adjusted()}f}".rstrip("0")


def rehearse(before: Rulebook, after: Rulebook, cases: Iterable[Case]) -> Impact:
    """What changes for the cases when `after` takes the place of `before`."""
    impact = Impact()
    for case in cases:
        old = before.judge(case.request, case.now, case.budget)
        new = after.judge(case.request, case.now, case.budget)
        impact.requests += 1
        _compare_choices(impact, case, before, after)
        touched = impact.touches
        _compare_keys(impact, case, old, new)
        impact.objectives += old.objective != new.objective
        impact.caps += old.max_cost != new.max_cost
        impact.models += _model(old, case) != _model(new, case)
        impact.notes.update(new.notes)
        if case.choose is None:
            impact.changed += impact.touches != touched
    return impact


def _compare_choices(impact: Impact, case: Case, before: Rulebook, after: Rulebook) -> None:
    if case.choose is None:
        return
    old, new = case.choose(before), case.choose(after)
    impact.changed += (old.key, old.model) != (new.key, new.model)
    if (old.cost is None and old.key) or (new.cost is None and new.key):
        return  # with an unknown price on either side there is no difference to tell
    impact.cost_nano += (new.cost or 0) - (old.cost or 0)


def _compare_keys(impact: Impact, case: Case, old: Verdict, new: Verdict) -> None:
    served = [0, 0]
    for key, pool in zip_longest(case.keys, case.pools, fillvalue=NOTHING):
        was, now = old.refusal(key, pool), new.refusal(key, pool)
        served[0] += was is None
        served[1] += now is None
        if now and not was:
            impact.removed[now.policy] += 1
        if was and not now:
            impact.returned[was.policy] += 1
    if served[0] and not served[1]:
        impact.newly_refused += 1
        if len(impact.examples) < EXAMPLES:
            impact.examples.append(case.id)
    impact.newly_served += bool(served[1] and not served[0])


def _model(verdict: Verdict, case: Case) -> str:
    request = case.request
    return verdict.model(str(request.get("route", "")), str(request.get("user") or request.get("session") or case.id))
