"""Ten thousand at once, from tasks and from threads: not one more than the limit, and not one fewer."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest
from rig import Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.ledger import Lease, idle
from apikeyrouter.core.model import Request, Usage
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import BudgetExceededError, QuotaExhaustedError, RoutingError

ASKS = 10_000
THREADS = 8


@dataclass(frozen=True)
class Case:
    """A rig, the request everybody makes, how many may have it, and what the others are told."""

    make: Callable[[], Rig]
    request: Request
    admits: int
    refusal: type[RoutingError]


def limited(*limits: Limit, keys: int = 1) -> Callable[[], Rig]:
    def make() -> Rig:
        rig = Rig()
        for i in range(keys):
            rig.key(f"k{i}", limits)
        return rig

    return make


def budgeted(limit: str) -> Callable[[], Rig]:
    def make() -> Rig:
        rig = Rig(budgets=[Budget(scope="global", limit=limit, period="total")])
        rig.key("k")
        rig.price("1")
        return rig

    return make


CASES = {
    "requests": Case(limited(Limit.rpm(777)), ask(), 777, QuotaExhaustedError),
    "tokens": Case(limited(Limit.tpm(100_000)), ask(90, 39), 775, QuotaExhaustedError),
    "tokens of a fixed day": Case(
        limited(Limit(of="tokens", amount=100_000, per="day", window="fixed")), ask(90, 39), 775, QuotaExhaustedError
    ),
    "tokens of a rolling hour": Case(
        limited(Limit(of="tokens", amount=100_000, per="hour", window="rolling")), ask(90, 39), 775, QuotaExhaustedError
    ),
    "output as produced": Case(limited(Limit.otpm(50_000)), ask(10, 70), 714, QuotaExhaustedError),
    "concurrency": Case(limited(Limit.concurrency(321)), ask(5), 321, QuotaExhaustedError),
    "the tightest of several": Case(
        limited(Limit.rpm(900), Limit.tpm(50_000), Limit.concurrency(800)), ask(99, 1), 500, QuotaExhaustedError
    ),
    "several keys": Case(limited(Limit.rpm(100), keys=5), ask(), 500, QuotaExhaustedError),
    "many keys": Case(limited(Limit.rpm(40), keys=20), ask(), 800, QuotaExhaustedError),
    "money": Case(budgeted("0.05"), ask(60, 40), 500, BudgetExceededError),
}


class Crowd:
    """What everybody got."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rig = case.make()
        self.leases: list[Lease] = []
        self.refused: list[type[Exception]] = []

    def ask(self) -> None:
        try:
            lease = self.rig.router.acquire(self.case.request)
        except RoutingError as error:
            self.refused.append(type(error))  # a Counter would lose some: its += is two steps
        else:
            self.leases.append(lease)

    def check(self) -> None:
        case = self.case
        assert len(self.leases) == case.admits
        assert Counter(self.refused) == {case.refusal: ASKS - case.admits}
        assert len({lease.id for lease in self.leases}) == case.admits
        assert len(self.rig.router.ledger.open_leases) == case.admits

    def leave(self) -> None:
        for lease in self.leases:
            assert self.rig.router.release(lease)
        assert idle(list(self.rig.registry.pools.values()), self.rig.router.budgets)


def in_threads(work: Callable[[], None]) -> None:
    """Run `work` in THREADS threads that start together; what one raises is raised here."""
    start, raised, interval = threading.Barrier(THREADS), list[BaseException](), sys.getswitchinterval()

    def run() -> None:
        start.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (it is raised again in the test's own thread)
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)
    if raised:
        raise raised[0]


@pytest.mark.parametrize("name", CASES)
async def test_tasks_get_exactly_what_there_is(name: str) -> None:
    crowd = Crowd(CASES[name])

    async def one() -> None:
        await asyncio.sleep(0)
        crowd.ask()

    await asyncio.gather(*[one() for _ in range(ASKS)])
    crowd.check()
    crowd.leave()


@pytest.mark.parametrize("name", CASES)
def test_threads_get_exactly_what_there_is(name: str) -> None:
    crowd = Crowd(CASES[name])
    in_threads(lambda: [crowd.ask() for _ in range(ASKS // THREADS)] and None)
    crowd.check()
    crowd.leave()


def test_slots_that_come_and_go_in_threads_are_never_too_many() -> None:
    rig = Rig(budgets=[Budget(scope="global", limit="1000", period="total")])
    rig.key("k", [Limit.concurrency(3)])
    rig.price("1")
    window = rig.registry.pools["k"].windows[0]
    served: Counter[int] = Counter()

    def work() -> None:
        me, done = threading.get_ident(), 0
        while done < 200:
            try:
                lease = rig.router.acquire(ask(50, 50))
            except QuotaExhaustedError:
                continue
            assert 1 <= window.held <= 3
            assert rig.router.settle(lease, Usage(input_tokens=50, output_tokens=20)) is not None
            done += 1
        served[me] = done

    in_threads(work)
    assert sum(served.values()) == 200 * THREADS
    status = rig.router.budgets.status("global")[0]
    assert (status.spent, status.held) == (Decimal(200 * THREADS * 70) / 1_000_000, 0)
    assert idle(list(rig.registry.pools.values()), rig.router.budgets)


def test_a_lease_settled_by_all_threads_at_once_is_settled_once() -> None:
    rig = Rig(budgets=[Budget(scope="global", limit="1", period="total")])
    rig.key("k", [Limit.concurrency(1000)])
    rig.price("1")
    leases = [rig.router.acquire(ask(10)) for _ in range(500)]
    settled: list[object] = []

    def work() -> None:
        settled.extend(s for lease in leases if (s := rig.router.settle(lease, Usage(input_tokens=10))) is not None)

    in_threads(work)
    assert len(settled) == len(leases)
    assert rig.router.budgets.status("global")[0].spent * 1_000_000 == 5_000
    assert idle(list(rig.registry.pools.values()), rig.router.budgets)


def test_keys_change_while_threads_ask() -> None:
    """Keys registered and revoked under load: every request is served, no key and no hold is lost."""
    rig = Rig()
    for i in range(10):
        rig.key(f"k{i}", [Limit.rpm(1_000_000)])
    counted = iter(range(10, 1_000_000))
    lock = threading.Lock()

    def work() -> None:
        for turn in range(150):
            lease = rig.router.acquire(ask(1))
            assert rig.router.settle(lease, Usage(input_tokens=1)) is not None
            if turn % 10 == 0:
                with lock, rig.router.lock:
                    name = f"k{next(counted)}"
                    rig.key(name, [Limit.rpm(1_000_000)])
                    rig.registry.remove_key(next(iter(rig.registry.keys)))

    in_threads(work)
    assert len(rig.registry.keys) == 10
    assert sum(pool.in_flight for pool in rig.registry.pools.values()) == 0
