"""What other policies would have done: two rulebooks asked about the same recorded requests, side by side.

A policy is rarely wrong in what it says and often in what it meets. Before one is put in force it is tried on traffic
that was; nothing is held, sent or learned. Only policies are compared, not quotas: a request counts as refused when no
candidate is left that the policies allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from types import MappingProxyType

from apikeyrouter.core.rulebook import Rulebook, Verdict

Values = Mapping[str, object]
NOTHING: Values = MappingProxyType({})
EXAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A recorded request: its facts, those of the candidates it had and of their pools, the time, an id to show."""

    id: str
    request: Values
    keys: Sequence[Values]
    now: float
    budget: Values = field(default_factory=dict)
    pools: Sequence[Values] = ()


@dataclass(slots=True, kw_only=True)
class Impact:
    """Differences over all cases.

    `newly_refused` and `newly_served` count requests, `examples` name some of the refused; `removed` counts candidates
    the new policies take away, by policy, `returned` those they give back; `objectives`, `models` and `caps` count
    requests whose objective, model or cost cap changes; `notes` are conditions that could not be answered.
    """

    requests: int = 0
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
    def changes_anything(self) -> bool:
        counts = (self.newly_refused, self.newly_served, self.objectives, self.models, self.caps)
        return any(counts) or bool(self.removed or self.returned)


def rehearse(before: Rulebook, after: Rulebook, cases: Iterable[Case]) -> Impact:
    """What changes for the cases when `after` takes the place of `before`."""
    impact = Impact()
    for case in cases:
        old = before.judge(case.request, case.now, case.budget)
        new = after.judge(case.request, case.now, case.budget)
        impact.requests += 1
        _compare_keys(impact, case, old, new)
        impact.objectives += old.objective != new.objective
        impact.caps += old.max_cost != new.max_cost
        impact.models += _model(old, case) != _model(new, case)
        impact.notes.update(new.notes)
    return impact


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
