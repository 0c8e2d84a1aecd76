"""What goes wrong on purpose, seen by a real HTTP client."""

from __future__ import annotations

import json

import httpx
import pytest

from apikeyrouter.simulator import (
    Fault,
    Latency,
    Organisation,
    SimulatorApp,
    VirtualClock,
    World,
    WorldSpec,
    limits,
    run_virtual,
    serve,
)
from apikeyrouter.simulator.turn import ConnectionDroppedError


async def test_the_next_requests_of_one_key_fail_and_no_others(talk, world: World) -> None:
    fault = world.faults.fail_next(2, key="a1")
    assert [(await talk.chat(key)).status_code for key in ("a2", "a1", "a1", "a1")] == [200, 500, 500, 200]
    assert fault.hits == 2
    assert world.key("a1").counters.faults == 2
    assert world.record.charges("tokens", key="a1") == [
        (world.now_ns(), 117)
    ]  # failures cost a request each, no tokens


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("overloaded", 503, "server_is_overloaded"),
        ("slow_down", 429, "slow_down"),
        ("spend_limit", 429, "organization_spend_limit_exceeded"),
        ("content_filter", 400, "content_policy_violation"),
        ("permission", 403, "unsupported_country_region_territory"),
    ],
)
async def test_errors_by_name_are_the_dialects_own(talk, world: World, error: str, status: int, code: str) -> None:
    world.faults.fail_next(1, error=error)
    response = await talk.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_an_error_can_be_given_word_for_word(talk, world: World) -> None:
    world.faults.add(Fault(kind="error", status=418, body=b"teapot", headers={"Retry-After": "7"}))
    response = await talk.chat()
    assert (response.status_code, response.text, response.headers["retry-after"]) == (418, "teapot", "7")


async def test_a_revoked_key_is_refused_at_once_and_can_come_back(talk, world: World) -> None:
    assert (await talk.chat()).status_code == 200
    world.revoke("a1")
    assert (await talk.chat()).status_code == 401
    world.replace("a1", "sk-sim-a-new-one")
    assert (await talk.chat()).status_code == 200
    assert [seen.reason for seen in world.record.all(key="a1")] == ["", "invalid_key", ""]


async def test_a_dropped_connection_is_dropped(talk, world: World) -> None:
    world.faults.add(Fault(kind="drop", times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        await talk.chat()
    assert (await talk.chat()).status_code == 200


async def test_a_stream_breaks_after_some_pieces(talk, world: World) -> None:
    world.faults.add(Fault(kind="drop", after=3))
    lines: list[str] = []
    with pytest.raises(httpx.RemoteProtocolError):
        async with talk.client.stream(
            "POST",
            "/v1/chat/completions",
            headers=talk.key("a1"),
            json={"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "x"}]},
        ) as response:
            lines = [line async for line in response.aiter_lines() if line.startswith("data")] or lines
    seen = world.record.all()[-1]
    assert (seen.outcome, seen.reason, seen.output_tokens) == ("fault", "drop", 16)


async def test_a_stream_can_report_an_error_after_200(talk, world: World) -> None:
    world.faults.add(Fault(kind="stream_error", after=2))
    response = await talk.chat(stream=True)
    last = json.loads(response.text.rstrip().splitlines()[-1].removeprefix("data: "))
    assert response.status_code == 200
    assert last["error"]["type"] == "server_error"
    assert "[DONE]" not in response.text


async def test_a_stream_can_be_empty(talk, world: World) -> None:
    world.faults.add(Fault(kind="empty_stream"))
    response = await talk.chat(stream=True)
    assert (response.status_code, response.text) == (200, "")


async def test_json_can_be_broken_or_followed_by_very_much(talk, world: World) -> None:
    world.faults.add(Fault(kind="malformed", times=1))
    with pytest.raises(json.JSONDecodeError):
        (await talk.chat()).json()
    world.faults.add(Fault(kind="huge_body", times=1, size=3_000_000))
    assert len((await talk.chat()).content) > 3_000_000


async def test_a_hanging_request_ends_when_the_client_gives_up(talk, world: World) -> None:
    world.faults.add(Fault(kind="hang", times=1))
    with pytest.raises(httpx.ReadTimeout):
        await talk.client.post("/v1/chat/completions", headers=talk.key("a1"), timeout=0.05, json=_BODY)
    assert (await talk.chat()).status_code == 200
    assert world.record.all(outcome="fault")[0].left
    assert world.key("a1").counters.in_flight == 0


_BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}


def test_faults_have_hours_and_rates() -> None:
    world = World([Organisation(id="o", keys=("k",))], clock=(clock := VirtualClock()))
    storm = world.faults.add(Fault(kind="error", starts_s=10.0, ends_s=20.0, rate=0.5))
    struck = []
    for _ in range(3000):
        clock.advance(0.01)
        fault = world.faults.strike(world.age_s(), "o", "k", "gpt-4o", "chat")[1]
        struck.append(world.age_s() if fault else None)
    times = [at for at in struck if at is not None]
    assert 10.0 <= min(times) <= max(times) < 20.0
    assert 400 < len(times) == storm.hits < 600


def test_delays_add_up_and_latency_takes_virtual_time_only() -> None:
    spec = WorldSpec(
        organisations=(Organisation(id="o", keys=("k",), limits=limits(rpm=10)),),
        latency=Latency(first_s=100.0, per_token_s=1.0),
    )

    async def main() -> tuple[float, float, float]:
        world = World(spec)
        transport = httpx.ASGITransport(app=SimulatorApp(world))
        async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
            headers = {"authorization": f"Bearer {world.secret('k')}", "x-sim-output-tokens": "20"}
            await client.post("/v1/chat/completions", headers=headers, json=_BODY)
            world.faults.add(Fault(kind="delay", seconds=1000.0))
            world.faults.add(Fault(kind="delay", seconds=500.0))
            await client.post("/v1/chat/completions", headers=headers, json=_BODY)
            await client.post("/v1/chat/completions", headers=headers, json={**_BODY, "stream": True})
        first, second, third = (seen.took_s for seen in world.record.all())
        return first, second, third

    assert run_virtual(main()) == pytest.approx((120.0, 1620.0, 1620.0))


async def test_in_process_a_drop_is_an_exception() -> None:
    world = World([Organisation(id="o", keys=("k",))])
    world.faults.add(Fault(kind="drop"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=SimulatorApp(world)), base_url="http://sim"
    ) as client:
        with pytest.raises(ConnectionDroppedError):
            await client.post(
                "/v1/chat/completions", headers={"authorization": f"Bearer {world.secret('k')}"}, json=_BODY
            )


async def test_slow_headers_and_slow_bodies_over_the_line() -> None:
    world = World([Organisation(id="o", keys=("k",))])
    headers = {"authorization": f"Bearer {world.secret('k')}"}
    async with serve(world, thread=True) as url, httpx.AsyncClient(base_url=url) as client:
        world.faults.add(Fault(kind="slow_body", times=1, seconds=0.05))
        async with client.stream("POST", "/v1/chat/completions", headers=headers, json=_BODY) as response:
            assert response.status_code == 200
            assert not world.record.all()
            assert json.loads(await response.aread())["object"] == "chat.completion"
        world.faults.add(Fault(kind="slow_headers", times=1, seconds=0.05))
        assert (await client.post("/v1/chat/completions", headers=headers, json=_BODY)).status_code == 200
    assert all(seen.took_s >= 0.05 for seen in world.record.all())
