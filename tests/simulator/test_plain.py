"""The plain HTTP API: keys in every place, fixed windows, header styles, prices."""

from __future__ import annotations

import re
from base64 import b64encode

import httpx
import pytest

from apikeyrouter.simulator import LimitSpec, Organisation, SimulatorApp, VirtualClock, World, limits


async def test_a_window_that_is_used_up_answers_429_until_the_minute_ends(talk, clock: VirtualClock) -> None:
    clock.advance(10.0)
    first = await talk.geocode()
    assert (first.status_code, first.json()["price"], first.json()["currency"]) == (200, "0.0005", "USD")
    assert first.headers["ratelimit-policy"] == '"rpm";q=3;w=60, "rpd";q=5;w=86400'
    assert re.match(r'"rpm";r=2;t=50, "rpd";r=4;t=\d+$', first.headers["ratelimit"])
    assert [(await talk.geocode()).status_code for _ in range(3)] == [200, 200, 429]
    refused = await talk.geocode()
    assert (refused.headers["retry-after"], refused.json()["code"]) == ("50", "rate_limited")
    clock.advance(50.0)
    assert (await talk.geocode()).status_code == 200


async def test_a_day_that_is_used_up_answers_403_quota(talk, clock: VirtualClock) -> None:
    for _ in range(5):
        assert (await talk.geocode()).status_code == 200
        clock.advance(60.0)
    refused = await talk.geocode()
    assert (refused.status_code, refused.json()["code"]) == (403, "quota")
    clock.advance(86_400.0)
    assert (await talk.geocode()).status_code == 200


async def test_a_key_may_come_in_four_ways(talk, world: World) -> None:
    secret = world.secret("g1")
    basic = b64encode(f"{secret}:".encode()).decode()
    for headers in ({"x-api-key": secret}, {"authorization": f"Bearer {secret}"}, {"authorization": f"Basic {basic}"}):
        answered = await talk.client.get("/search/v1/query", params={"q": "tea"}, headers=headers)
        assert answered.status_code == 200
        world.reset()
    assert (await talk.client.get("/geo/v1/geocode", params={"q": "x", "key": secret})).status_code == 200
    assert (await talk.client.get("/geo/v1/geocode", params={"q": "x"})).status_code == 401
    assert (await talk.client.get("/geo/v1/geocode", headers={"x-api-key": secret})).status_code == 400


async def test_services_have_windows_of_their_own(talk, world: World) -> None:
    headers = {"x-api-key": world.secret("g1")}
    for _ in range(3):
        await talk.geocode()
    sent = await talk.client.post("/sms/v1/messages", headers=headers, json={"to": "+47", "text": "hi"})
    assert (sent.status_code, sent.json()["status"], sent.json()["to"]) == (202, "queued", "+47")
    assert (
        await talk.client.post("/sms/v1/messages", headers=headers, data={"to": "+47", "text": "hi"})
    ).status_code == 202


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("ietf-old", {"ratelimit-limit": "3", "ratelimit-remaining": "2", "ratelimit-reset": "60"}),
        ("x", {"x-ratelimit-limit": "3", "x-ratelimit-remaining": "2", "x-ratelimit-reset": "60"}),
        ("x-epoch", {"x-ratelimit-limit": "3", "x-ratelimit-remaining": "2", "x-ratelimit-reset": "1767225660"}),
        ("none", {}),
    ],
)
async def test_how_headers_are_written(style: str, expected: dict[str, str]) -> None:
    account = Organisation(id="o", keys=("k",), dialect="plain", limits=limits(rpm=3, shape="fixed"), headers=style)
    world = World([account], clock=VirtualClock())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=SimulatorApp(world)), base_url="http://sim"
    ) as client:
        answered = await client.get("/geo/v1/geocode", params={"q": "x"}, headers={"x-api-key": world.secret("k")})
    found = {name: value for name, value in answered.headers.items() if "ratelimit" in name}
    assert (answered.status_code, found) == (200, expected)


@pytest.mark.parametrize(
    ("style", "expected"), [("seconds", "60"), ("date", "Thu, 01 Jan 2026 00:01:00 GMT"), ("none", None)]
)
async def test_the_time_to_retry_has_two_spellings(style: str, expected: str | None) -> None:
    account = Organisation(id="o", keys=("k",), dialect="plain", limits=limits(rpm=1, shape="fixed"), retry_after=style)
    world = World([account], clock=VirtualClock())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=SimulatorApp(world)), base_url="http://sim"
    ) as client:
        for _ in range(2):
            answered = await client.get("/geo/v1/geocode", params={"q": "x"}, headers={"x-api-key": world.secret("k")})
    assert (answered.status_code, answered.headers.get("retry-after")) == (429, expected)


async def test_a_month_is_a_quota_too() -> None:
    monthly = LimitSpec(name="calls", counts="requests", amount=2, per_s=30 * 86_400.0, shape="month")
    world = World(
        [Organisation(id="o", keys=("k",), dialect="plain", limits=(monthly,))], clock=(clock := VirtualClock())
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=SimulatorApp(world)), base_url="http://sim"
    ) as client:

        async def ask() -> int:
            headers = {"x-api-key": world.secret("k")}
            return (await client.get("/geo/v1/geocode", params={"q": "x"}, headers=headers)).status_code

        assert [await ask() for _ in range(3)] == [200, 200, 403]
        clock.advance(31 * 86_400.0)
        assert await ask() == 200
