"""Many at once: everybody is served, no limit of any provider is ever exceeded, and both sides count the same."""

from __future__ import annotations

import asyncio
from random import Random

from stage import MODEL, Opener, Stage, chat

from apikeyrouter.simulator import Latency, Organisation, World, WorldSpec, excess, limits
from apikeyrouter.testing import ManualClock

NS = 10**9


def assert_within_limits(stage: Stage) -> None:
    """The exact proof, from the providers' own records: no interval took more than its bucket and its refill."""
    for organisation in stage.world.organisations.values():
        for limit in organisation.spec.limits:
            charges = stage.world.record.charges(limit.counts, organisation=organisation.id)
            over = excess(charges, limit=limit.amount, per_ns=round(limit.per_s * NS), capacity=limit.amount)
            assert over <= 0, (organisation.id, limit.name)
    assert stage.count(outcome="throttled") == 0


def assert_counted_alike(stage: Stage, requests: int) -> None:
    summary = stage.router.get_state_summary()
    assert stage.count(outcome="admitted") == requests
    for key in summary.keys:
        assert key.usage_count == stage.world.key(key.id).counters.admitted
    for pool in summary.pools:
        assert pool.in_flight == 0
        theirs = {reading.name: reading.remaining for reading in stage.world.quota(pool.id, MODEL)}
        ours = {"rpm": "requests/minute", "tpm": "tokens/minute"}
        for window in pool.windows:
            name = next(short for short, long in ours.items() if long == window.name)
            assert window.held == 0
            assert window.remaining <= theirs[name] + 1


def five_organisations(*, rpm: int, tpm: int) -> WorldSpec:
    """Eight keys: three, two, and three with one."""
    shares = (("org-1", 5, 3), ("org-2", 5, 2), ("org-3", 3, 1), ("org-4", 2, 1), ("org-5", 1, 1))
    return WorldSpec(
        organisations=tuple(
            Organisation(
                id=name,
                keys=tuple(f"{name}-k{n}" for n in range(keys)),
                limits=limits(rpm=rpm * share // 16, tpm=tpm * share // 16),
            )
            for name, share, keys in shares
        ),
        latency=Latency(first_s=0.02),
    )


async def test_two_hundred_at_once_with_room_for_all(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(five_organisations(rpm=1600, tpm=640_000), clock=clock)
    replies = await stage.while_time_passes(asyncio.gather(*(stage.router.route(chat(str(n))) for n in range(200))))
    assert len(replies) == 200
    assert len({reply.metadata.decision_id for reply in replies}) == 200
    assert {reply.metadata.attempts for reply in replies} == {1}
    assert_counted_alike(stage, 200)
    assert_within_limits(stage)
    used = {
        organisation.id: stage.count(organisation=organisation.id) for organisation in stage.world.spec.organisations
    }
    assert used["org-1"] > used["org-5"]  # load follows room


async def test_two_hundred_at_once_with_room_for_half(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(five_organisations(rpm=96, tpm=640_000), clock=clock)
    asked = (stage.router.route(chat(str(n)), timeout=300) for n in range(200))
    replies = await stage.while_time_passes(asyncio.gather(*asked), step=0.25)
    assert len(replies) == 200
    assert sum(reply.metadata.waited_s > 0 for reply in replies) >= 100
    assert_counted_alike(stage, 200)
    assert_within_limits(stage)


async def test_two_hundred_streams_at_once(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(five_organisations(rpm=1600, tpm=640_000), clock=clock)

    async def read(number: int) -> int:
        return len("".join([chunk.text async for chunk in stage.router.stream(chat(str(number), output=16))]))

    lengths = await stage.while_time_passes(asyncio.gather(*(read(n) for n in range(200))))
    assert set(lengths) == {64}
    assert_counted_alike(stage, 200)
    assert_within_limits(stage)


async def test_at_nine_tenths_of_what_there_is_nobody_is_ever_refused(opened: Opener) -> None:
    clock = ManualClock()
    spec = five_organisations(rpm=480, tpm=16_000)
    stage = await opened(World(spec, clock=clock), clock=clock)
    chance = Random(3)
    tasks: list[asyncio.Task[float]] = []

    async def ask(tokens: int) -> float:
        reply = await stage.router.route(chat("x" * 40, output=4, max_tokens=tokens), timeout=60)
        return reply.metadata.waited_s

    budget = 16_000.0  # a full minute's tokens are there at the start; then nine tenths of the refill, in bursts
    for _ in range(60):
        while budget > 0:
            tokens = chance.randrange(40, 160)
            budget -= tokens + 17
            tasks.append(asyncio.ensure_future(ask(tokens)))
        await stage.pass_time(1.0)
        budget += 0.9 * 16_000 / 60
    waits = await stage.while_time_passes(asyncio.gather(*tasks))
    assert len(waits) == stage.count(outcome="admitted")
    assert_within_limits(stage)
