"""A 429 stops the pool that gave it, for as long as it says, and nobody else; the pool comes back by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from stage import Opener, Stage, chat

from apikeyrouter import QuotaExhaustedError, RateLimitError
from apikeyrouter.events import Failed, StateChanged
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1", "a2", "a3"), limits=limits(rpm=60, tpm=40_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=600, tpm=400_000)),
)


async def opened_with_a_first(opened: Opener, clock: ManualClock, **more: Any) -> Stage:
    """Both pools known with too much room, and org-a in the first tier, so that the provider is who says no."""
    world = World(WORLD, clock=clock)
    keys = {
        name: {"provider": "openai", "secret": world.secret(name), "tier": 0 if name != "b1" else 1}
        for name in ("a1", "a2", "a3", "b1")
    }
    pools = {
        "org-a": {"limits": {"rpm": 6000}, "shared_by": ["a1", "a2", "a3"]},
        "org-b": {"limits": {"rpm": 6000}, "shared_by": ["b1"]},
    }
    return await opened(world, clock=clock, keys=keys, pools=pools, **more)


def throttled(seconds: int, **more: object) -> Fault:
    return Fault(
        kind="error",
        status=429,
        body=b'{"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}',
        headers={"retry-after": str(seconds)},
        **more,  # type: ignore[arg-type]
    )


async def test_another_pool_serves_and_the_keys_beside_the_refused_one_are_not_tried(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    stage.world.faults.add(throttled(20, organisation="org-a", times=1))
    reply = await stage.router.route(chat())
    assert reply.metadata.key_used == "b1"
    assert reply.metadata.attempts == 2
    assert [key[0] for key in stage.seen()] == ["a", "b"]  # one of org-a's three keys was asked, once
    assert stage.count(organisation="org-a") == 1


async def test_the_pool_shows_its_state_and_recovers_by_itself(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    stage.world.faults.add(throttled(20, organisation="org-a", times=1))
    await stage.router.route(chat())
    assert {stage.state(key) for key in ("a1", "a2", "a3")} == {"throttled"}
    assert stage.state("b1") == "available"
    assert "3 throttled 20s" in repr(stage.router)
    assert [key.id for key in stage.router.list_keys(state="throttled")] == ["a1", "a2", "a3"]

    clock.advance(19.9)
    await stage.router.route(chat())
    assert stage.count(organisation="org-a") == 1
    clock.advance(0.2)
    assert stage.state("a1") == "available"
    await stage.router.route(chat())
    assert stage.count(organisation="org-a") == 2

    moves = [(e.entity, e.id, str(e.before), str(e.after), str(e.trigger)) for e in stage.of(StateChanged)]
    assert moves == [
        ("pool", "org-a", "available", "throttled", "rate_limit"),
        ("pool", "org-a", "throttled", "available", "cooldown_over"),
    ]


async def test_the_explanation_names_the_stopped_keys_and_their_time(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    stage.world.faults.add(throttled(20, organisation="org-a", times=1))
    reply = await stage.router.route(chat())
    text = str(stage.router.explain(reply.metadata.decision_id))
    assert "(attempt 2)" in text
    for key in ("a1", "a2", "a3"):
        assert f"{key}: " in text
    clock.advance(5)
    later = str(stage.router.explain((await stage.router.route(chat())).metadata.decision_id))
    assert "throttled by the provider, in 15.0 s (org-a 429 rate_limit_exceeded)" in later


async def test_the_only_pool_is_waited_for_within_the_deadline(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    await stage.router.revoke_key("b1")
    stage.world.faults.add(throttled(5, times=1))
    reply = await stage.while_time_passes(stage.router.route(chat(), timeout=30))
    assert reply.metadata.attempts == 2
    assert 5.0 <= reply.metadata.waited_s < 5.5
    first, second = stage.world.record.all()
    assert (second.at - first.at) / 1e9 >= 5.0  # never before its time


async def test_the_only_pool_out_of_time_is_an_error_that_says_when(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    await stage.router.revoke_key("b1")
    stage.world.faults.add(throttled(50, times=1))
    with pytest.raises(RateLimitError) as refused:
        await stage.router.route(chat(), timeout=30)
    assert refused.value.status == 429
    assert refused.value.retry_after == pytest.approx(50, abs=0.1)
    with pytest.raises(QuotaExhaustedError) as later:
        await stage.router.route(chat(), timeout=30)
    assert later.value.retry_after == pytest.approx(50, abs=0.1)
    assert stage.count() == 1


async def test_every_pool_refusing_is_the_provider_s_word_not_a_storm(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    stage.world.faults.add(throttled(100))
    with pytest.raises(RateLimitError) as refused:
        await stage.router.route(chat(), timeout=10)
    assert stage.count() == 2  # once for each pool
    assert refused.value.retry_after == pytest.approx(100, abs=0.1)


async def test_several_refusals_at_one_moment_are_one_stop(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    stage.world.faults.add(throttled(20, organisation="org-a", times=2))
    stage.world.faults.add(throttled(10, organisation="org-a", times=1))
    replies = await asyncio.gather(*(stage.router.route(chat()) for _ in range(3)))
    assert {reply.metadata.key_used for reply in replies} == {"b1"}
    assert len([e for e in stage.of(StateChanged) if e.entity == "pool"]) == 1
    clock.advance(21)
    assert stage.state("a1") == "available"


async def test_one_request_too_large_for_a_pool_does_not_stop_the_pool(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    too_large = (
        b'{"error": {"message": "Request too large for gpt-4o-mini in organization org-a on tokens per min (TPM): '
        b'Limit 40000, Requested 50000.", "type": "tokens", "code": "rate_limit_exceeded"}}'
    )
    stage.world.faults.fail_next(1, status=429, body=too_large, organisation="org-a")
    reply = await stage.router.route(chat())
    assert reply.metadata.key_used == "b1"
    assert stage.state("a1") == "available"
    assert (await stage.router.route(chat())).metadata.key_used.startswith("a")


async def test_a_spent_account_is_exhausted_and_another_serves(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened_with_a_first(opened, clock)
    stage.world.unpaid("org-a")
    for _ in range(5):
        assert (await stage.router.route(chat())).metadata.key_used == "b1"
    assert stage.count(organisation="org-a") == 1
    assert stage.state("a2") == "exhausted"
    assert stage.of(Failed)[0].kind == "no_money"
    stage.world.unpaid("org-a", unpaid=False)
    clock.advance(820)
    assert stage.state("a2") == "recovering"
    clock.advance(100)
    assert stage.state("a2") == "available"
    assert (await stage.router.route(chat())).metadata.key_used.startswith("a")
