"""Leases from taking to their end. Laws under any sequence of events are in tests/engine/test_machine.py."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import START, Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.ledger import EXPIRED, OPEN, RELEASED, SETTLED, Ledger, idle
from apikeyrouter.core.model import Usage
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import QuotaExhaustedError
from apikeyrouter.router import LEASE_GRACE_S


def rig(*limits: Limit) -> Rig:
    made = Rig(budgets=[Budget(scope="global", limit="1", period="total")])
    made.price("1")
    made.key("k", limits or [Limit.concurrency(1_000)])
    return made


def spent(made: Rig) -> Decimal:
    """In tokens, at a dollar for a million."""
    return made.router.budgets.status("global")[0].spent * 1_000_000


def test_a_lease_says_what_it_is() -> None:
    lease = rig().router.acquire(ask(10, 5))
    assert (lease.key_id, lease.provider, lease.model, lease.state, lease.open) == ("k", "p", "m", OPEN, True)
    assert repr(lease) == f"<Lease {lease.id} k open>"
    with pytest.raises(LookupError, match="registered without one"):
        lease.secret()


@pytest.mark.parametrize("timeout", [0.0, 1.0, 60.0])
def test_a_crashed_callers_lease_ends_at_its_deadline(timeout: float) -> None:
    made = rig(Limit.concurrency(1))
    lease = made.router.acquire(ask(10, 5), timeout_s=timeout)
    made.clock.advance(timeout + LEASE_GRACE_S - 0.001)
    with pytest.raises(QuotaExhaustedError):
        made.router.acquire(ask(1))
    assert lease.state is OPEN
    made.clock.advance(0.001)
    assert made.router.acquire(ask(1)).open, "its slot is free"
    assert lease.state is EXPIRED
    assert spent(made) == 15, "the provider may have charged it"


def test_late_truth_about_an_expired_lease_changes_nothing() -> None:
    made = rig()
    lease = made.router.acquire(ask(10, 5), timeout_s=1.0)
    made.clock.advance(31)
    made.router.refresh()
    assert made.router.settle(lease, Usage(input_tokens=500)) is None
    assert spent(made) == 15


def test_an_abandoned_lease_commits_its_estimate_at_the_next_look() -> None:
    made = rig(Limit.concurrency(1))
    lease = made.router.acquire(ask(10, 5))
    made.router.abandon(lease.id)
    made.router.abandon("lease_never_heard_of")
    assert lease.open
    assert made.router.acquire(ask(1)).open
    assert lease.state is SETTLED
    assert spent(made) == 15


def test_what_was_never_sent_returns_whole() -> None:
    made = rig(Limit.tpm(100), Limit.concurrency(1))
    lease = made.router.acquire(ask(60, 40))
    assert made.router.release(lease)
    assert lease.state is RELEASED
    assert [w.free(made.clock.time) for w in made.registry.pools["k"].windows] == [100, 1]
    assert spent(made) == 0
    assert idle(list(made.registry.pools.values()), made.router.budgets)


@given(st.lists(st.sampled_from(["take", "take", "settle", "expire"]), max_size=400))
def test_expiries_are_kept_within_twice_the_open_leases(steps: list[str]) -> None:
    made = rig()
    for step in steps:
        if step == "take":
            made.router.acquire(ask(1), timeout_s=30.0)
        elif step == "settle" and made.router.ledger.open_leases:
            made.router.settle(next(reversed(made.router.ledger.open_leases.values())))
        else:
            made.clock.advance(20.0)
            made.router.refresh()
        ledger = made.router.ledger
        assert len(ledger.expiries) <= max(64, 2 * len(ledger.open_leases)) + 1
        assert {e[2].id for e in ledger.expiries} >= set(ledger.open_leases)


def test_ten_thousand_short_leases_leave_no_trail() -> None:
    made = rig()
    for _ in range(10_000):
        made.router.settle(made.router.acquire(ask(1)))
    assert len(made.router.ledger.expiries) <= 65
    assert not made.router.ledger.open_leases


def test_decisions_are_kept_as_many_as_asked() -> None:
    made = rig()
    made.router.decisions.clear()
    for _ in range(10_050):
        made.router.release(made.router.acquire(ask(1)))
    assert len(made.router.decisions) == made.router.settings.explain_keep == 10_000


def test_a_decision_that_chose_nobody_holds_nothing() -> None:
    made = rig(Limit.rpm(0))
    decision = made.router.preview(ask(1))
    with pytest.raises(ValueError, match="chose nobody"):
        Ledger().take(decision, decision.need, (), 0.0, 0.0)


# -- very many -------------------------------------------------------------------------------------------------------


def taken_and_settled(times: int) -> None:
    """Every total is the exact sum of what was used, in integers, after any number of leases."""
    made = rig(Limit.otpm(10**14), Limit(of="tokens", amount=10**14, per="month"), Limit.concurrency(10))
    made.router.budgets.replace((Budget(scope="global", limit="1000000", period="total"),), made.clock.time)
    decision = made.router.preview(ask(7, 5))
    ledger, nodes = (
        made.router.ledger,
        made.router.budgets.request_path(tenant=None, user=None, tags={}, route="m", now=START),
    )
    output = charged = 0
    for turn in range(times):
        now = START + 1e-4 * turn
        lease = ledger.take(decision, decision.need, nodes, now + 30.0, now)
        used = Usage(input_tokens=7, output_tokens=turn % 6)
        ledger.settle(lease, used, 1_000 * (7 + turn % 6), now)
        output += turn % 6
        charged += 7 + turn % 6
    produced, monthly, slots = made.registry.pools["k"].windows
    assert (produced.charged, produced.held, produced.flight) == (output, 0, 0)
    assert (monthly.charged, monthly.level, monthly.flight) == (12 * times, 10**14 - 12 * times, 0)
    assert slots.held == 0
    assert spent(made) == charged
    assert idle(list(made.registry.pools.values()), made.router.budgets)
    assert not ledger.open_leases
    assert len(ledger.expiries) <= 65


def test_a_hundred_thousand_leases_do_not_drift() -> None:
    taken_and_settled(100_000)


@pytest.mark.torture
def test_a_million_leases_do_not_drift() -> None:
    taken_and_settled(1_000_000)
