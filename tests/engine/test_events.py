"""Facts are told after the lock is free, once, to whoever listens; a subscriber that raises breaks nothing."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from rig import Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.key import State
from apikeyrouter.core.model import Usage
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import NoEligibleKeysError, QuotaExhaustedError
from apikeyrouter.events import (
    Acquired,
    Announcer,
    BreakerChanged,
    BudgetCrossed,
    Event,
    Expired,
    Failed,
    HookFailed,
    Refused,
    Settled,
    StateChanged,
)

KINDS = [Acquired, BreakerChanged, BudgetCrossed, Expired, Failed, Refused, Settled, StateChanged]


def heard(rig: Rig) -> list[Event]:
    """Every event from now on, in order."""
    told: list[Event] = []
    for kind in [*KINDS, HookFailed]:
        rig.router.announce.subscribe(kind, told.append)
    return told


def kinds(told: list[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


def limited(*limits: Limit) -> Rig:
    rig = Rig()
    rig.price("1")
    rig.key("k", limits)
    return rig


def test_a_request_from_beginning_to_end() -> None:
    rig = limited()
    told = heard(rig)
    lease = rig.router.acquire(ask(100, 50, request_id="r-1", correlation_id="c-1"))
    rig.clock.advance(2.0)
    rig.router.settle(lease, Usage(input_tokens=90, output_tokens=10))
    assert kinds(told) == ["Acquired", "Settled"]
    acquired, settled = told
    assert isinstance(acquired, Acquired)
    assert (acquired.key_id, acquired.provider_id, acquired.model, acquired.cost) == ("k", "p", "m", 150_000)
    assert (acquired.request_id, acquired.correlation_id) == ("r-1", "c-1")
    assert acquired.lease_id == lease.id
    assert isinstance(settled, Settled)
    assert (settled.input_tokens, settled.output_tokens, settled.cost, settled.estimated_cost) == (
        90,
        10,
        100_000,
        150_000,
    )
    assert (settled.latency_s, settled.at) == (2.0, rig.clock.time)


def test_a_settlement_is_told_once() -> None:
    rig = limited()
    told = heard(rig)
    lease = rig.router.acquire(ask(1))
    for _ in range(3):
        rig.router.settle(lease)
    rig.router.fail(lease, Failure(kind=Kind.TIMEOUT))
    assert kinds(told) == ["Acquired", "Settled"]


def test_a_refusal_is_told_unless_quiet() -> None:
    rig = limited(Limit.rpm(1))
    rig.router.acquire(ask(1))
    told = heard(rig)
    for quiet in (False, True):
        with pytest.raises(QuotaExhaustedError):
            rig.router.acquire(ask(1), quiet=quiet)
    [refused] = told
    assert isinstance(refused, Refused)
    assert (refused.code, refused.model, refused.retry_after) == ("QUOTA_EXHAUSTED", "m", pytest.approx(60, abs=0.01))


def test_a_stopped_pool_is_told_with_its_way_back() -> None:
    rig = limited()
    told = heard(rig)
    rig.router.fail(rig.router.acquire(ask(1)), Failure(kind=Kind.RATE_LIMITED, status=429, retry_after=5.0))
    assert kinds(told) == ["Acquired", "Failed", "StateChanged"] or kinds(told) == [
        "Acquired",
        "StateChanged",
        "Failed",
    ]
    rig.clock.advance(5.0)
    rig.router.refresh()
    moves = [(e.entity, e.id, e.before, e.after) for e in told if isinstance(e, StateChanged)]
    assert moves == [
        ("pool", "k", State.AVAILABLE, State.THROTTLED),
        ("pool", "k", State.THROTTLED, State.AVAILABLE),
    ]


def test_an_exhausted_pool_recovers_before_it_is_back() -> None:
    rig = limited()
    told = heard(rig)
    rig.router.fail(rig.router.acquire(ask(1)), Failure(kind=Kind.QUOTA_EXHAUSTED, retry_after=10_000.0))
    for step in (8_999.0, 1.0, 1_000.0):
        rig.clock.advance(step)
        rig.router.refresh()
    after = [e.after for e in told if isinstance(e, StateChanged)]
    assert after == [State.EXHAUSTED, State.RECOVERING, State.AVAILABLE]
    assert [t.after for t in rig.router.transitions][-3:] == after


def test_a_lease_that_expires_is_told() -> None:
    rig = limited()
    told = heard(rig)
    lease = rig.router.acquire(ask(1), timeout_s=1.0)
    rig.clock.advance(31.0)
    rig.router.refresh()
    expired = told[-1]
    assert isinstance(expired, Expired)
    assert (expired.lease_id, expired.key_id) == (lease.id, "k")


def test_a_breaker_that_opens_is_told() -> None:
    rig = limited()
    told = heard(rig)
    for _ in range(8):
        rig.router.fail(rig.router.acquire(ask(1)), Failure(kind=Kind.SERVER_ERROR))
    moved = [e for e in told if isinstance(e, BreakerChanged)]
    assert [(e.provider_id, e.model, e.state) for e in moved] == [("p", "m", "open")]
    assert moved[0].until > rig.clock.time


def test_a_breaker_that_time_half_opens_is_told_once() -> None:
    rig = limited()
    told = heard(rig)

    def states() -> list[str]:
        return [e.state for e in told if isinstance(e, BreakerChanged)]

    for _ in range(8):
        rig.router.fail(rig.router.acquire(ask(1)), Failure(kind=Kind.SERVER_ERROR))
    rig.clock.time = next(iter(rig.registry.deployments.values())).breaker.until
    rig.router.refresh()
    assert states() == ["open"]
    lease = rig.router.acquire(ask(1))
    assert states() == ["open", "half_open"]
    rig.router.fail(lease, Failure(kind=Kind.SERVER_ERROR))
    assert states() == ["open", "half_open", "open"]
    rig.clock.advance(120.0)
    for _ in range(8):
        rig.router.settle(rig.router.acquire(ask(1)), Usage(input_tokens=1))
    assert states() == ["open", "half_open", "open", "half_open", "closed"]


def test_budget_thresholds_are_told_as_they_are_crossed() -> None:
    rig = Rig(budgets=[Budget(scope="global", limit="0.001", period="total", thresholds=(0.5, 0.8, 1.0))])
    rig.price("1")
    rig.key("k")
    told = heard(rig)
    for _ in range(10):
        rig.router.settle(rig.router.acquire(ask(100)), Usage(input_tokens=100))
    crossed = [(e.threshold, e.spent, e.limit) for e in told if isinstance(e, BudgetCrossed)]
    assert crossed == [(0.5, 500_000, 1_000_000), (0.8, 800_000, 1_000_000), (1.0, 1_000_000, 1_000_000)]


# -- subscribers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_subscriber_that_raises_breaks_nothing(kind: type[Event]) -> None:
    rig = Rig(budgets=[Budget(scope="global", limit="0.0001", period="total")])
    rig.price("1")
    rig.key("k", [Limit.rpm(10)])
    told = heard(rig)

    def raises(event: Event) -> None:
        raise RuntimeError(f"sk-not-to-be-told {event}")

    rig.router.announce.subscribe(kind, raises)
    settled = rig.router.acquire(ask(60), timeout_s=1.0)
    rig.router.settle(settled, Usage(input_tokens=60))
    for _ in range(7):
        rig.router.fail(rig.router.acquire(ask(1)), Failure(kind=Kind.SERVER_ERROR))
    with pytest.raises((NoEligibleKeysError, QuotaExhaustedError)):
        rig.router.acquire(ask(1))
    rig.clock.advance(100)
    expires = rig.router.acquire(ask(1), timeout_s=1.0)
    rig.clock.advance(100)
    limited = rig.router.acquire(ask(1))
    rig.router.fail(limited, Failure(kind=Kind.RATE_LIMITED, retry_after=1.0))
    assert not expires.open
    failures = [e for e in told if isinstance(e, HookFailed)]
    assert rig.router.announce.failures == len(failures) == sum(type(e) is kind for e in told) > 0
    assert {e.error for e in failures} == {"RuntimeError"}
    assert "sk-not-to-be-told" not in repr(failures)


def test_a_listener_to_failures_that_fails_itself_ends_there() -> None:
    announcer = Announcer()

    def raises(event: Event) -> None:
        raise ValueError

    announcer.subscribe(Expired, raises)
    announcer.subscribe(HookFailed, raises)
    announcer.tell(Expired(at=1.0, lease_id="l", key_id="k"))
    assert announcer.failures == 2


def test_an_interruption_is_not_swallowed() -> None:
    announcer = Announcer()

    def interrupts(event: Event) -> None:
        raise KeyboardInterrupt

    announcer.subscribe(Expired, interrupts)
    with pytest.raises(KeyboardInterrupt):
        announcer.tell(Expired(at=1.0, lease_id="l", key_id="k"))


def test_a_subscriber_may_call_the_router() -> None:
    """Events are told without the lock: from inside one, everything is legal, also in another thread's name."""
    rig = limited(Limit.rpm(100))
    done: list[object] = []

    def calls(event: Event) -> None:
        if len(done) < 3:
            done.append(rig.router.preview(ask(1)).key)
            rig.router.refresh()
            rig.router.release(rig.router.acquire(ask(1)))

    for kind in KINDS:
        rig.router.announce.subscribe(kind, calls)
    worker = threading.Thread(target=lambda: rig.router.settle(rig.router.acquire(ask(1))))
    worker.start()
    worker.join(10)
    assert not worker.is_alive()
    assert done[:1] == ["k"]


def test_events_nobody_hears_are_not_built() -> None:
    rig = limited()
    rig.router.settle(rig.router.acquire(ask(1)))
    assert not rig.router.announce.outbox


@pytest.mark.parametrize("kind", [*KINDS, HookFailed])
def test_an_event_is_frozen_and_small(kind: type[Event]) -> None:
    fields = {field.name: None for field in dataclasses.fields(kind)}
    event = kind(**{**fields, "at": 1.0})
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.at = 2.0  # type: ignore[misc]
    assert not hasattr(event, "__dict__")
    assert "secret" not in fields
    assert "body" not in fields
