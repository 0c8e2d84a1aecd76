"""The provider's own faults: tried again with care, elsewhere at once, never beyond the deadline or the budgets."""

from __future__ import annotations

import asyncio
import socket
from decimal import Decimal

import pytest
from stage import MODEL, Opener, Stage, chat, two_providers, until

from apikeyrouter import (
    BudgetExceededError,
    InvalidRequestError,
    NoEligibleKeysError,
    OpenAIAdapter,
    ProviderTimeoutError,
    ServiceUnavailableError,
)
from apikeyrouter.core.registry import MOST_BLOCKS
from apikeyrouter.events import BreakerChanged, Failed
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

ALONE = (Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=6000, tpm=4_000_000)),)
BOTH = (
    Organisation(id="org-a", keys=("a1",), limits=limits(rpm=6000, tpm=4_000_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=6000, tpm=4_000_000)),
)
QUICK = {"backoff": 0.001}


async def with_a_backup(opened: Opener, **more: object) -> Stage:
    """`fast` is a1 of the first provider, and b1 of the second when the first cannot."""
    stage = await opened(BOTH, config=two_providers, **more)  # type: ignore[arg-type]
    stage.router.get_key("b1").tier = 1
    stage.router.enrolment.router.registry.changed()
    return stage


def kinds(stage: Stage) -> list[str]:
    return [event.kind for event in stage.of(Failed)]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind="error", times=1), "server_error"),
        (Fault(kind="error", times=1, error="overloaded"), "overloaded"),
        (Fault(kind="error", times=1, status=502, body=b"<html>bad gateway</html>"), "server_error"),
        (Fault(kind="error", times=1, error="timeout"), "timeout"),
        (Fault(kind="drop", times=1), "network"),
        (Fault(kind="malformed", times=1), "malformed"),
        (Fault(kind="error", times=1, status=200, body=b'{"choices": []}'), "empty"),
        (
            Fault(kind="error", times=1, status=200, body=b'{"error": {"code": "server_error", "message": "no"}}'),
            "server_error",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.error if value.kind == "error" else value.kind,
)
async def test_a_fault_of_the_provider_is_tried_again(opened: Opener, fault: Fault, kind: str) -> None:
    stage = await opened(ALONE, settings=QUICK)
    stage.world.faults.add(fault)
    reply = await stage.router.route(chat())
    assert reply.metadata.attempts == 2
    assert kinds(stage) == [kind]
    assert stage.count() == 2


async def test_three_attempts_are_all_there_are(opened: Opener) -> None:
    stage = await opened(ALONE, settings=QUICK)
    stage.world.faults.add(Fault(kind="error"))
    with pytest.raises(ServiceUnavailableError, match="after 3 attempts") as failed:
        await stage.router.route(chat())
    assert stage.count() == 3
    assert max(stage.seen().count(key) for key in ("a1", "a2")) == 2  # two for each key
    assert failed.value.status == 500
    assert failed.value.details["attempts"] == 3
    assert stage.router.explain(str(failed.value.details["decision_id"])).attempt == 3


async def test_retries_wait_longer_and_longer(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(ALONE, clock=clock)
    stage.world.faults.add(Fault(kind="error"))
    with pytest.raises(ServiceUnavailableError):
        await stage.while_time_passes(stage.router.route(chat()), step=0.01)
    first, second, third = (seen.at / 1e9 for seen in stage.world.record.all())
    assert 0 < second - first <= 0.2 + 0.02
    assert 0 < third - second <= 0.4 + 0.02


async def test_another_provider_serves_through_the_alias_without_waiting(opened: Opener) -> None:
    stage = await with_a_backup(opened, clock=ManualClock())  # a clock that stands still: any wait would never end
    stage.world.faults.add(Fault(kind="error", key="a1", headers={"retry-after": "30"}))
    reply = await stage.router.route(chat(model="fast"))
    assert (reply.metadata.provider, reply.metadata.model) == ("second", MODEL)
    assert stage.seen() == ["a1", "b1"]


async def test_the_provider_is_left_after_two_failures(opened: Opener) -> None:
    stage = await with_a_backup(opened, settings=QUICK)
    stage.world.faults.add(Fault(kind="error", key="a1"))
    reply = await stage.router.route(chat(model="fast"))
    assert stage.seen() == ["a1", "a1", "b1"]
    assert reply.metadata.attempts == 3
    text = str(stage.router.explain(reply.metadata.decision_id))
    assert "a1: failed this request before (server_error)" in text


async def test_an_outage_of_one_provider_is_survived_by_every_request(opened: Opener) -> None:
    stage = await with_a_backup(opened, settings=QUICK)
    stage.world.faults.add(Fault(kind="error", key="a1"))
    replies = [await stage.router.route(chat(model="fast")) for _ in range(40)]
    assert {reply.metadata.provider for reply in replies} == {"second"}
    assert stage.count(key="b1") == 40
    assert stage.count(key="a1") <= 12  # the breaker keeps the others away
    (opened_breaker,) = stage.of(BreakerChanged)
    assert (opened_breaker.provider_id, opened_breaker.state) == ("first", "open")


async def test_the_retry_budget_bounds_what_an_outage_multiplies(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(ALONE, clock=clock, settings=QUICK)
    stage.world.faults.add(Fault(kind="error", rate=0.45))
    served = failed = 0
    for _ in range(100):
        clock.advance(1)
        try:
            await stage.while_time_passes(stage.router.route(chat()), step=0.01)
            served += 1
        except (ServiceUnavailableError, NoEligibleKeysError):
            failed += 1
    assert served + failed == 100
    retries = stage.count() - 100
    assert retries <= 3 + 0.1 * stage.count() + 1  # a tenth of the attempts, and three


async def test_who_may_not_be_retried_is_told_why(opened: Opener) -> None:
    stage = await opened(ALONE, settings={**QUICK, "retry_floor": 0})
    stage.world.faults.add(Fault(kind="error"))
    with pytest.raises(ServiceUnavailableError, match="retry budget"):
        await stage.router.route(chat())
    assert stage.count() == 1


async def test_the_breaker_opens_and_comes_back_by_itself(opened: Opener) -> None:
    clock = ManualClock()
    once = {"attempts": 1}
    stage = await opened(ALONE, clock=clock, settings=once)
    outage = stage.world.faults.add(Fault(kind="error"))
    for _ in range(8):
        with pytest.raises(ServiceUnavailableError):
            await stage.router.route(chat())
    with pytest.raises(NoEligibleKeysError, match="breaker open") as refused:
        await stage.router.route(chat())
    assert stage.count() == 8
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 1.0

    clock.advance(1.01)
    with pytest.raises(ServiceUnavailableError):  # one probe, which fails
        await stage.router.route(chat())
    with pytest.raises(NoEligibleKeysError):
        await stage.router.route(chat())
    assert stage.count() == 9

    outage.stop()
    clock.advance(2.01)
    for _ in range(8):
        await stage.router.route(chat())
    states = [event.state for event in stage.of(BreakerChanged)]
    assert states == ["open", "half_open", "open", "half_open", "closed"]


async def test_half_open_lets_few_through_and_then_more(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(ALONE, clock=clock, settings={"attempts": 1})
    outage = stage.world.faults.add(Fault(kind="error"))
    for _ in range(8):
        with pytest.raises(ServiceUnavailableError):
            await stage.router.route(chat())
    outage.stop()
    clock.advance(1.01)
    results = await asyncio.gather(*(stage.router.route(chat()) for _ in range(10)), return_exceptions=True)
    served = [r for r in results if not isinstance(r, BaseException)]
    assert len(served) == 1
    assert {type(r) for r in results if isinstance(r, BaseException)} == {NoEligibleKeysError}


async def test_a_connection_refused_goes_elsewhere_and_costs_nothing(opened: Opener) -> None:
    stage = await with_a_backup(opened, settings=QUICK, budgets={"all": {"scope": "global", "limit": "1"}})
    with socket.socket() as listener:  # bound, never listening: connections are refused
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        await stage.router.register_provider("first", OpenAIAdapter(f"http://127.0.0.1:{port}/v1"))
        reply = await stage.router.route(chat(model="fast"))
    assert reply.metadata.provider == "second"
    assert kinds(stage)[0] == "network"
    (budget,) = stage.router.budget_status("global")
    assert budget.spent == reply.metadata.cost


async def test_one_deadline_covers_all_attempts(opened: Opener) -> None:
    stage = await opened(ALONE, settings=QUICK)
    stage.world.faults.add(Fault(kind="error", times=1))
    stage.world.faults.add(Fault(kind="hang"))
    start = asyncio.get_running_loop().time()
    with pytest.raises(ProviderTimeoutError, match="after 2 attempts"):
        await stage.router.route(chat(), timeout=0.3)
    assert asyncio.get_running_loop().time() - start < 1.0
    assert stage.count() + stage.in_flight == 2
    await until(lambda: stage.in_flight == 0)


async def test_a_retry_that_could_not_be_in_time_is_not_made(opened: Opener) -> None:
    stage = await opened(ALONE, clock=ManualClock())
    stage.world.faults.add(Fault(kind="error", error="overloaded", headers={"retry-after": "20"}))
    with pytest.raises(ServiceUnavailableError) as failed:
        await stage.router.route(chat(), timeout=10)
    assert stage.count() == 1
    assert failed.value.retry_after == 20


@pytest.mark.parametrize("error", ["context_length", "content_filter", "bad_request"])
async def test_the_request_s_own_fault_is_never_retried(opened: Opener, error: str) -> None:
    stage = await with_a_backup(opened)
    stage.world.faults.add(Fault(kind="error", error=error))
    with pytest.raises(InvalidRequestError) as refused:
        await stage.router.route(chat(model="fast"))
    assert (refused.value.http_status, refused.value.status) == (400, 400)
    assert stage.count() == 1
    assert not stage.of(BreakerChanged)
    assert stage.router.get_key("a1").failure_count == 0


async def test_max_cost_covers_all_attempts_together(opened: Opener) -> None:
    stage = await opened(ALONE, settings=QUICK)
    stage.world.faults.add(Fault(kind="malformed"))  # answered, perhaps billed, and of no use
    one = Decimal("0.0000614")  # 100 tokens at 0.60 and a few at 0.15 dollars a million
    with pytest.raises(ServiceUnavailableError, match="after 2 attempts") as failed:
        await stage.router.route(chat(max_tokens=100), max_cost=one * Decimal("2.5"))
    assert stage.count() == 2
    assert isinstance(failed.value.__cause__, BudgetExceededError)
    assert "max_cost" in str(failed.value.__cause__)


async def test_max_cost_too_small_is_refused_before_anything_is_sent(opened: Opener) -> None:
    stage = await opened(ALONE)
    with pytest.raises(BudgetExceededError, match=r"may cost \$0\.\d+ and max_cost has \$0\.00001 left"):
        await stage.router.route(chat(max_tokens=100), max_cost="0.00001")
    assert stage.count() == 0


async def test_only_the_provider_s_faults_count_against_it(opened: Opener) -> None:
    world = World(ALONE, clock=ManualClock())
    stage = await opened(world)
    stage.world.faults.fail_next(10, error="content_filter")
    for _ in range(10):
        with pytest.raises(InvalidRequestError):
            await stage.router.route(chat())
    await stage.router.route(chat())
    assert not stage.of(BreakerChanged)


async def test_failover_can_be_forbidden(opened: Opener) -> None:
    stage = await with_a_backup(opened, settings={"failover": "never"})
    stage.world.faults.add(Fault(kind="error", key="a1"))
    with pytest.raises(ServiceUnavailableError):
        await stage.router.route(chat(model="fast"))
    assert stage.seen() == ["a1"]


async def test_failover_can_be_kept_within_the_provider(opened: Opener) -> None:
    stage = await with_a_backup(opened, settings={**QUICK, "failover": "same_provider"})
    stage.world.faults.add(Fault(kind="error", key="a1"))
    with pytest.raises(ServiceUnavailableError):
        await stage.router.route(chat(model="fast"))
    assert stage.seen() == ["a1", "a1"]


async def test_cancelling_a_request_settles_it_and_blames_nobody(opened: Opener) -> None:
    stage = await opened(ALONE, budgets={"all": {"scope": "global", "limit": "1"}})
    stage.world.faults.add(Fault(kind="hang"))
    task = asyncio.ensure_future(stage.router.route(chat()))
    await until(lambda: stage.in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (failed,) = stage.of(Failed)
    assert (failed.kind, failed.blame) == ("cancelled", "caller")
    (budget,) = stage.router.budget_status("global")
    assert budget.held == 0
    assert budget.spent > 0  # it was sent, so it may be billed
    await until(lambda: stage.in_flight == 0)
    assert stage.world.record.all()[0].left


async def test_a_caller_in_a_hurry_does_not_break_the_provider_for_others(opened: Opener) -> None:
    stage = await opened(ALONE)
    slow = stage.world.faults.add(Fault(kind="hang"))
    hasty = (stage.router.route(chat(), timeout=0.05) for _ in range(12))
    results = await asyncio.gather(*hasty, return_exceptions=True)
    assert {type(r) for r in results} == {ProviderTimeoutError}
    assert not stage.of(BreakerChanged)
    slow.stop()
    reply = await stage.router.route(chat())
    assert "reliability 0.047" in str(stage.router.explain(reply.metadata.decision_id))  # nothing was learned of it
    await until(lambda: stage.in_flight == 0)


async def test_names_of_models_that_nobody_has_do_not_pile_up(opened: Opener) -> None:
    stage = await opened([BOTH[0]])
    with pytest.raises(InvalidRequestError, match="does not exist"):
        await stage.router.route(chat(model="openai/invented"))
    registry = stage.router._router.registry
    for number in range(MOST_BLOCKS + 50):
        registry.block("a1", "openai", f"invented-{number}", 1e12, "model_not_found")
    assert len(registry.blocked) == MOST_BLOCKS
