"""Streams of any HTTP API, and limits of single operations: described in the file, passed on, counted by the router."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from stage import Config, Opener, Stage, geocoder, until

from apikeyrouter import ApiKeyRouter, PartialStreamError, ProviderError, QuotaExhaustedError, Request
from apikeyrouter.reload import reload
from apikeyrouter.simulator import Fault, Latency, Organisation, World, WorldSpec
from apikeyrouter.streaming import RoutedStream
from apikeyrouter.testing import ManualClock

LANGUAGE = (Organisation(id="one", keys=("k1",)), Organisation(id="two", keys=("k2",)))
PLAIN = tuple(Organisation(id=f"org-{key}", keys=(key,), dialect="plain") for key in ("k1", "k2"))
BUDGET = {"daily": {"scope": "global", "limit": "1", "period": "day"}}


def teller(world: World, url: str) -> Config:
    """A language API as if nobody knew it: its events are passed on, the last of them tells the price in tokens."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "{say}"}], "stream": True}
    tell = {
        "method": "POST",
        "path": "/v1/chat/completions",
        "body": {**body, "stream_options": {"include_usage": True}, "max_tokens": 32},
        "headers": {"x-sim-output-tokens": "{length}"},
        "stream": "sse",
        "content": "$.choices[0].delta.content",
        "cost": {"path": "$.usage.completion_tokens", "per_request": "0.5"},
        "idempotent": True,
    }
    errors = [{"status": 200, "body": {"path": "$.error"}, "means": "overloaded"}]
    return {
        "providers": {"teller": {"adapter": "http", "base_url": url, "operations": {"tell": tell}, "errors": errors}},
        "keys": {name: {"provider": "teller", "secret": world.secret(name)} for name in world.keys},
        "settings": {"backoff": 0.001},
    }


def files(world: World, url: str) -> Config:
    """Answers as bytes, for a price each."""
    config = {"providers": {"geo": geocoder(url)}, "keys": {}}
    config["providers"]["geo"]["operations"]["geocode"]["stream"] = "bytes"
    config["keys"] = {name: {"provider": "geo", "secret": world.secret(name)} for name in world.keys}
    return config


def tell(stage: Stage, length: int = 24) -> RoutedStream:
    return stage.router.stream({"say": "Go on", "length": length}, operation="tell", provider="teller")


def spent(stage: Stage) -> Decimal:
    (status,) = stage.router.budget_status("global")
    assert status.held == 0
    return status.spent


async def test_events_are_passed_on_and_the_last_tells_the_price(opened: Opener) -> None:
    stage = await opened(LANGUAGE, config=teller, budgets={"all": {"scope": "global", "limit": "100", "mode": "soft"}})
    stream = tell(stage)
    chunks = [chunk async for chunk in stream]
    assert len("".join(chunk.text for chunk in chunks)) == 4 * 24
    assert all(chunk.raw.startswith(b"data: ") and chunk.raw.endswith(b"\n\n") for chunk in chunks)
    assert chunks[-1].raw == b"data: [DONE]\n\n"
    assert json.loads(chunks[0].raw[6:]) == chunks[0].data
    assert stream.usage is not None
    assert stream.usage.cost_reported == Decimal(24)  # the tokens stand for dollars here
    assert spent(stage) == Decimal(24)


async def test_an_event_stream_that_breaks_is_replaced_before_and_told_after_its_first_event(opened: Opener) -> None:
    stage = await opened(LANGUAGE, config=teller)
    stage.world.faults.add(Fault(kind="drop", after=0, times=1))
    stage.world.faults.add(Fault(kind="empty_stream", times=1))
    said = [
        chunk.text
        async for chunk in stage.router.stream({"say": "a", "length": 9}, operation="tell", provider="teller")
    ]
    assert len("".join(said)) == 36
    stage.world.faults.add(Fault(kind="stream_error", error="overloaded", after=2, times=1))
    with pytest.raises(PartialStreamError, match="overloaded") as broken:
        async for _ in tell(stage, 9):
            pass
    assert len(broken.value.text) == 32


async def test_a_stream_that_is_left_is_settled(opened: Opener) -> None:
    world = WorldSpec(organisations=LANGUAGE, latency=Latency(per_token_s=0.01))
    stage = await opened(world, config=teller, budgets={"all": {"scope": "global", "limit": "100", "mode": "soft"}})
    stream = tell(stage, 30)
    await anext(stream)
    await stream.aclose()
    await until(lambda: stage.in_flight == 0)
    assert spent(stage) == Decimal("0.5")


async def test_any_body_is_passed_on_in_pieces(opened: Opener) -> None:
    stage = await opened(PLAIN, config=files, budgets=BUDGET)
    stream = stage.router.stream({"q": "Bodø"}, operation="geocode", provider="geo")
    body = b"".join([chunk.raw async for chunk in stream])
    assert json.loads(body)["query"] == "Bodø"
    assert spent(stage) == Decimal("0.0005")
    stage.world.faults.fail_next(1, error="overloaded")
    assert [chunk async for chunk in stage.router.stream({"q": "Bodø"}, operation="geocode", provider="geo")]
    assert stage.count() == 3


async def test_an_operation_that_does_not_stream_says_so(opened: Opener) -> None:
    def mixed(world: World, url: str) -> Config:
        config = files(world, url)
        config["providers"]["geo"]["operations"]["lookup"] = {"path": "/v1/geocode", "params": ["q"]}
        return config

    stage = await opened(PLAIN, config=mixed)
    with pytest.raises(ProviderError, match="does not stream"):
        await anext(stage.router.stream({"q": "Bodø"}, operation="lookup", provider="geo"))
    assert stage.count() == 0


def narrow(world: World, url: str) -> Config:
    """Searching is limited to three a minute for each account, whatever its keys; geocoding is not."""
    operations = {
        "geocode": {"path": "/geo/v1/geocode", "params": ["q"]},
        "search": {"path": "/search/v1/query", "params": ["q"], "limits": {"rpm": 3}},
    }
    return {
        "providers": {
            "geo": {"adapter": "http", "base_url": url, "auth": {"header": "X-Api-Key"}, "operations": operations}
        },
        "pools": {"one": {"limits": {"rpm": 100}, "shared_by": ["k1", "k2"]}},
        "keys": {name: {"provider": "geo", "secret": world.secret(name)} for name in world.keys},
    }


async def ask(stage: Stage, operation: str, times: int) -> list[str]:
    found = [
        await stage.router.route({"q": "x"}, operation=operation, provider="geo", wait=False) for _ in range(times)
    ]
    return [reply.metadata.key_used for reply in found]


async def test_an_operation_has_limits_of_its_own(opened: Opener) -> None:
    clock = ManualClock()
    two = (
        Organisation(id="one", keys=("k1", "k2"), dialect="plain"),
        Organisation(id="two", keys=("k3",), dialect="plain"),
    )
    stage = await opened(World(two, clock=clock), config=narrow, clock=clock)
    used = await ask(stage, "search", 6)
    assert len([key for key in used if key != "k3"]) == 3  # the account's three, by both of its keys
    with pytest.raises(QuotaExhaustedError) as caught:
        await ask(stage, "search", 1)
    assert caught.value.retry_after == pytest.approx(20, abs=0.1)
    await ask(stage, "geocode", 9)
    assert stage.count() == 15


async def test_a_reload_moves_the_limits_of_an_operation(opened: Opener) -> None:
    clock = ManualClock()
    one = (Organisation(id="one", keys=("k1", "k2"), dialect="plain"),)
    stage = await opened(World(one, clock=clock), config=narrow, clock=clock)
    await ask(stage, "search", 3)
    wider = narrow(stage.world, stage.url)
    reload(stage.router, wider)
    with pytest.raises(QuotaExhaustedError):
        await ask(stage, "search", 1)
    wider["providers"]["geo"]["operations"]["search"]["limits"] = {"rpm": 6}
    reload(stage.router, wider)
    clock.advance(10)
    await ask(stage, "search", 1)


def several(send_rpm: int) -> Config:
    """Two services sold by one account: what each limits, and what each request costs."""
    find = {"path": "/find", "limits": {"rpm": 5}, "cost": {"per_request": "0.001"}}
    route = {"path": "/route", "cost": {"per_request": "0.002"}}
    limit = {"of": "requests", "amount": send_rpm, "per": "hour", "window": "rolling"}
    send = {"method": "POST", "path": "/send", "limits": [limit], "cost": {"per_request": "0.003"}}
    services = {"geo": {"find": find, "route": route}, "sms": {"send": send}}
    return {
        "providers": {
            name: {"adapter": "http", "base_url": "http://127.0.0.1:9", "operations": operations}
            for name, operations in services.items()
        },
        "pools": {"one": {"shared_by": ["g", "s"]}},
        "keys": {
            "g": {"provider": "geo", "secret": "material-of-key-1"},
            "s": {"provider": "sms", "secret": "material-of-key-2"},
        },
    }


async def test_every_operation_of_an_account_has_its_own_limit_and_price() -> None:
    router = ApiKeyRouter.from_config(several(7), environ={}, log=False)
    asked = {
        name: router.preview(Request(model=name, operation=name, provider=provider)).cost
        for name, provider in (("find", "geo"), ("route", "geo"), ("send", "sms"))
    }
    assert asked == {"find": 1_000_000, "route": 2_000_000, "send": 3_000_000}
    assert windows(router) == {("requests/minute", 5), ("requests/hour", 7)}
    reload(router, several(8))
    assert windows(router) == {("requests/minute", 5), ("requests/hour", 8)}


def windows(router: ApiKeyRouter) -> set[tuple[str, float]]:
    return {(window.name, window.limit) for pool in router.quota("g") for window in pool.windows}
