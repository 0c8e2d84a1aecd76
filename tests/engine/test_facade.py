"""The public verbs that need no network: legal anywhere, from any thread, and strict about what they are given."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    InvalidRequestError,
    InvalidStateTransitionError,
    Limit,
    NoEligibleKeysError,
    QuotaExhaustedError,
    Request,
    Usage,
)
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.key import State
from apikeyrouter.errors import DecisionNotFoundError
from apikeyrouter.testing import ManualClock

ASK = Request(model="m", input_tokens=10, max_output_tokens=10)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def router(clock: ManualClock) -> ApiKeyRouter:
    made = ApiKeyRouter(clock=clock, log=False)
    await made.register_provider("p", "openai")
    await made.register_key("sk-facade-test-1", "p", id="a", limits=[Limit.rpm(2)], tags={"region": "eu"})
    return made


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hurried")
async def test_keys_are_listed_while_others_come_and_go(router: ApiKeyRouter) -> None:
    raised: list[BaseException] = []
    over = threading.Event()
    for i in range(400):
        router.enrolment.add_key(f"sk-facade-many-{i}", "p", {"id": f"m{i}"})

    def look() -> None:
        try:
            while not over.is_set():
                assert {key.provider for key in router.list_keys(state="available")} == {"p"}
        except BaseException as error:  # noqa: BLE001  (raised again below)
            raised.append(error)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for thread in lookers:
        thread.start()
    for i in range(100):
        router.enrolment.add_key(f"sk-facade-more-{i}", "p", {"id": f"k{i}"})
        router.enrolment.revoke(f"k{i}")
    over.set()
    for thread in lookers:
        thread.join(30)
    assert raised == []


async def test_keys_are_found_by_state_and_tags(router: ApiKeyRouter) -> None:
    await router.register_key("sk-facade-test-2", "p", id="b")
    await router.disable_key("b")
    assert [key.id for key in router.list_keys(state="disabled")] == ["b"]
    assert [key.id for key in router.list_keys(state=State.AVAILABLE)] == ["a"]
    assert [key.id for key in router.list_keys(tags={"region": "eu"})] == ["a"]
    assert router.list_keys(provider="q") == []


@pytest.mark.parametrize(
    "request_",
    [
        Request(model="m", input_tokens=-1, max_output_tokens=1),
        Request(model="m", input_tokens=1, max_output_tokens=-1),
        Request(model="m", input_tokens=1.5, max_output_tokens=1),  # type: ignore[arg-type]
        Request(model="m", input_tokens=True, max_output_tokens=1),
        Request(model="", input_tokens=1, max_output_tokens=1),
    ],
)
async def test_what_nobody_can_hold_is_refused_before_anything_is_held(router: ApiKeyRouter, request_: Request) -> None:
    """A negative count would fill a bucket above its size."""
    with pytest.raises(InvalidRequestError):
        router.acquire(request_)
    assert router.get_state_summary().open_leases == 0


async def test_a_lease_from_beginning_to_end(router: ApiKeyRouter) -> None:
    lease = router.acquire(ASK)
    assert lease.secret() == "sk-facade-test-1"
    assert router.explain(lease.decision.id) is lease.decision
    router.settle(lease, Usage(input_tokens=5), headers={"x-ratelimit-limit-requests": "2"})
    router.settle(lease, Usage(input_tokens=5))
    router.release(lease)
    assert router.fail(lease, Failure(kind=Kind.TIMEOUT)).kind is Kind.TIMEOUT
    assert router.get_key("a").usage_count == 1
    assert router.get_state_summary().open_leases == 0


async def test_a_status_is_classified(router: ApiKeyRouter, clock: ManualClock) -> None:
    failure = router.fail(router.acquire(ASK), 429, {"retry-after": "7"}, {"error": {"message": "slow"}})
    assert (failure.kind, failure.retry_after) == (Kind.RATE_LIMITED, 7.0)
    with pytest.raises(QuotaExhaustedError) as caught:
        router.acquire(ASK)
    assert caught.value.retry_after == pytest.approx(7.0)
    clock.advance(7.0)
    assert router.acquire(ASK).open


async def test_moves_that_do_not_apply_are_refused(router: ApiKeyRouter) -> None:
    with pytest.raises(InvalidStateTransitionError):
        await router.enable_key("a")
    await router.disable_key("a", reason="leaked")
    with pytest.raises(NoEligibleKeysError, match="a is disabled"):
        router.acquire(ASK)
    await router.enable_key("a")
    assert router.acquire(ASK).open


async def test_a_refused_key_comes_back_by_rotation_alone(router: ApiKeyRouter) -> None:
    router.fail(router.acquire(ASK), Failure(kind=Kind.UNAUTHENTICATED))
    with pytest.raises(InvalidStateTransitionError):
        await router.enable_key("a")
    await router.rotate_key("a", "sk-facade-test-9")
    assert router.acquire(ASK).secret() == "sk-facade-test-9"
    assert router.get_key("a").version == 2


async def test_quota_outlives_a_rotation(router: ApiKeyRouter) -> None:
    for _ in range(2):
        router.acquire(ASK)
    await router.rotate_key("a", "sk-facade-test-9")
    with pytest.raises(QuotaExhaustedError):
        router.acquire(ASK)


async def test_a_decision_nobody_made_is_not_found(router: ApiKeyRouter) -> None:
    with pytest.raises(DecisionNotFoundError, match="dec_none"):
        router.explain("dec_none")


async def test_an_id_may_be_registered_again_with_other_limits(router: ApiKeyRouter) -> None:
    await router.revoke_key("a")
    await router.register_key("sk-facade-test-2", "p", id="a", limits=[Limit.rpm(50)])
    for _ in range(3):
        assert router.acquire(ASK).secret() == "sk-facade-test-2"
