"""The driver: where time, chance and threads meet the pure core. acquire, settle, fail, release, explain.

One lock, held for microseconds and never across I/O, makes check-and-hold atomic for threads as well as tasks. Events
are told after it is free. `abandon` is the only entry that is safe from finalizers and signal handlers: it appends to
a deque that the next acquire drains. Sending is not here (dispatch.py), nor registration (facade.py).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from apikeyrouter.core.agenda import Agenda
from apikeyrouter.core.asking import Asking
from apikeyrouter.core.budget import BudgetTree
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.discovery import Discovery
from apikeyrouter.core.failure import Failure
from apikeyrouter.core.key import Transition
from apikeyrouter.core.ledger import Lease, Ledger, Settlement, holders
from apikeyrouter.core.merge import merge, shared_out
from apikeyrouter.core.model import Reading, Request, Usage
from apikeyrouter.core.pick import Ask, choose, with_cost
from apikeyrouter.core.price import PriceBook
from apikeyrouter.core.quote import cost_of
from apikeyrouter.core.refusal import refusal
from apikeyrouter.core.registry import Registry
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.roster import Deployment, release
from apikeyrouter.core.score import Objective
from apikeyrouter.core.spending import Spending
from apikeyrouter.core.tokens import Measure, TokenModel
from apikeyrouter.core.verdict import Effects, apply
from apikeyrouter.events import (
    Acquired,
    Announcer,
    BreakerChanged,
    BudgetCrossed,
    ExhaustionNear,
    Expired,
    Failed,
    PoolsShared,
    Refused,
    Settled,
    StateChanged,
)
from apikeyrouter.locks import new_lock
from apikeyrouter.ports import Clock, SecretSource
from apikeyrouter.settings import Settings, SystemClock

LEASE_GRACE_S: Final = 30.0
"""A lease outlives its request's timeout by this much before it expires."""


class Router:
    """Acquire and settle over one ledger. Build it with ApiKeyRouter; doors use it through that."""

    def __init__(
        self,
        *,
        prices: PriceBook,
        budgets: BudgetTree,
        objective: Objective,
        settings: Settings,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.now = self.clock.now
        self.settings = settings
        self.registry = Registry(prices, budgets)
        self.budgets = budgets
        budgets.start(self.now())
        self.tokens = TokenModel()
        self.asking = Asking(self.registry, budgets, self.tokens, objective, settings.default_max_output)
        self.asking.price_unknown(settings.unknown_price, settings.assumed_price)
        self.discovery = Discovery()
        self.secrets: dict[str, SecretSource] = {}
        self.lock = new_lock()
        rng = rng or Random()
        self.chance = rng.random
        self.prefix = f"{rng.getrandbits(28):07x}"
        self.ledger = Ledger(budgets, prefix=self.prefix)
        self.spending = Spending()
        self.decisions: OrderedDict[str, Decision] = OrderedDict()
        self.transitions: deque[Transition] = deque(maxlen=10_000)
        self.abandoned: deque[tuple[str, bool]] = deque()
        self.announce = Announcer()
        self.hooks = self.announce.hooks
        self.waker: Callable[[], None] | None = None
        self._outbox = self.announce.outbox
        self._agenda = Agenda()
        self._decided = 0

    # -- acquire ------------------------------------------------------------------------------------------------

    def acquire(
        self,
        request: Request,
        *,
        measure: Measure | None = None,
        attempts: Attempts | None = None,
        timeout_s: float | None = None,
        waited_s: float = 0.0,
        quiet: bool = False,
    ) -> Lease:
        """Choose a key and hold quota and money for it, at once, without I/O. `quiet` refusals leave no record.

        Raises NoEligibleKeysError, QuotaExhaustedError (with retry_after) or BudgetExceededError; each carries the
        decision that explains it.
        """
        lasts = timeout_s if request.sending_s is None else request.sending_s
        keep = LEASE_GRACE_S + (self.settings.timeout_s if lasts is None else lasts)
        try:
            with self.lock:
                lease = self._acquire(request, measure, attempts, keep, waited_s, quiet=quiet)
        finally:
            if self._outbox:
                self.announce.flush()
        if Acquired in self.hooks:
            self.announce.tell(Acquired.of(lease))
        return lease

    def _acquire(
        self,
        request: Request,
        measure: Measure | None,
        attempts: Attempts | None,
        keep: float,
        waited_s: float,
        *,
        quiet: bool,
    ) -> Lease:
        now = self.now()
        self._keep_house(now)
        decision, ask = self._decide(request, measure, attempts, now)
        decision.waited_s = waited_s
        if attempts is not None:
            decision.attempt = attempts.count + 1
        chosen = decision.chosen
        if chosen is not None or not quiet:
            self._remember(decision)
        if chosen is None:
            raise self._refused(decision, quiet=quiet)
        need = ask.need if not ask.costly else with_cost(ask.need, decision.cost or 0)
        nodes = holders(chosen, ask.nodes) if ask.nodes or chosen.nodes else ()
        lease = self.ledger.take(decision, need, nodes, now + keep, now)
        lease.measure = measure
        secret = self.secrets.get(chosen.key.id)
        if secret is not None:
            lease.reveal = secret.reveal
        if ask.objective.affinity:
            self.asking.served(ask, measure, chosen)
        key = chosen.key
        key.usage_count += 1
        key.last_used_at = now
        key.served += need[1] or 1
        for pool in chosen.pools:
            if pool.alarms:
                self._outbox.extend(ExhaustionNear.of(pool.id, each) for each in pool.alarms)
                pool.alarms.clear()
        return lease

    def preview(self, request: Request, *, measure: Measure | None = None) -> Decision:
        """What acquire would decide now, without holding anything."""
        try:
            with self.lock:
                now = self.now()
                self._keep_house(now)
                return self._decide(request, measure, None, now)[0]
        finally:
            self._ended()

    def _decide(
        self, request: Request, measure: Measure | None, attempts: Attempts | None, now: float
    ) -> tuple[Decision, Ask]:
        roster, ask, lowered = self.asking.ask(request, measure, attempts, now)
        decision = choose(roster, ask, now, self.chance)
        decision.lowered = lowered
        for deployment in self._agenda.half_opened():
            self.breaker_moved(deployment, now)
        return decision, ask

    def size_of(self, request: Request, measure: Measure | None) -> int:
        """Tokens a request would hold, for its place in a line."""
        with self.lock:
            return self.asking.ask(request, measure, None, self.now())[1].need[1]

    def group_of(self, request: Request) -> tuple[object, ...]:
        """Requests with the same one ask the same keys."""
        r, tenants = request, self.registry.tenants
        return (r.model, r.provider, r.operation, r.needs, r.among, r.tenant if tenants else None)

    def restrictions(self, request: Request) -> tuple[object, ...]:
        """What else may decide which of those keys serve a request: requests alike in it are refused alike."""
        r = request
        if not (self.asking.rulebook.rules or self.budgets.budgets or r.objective or r.max_cost):
            return ()
        return (r.tenant, r.user, tuple(sorted(r.tags.items())), id(r.objective), r.max_cost)

    def service_s(self, request: Request, measure: Measure | None) -> float:
        """Seconds an answer will take where it is given fastest; 0 while nobody has answered."""
        with self.lock:
            roster, ask, _ = self.asking.ask(request, measure, None, self.now())
            usual = self.tokens.output(request.model, request.operation, ask.output_tokens)[0]
            return roster.service_s(usual)

    def wait_behind(self, request: Request, tokens: int, requests: int) -> float:
        """Seconds until `tokens` and `requests` (those ahead and one's own) have been granted, at the soonest."""
        with self.lock:
            now = self.now()
            return self.asking.roster(request, now).wait_for_all(tokens, requests, now)

    def _remember(self, decision: Decision) -> None:
        self._decided += 1
        decision.id = f"dec_{self.prefix}{self._decided}"
        self.decisions[decision.id] = decision
        if len(self.decisions) > self.settings.explain_keep:
            self.decisions.popitem(last=False)

    def _refused(self, d: Decision, *, quiet: bool) -> Exception:
        d.outcome = "refused"
        error = refusal(d, known=tuple(sorted(self.registry.aliases)))
        if Refused in self.hooks and not quiet:
            self._outbox.append(Refused.of(d, error.code, error.retry_after))
        return error

    # -- the end of a lease -------------------------------------------------------------------------------------

    def settle(
        self,
        lease: Lease,
        usage: Usage | None = None,
        *,
        readings: tuple[Reading, ...] = (),
        identity: tuple[str, ...] = (),
        latency_s: float | None = None,
        first_byte_s: float | None = None,
    ) -> Settlement | None:
        """A request succeeded. None when the lease had ended before; usage None commits the estimate."""
        with self.lock:
            now = self.now()
            deployment = lease.candidate.deployment
            price = deployment.price
            cost = None if usage is None else cost_of(usage, price, now)
            done = self.ledger.settle(lease, usage, cost, now)
            if done is None:
                return None
            decision = lease.decision
            decision.outcome, decision.actual_cost = "settled", cost
            took = now - lease.at if latency_s is None else latency_s
            deployment.reliability.record(True, now)
            deployment.latency.record(took, usage.output_tokens if usage else 0, now, first_byte_s)
            if deployment.breaker.record(True, now, 0.0):
                self.breaker_moved(deployment, now)
            for pool in lease.candidate.pools:
                pool.refusals_in_row = 0
            if usage is not None and isinstance(lease.measure, Measure):
                self.tokens.learn(decision.request.model, decision.request.operation, lease.measure, usage)
            if readings or identity:
                self._merge(lease, readings, identity, now)
            self._billed(lease, usage, cost, now)
        if Settled in self.hooks:
            self.announce.tell(Settled.of(lease, usage, done.cost, took, now))
        self._ended()
        return done

    def fail(
        self,
        lease: Lease,
        failure: Failure,
        *,
        readings: tuple[Reading, ...] = (),
        identity: tuple[str, ...] = (),
        judge: bool = True,
        usage: Usage | None = None,
    ) -> Settlement | None:
        """An attempt failed; core/verdict.py says what that does to key, pool and model.

        `usage` is what it had used by then, for a stream that broke after it began.
        `judge` False leaves the verdict to a later `judge()`: whether a key or its provider is at fault may only show
        when another key has been tried.
        """
        with self.lock:
            now = self.now()
            cost = None if usage is None else cost_of(usage, lease.candidate.deployment.price, now)
            done = self.ledger.fail(lease, failure, now, usage, cost)
            if done is None:
                return None
            lease.decision.outcome = str(failure.kind)
            if done.cost != 0:
                self._billed(lease, usage, cost, now)
            readings, identity = (*readings, *failure.readings), identity or failure.owner
            if readings or identity:
                self._merge(lease, readings, identity, now)
            if judge:
                self._judge(lease, failure, now)
        if Failed in self.hooks:
            self.announce.tell(Failed.of(lease, failure, now))
        self._ended()
        return done

    def judge(self, lease: Lease, failure: Failure) -> None:
        """The verdict that `fail(judge=False)` left open."""
        with self.lock:
            self._judge(lease, failure, self.now())
        self._ended()

    def _judge(self, lease: Lease, failure: Failure, now: float) -> None:
        effects: Effects = apply(self.registry, lease, failure, now, self.chance())
        self.note(effects.moves)
        for pool in effects.stopped:
            self._agenda.watch(pool)
        if effects.breaker_moved:
            self.breaker_moved(lease.candidate.deployment, now)

    def release(self, lease: Lease) -> bool:
        """Nothing was sent: everything returns. False when the lease had ended before."""
        with self.lock:
            released = self.ledger.release(lease, self.now())
            if released:
                lease.decision.outcome = "released"
        self._ended()
        return released

    def abandon(self, lease_id: str, *, sent: bool = True) -> None:
        """The caller went away; safe from finalizers and signal handlers. Commits the estimate of what was sent."""
        self.abandoned.append((lease_id, sent))

    def _merge(self, lease: Lease, readings: tuple[Reading, ...], identity: tuple[str, ...], now: float) -> None:
        """Take in what the answer says of quotas, and of who owns them."""
        pools = lease.candidate.pools
        if identity:
            found = self.discovery.observe(
                self.registry, lease.provider, pools[-1], identity, readings, lease.marks[-1]
            )
            if found is not None:
                self._outbox.append(PoolsShared.of(found, now))
        for pool, marks, told in zip(pools, lease.marks, shared_out(pools, readings), strict=True):
            if told and merge(pool, told, marks, lease.seq, now):
                release(pool)

    def _ended(self) -> None:
        if self._outbox:
            self.announce.flush()
        if self.waker is not None:
            self.waker()

    # -- housekeeping, under the lock -----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Do what time alone demands now: expire leases, recover pools."""
        with self.lock:
            self._keep_house(self.now())
        self._ended()

    def _keep_house(self, now: float) -> None:
        while self.abandoned:
            name, sent = self.abandoned.popleft()
            lease = self.ledger.open_leases.get(name)
            if lease is not None:
                lease.decision.outcome = "abandoned" if sent else "released"
                if sent:
                    self.ledger.settle(lease, None, None, now)
                    self._billed(lease, None, None, now)
                else:
                    self.ledger.release(lease, now)
        expiries = self.ledger.expiries
        if expiries and expiries[0][0] <= now:
            for lease in self.ledger.expire(now):
                lease.decision.outcome = "expired"
                self._billed(lease, None, None, now)
                self._outbox.append(Expired(at=now, lease_id=lease.id, key_id=lease.key_id))
        for pool in self._agenda.due(now):
            self.note(pool.refresh(now))
            release(pool)

    def note(self, moves: Iterable[Transition]) -> None:
        """Keep transitions for the audit, and tell them once the lock is free."""
        for t in moves:
            self.transitions.append(t)
            self._outbox.append(StateChanged.of(t))

    def breaker_moved(self, deployment: Deployment, now: float) -> None:
        """Tell it, under the lock."""
        self._outbox.append(BreakerChanged.of(deployment, now))
        self._agenda.told(deployment)

    def _billed(self, lease: Lease, usage: Usage | None, cost: int | None, now: float) -> None:
        """An attempt was charged, or may have been: count it, compare it with its hold, tell budgets that were met."""
        self.spending.record(lease, usage, cost)
        if self.ledger.crossed:
            self._outbox.extend(BudgetCrossed.of(c, now) for c in self.ledger.crossed)
            self.ledger.crossed.clear()
