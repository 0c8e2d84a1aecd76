"""No hard budget is overspent: not by many at once, by estimates, by crashes, by a period that turns in between."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from overspend.game import LIMIT, TROUBLES, Trouble, play
from overspend.wallets import CountAfter, Hands, Ours
from rig import Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.ledger import Lease, idle
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import BudgetExceededError
from apikeyrouter.events import BudgetCrossed

if TYPE_CHECKING:
    from apikeyrouter.core.escrow import Node

TASKS = 2_000
THREADS = 8
KEPT = [t for t in TROUBLES if t.overcharge == 1.0]
IDS = [t.name for t in KEPT]


@pytest.mark.parametrize("concurrency", [1, 32, 512])
@pytest.mark.parametrize("trouble", KEPT, ids=IDS)
def test_within_what_may_be_billed_nothing_is_overspent(trouble: Trouble, concurrency: int) -> None:
    score = play(Ours, trouble, concurrency)
    assert score.overshoot == 0.0
    assert score.served > 0


@pytest.mark.parametrize("trouble", ["10x too low", "crashes", "period turns"])
def test_the_game_can_be_lost(trouble: str) -> None:
    """Counting afterwards overspends in the same game, or the zeros above would say nothing."""
    (played,) = [t for t in TROUBLES if t.name == trouble]
    assert play(CountAfter, played, 512, by_hold=False).overshoot > 0.2


def test_nearly_all_of_the_budget_can_be_spent() -> None:
    """Nothing overspends by refusing everything."""
    wallets: list[Ours] = []

    def make(clock: Hands, limit: int, period: str) -> Ours:
        wallets.append(Ours(clock, limit, period))
        return wallets[-1]

    play(make, KEPT[1], 64)
    (status,) = wallets[0].router.budgets.status()
    assert 0.99 * LIMIT < status.spent * 10**9 <= LIMIT


@pytest.mark.parametrize("concurrency", [1, 16, 256])
def test_a_provider_that_bills_ten_times_the_most_gains_what_is_in_flight_and_no_more(concurrency: int) -> None:
    score = play(Ours, TROUBLES[-1], concurrency)
    assert score.overshoot <= score.bound
    assert score.refused > score.served  # blocked from the first bill beyond the limit on


# -- thousands at once, in four budgets that a request holds together -----------------------------------------------


def _rig() -> Rig:
    budgets = [
        Budget(scope="global", limit="0.9", period="minute"),
        Budget(scope="tenant:*", limit="0.3", period="hour"),
        Budget(scope="tag:team=a", limit="0.4", period="total"),
        Budget(scope="key:*", limit="0.5", period="rolling 1h"),
    ]
    rig = Rig(budgets=budgets, seed=5)
    rig.price("1")
    for name in ("k1", "k2", "k3"):
        rig.key(name)
    return rig


def _nodes(rig: Rig) -> list[Node]:
    return list(rig.router.budgets._nodes.values())


def _check(rig: Rig) -> None:
    """At any moment: spent and held together are within every limit, and what is held is the open leases' sum."""
    with rig.router.lock:
        held: Counter[int] = Counter()
        for lease in rig.router.ledger.open_leases.values():
            for node, epoch in zip(lease.nodes, lease.budget_epochs, strict=True):
                if epoch == node.epoch:
                    held[id(node)] += lease.cost_held
        for node in _nodes(rig):
            assert node.spent + node.held <= node.limit
            assert node.held == held[id(node)]
            assert node.overrun == 0
            for past in node.past:
                assert past.spent + past.held <= node.limit


def _ends(rig: Rig, lease: Lease, rng: Random) -> None:
    """A bill of a tenth to all of what was held, a release, a lost lease, or a failure that may have been billed."""
    end = rng.random()
    if end < 0.1:
        return
    if end < 0.2:
        rig.router.release(lease)
    elif end < 0.3:
        rig.router.abandon(lease.id)
    else:
        share = rng.choice((0.1, 0.5, 1.0))
        rig.router.settle(lease, Usage(input_tokens=int(500 * share), output_tokens=int(500 * share)))


def _asks(rig: Rig, n: int) -> Lease | None:
    request = ask(500, 500, tenant=f"t{n % 5}", tags={"team": "ab"[n % 2]})
    try:
        return rig.router.acquire(request, timeout_s=1.0)
    except BudgetExceededError:
        return None


async def test_thousands_of_tasks_keep_every_budget() -> None:
    rig, rng = _rig(), Random(11)

    async def one(n: int) -> bool:
        lease = _asks(rig, n)
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        if n % 100 == 0:
            rig.clock.advance(11)  # minutes turn while requests are in flight, and lost leases expire
            _check(rig)
        if lease is not None:
            _ends(rig, lease, rng)
        return lease is not None

    served = await asyncio.gather(*(one(n) for n in range(TASKS)))
    assert 300 < sum(served) < TASKS
    _at_rest(rig)


def _spree(rig: Rig, thread: int) -> Counter[bool]:
    """One thread's requests, up to twenty in flight; the first thread also moves the clock."""
    rng, served = Random(thread), Counter[bool]()
    waiting: list[Lease] = []
    for n in range(TASKS // THREADS):
        lease = _asks(rig, n + thread)
        served[lease is not None] += 1
        waiting += [] if lease is None else [lease]
        if len(waiting) > 20 or (waiting and lease is None):
            _ends(rig, waiting.pop(rng.randrange(len(waiting))), rng)
        if n % 50 == 0:
            _check(rig)
        if thread == 0 and n % 25 == 0:
            rig.clock.advance(13)
    for lease in waiting:
        _ends(rig, lease, rng)
    return served


def test_thousands_in_threads_keep_every_budget() -> None:
    rig, served = _rig(), Counter[bool]()
    failures: list[BaseException] = []

    def many(thread: int) -> None:
        try:
            served.update(_spree(rig, thread))
        except BaseException as error:  # noqa: BLE001  (told by the thread that waits)
            failures.append(error)

    with _switching_often():
        threads = [threading.Thread(target=many, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures
    assert served.total() == TASKS
    assert served[True] > 100
    _at_rest(rig)


class _switching_often:  # noqa: N801  (read as a statement)
    def __enter__(self) -> None:
        self.before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)

    def __exit__(self, *_: object) -> None:
        sys.setswitchinterval(self.before)


def _at_rest(rig: Rig) -> None:
    rig.clock.advance(100)
    rig.router.refresh()
    _check(rig)
    assert not rig.router.ledger.open_leases
    assert idle(list(rig.registry.pools.values()), rig.router.budgets)
    (total,) = rig.router.spending.report()
    books = sum(node.spent + sum(past.spent for past in node.past) for node in _nodes(rig) if node.key == "global")
    assert books == int(total.cost * 10**9)  # every cent is in the report that is in the budget, and none beside


# -- beyond what may be billed -----------------------------------------------------------------------------------------


@pytest.fixture
def overbilled() -> tuple[Rig, list[BudgetCrossed]]:
    rig = Rig(budgets=[Budget(scope="global", limit="0.01", period="total")])
    rig.price("1")
    rig.key("k")
    told: list[BudgetCrossed] = []
    rig.router.announce.subscribe(BudgetCrossed, told.append)  # type: ignore[arg-type]  # its own events only
    return rig, told


def test_an_overrun_is_recorded_told_and_blocks_at_once(overbilled: tuple[Rig, list[BudgetCrossed]]) -> None:
    rig, told = overbilled
    leases = [rig.router.acquire(ask(500, 500)) for _ in range(10)]
    rig.router.settle(leases[0], Usage(input_tokens=5_000, output_tokens=5_000))
    with pytest.raises(BudgetExceededError):
        rig.router.acquire(ask(1, 0))
    for lease in leases[1:]:
        rig.router.settle(lease, Usage(input_tokens=5_000, output_tokens=5_000))
    (status,) = rig.router.budgets.status()
    assert status.overrun * 10**9 == 10 * 9_000_000
    assert status.spent * 10**9 == 10 * 10_000_000
    assert sum(event.overrun for event in told) == 10 * 9_000_000
    with pytest.raises(BudgetExceededError):
        rig.router.acquire(ask(1, 0))
