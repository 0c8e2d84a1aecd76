"""Any HTTP API is routed like a model: quotas, prices, failover; and what must not be done twice is not."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from stage import Config, Opener, Stage, geocoder, until

from apikeyrouter import ProviderError, QuotaExhaustedError, ServiceUnavailableError
from apikeyrouter.events import Failed
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="one", keys=("k1",), dialect="plain", limits=limits(rpm=60, rpd=5, shape="fixed")),
    Organisation(id="two", keys=("k2",), dialect="plain", limits=limits(rpm=60, shape="fixed")),
)


def messenger(url: str) -> Config:
    return {
        "adapter": "http",
        "base_url": f"{url}/sms",
        "auth": {"header": "X-Api-Key"},
        "operations": {"send": {"method": "POST", "path": "/v1/messages", "body": {"to": "{to}", "text": "{text}"}}},
        "cost": {"path": "$.price"},
    }


def services(world: World, url: str) -> Config:
    """Both accounts may geocode; k2 sends messages too. The limits are not told: the answers have to."""
    return {
        "providers": {"geo": geocoder(url), "sms": messenger(url)},
        "pools": {"one": {"shared_by": ["k1"]}, "two": {"shared_by": ["k2"]}},
        "keys": {
            "k1": {"provider": "geo", "secret": world.secret("k1"), "tier": 0},
            "k2": {"provider": "geo", "secret": world.secret("k2"), "tier": 1},
        },
        "settings": {"backoff": 0.001},
    }


def texting(world: World, url: str) -> Config:
    config = services(world, url)
    config["keys"] = {k: {**key, "provider": "sms"} for k, key in config["keys"].items()}
    return config


async def geocode(stage: Stage) -> str:
    reply = await stage.router.route({"q": "Oslo"}, operation="geocode", provider="geo")
    return reply.metadata.key_used


async def test_a_spent_day_is_exhausted_and_another_account_serves(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(WORLD, clock=clock), config=services, clock=clock)
    used = [await geocode(stage) for _ in range(12)]
    assert used == ["k1"] * 5 + ["k2"] * 7
    assert stage.count(key="k1") <= 6  # told once, at most, by a 403 that no status-only router would understand
    assert stage.state("k1") in ("exhausted", "available")
    assert stage.count(key="k2", outcome="admitted") == 7


async def test_the_price_is_the_answer_s_own(opened: Opener) -> None:
    stage = await opened(WORLD, config=texting, budgets={"all": {"scope": "global", "limit": "1", "mode": "soft"}})
    reply = await stage.router.route({"to": "+4712345678", "text": "Hi"}, operation="send", provider="sms")
    assert isinstance(reply.content, dict)
    assert reply.content["status"] == "queued"
    assert reply.metadata.cost == Decimal("0.0005")
    assert stage.router.budget_status("global")[0].spent == Decimal("0.0005")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="drop", operation="message", times=1),
        Fault(kind="malformed", operation="message", times=1),
        Fault(kind="error", operation="message", times=1),
        Fault(kind="error", operation="message", error="timeout", times=1),
    ],
    ids=["dropped", "half an answer", "500", "504"],
)
async def test_a_message_that_may_have_been_sent_is_not_sent_again(opened: Opener, fault: Fault) -> None:
    stage = await opened(WORLD, config=texting)
    stage.world.faults.add(fault)
    with pytest.raises(ProviderError, match="may have been carried out"):
        await stage.router.route({"to": "+4712345678", "text": "Hi"}, operation="send", provider="sms")
    assert stage.count() == 1


@pytest.mark.parametrize("error", ["overloaded", "invalid_key", "unpaid"])
async def test_a_message_that_was_surely_not_sent_goes_by_another_key(opened: Opener, error: str) -> None:
    stage = await opened(WORLD, config=texting)
    stage.world.faults.add(Fault(kind="error", operation="message", error=error, times=1))
    reply = await stage.router.route({"to": "+4712345678", "text": "Hi"}, operation="send", provider="sms")
    assert reply.metadata.attempts == 2
    assert stage.count(outcome="admitted") == 1


async def test_reading_may_be_done_again(opened: Opener) -> None:
    stage = await opened(WORLD, config=services)
    stage.world.faults.add(Fault(kind="drop", times=1))
    await geocode(stage)
    assert stage.count() == 2


async def test_a_configuration_may_say_that_repeating_is_safe(opened: Opener) -> None:
    def safely(world: World, url: str) -> Config:
        config = texting(world, url)
        config["providers"]["sms"]["operations"]["send"]["idempotent"] = True
        return config

    stage = await opened(WORLD, config=safely)
    stage.world.faults.add(Fault(kind="drop", operation="message", times=1))
    reply = await stage.router.route({"to": "+4712345678", "text": "Hi"}, operation="send", provider="sms")
    assert reply.metadata.attempts == 2


async def test_a_caller_who_gives_up_does_not_make_it_two(opened: Opener) -> None:
    stage = await opened(WORLD, config=texting)
    stage.world.faults.add(Fault(kind="hang", operation="message"))
    task = asyncio.ensure_future(
        stage.router.route({"to": "+4712345678", "text": "Hi"}, operation="send", provider="sms", timeout=0.1)
    )
    with pytest.raises(ProviderError, match="may have been carried out"):
        await task
    await until(lambda: stage.in_flight == 0)
    assert stage.count() == 1
    assert [event.kind for event in stage.of(Failed)] == ["timeout"]


async def test_quota_headers_are_enough(opened: Opener) -> None:
    clock = ManualClock()
    world = (
        Organisation(id="one", keys=("k1",), dialect="plain", limits=limits(rpm=3, shape="fixed"), headers="ietf-old"),
    )

    def bare(world: World, url: str) -> Config:
        return {
            "providers": {"geo": geocoder(url)},
            "keys": {"k1": {"provider": "geo", "secret": world.secret("k1")}},
        }

    stage = await opened(World(world, clock=clock), config=bare, clock=clock)
    for _ in range(3):
        await geocode(stage)
    with pytest.raises((QuotaExhaustedError, ServiceUnavailableError, ProviderError)):
        await stage.router.route({"q": "Oslo"}, operation="geocode", provider="geo", timeout=5)
    assert stage.count(outcome="throttled") <= 1
    clock.advance(61)
    assert await geocode(stage) == "k1"
