"""The one mutable owner of holds: a lease takes quota, concurrency and money together, or nothing.

`take` is called in the same breath as the decision that found room, without a pause between, so check and hold are one.
A lease settles exactly once; one that never does expires at its deadline: money commits its estimate, because the
provider may have charged it, and concurrency is given back. The ledger has no lock; the router takes the one lock.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

from apikeyrouter.core.budget import BudgetTree, Crossing, Node
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.measure import Measure
from apikeyrouter.core.model import COST, OUTPUT, Need, Usage
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.roster import Candidate, release

OPEN: Final = "open"
SETTLED: Final = "settled"
FAILED: Final = "failed"
EXPIRED: Final = "expired"
RELEASED: Final = "released"
UNCHARGED: Final = frozenset({Kind.RATE_LIMITED, Kind.SLOW_DOWN, Kind.QUOTA_EXHAUSTED, Kind.UNAUTHENTICATED})
"""Refused before the provider looked at the tokens."""


class Lease:
    """Permission to send one request with one key. `cost_held` in nano-dollars; `secret()` gives the key itself."""

    __slots__ = (
        "at",
        "budget_epochs",
        "candidate",
        "cost_held",
        "deadline",
        "decision",
        "id",
        "key_version",
        "marks",
        "measure",
        "need",
        "nodes",
        "reveal",
        "seq",
        "state",
    )

    def __init__(self, name: str, seq: int, decision: Decision, candidate: Candidate, need: Need, at: float) -> None:
        self.id = name
        self.seq = seq
        self.decision = decision
        self.candidate = candidate
        self.need = need
        self.at = at
        self.deadline = at
        self.state = OPEN
        self.key_version = candidate.key.version
        self.cost_held = 0
        self.nodes: tuple[Node, ...] = ()
        self.budget_epochs: tuple[int, ...] = ()
        self.marks: list[list[float]] = []
        self.measure: object = None
        self.reveal: Callable[[], str] | None = None

    @property
    def key_id(self) -> str:
        return self.candidate.key.id

    @property
    def provider(self) -> str:
        return self.candidate.deployment.provider

    @property
    def model(self) -> str:
        return self.candidate.deployment.model

    @property
    def open(self) -> bool:
        return self.state is OPEN

    @property
    def limited(self) -> bool:
        """Whether a hard limit on cost applies: a budget's, or that of the request, a policy or the objective."""
        return self.decision.capped or (bool(self.nodes) and any(node.hard for node in self.nodes))

    @property
    def bound(self) -> int | None:
        """Tokens that each answer must be bounded by, because no more is held; None where it need not, or is.

        Whoever sends under a hard limit on cost, and does not bound the answer by itself, must send this along.
        """
        measure = self.measure if isinstance(self.measure, Measure) else None
        bounded = self.decision.request.max_output_tokens is not None
        if bounded or (measure is not None and measure.max_output_tokens is not None):
            return None
        if not self.need[OUTPUT] or not self.limited:
            return None
        return max(1, self.need[OUTPUT] // (1 if measure is None else measure.answers))

    def secret(self) -> str:
        """The key material, for the request's credential header only."""
        if self.reveal is None:
            raise LookupError(f"Lease {self.id} carries no secret: key {self.key_id} was registered without one.")
        return self.reveal()

    def __repr__(self) -> str:
        return f"<Lease {self.id} {self.key_id} {self.state}>"


class Settlement:
    """What ending a lease moved: cost in nano-dollars, budget thresholds crossed, pools where something got free."""

    __slots__ = ("cost", "crossings", "lease")

    def __init__(self, lease: Lease, cost: int | None, crossings: tuple[Crossing, ...]) -> None:
        self.lease = lease
        self.cost = cost
        self.crossings = crossings


class Ledger:
    """Open leases and their expiry. `open_leases` is keyed by lease id; `crossed` are budget limits met and untold."""

    __slots__ = ("budgets", "crossed", "expiries", "open_leases", "prefix", "seq")

    def __init__(self, budgets: BudgetTree | None = None, *, prefix: str = "") -> None:
        self.budgets = budgets or BudgetTree()
        self.open_leases: dict[str, Lease] = {}
        self.expiries: list[tuple[float, int, Lease]] = []
        self.crossed: list[Crossing] = []
        self.seq = 0
        self.prefix = prefix

    def take(self, decision: Decision, need: Need, nodes: tuple[Node, ...], deadline: float, now: float) -> Lease:
        """Hold everything for the chosen candidate. The caller has just seen that it fits."""
        candidate = decision.chosen
        if candidate is None:
            raise ValueError(f"decision {decision.id} chose nobody, so there is nothing to hold")
        self.seq = seq = self.seq + 1
        lease = Lease(f"lease_{self.prefix}{seq}", seq, decision, candidate, need, now)
        lease.marks = [pool.take(need, now) for pool in candidate.pools]
        if nodes:
            lease.cost_held = decision.cost or 0
            lease.nodes = nodes
            lease.budget_epochs = BudgetTree.hold(nodes, lease.cost_held, now)
        candidate.deployment.breaker.begin()
        lease.deadline = deadline
        self.open_leases[lease.id] = lease
        heappush(self.expiries, (deadline, seq, lease))
        if len(self.expiries) > 64 and len(self.expiries) > 2 * len(self.open_leases):
            self.expiries = [e for e in self.expiries if e[2].state is OPEN]
            heapify(self.expiries)
        return lease

    def enter_budgets(self, now: float) -> None:
        """Other budgets were declared: hold what is in flight in those that were not there when it was taken."""
        for lease in self.open_leases.values():
            new = tuple(node for node in self._path(lease, now) if node not in lease.nodes)
            if new:
                lease.cost_held = lease.cost_held if lease.nodes else lease.decision.cost or 0
                lease.budget_epochs += BudgetTree.hold(new, lease.cost_held, now)
                lease.nodes += new

    def _path(self, lease: Lease, now: float) -> tuple[Node, ...]:
        d, key, deployment = lease.decision, lease.candidate.key, lease.candidate.deployment
        request = d.request
        route = request.model if d.lowered is None else d.lowered.asked
        asked = self.budgets.request_path(
            tenant=request.tenant, user=request.user, tags=request.tags, route=route, now=now
        )
        return asked + self.budgets.candidate_path(
            provider=deployment.provider, pools=key.pools, key=key.id, model=deployment.model, now=now
        )

    def settle(
        self, lease: Lease, usage: Usage | None, cost: int | None, now: float, state: str = SETTLED
    ) -> Settlement | None:
        """End a lease with what it used; None when it had ended before (settling twice is settling once).

        `usage` None: the outcome is unknown, so the estimate stands. `cost` None: the hold is committed.
        """
        if not self._close(lease, state):
            return None
        actual = lease.need if usage is None else _actual(lease.need, usage, cost)
        for pool, marks in zip(lease.candidate.pools, lease.marks, strict=True):
            if pool.settle(lease.need, actual, marks, lease.at, now) and pool.parked:
                release(pool)
        spent = lease.cost_held if cost is None else cost
        crossings = BudgetTree.commit(lease.nodes, lease.budget_epochs, lease.cost_held, spent) if lease.nodes else ()
        if crossings:
            self.crossed += crossings
        return Settlement(lease, cost, crossings)

    def release(self, lease: Lease, now: float) -> bool:
        """Nothing was sent: everything returns. False when the lease had ended before."""
        if not self._close(lease, RELEASED):
            return False
        self._give_back(lease, now)
        return True

    def _give_back(self, lease: Lease, now: float, *, sent: bool = False) -> None:
        for pool, marks in zip(lease.candidate.pools, lease.marks, strict=True):
            pool.give_back(lease.need, marks, lease.at, now, sent=sent)
            release(pool)
        if lease.nodes:
            BudgetTree.release(lease.nodes, lease.budget_epochs, lease.cost_held)

    def fail(
        self, lease: Lease, failure: Failure, now: float, usage: Usage | None = None, cost: int | None = None
    ) -> Settlement | None:
        """End a lease that failed: refused requests cost no money, unknown outcomes commit what they held.

        `usage` and `cost` are what a stream that broke had used by then, where that is known.

        A pool that refused a request has not charged its tokens, only the request (providers count refused requests).
        """
        if not failure.sent:
            return Settlement(lease, 0, ()) if self.release(lease, now) else None
        if failure.billed or usage is not None:
            return self.settle(lease, usage, cost, now, FAILED)
        if failure.kind not in UNCHARGED:
            return self.settle(lease, Usage(), 0, now, FAILED)
        if not self._close(lease, FAILED):
            return None
        self._give_back(lease, now, sent=True)
        return Settlement(lease, 0, ())

    def expire(self, now: float) -> list[Lease]:
        """End every lease whose deadline has passed."""
        gone = []
        while self.expiries and self.expiries[0][0] <= now:
            lease = heappop(self.expiries)[2]
            if lease.state is OPEN and lease.deadline > now:
                heappush(self.expiries, (lease.deadline, lease.seq, lease))
            elif lease.state is OPEN:
                self.settle(lease, None, None, now, EXPIRED)
                gone.append(lease)
        return gone

    def _close(self, lease: Lease, state: str) -> bool:
        if lease.state is not OPEN or self.open_leases.pop(lease.id, None) is None:
            return False
        lease.state = state
        lease.candidate.deployment.breaker.end()
        return True


def _actual(need: Need, usage: Usage, cost: int | None) -> Need:
    spent = need[COST] if cost is None else cost
    return (need[0], usage.input_tokens + usage.output_tokens, usage.input_tokens, usage.output_tokens, need[4], spent)


def idle(pools: list[Pool], budgets: BudgetTree) -> bool:
    """Whether nothing is held anywhere: what an engine at rest must be."""
    return all(pool.idle for pool in pools) and not any(status.held for status in budgets.status())


def holders(candidate: Candidate, request_nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Every budget a request through this candidate holds money in."""
    return request_nodes + candidate.nodes if candidate.nodes else request_nodes
