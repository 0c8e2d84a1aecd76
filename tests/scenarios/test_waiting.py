"""Waiting for room: within the deadline and in order, or told at once when to come back."""

from __future__ import annotations

import asyncio

import pytest
from stage import Opener, Stage, chat, until

from apikeyrouter import NoEligibleKeysError, ProviderNotFoundError, QuotaExhaustedError, Request, Usage
from apikeyrouter.events import Refused
from apikeyrouter.simulator import Organisation, World, limits
from apikeyrouter.testing import ManualClock

SMALL = (Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=3)),)
ASKED = Request(model="gpt-4o-mini", input_tokens=10, max_output_tokens=10)


async def full(opened: Opener, **more: object) -> Stage:
    """Three requests a minute, and all three just sent: room for one comes every 20 seconds."""
    clock = ManualClock()
    stage = await opened(World(SMALL, clock=clock), clock=clock, **more)  # type: ignore[arg-type]
    for _ in range(3):
        await stage.router.route(chat())
    return stage


def clock_of(stage: Stage) -> ManualClock:
    assert stage.clock is not None
    return stage.clock


async def waiting(stage: Stage, count: int) -> None:
    """Until so many requests stand in line."""
    dispatcher = stage.router._dispatcher
    assert dispatcher is not None
    await until(lambda: sum(room.line.size for room in dispatcher.rooms.rooms.values()) == count)


async def test_a_request_waits_for_room_and_is_served(opened: Opener) -> None:
    stage = await full(opened)
    reply = await stage.while_time_passes(stage.router.route(chat(), timeout=30))
    assert 20 <= reply.metadata.waited_s < 20.3
    assert stage.count(outcome="throttled") == 0
    assert "after waiting 20." in str(stage.router.explain(reply.metadata.decision_id))


async def test_who_cannot_be_in_time_is_told_at_once(opened: Opener) -> None:
    stage = await full(opened)
    with pytest.raises(QuotaExhaustedError, match=r"without room; try again in 20\.0 s") as refused:
        await stage.router.route(chat(), timeout=10)
    assert refused.value.retry_after == pytest.approx(20, abs=0.01)
    assert (refused.value.code, refused.value.http_status) == ("QUOTA_EXHAUSTED", 503)
    assert "requests/minute has 0 free of the 1 needed" in str(refused.value)


async def test_the_line_ahead_counts(opened: Opener) -> None:
    stage = await full(opened)
    ahead = [asyncio.ensure_future(stage.router.route(chat(), timeout=60)) for _ in range(2)]
    await waiting(stage, 2)
    with pytest.raises(QuotaExhaustedError, match="wait") as refused:  # 20 s are enough for one, not for the third
        await stage.router.route(chat(), timeout=25)
    assert refused.value.retry_after == pytest.approx(60, abs=0.1)
    await stage.while_time_passes(asyncio.gather(*ahead))


async def test_without_waiting_it_fails_fast(opened: Opener) -> None:
    stage = await full(opened)
    with pytest.raises(QuotaExhaustedError) as refused:
        await stage.router.route(chat(), wait=False)
    assert refused.value.retry_after == pytest.approx(20, abs=0.01)
    assert len(stage.of(Refused)) == 1


async def test_a_request_that_can_never_fit_is_told_so(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(
        World([Organisation(id="org-a", keys=("a1",), limits=limits(rpm=60, tpm=1000))], clock=clock), clock=clock
    )
    with pytest.raises(QuotaExhaustedError, match=r"can ever hold.*tokens/minute.*send less or raise the limit") as no:
        await stage.router.route(chat(max_tokens=2000))
    assert no.value.retry_after is None
    assert stage.count() == 0


async def test_acquire_when_free_waits_too(opened: Opener) -> None:
    stage = await full(opened)
    lease = await stage.while_time_passes(stage.router.acquire_when_free(ASKED, timeout=30))
    assert lease.key_id in ("a1", "a2")
    assert 20 <= lease.decision.waited_s < 20.3
    stage.router.settle(lease, Usage(input_tokens=10, output_tokens=10))
    with pytest.raises(QuotaExhaustedError):
        await stage.router.acquire_when_free(ASKED, timeout=5)
    with pytest.raises(QuotaExhaustedError):
        stage.router.acquire(ASKED)


async def test_what_is_given_back_wakes_who_waits(opened: Opener) -> None:
    stage = await full(opened)
    clock_of(stage).advance(20)
    lease = stage.router.acquire(ASKED)
    task = asyncio.ensure_future(stage.router.acquire_when_free(ASKED, timeout=30))
    await waiting(stage, 1)
    stage.router.release(lease)  # no time passes: the place that was never used is there at once
    other = await task
    stage.router.release(other)


async def test_those_who_wait_are_served_in_order(opened: Opener) -> None:
    stage = await full(opened)
    order: list[int] = []

    async def one(number: int) -> None:
        await stage.router.route(chat(), timeout=600)
        order.append(number)

    tasks = []
    for number in range(6):
        tasks.append(asyncio.ensure_future(one(number)))
        await waiting(stage, number + 1)
    await stage.while_time_passes(asyncio.gather(*tasks), step=0.5)
    assert order == list(range(6))
    assert stage.count(outcome="throttled") == 0


async def test_one_who_waits_for_a_full_model_does_not_hold_up_another_model(opened: Opener) -> None:
    clock = ManualClock()
    world = World([*SMALL, Organisation(id="org-b", keys=("b1",), limits=limits(rpm=600))], clock=clock)
    keys = {"b1": {"provider": "openai", "secret": world.secret("b1"), "models": ["gpt-4o"]}}
    keys |= {k: {"provider": "openai", "secret": world.secret(k), "models": ["gpt-4o-mini"]} for k in ("a1", "a2")}
    stage = await opened(world, clock=clock, keys=keys)
    for _ in range(3):
        await stage.router.route(chat())
    task = asyncio.ensure_future(stage.router.route(chat(), timeout=60))
    await waiting(stage, 1)
    reply = await stage.router.route(chat(model="gpt-4o"))  # time stands still
    assert reply.metadata.key_used == "b1"
    await stage.while_time_passes(task)


async def test_cancelling_who_waits_leaves_nothing(opened: Opener) -> None:
    stage = await full(opened)
    tasks = [asyncio.ensure_future(stage.router.route(chat(), timeout=600)) for _ in range(5)]
    await waiting(stage, 5)
    for task in tasks[:4]:
        task.cancel()
    assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*tasks[:4], return_exceptions=True))
    await waiting(stage, 1)
    reply = await stage.while_time_passes(tasks[4])
    assert reply.metadata.waited_s < 21  # nobody's ghost was served before
    assert stage.count() == 4


async def test_a_lease_handed_to_somebody_who_just_left_goes_to_the_next(opened: Opener) -> None:
    stage = await full(opened)
    first = asyncio.ensure_future(stage.router.acquire_when_free(ASKED, timeout=600))
    await waiting(stage, 1)
    second = asyncio.ensure_future(stage.router.acquire_when_free(ASKED, timeout=600))
    await waiting(stage, 2)
    dispatcher = stage.router._dispatcher
    assert dispatcher is not None
    room = dispatcher.rooms.here()
    clock_of(stage).advance(20.1)
    room._serve()  # hands the lease to the first; before it can wake up it is cancelled
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    lease = await second
    stage.router.release(lease)


async def test_a_deadline_that_passes_while_waiting_is_an_answer(opened: Opener) -> None:
    stage = await full(opened)
    task = asyncio.ensure_future(stage.router.route(chat(), timeout=30))
    await waiting(stage, 1)
    for pool in stage.router._router.registry.pools.values():
        pool.throttle(clock_of(stage).now(), clock_of(stage).now() + 3600, "429 for somebody else")
    with pytest.raises(QuotaExhaustedError):
        await stage.while_time_passes(task, step=0.5)
    assert stage.count() == 3


async def test_the_last_key_gone_while_waiting_is_an_answer(opened: Opener) -> None:
    stage = await full(opened)
    task = asyncio.ensure_future(stage.router.route(chat(), timeout=600))
    await waiting(stage, 1)
    await stage.router.revoke_key("a1")
    await stage.router.revoke_key("a2")
    with pytest.raises(NoEligibleKeysError):
        await task


async def test_a_new_key_serves_who_waits(opened: Opener) -> None:
    clock = ManualClock()
    world = World([*SMALL, Organisation(id="org-b", keys=("b1",), limits=limits(rpm=600))], clock=clock)
    stage = await opened(world, clock=clock)
    await stage.router.revoke_key("b1")
    for _ in range(3):
        await stage.router.route(chat())
    task = asyncio.ensure_future(stage.router.route(chat(), timeout=600))
    await waiting(stage, 1)
    await stage.router.register_key(world.secret("b1"), "openai", id="b9", pool="org-b")
    assert (await task).metadata.key_used == "b9"  # and no time had to pass


async def test_a_stream_waits_like_a_request(opened: Opener) -> None:
    stage = await full(opened)

    async def read() -> str:
        return "".join([chunk.text async for chunk in stage.router.stream(chat(), timeout=30)])

    assert await stage.while_time_passes(read())
    assert stage.count(outcome="throttled") == 0


async def test_concurrency_is_waited_for_without_a_clock(opened: Opener) -> None:
    clock = ManualClock()
    pools = {"org-a": {"limits": {"concurrency": 1}, "shared_by": ["a1"]}}
    organisation = Organisation(id="org-a", keys=("a1",), max_in_flight=1)
    stage = await opened(World([organisation], clock=clock), clock=clock, pools=pools)
    replies = await stage.while_time_passes(asyncio.gather(*(stage.router.route(chat()) for _ in range(6))))
    assert len(replies) == 6
    assert stage.count(outcome="throttled") == 0
    assert stage.world.organisations["org-a"].counters.most_in_flight == 1


async def test_a_provider_taken_out_while_requests_wait_is_an_answer_to_them_only(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(SMALL, clock=clock), clock=clock)
    for _ in range(3):
        await stage.router.route(chat())
    pinned = asyncio.ensure_future(stage.router.route(chat(), provider="openai", timeout=600))
    await waiting(stage, 1)
    with stage.router._router.lock:
        stage.router._router.registry.remove_provider("openai")
    with pytest.raises(ProviderNotFoundError, match="'openai' is not registered"):
        await stage.while_time_passes(pinned)
