"""What a run came to, as numbers: each key, pool and budget, two decisions in words, and whether it went well."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

MOST_THROTTLED = 0.01
"""The share of requests a provider may have to refuse with 429 at this load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key: answered requests and their tokens, 429s and other failures that its provider answered, dollars."""

    id: str
    provider: str
    pool: str
    requests: int
    tokens: int
    throttled: int
    failed: int
    cost: Decimal
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """A pool: the window with the least left. `lowest` is the least share that was ever left, as the router saw it."""

    id: str
    keys: tuple[str, ...]
    window: str
    limit: float
    remaining: float
    lowest: float
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    id: str
    scope: str
    limit: Decimal
    spent: Decimal
    remaining: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`seen` and `throttled` are counted by the simulator; `errors` are the sentences of requests not served."""

    requests: int
    served: int
    streamed: int
    geocoded: int
    errors: tuple[str, ...]
    seconds: float
    load: float
    seen: int
    throttled: int
    failovers: int
    waited: int
    longest_wait_s: float
    latency_p50_s: float
    latency_p95_s: float
    input_tokens: int
    output_tokens: int
    cost: Decimal
    keys: tuple[KeyRow, ...]
    pools: tuple[PoolRow, ...]
    budgets: tuple[BudgetRow, ...]
    events: tuple[str, ...]
    decisions: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Every request was served."""
        return self.served == self.requests

    @property
    def throttled_share(self) -> float:
        return self.throttled / self.seen if self.seen else 0.0
