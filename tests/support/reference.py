"""A router beside a reference that counts with exact numbers and remembers everything.

The reference keeps what a provider would have seen: each charge that was sent, when, and how much of it stayed charged.
From that it derives what the ledger may never have done. Times are exact fractions; the tolerance is a thousandth of a
unit, because a time near 2e9 s is exact to 2.4e-7 s only. Whoever drives it (a state machine, a random walk) calls the
verbs and `check()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from rig import Rig, ask

from apikeyrouter.core.budget import Budget, Node
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.failure import Failure
from apikeyrouter.core.key import State, Trigger
from apikeyrouter.core.ledger import UNCHARGED, Lease, idle
from apikeyrouter.core.model import REQUESTS, Usage
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.window import Limit, Window
from apikeyrouter.errors import BudgetExceededError, InvalidStateTransitionError, QuotaExhaustedError, RoutingError
from apikeyrouter.router import LEASE_GRACE_S

TOLERANCE: Final = Fraction(1, 1000)
NANO_PER_TOKEN: Final = 1000
TIMEOUT_S: Final = 60.0

POOLS: Final[dict[str, tuple[Limit, ...]]] = {
    "bucket": (Limit.rpm(20), Limit.tpm(3_000)),
    "refunding": (Limit(of="tokens", amount=2_000, refund=True), Limit.concurrency(4)),
    "fixed": (Limit(of="tokens", amount=1_500, window="fixed"), Limit.rpd(50)),
    "rolling": (Limit(of="tokens", amount=1_500, window="rolling"), Limit.rps(3)),
    "real": (Limit.otpm(1_000), Limit.concurrency(3), Limit(of="input_tokens", amount=900, per="hour", charge="real")),
    "returning": (Limit(of="requests", amount=7, window="fixed"), Limit(of="tokens", amount=900, refund=True)),
    "unknown": (),
}


@dataclass(eq=False)
class Charge:
    """One lease as a provider would have seen it. `at` is the furthest time so far: its clock does not step back."""

    lease: Lease
    at: Fraction
    used: int | None = None
    uncharged: bool = False
    unsent: bool = False

    def weight(self, w: Window) -> int:
        """What stays charged of this lease in a window that charges at admission."""
        if self.unsent or (self.uncharged and w.of != REQUESTS):
            return 0
        held = self.lease.need[w.of]
        return min(self.used, held) if w.refund and self.used is not None else held


class World:
    """A router with two keys and hard budgets, and everything that ever happened to it."""

    def __init__(self, names: Iterable[str], *, tenant_limit: str = "1", seed: int = 1) -> None:
        budgets = [
            Budget(scope="global", limit="1", period="total"),
            Budget(scope="tenant:*", limit=tenant_limit, period="hour"),
        ]
        self.rig = Rig(budgets=budgets, seed=seed)
        self.rig.provider()
        self.rig.price("1")
        self.router = self.rig.router
        self.registry = self.router.registry
        self.furthest = Fraction(self.rig.clock.time)
        self.charges: list[Charge] = []
        self.open: list[Charge] = []
        self.spent = 0
        self.overused = False
        self.count = 0
        self.names = sorted(names)
        for name in self.names:
            self.register(name)
        self.pools: list[Pool] = list(self.registry.pools.values())

    @property
    def now(self) -> float:
        return self.rig.clock.time

    # -- requests -----------------------------------------------------------------------------------------------

    def acquire(self, tokens: int, output: int, tenant: str | None) -> bool:
        try:
            lease = self.router.acquire(ask(tokens, output, tenant=tenant), timeout_s=TIMEOUT_S)
        except RoutingError as error:
            self.noticed()
            self._right_to_refuse(error, tokens + output)
            return False
        self.noticed()
        self.furthest = max(self.furthest, Fraction(self.now))
        charge = Charge(lease, self.furthest)
        self.charges.append(charge)
        self.open.append(charge)
        assert lease.need[:4] == (1, tokens + output, tokens, output)
        assert lease.candidate.key.usable
        assert lease.deadline == self.now + TIMEOUT_S + LEASE_GRACE_S
        for pool in lease.candidate.pools:
            assert self.now >= pool.until
            for w in pool.windows:
                self._fits_every_interval(pool, w)
        return True

    def _right_to_refuse(self, error: RoutingError, tokens: int) -> None:
        """A refusal for want of room or money is true of every key that could have served."""
        decision = error.decision
        assert isinstance(decision, Decision)
        assert decision.chosen is None
        if isinstance(error, QuotaExhaustedError):
            for candidate in decision.roster.candidates:
                full = any(pool.fits_and_load(decision.need, self.now) < 0 for pool in candidate.pools)
                assert full or not candidate.deployment.breaker.allows(self.now)
            assert error.retry_after is None or error.retry_after >= 0
        if isinstance(error, BudgetExceededError):
            cost = tokens * NANO_PER_TOKEN
            assert any(n.hard and cost > n.limit - n.spent - n.held for n in self.nodes())

    def settle(self, charge: Charge, share: float, more: int = 0) -> None:
        need = charge.lease.need
        used = Usage(input_tokens=int(need[2] * share) + more, output_tokens=int(need[3] * share))
        assert self.router.settle(charge.lease, used) is not None
        self._ended(charge, used.total_tokens)

    def settle_unknown(self, charge: Charge) -> None:
        assert self.router.settle(charge.lease) is not None
        self._ended(charge, None)

    def end_again(self, charge: Charge) -> None:
        """Whatever is done with a lease that has ended changes nothing."""
        self.keep_house()
        before = self.totals()
        assert self.router.settle(charge.lease, Usage(input_tokens=10_000)) is None
        assert not self.router.release(charge.lease)
        self.router.abandon(charge.lease.id)
        self.keep_house()
        assert self.totals() == before

    def fail(self, charge: Charge, failure: Failure) -> None:
        assert self.router.fail(charge.lease, failure) is not None
        charge.unsent = not failure.sent
        charge.uncharged = failure.sent and not failure.billed and failure.kind in UNCHARGED
        self._ended(charge, None if failure.sent and failure.billed else 0)

    def release(self, charge: Charge) -> None:
        assert self.router.release(charge.lease)
        charge.unsent = True
        self._ended(charge, 0)

    def abandon(self, charge: Charge) -> None:
        self.router.abandon(charge.lease.id)
        self.router.refresh()
        assert not charge.lease.open
        self.noticed()

    # -- time and people ----------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        self.rig.clock.advance(seconds)

    def keep_house(self) -> None:
        self.router.refresh()
        self.noticed()
        assert all(charge.lease.deadline > self.now for charge in self.open)

    def register(self, pool: str) -> None:
        self.count += 1
        self.rig.key(f"k{self.count}", POOLS[pool], pools=[pool])

    def revoke(self, name: str) -> None:
        self.registry.remove_key(name)

    def rotate(self, name: str) -> None:
        self.count += 1
        key = self.registry.key(name)
        self.registry.rename_material(key, f"f{self.count}")
        key.apply(Trigger.ROTATION, self.now)

    def move(self, name: str, trigger: Trigger) -> None:
        key = self.registry.key(name)
        before = key.state
        try:
            key.apply(trigger, self.now)
        except InvalidStateTransitionError:
            assert key.state is before
            assert trigger is Trigger.ENABLED_BY_HAND
            assert before is not State.DISABLED
        self.registry.changed()

    # -- the reference -------------------------------------------------------------------------------------------

    def noticed(self) -> None:
        """Leases that the router ended by itself committed their estimate."""
        for charge in [c for c in self.open if not c.lease.open]:
            self._ended(charge, None)

    def _ended(self, charge: Charge, tokens: int | None) -> None:
        lease = charge.lease
        self.furthest = max(self.furthest, Fraction(self.now))
        assert not lease.open
        self.open.remove(charge)
        charge.used = tokens
        billed = lease.need[1] if tokens is None else tokens
        self.overused |= billed * NANO_PER_TOKEN > lease.cost_held
        self.spent += billed * NANO_PER_TOKEN

    def nodes(self) -> Iterator[Node]:
        yield from {id(n): n for charge in self.charges for n in charge.lease.nodes}.values()

    def totals(self) -> object:
        windows = [(w.level, w.held) for pool in self.pools for w in pool.windows]
        return windows, [(n.spent, n.held) for n in self.nodes()], [pool.in_flight for pool in self.pools]

    def _fits_every_interval(self, pool: Pool, w: Window) -> None:
        """No interval that ends now has seen more than the window allows."""
        sent = [(c.at, c.weight(w)) for c in self.charges if pool in c.lease.candidate.pools]
        if w.holds or not sent:
            return
        now, total, period = sent[-1][0], 0, Fraction(w.period_s)
        for at, n in reversed(sent):
            if w.shape == "fixed" and at // period != now // period:
                break
            if w.shape == "rolling" and at <= now - period:
                break
            total += n
            refill = (now - at) * Fraction(w.limit.amount) / period if w.shape == "bucket" else Fraction(0)
            assert total <= w.limit.amount + refill + TOLERANCE, (w, total, float(refill))

    # -- what is always true --------------------------------------------------------------------------------------

    def check(self) -> None:
        leases = list(self.router.ledger.open_leases.values())
        assert {lease.id for lease in leases} == {charge.lease.id for charge in self.open}
        for pool in self.pools:
            mine = [lease for lease in leases if pool in lease.candidate.pools]
            assert pool.in_flight == len(mine)
            for w in pool.windows:
                taken = sum(lease.need[w.of] for lease in mine)
                assert w.flight == taken
                assert w.held == (taken if w.holds else 0)
                assert w.level <= w.cap
        for node in self.nodes():
            self._check_money(node, leases)

    def _check_money(self, node: Node, leases: list[Lease]) -> None:
        epochs = [dict(zip((n.key for n in lease.nodes), lease.budget_epochs, strict=True)) for lease in leases]
        mine = [lease for lease, epoch in zip(leases, epochs, strict=True) if epoch.get(node.key) == node.epoch]
        assert node.held == sum(lease.cost_held for lease in mine)
        if node.key == "global":
            assert node.spent == self.spent
        if not self.overused:
            assert node.spent + node.held <= node.limit

    def close(self) -> None:
        """Everybody crashed: at their deadlines the leases end, their money is spent, and nothing is held."""
        self.rig.clock.time = float(self.furthest) + TIMEOUT_S + LEASE_GRACE_S
        self.router.refresh()
        self.noticed()
        self.check()
        assert not self.open
        assert not self.router.ledger.expiries
        assert idle(self.pools, self.router.budgets)
        assert all(d.breaker.in_flight == 0 for d in self.registry.deployments.values())
