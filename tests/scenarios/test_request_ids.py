"""A request id given again gets the first answer: at the same time, and for an hour; never somebody else's."""

from __future__ import annotations

import asyncio
import threading

import pytest
from stage import Opener, chat, until

from apikeyrouter import InvalidRequestError, ProviderTimeoutError, Reply, Request, ServiceUnavailableError
from apikeyrouter.once import MOST_WEIGHT, Once, mark_for, mark_of, weight_of
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=6000, tpm=4_000_000)),)


async def test_the_second_time_gets_the_first_answer(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(WORLD, clock=clock), clock=clock, budgets={"all": {"scope": "global", "limit": "1"}})
    first = await stage.router.route(chat(), request_id="r-1")
    again = await stage.router.route(chat(), request_id="r-1")
    assert again is first
    assert stage.count() == 1
    assert stage.router.budget_status("global")[0].spent == first.metadata.cost
    clock.advance(3599)
    assert await stage.router.route(chat(), request_id="r-1") is first
    clock.advance(2)
    assert await stage.router.route(chat(), request_id="r-1") is not first
    assert stage.count() == 2


async def test_those_at_the_same_time_share_one_request(opened: Opener) -> None:
    stage = await opened(WORLD)
    replies = await asyncio.gather(*(stage.router.route(chat(), request_id="r-1") for _ in range(20)))
    assert {id(reply) for reply in replies} == {id(replies[0])}
    assert stage.count() == 1
    await asyncio.gather(*(stage.router.route(chat(), request_id=f"r-{n}") for n in range(2, 8)))
    assert stage.count() == 7


async def test_other_tenants_and_users_are_others(opened: Opener) -> None:
    stage = await opened(WORLD)
    seen = {
        id(await stage.router.route(chat(), request_id="r-1", tenant=tenant, user=user))
        for tenant in ("acme", "umbrella", None)
        for user in ("ann", None)
    }
    assert len(seen) == stage.count() == 6


async def test_another_request_under_the_same_id_is_refused(opened: Opener) -> None:
    stage = await opened(WORLD)
    await stage.router.route(chat("One"), request_id="r-1")
    with pytest.raises(InvalidRequestError, match="correlation_id"):
        await stage.router.route(chat("Two"), request_id="r-1")
    assert stage.count() == 1


async def test_a_failure_is_not_kept(opened: Opener) -> None:
    stage = await opened(WORLD)
    fault = stage.world.faults.add(Fault(kind="error", error="content_filter", times=1))
    results = await asyncio.gather(
        *(stage.router.route(chat(), request_id="r-1") for _ in range(3)), return_exceptions=True
    )
    assert {type(r) for r in results} == {InvalidRequestError}
    assert (fault.hits, stage.count()) == (1, 1)
    assert isinstance(await stage.router.route(chat(), request_id="r-1"), Reply)


async def test_when_the_first_caller_leaves_another_takes_over(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(WORLD, clock=clock), clock=clock)
    fault = stage.world.faults.add(Fault(kind="delay", seconds=5))
    first, second, third = (asyncio.ensure_future(stage.router.route(chat(), request_id="r-1")) for _ in range(3))
    await until(lambda: fault.hits == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await until(lambda: fault.hits == 2)
    clock.advance(5)
    assert await second is await third


async def test_a_follower_leaving_disturbs_nobody(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(WORLD, clock=clock), clock=clock)
    fault = stage.world.faults.add(Fault(kind="delay", seconds=5))
    first = asyncio.ensure_future(stage.router.route(chat(), request_id="r-1"))
    await until(lambda: fault.hits == 1)
    second = asyncio.ensure_future(stage.router.route(chat(), request_id="r-1"))
    with pytest.raises(ProviderTimeoutError, match="still under way"):
        await stage.router.route(chat(), request_id="r-1", timeout=0.02)
    second.cancel()
    clock.advance(5)
    assert isinstance(await first, Reply)
    assert stage.count() == 1


async def test_from_several_threads_it_is_one_request_too(opened: Opener) -> None:
    stage = await opened(WORLD)
    found: list[Reply] = []
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait()
        found.append(asyncio.run(stage.router.route(chat(), request_id="r-1")))

    await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))
    assert len({id(reply) for reply in found}) == 1
    assert stage.count() == 1


async def test_the_provider_failing_all_the_same_is_told_to_all(opened: Opener) -> None:
    stage = await opened(WORLD)
    stage.world.faults.add(Fault(kind="error"))
    results = await asyncio.gather(
        *(stage.router.route(chat(), request_id="r-1") for _ in range(5)), return_exceptions=True
    )
    assert {type(r) for r in results} == {ServiceUnavailableError}
    assert stage.count() == 3


# -- what is kept --------------------------------------------------------------------------------------------------


async def _answer(text: str) -> str:
    return text


async def test_no_more_is_kept_than_fits() -> None:
    clock = ManualClock()
    once: Once[str] = Once(clock.now, weight_of, most=10, most_weight=1_000)
    for number in range(30):
        await once.run(number, b"", lambda: _answer("x"), within=1)
    assert len(once) == 10
    await once.run("large", b"", lambda: _answer("x" * 800), within=1)
    assert len(once) == 3  # 850 bytes of it, and two of 51
    await once.run("too large", b"", lambda: _answer("x" * 2_000), within=1)
    assert len(once) == 0
    assert once.weight == 0


def test_weights_are_about_right() -> None:
    vectors = [[0.1] * 1536] * 2
    assert 2 * 1536 * 32 <= weight_of(vectors) <= 2 * 1536 * 48
    assert weight_of({"a": "x" * 1000}) < 1_300
    assert weight_of([]) < 100
    assert MOST_WEIGHT // weight_of("x" * 4_000) > 10_000


def test_marks_differ_where_requests_do() -> None:
    assert mark_of("chat", {"a": 1, "b": 2}) == mark_of("chat", {"b": 2, "a": 1})
    assert mark_of("chat", {"a": 1}) != mark_of("chat", {"a": 2})
    with pytest.raises(InvalidRequestError):
        mark_of({(1, 2): 3})


def test_what_a_provider_is_told_is_one_request_only_where_it_is() -> None:
    who: list[dict[str, str]] = [
        {},
        {"tenant": "acme"},
        {"user": "ada"},
        {"tenant": "ada"},
        {"tenant": "a", "user": "b"},
    ]
    marks = [mark_for(Request(model="m", request_id="order-7", **one)) for one in who]
    assert marks[0] == "order-7"
    assert len(set(marks)) == len(who)
    assert marks == [mark_for(Request(model="m", request_id="order-7", **one)) for one in who]
    beyond = mark_for(Request(model="m", request_id="bestilling-\u00e5"))
    assert beyond.isascii()  # a header carries nothing else
    assert len(beyond) == len(mark_for(Request(model="m"))) == 32
    assert mark_for(Request(model="m")) != mark_for(Request(model="m"))
