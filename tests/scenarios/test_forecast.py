"""A key whose quota will not last is kept for those who may use it up, by a line of configuration, and comes back."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from stage import MODEL, Opener, Stage, chat

from apikeyrouter import PolicyViolationError, Request
from apikeyrouter.core.bearing import pool_facts
from apikeyrouter.events import ExhaustionNear
from apikeyrouter.simulator import LimitSpec, Organisation, World, limits
from apikeyrouter.testing import ManualClock

TEN_TO_MIDNIGHT = 1_767_225_600.0 + 86_400.0 - 600.0
"""2026-01-01T23:50:00Z."""
EACH, DAY, LEFT = 10, 10_000, 250
"""Tokens of one request, and requests in a day: what the limit holds, and what another program has left of it."""
POLICY: dict[str, Any] = {"policies": {"spare": {"scope": "tenant:batch", "deny": "pool.exhausts_in_h < 4"}}}
CONSTRAINT: dict[str, Any] = {
    "policies": {"spare": {"scope": "tenant:batch", "objective": {"constraints": {"min_exhaustion": "4h"}}}}
}


def organisation(name: str, requests: int) -> Organisation:
    day = LimitSpec(name="tpd", counts="tokens", amount=requests * EACH, per_s=86_400.0, shape="day")
    return Organisation(id=name, keys=(f"{name[-1]}1",), limits=(day,))


def question(requests: int = 1) -> dict[str, Any]:
    """A chat that is charged as so many: its input has 9 tokens."""
    return chat(output=1, max_tokens=requests * EACH - 9)


async def running_out(opened: Opener, **sections: Any) -> Stage:
    """org-a, asked first, has spent most of its day elsewhere; org-b has plenty. A desk asks every other second."""
    clock = ManualClock(TEN_TO_MIDNIGHT)
    world = World([organisation("org-a", DAY), organisation("org-b", 100 * DAY)], clock=clock)
    keys = {
        name: {"provider": "openai", "secret": world.secret(name), "tier": tier}
        for name, tier in (("a1", 0), ("b1", 1))
    }
    stage = await opened(world, clock=clock, keys=keys, **sections)
    await spend_elsewhere(stage)
    await desk(stage, 180)
    return stage


async def spend_elsewhere(stage: Stage) -> None:
    """Another program uses the same organisation, which the router learns from the headers of its own answers."""
    headers = {"authorization": f"Bearer {stage.world.secret('a1')}"}
    async with httpx.AsyncClient(headers=headers) as other:
        for _ in range(13):
            answer = await other.post(f"{stage.url}/v1/chat/completions", json=question((DAY - LEFT) // 13))
            assert answer.status_code == 200, answer.text


async def desk(stage: Stage, count: int) -> None:
    """Requests of people, which no policy is about: they go to org-a."""
    assert stage.clock is not None
    for _ in range(count):
        stage.clock.advance(2.0)
        reply = await stage.router.route(question(), tenant="desk")
        assert reply.metadata.key_used == "a1"


async def batch(stage: Stage) -> tuple[str, str]:
    """Whom a batch request goes to, and the explanation."""
    reply = await stage.router.route(question(), tenant="batch")
    return reply.metadata.key_used, str(stage.router.explain(reply.metadata.decision_id))


ENDS = {
    "policy": r"a1: policy spare v1, deny: pool\.exhausts_in_h < 4 "
    r"\(pool\.exhausts_in_h is (?P<ends>[\d.]+), pool\.resets_in_h is (?P<back>[\d.]+)\)\.",
    "constraint": r"a1: org-a tokens/day is as likely as not to run out in (?P<ends>[\d.]+) min, "
    r"sooner than the minimum of 4\.0 h; its reset is in (?P<back>[\d.]+) min\.",
}


@pytest.mark.parametrize(("sections", "said"), [(POLICY, ENDS["policy"]), (CONSTRAINT, ENDS["constraint"])], ids=ENDS)
async def test_a_key_that_will_not_last_four_hours_is_left_out_until_its_reset(
    opened: Opener, sections: dict[str, Any], said: str
) -> None:
    stage = await running_out(opened, **sections)
    key, text = await batch(stage)
    assert key == "b1"
    found = re.search(said, text)
    assert found is not None, text
    unit_s = 3600.0 if sections is POLICY else 60.0
    ends_s, back_s = float(found["ends"]) * unit_s, float(found["back"]) * unit_s
    (forecast,) = stage.router.forecast("a1")
    assert forecast.p50 is not None
    assert ends_s == pytest.approx(forecast.p50 - forecast.calculated_at, abs=2.0 if sections is POLICY else 30.0)
    assert back_s == pytest.approx(240.0, rel=0.02)
    assert 90.0 < forecast.p50 - forecast.calculated_at < 170.0  # one every other second, and 70 left

    await desk(stage, 30)  # who is not under the policy still uses it
    assert (await batch(stage))[0] == "b1"
    assert stage.clock is not None
    stage.clock.advance(200.0)  # past midnight: 10,000 last for more than four hours at this rate
    key, text = await batch(stage)
    assert key == "a1", text
    assert stage.count(outcome="throttled") == 0


async def test_a_key_nobody_else_can_replace_is_refused_with_the_numbers(opened: Opener) -> None:
    stage = await running_out(opened, **POLICY)
    await stage.router.disable_key("b1")
    with pytest.raises(PolicyViolationError, match=r"pool\.exhausts_in_h is 0\.0\d+, pool\.resets_in_h is 0\.06"):
        await stage.router.route(chat(), tenant="batch")


async def test_before_five_minutes_were_seen_nothing_is_kept_back(opened: Opener) -> None:
    """A burst after a start is no forecast."""
    clock = ManualClock(TEN_TO_MIDNIGHT)
    stage = await opened(World([organisation("org-a", 40)], clock=clock), clock=clock, **POLICY)
    for _ in range(20):
        clock.advance(1.0)
        assert (await batch(stage))[0] == "a1"


async def test_a_minute_that_runs_out_is_no_end(opened: Opener) -> None:
    """A bucket of a minute that is nearly empty is back in seconds, which no policy in hours is about."""
    clock = ManualClock(TEN_TO_MIDNIGHT)
    org = Organisation(id="org-a", keys=("a1",), limits=limits(rpm=60))
    stage = await opened(World([org], clock=clock), clock=clock, **POLICY)
    for _ in range(340):
        clock.advance(1.0)
        assert (await batch(stage))[0] == "a1"
    (window,) = stage.router.quota("a1")[0].windows
    assert window.forecast is not None
    assert window.forecast.method == "multi-scale"


async def test_it_is_told_once_that_the_day_will_end_early(opened: Opener) -> None:
    told: list[ExhaustionNear] = []
    clock = ManualClock(TEN_TO_MIDNIGHT)
    stage = await opened(World([organisation("org-a", DAY)], clock=clock), clock=clock)
    await spend_elsewhere(stage)
    stage.router.subscribe(ExhaustionNear, told.append)
    await desk(stage, 200)
    (event,) = told
    assert (event.pool, event.window) == ("org-a", "tokens/day")
    assert event.reset_at == pytest.approx(TEN_TO_MIDNIGHT + 600.0, abs=1.0)


async def test_words_about_a_key_in_several_pools_are_of_the_fullest_and_of_the_first_to_end(
    opened: Opener,
) -> None:
    clock = ManualClock(TEN_TO_MIDNIGHT)
    world = World([Organisation(id="org", keys=("k1",))], clock=clock)
    pools = {
        name: {"limits": [{"of": "requests", "amount": amount, "per": "day", "window": "fixed"}], "shared_by": ["k1"]}
        for name, amount in (("plenty", 9_000), ("first", 500), ("second", 560))
    }
    stage = await opened(world, clock=clock, pools=pools)
    lease = None
    for _ in range(400):
        clock.advance(1.0)
        lease = stage.router.acquire(Request(model=MODEL, input_tokens=1, max_output_tokens=1))
        stage.router.settle(lease)
    assert lease is not None
    word = pool_facts(lease.candidate, clock.now())
    first = next(pool for pool in lease.candidate.pools if pool.id == "first")
    assert first.soonest is not None
    assert first.soonest.p50 is not None
    assert word["exhausts_in_h"] == pytest.approx((first.soonest.p50 - clock.now()) / 3600.0)
    assert word["confidence"] == first.soonest.confidence
    assert 0.0 < first.soonest.confidence < 1.0
    assert word["risk"] == max(pool.risk for pool in lease.candidate.pools)
    assert first.risk > 0.9
    assert word["used"] == pytest.approx(400 / 500)
    assert word["remaining"] == pytest.approx(100 / 500)
    assert word["state"] == "critical"
