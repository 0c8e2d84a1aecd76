"""What each term of an objective says of a candidate: a number in [0, 1], 0 best.

`score` says how terms are weighed, `pick` who is asked; what is measured is here alone. Static terms are equal for all
keys of a stratum and computed once for it, the others depend on the key, its pool or the request. A user's own term is
a hook: what it raises counts as the worst and breaks no request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Final

from apikeyrouter.core.model import Request, Tags, dollars
from apikeyrouter.core.roster import Candidate, Stratum

LATENCY_REFERENCE_S: Final = 2.0
"""An answer this slow scores 0.5."""
FAIR_TOKENS: Final = 10_000.0
"""A key this far ahead of the least served one scores 0.5."""
BAND: Final = 0.05
"""Candidates whose terms differ by less are equal for an objective that ranks its terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A candidate as a user's own term sees it. `cost` in dollars, None where unknown; `load` 0 is an idle pool."""

    request: Request
    key: str
    provider: str
    model: str
    tags: Tags
    metadata: Mapping[str, object]
    cost: Decimal | None
    reliability: float
    latency_s: float
    load: float


Term = Callable[[Option], float]
"""A term of one's own: 0 best, 1 worst."""


def static_term(term: int, stratum: Stratum, cost: int | None, worst: int, output_tokens: int) -> float:
    """Term `term` of score.STATIC for a stratum. An unknown price counts as the dearest."""
    deployment = stratum.deployment
    if term == 0:
        return 1.0 if cost is None else cost / worst if worst else 0.0
    if term == 1:
        return 1.0 - deployment.reliability.lcb
    if term == 2:
        expected = deployment.latency.expected_s(output_tokens)
        return expected / (expected + LATENCY_REFERENCE_S)
    return 1.0 - stratum.quality


def fairness_term(candidate: Candidate, least: float) -> float:
    """How far a key is ahead of the least served one, by tokens over weight."""
    ahead = max(0.0, candidate.key.served / candidate.key.weight - least)
    return ahead / (ahead + FAIR_TOKENS)


def risk_term(candidate: Candidate) -> float:
    """The probability that a pool of the candidate runs out before its reset."""
    return max([pool.risk for pool in candidate.pools], default=0.0)


def affinity_term(candidate: Candidate, home: str | None) -> float:
    """Whether the prompt's beginning, or the session, was served elsewhere last; nothing where nobody knows."""
    return 0.0 if home is None or candidate.pools[-1].id == home else 1.0


def own_term(term: Term, request: Request, candidate: Candidate, cost: int | None, load: float) -> float:
    """What a user's function says of a candidate, kept in [0, 1]."""
    key, deployment = candidate.key, candidate.deployment
    option = Option(
        request=request,
        key=key.id,
        provider=deployment.provider,
        model=deployment.model,
        tags=key.tags,
        metadata=key.metadata,
        cost=None if cost is None else dollars(cost),
        reliability=deployment.reliability.mean,
        latency_s=deployment.latency.expected_s(0),
        load=load,
    )
    try:
        value = float(term(option))
    except Exception:  # noqa: BLE001  (a user's function cannot break a request)
        return 1.0
    return min(1.0, max(0.0, value)) if isfinite(value) else 1.0


def ranked(order: Sequence[str], columns: Mapping[str, Sequence[float]], count: int) -> list[int]:
    """Positions that are best by the ranked terms: each term in turn keeps those within BAND of the best left."""
    left = list(range(count))
    for name in order:
        column = columns[name]
        bound = min(column[i] for i in left) + BAND
        left = [i for i in left if column[i] <= bound]
    return left
