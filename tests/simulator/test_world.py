"""The handle on a world: records, counters, control over HTTP, foreign clients, concurrency, threads, secrecy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from fractions import Fraction

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.errors import KeyNotFoundError
from apikeyrouter.simulator import (
    Foreign,
    Key,
    Latency,
    LoopClock,
    Organisation,
    SimulatorApp,
    VirtualClock,
    World,
    WorldSpec,
    excess,
    limits,
    run_virtual,
    serve,
)
from apikeyrouter.simulator.clock import NS

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "max_tokens": 92}


def in_process(world: World) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=SimulatorApp(world)), base_url="http://sim")


async def turns(happened: Callable[[], int], clock: VirtualClock | None = None) -> None:
    """Let the loop turn until something happened; with a clock, a second passes each time."""
    for _ in range(100_000):
        if happened():
            return
        await (clock.run_for(1.0) if clock else asyncio.sleep(0))
    raise AssertionError("it did not happen")


async def ask(client: httpx.AsyncClient, world: World, key: str = "k", **body: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {world.secret(key)}"}
    return await client.post("/v1/chat/completions", headers=headers, json={**BODY, **body})


async def test_upstream_admitted_equals_what_clients_got(talk, world: World) -> None:
    got = [(await talk.chat(key, max_tokens=700)).status_code for key in ("a1", "a2") * 8]
    counters = [world.key(key).counters for key in ("a1", "a2")]
    assert got.count(200) == sum(c.admitted for c in counters) == len(world.record.all(outcome="admitted")) > 0
    assert got.count(429) == sum(c.throttled for c in counters) == len(world.record.all(outcome="throttled")) > 0
    assert world.organisations["org-a"].counters.charged["tokens"] == 717 * got.count(200)


def test_the_record_is_bounded_and_the_counters_are_not() -> None:
    async def main() -> World:
        world = World(WorldSpec(organisations=(Organisation(id="o", keys=("k",)),), record_size=5))
        async with in_process(world) as client:
            for _ in range(12):
                await ask(client, world)
        return world

    world = run_virtual(main())
    assert (len(world.record), world.key("k").counters.admitted) == (5, 12)


async def test_control_over_http(talk, world: World) -> None:
    await talk.chat()
    state = (await talk.client.get("/_sim/state")).json()
    assert state["keys"]["a1"]["admitted"] == 1
    assert state["organisations"]["org-a"]["quotas"]["gpt-4o-mini"]["rpm"] == {
        "counts": "requests",
        "limit": 60,
        "capacity": 60,
        "remaining": 59,
        "reset_s": 1.0,
    }
    record = (await talk.client.get("/_sim/records?limit=1")).json()[0]
    assert (record["key"], record["taken"], record["status"]) == ("a1", {"requests": 1, "tokens": 117}, 200)
    assert (await talk.client.post("/_sim/faults", json={"kind": "error", "times": 1})).json() == {"faults": 1}
    assert (await talk.chat()).status_code == 500
    wrong = await talk.client.post("/_sim/faults", json={"kind": "sulk", "tims": 1})
    assert wrong.status_code == 400
    assert "one of error, delay" in wrong.json()["error"]
    assert "fault.tims: is unknown" in wrong.json()["error"]
    assert (await talk.client.delete("/_sim/faults")).json() == {"faults": 0}
    await talk.client.post("/_sim/keys/a1", json={"status": "revoked"})
    assert (await talk.chat()).status_code == 401
    await talk.client.post("/_sim/organisations/org-b", json={"status": "unpaid"})
    assert (await talk.chat("b1")).json()["error"]["type"] == "insufficient_quota"
    assert (await talk.client.post("/_sim/keys/nobody", json={"status": "alive"})).status_code == 400
    assert (await talk.client.get("/_sim/nothing")).status_code == 404
    assert (await talk.client.post("/_sim/reset")).json()["requests"] == 0
    assert (await talk.chat()).headers["x-ratelimit-remaining-requests"] == "59"


async def test_no_material_is_ever_shown(talk, world: World) -> None:
    await talk.chat()
    await talk.chat("dead")
    world.faults.fail_next(1)
    await talk.chat()
    shown = [repr(world), repr(world.keys), repr(world.record.all()), repr(world.organisations)]
    shown += [(await talk.client.get(f"/_sim/{what}")).text for what in ("state", "records")]
    for key in world.keys.values():
        assert not any(key.material in text for text in shown)


def test_an_unknown_key_id_is_named(world: World) -> None:
    with pytest.raises(KeyNotFoundError, match="no key 'zz': it has a1, a2"):
        world.secret("zz")


async def test_a_key_of_another_dialect_is_no_key(talk, world: World) -> None:
    headers = {"authorization": f"Bearer {world.secret('g1')}"}
    assert (await talk.client.post("/v1/chat/completions", headers=headers, json=BODY)).status_code == 401


@given(st.integers(1, 9), st.lists(st.integers(0, 5 * NS), min_size=1, max_size=30))
def test_a_foreign_client_takes_its_share_however_often_one_looks(tenths: int, pauses: list[int]) -> None:
    def world_with(share: float) -> tuple[World, VirtualClock]:
        clock = VirtualClock()
        org = Organisation(
            id="o", keys=("k",), limits=limits(rpm=600, tpm=60_000, start=0.0), foreign=Foreign(share=share)
        )
        return World([org], clock=clock), clock

    watched, clock = world_with(tenths / 10)
    unwatched, later = world_with(tenths / 10)
    for world in (watched, unwatched):
        world.quota("o", "gpt-4o")
    for pause in pauses:
        clock.advance(pause / NS)
        watched.quota("o", "gpt-4o")
    later.advance(clock.now() - later.now())
    assert watched.quota("o", "gpt-4o") == unwatched.quota("o", "gpt-4o")
    taken = watched.organisations["o"].quota("gpt-4o").foreign_taken
    passed = Fraction(watched.now_ns()) - Fraction(watched._born)
    assert taken == passed // NS  # one arrival a second, each finds the share it wants, for less than all is wanted


def test_the_router_gets_less_than_the_limit_when_a_foreigner_drains_it() -> None:
    async def main(foreign: Foreign | None) -> tuple[int, int]:
        world = World([Organisation(id="o", keys=("k",), limits=limits(rpm=60, start=0.0), foreign=foreign)])
        async with in_process(world) as client:
            for _ in range(600):
                await ask(client, world)
                await asyncio.sleep(0.5)
        return world.key("k").counters.admitted, world.organisations["o"].quota("gpt-4o").foreign_taken

    alone, nobody = run_virtual(main(None))
    shared, foreign = run_virtual(main(Foreign(share=0.4)))
    assert (alone, nobody) == (299, 0)
    assert foreign > 200
    assert shared == 299 - round(foreign * 0.4)


def test_concurrency_can_be_limited() -> None:
    async def main() -> tuple[list[int], World]:
        spec = Organisation(id="o", keys=("k",), max_in_flight=3)
        world = World(WorldSpec(organisations=(spec,), latency=Latency(first_s=5.0)))
        async with in_process(world) as client:
            answers = await asyncio.gather(*(ask(client, world) for _ in range(5)))
            later = await ask(client, world)
        return [answer.status_code for answer in (*answers, later)], world

    codes, world = run_virtual(main())
    assert sorted(codes[:5]) == [200, 200, 200, 429, 429]
    assert codes[5] == 200
    assert world.organisations["o"].counters.in_flight == 0


def test_latency_is_drawn_from_the_seed() -> None:
    async def main(seed: int) -> list[float]:
        spec = Organisation(id="o", keys=("k",), latency=Latency(first_s=1.0, per_token_s=0.1, sigma=0.5))
        world = World(WorldSpec(organisations=(spec,), seed=seed))
        async with in_process(world) as client:
            for _ in range(20):
                await ask(client, world)
        return [seen.took_s for seen in world.record.all()]

    first, again, other = run_virtual(main(1)), run_virtual(main(1)), run_virtual(main(2))
    assert first == again != other
    assert min(first) > 3.2  # 32 tokens at a tenth of a second each


def test_concurrent_requests_never_exceed_the_limit_in_any_interval() -> None:
    async def main() -> World:
        world = World([Organisation(id="o", keys=("k", Key(id="l")), limits=limits(tpm=6_000, burst_s=10))])
        async with in_process(world) as client:

            async def client_loop(key: str) -> None:
                for _ in range(100):
                    await ask(client, world, key)
                    await asyncio.sleep(0.13)

            await asyncio.gather(*(client_loop(key) for key in "kl" * 5))
        return world

    world = run_virtual(main())
    charges = world.record.charges("tokens")
    assert len(charges) > 20
    assert excess(charges, limit=6_000, per_ns=60 * NS, capacity=1_000) <= 0
    assert excess(charges, limit=6_000, per_ns=60 * NS, capacity=899) > 0  # and the bucket was used to the full


async def test_a_thread_of_its_own_and_plain_with() -> None:
    world = World([Organisation(id="o", keys=("k",), limits=limits(rpm=1))])
    async with serve(world, thread=True) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await ask(client, world)).status_code == 200
        assert (await ask(client, world)).status_code == 429
        world.reset()
        assert (await ask(client, world)).status_code == 200


def test_plain_with_serves_from_a_thread() -> None:
    served = serve(World([Organisation(id="o", keys=("k",))]))
    with served as url:
        assert url == served.url
        assert httpx.get(f"{url}/_sim/state").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/_sim/state")


async def test_a_port_that_is_taken_is_reported_where_it_was_asked_for() -> None:
    world = World([Organisation(id="o", keys=("k",))])
    async with serve(world) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            serve(world, port=port).__enter__()


async def test_answers_do_not_wait_for_acknowledgements() -> None:
    served = serve(World([Organisation(id="o", keys=("k",))]))
    async with served:
        assert served._line is not None
        assert served._line._listening.proto == socket.IPPROTO_TCP  # what asyncio asks before it sets TCP_NODELAY


async def test_closing_ends_requests_that_wait() -> None:
    world = World(WorldSpec(organisations=(Organisation(id="o", keys=("k",)),), latency=Latency(first_s=3600.0)))
    served = serve(world)
    url = await served.__aenter__()
    async with httpx.AsyncClient(base_url=url) as client:
        waiting = asyncio.create_task(ask(client, world))
        await turns(lambda: world.key("k").counters.in_flight)
        await served.__aexit__(None, None, None)
        with pytest.raises(httpx.TransportError):
            await waiting
    assert world.key("k").counters.in_flight == 0


async def test_a_client_that_leaves_a_slow_stream_stops_it() -> None:
    clock = VirtualClock()
    spec = WorldSpec(
        organisations=(Organisation(id="o", keys=("k",)),), latency=Latency(per_token_s=1.0), chunk_tokens=1
    )
    world = World(spec, clock=clock)
    async with serve(world) as url, httpx.AsyncClient(base_url=url) as client:
        headers = {"authorization": f"Bearer {world.secret('k')}", "x-sim-output-tokens": "50"}
        async with client.stream(
            "POST", "/v1/chat/completions", headers=headers, json={**BODY, "stream": True}
        ) as response:
            assert response.status_code == 200
            await turns(lambda: clock.sleepers)
            await clock.run_for(3.0)
        await turns(lambda: len(world.record), clock)
    seen = world.record.all()[0]
    assert seen.left
    assert 3 <= seen.output_tokens < 50


def test_the_default_clock_is_the_loop_that_first_asks() -> None:
    async def main() -> tuple[float, float]:
        clock = LoopClock()
        start = clock.now()
        await clock.sleep(3600.0)
        return start, clock.now()

    assert run_virtual(main(), start=1_000.0) == (1_000.0, 4_600.0)
    clock = LoopClock()
    assert clock.now() <= clock.now()
