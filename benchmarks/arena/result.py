"""What came of a run: counted after the warm-up, from the callers' side and from the provider's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from apikeyrouter.simulator import World
from arena.workload import Job


@dataclass(slots=True, kw_only=True)
class Result:
    """One router in one run. `tokens` are those of served requests; `waits` in seconds, without the service itself.

    429s after the warm-up are `throttled`, those in it `throttled_warm`, and among these the `cold` ones, before the
    first answer of an organisation had come. `lag_s` is how late the player's loop woke up, at the 99th percentile.
    """

    router: str
    seed: int = 0
    offered: int = 0
    offered_tokens: int = 0
    tokens: int = 0
    waits: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    throttled: int = 0
    throttled_warm: int = 0
    cold: dict[str, int] = field(default_factory=dict)
    lag_s: float = 0.0

    @property
    def served(self) -> int:
        return len(self.waits)

    @property
    def failed(self) -> int:
        return self.offered - self.served

    def note(self, job: Job, wait_s: float | None, error: str = "") -> None:
        """One request that arrived after the warm-up; `wait_s` None when it was not served."""
        self.offered += 1
        self.offered_tokens += job.charge
        if wait_s is None:
            self.errors[error] = self.errors.get(error, 0) + 1
        else:
            self.tokens += job.charge
            self.waits.append(max(0.0, wait_s))

    def count_throttled(self, world: World, born: float, warm_s: float) -> None:
        """Take in the provider's record; `born` is when the run began, by the world's clock."""
        answered: dict[str, float] = {}
        for seen in world.record.all():
            done = seen.at / 1e9 + seen.took_s
            answered[seen.organisation] = min(done, answered.get(seen.organisation, done))
        for seen in world.record.all(outcome="throttled"):
            at = seen.at / 1e9
            if at - born >= warm_s:
                self.throttled += 1
                continue
            self.throttled_warm += 1
            if at < answered[seen.organisation]:
                self.cold[seen.organisation] = self.cold.get(seen.organisation, 0) + 1

    def row(self) -> Row:
        ranked = sorted(self.waits)
        return Row(
            router=self.router,
            offered=self.offered,
            failed=self.failed / max(1, self.offered),
            throttled=self.throttled / max(1, self.served),
            cold=max(self.cold.values(), default=0),
            warm=self.throttled_warm - sum(self.cold.values()),
            goodput=self.tokens / max(1, self.offered_tokens),
            served=self.served / max(1, self.offered),
            p50_s=_quantile(ranked, 0.5),
            p95_s=_quantile(ranked, 0.95),
            lag_s=self.lag_s,
            errors=dict(self.errors),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A run in numbers. `failed`, `goodput` (of tokens) and `served` are shares of what was offered, `throttled` is
    429s per success, `cold` the most any pool saw before its first answer, `warm` the other 429s of the warm-up."""

    router: str
    offered: float
    failed: float
    throttled: float
    cold: float
    warm: float
    goodput: float
    served: float
    p50_s: float
    p95_s: float
    lag_s: float
    errors: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def _quantile(ranked: list[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("inf")


def mean(rows: list[Row]) -> Row:
    """The mean of one router's rows; the worst cold start, and all errors."""

    def of(name: str) -> float:
        return sum(getattr(row, name) for row in rows) / len(rows)

    errors: dict[str, int] = {}
    for row in rows:
        for name, count in row.errors.items():
            errors[name] = errors.get(name, 0) + count
    numbers = ("offered", "failed", "throttled", "warm", "goodput", "served", "p50_s", "p95_s", "lag_s")
    return Row(
        router=rows[0].router, cold=max(row.cold for row in rows), errors=errors, **{name: of(name) for name in numbers}
    )
