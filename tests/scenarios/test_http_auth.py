"""Keys that are not sent as they are: tokens bought with them, requests signed by them; neither is ever shown."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re

import pytest
from gate import LIFETIME_S, Gate
from stage import Config, Opener, Stage, geocoder

from apikeyrouter import ProviderError
from apikeyrouter.adapters import Signing, signer
from apikeyrouter.simulator import Organisation, World
from apikeyrouter.simulator.wire import json_answer
from apikeyrouter.testing import ManualClock

ORGANISATIONS = tuple(Organisation(id=f"org-{key}", keys=(key,), dialect="plain") for key in ("k1", "k2"))
SIGNED = {
    "header": "X-Signature",
    "sign": "{timestamp}\n{method}\n{target}\n{body}",
    "timestamp": "X-Timestamp",
    "key_id": "X-Key-Id",
}


def bought(world: World, url: str) -> Config:
    """Both keys are `client id:client secret`; only tokens bought with them open the door."""
    return {
        "providers": {"geo": geocoder(url, auth={"oauth2": {"token_url": f"{url}/oauth/token", "scope": "geocode"}})},
        "keys": {
            name: {"provider": "geo", "secret": f"{name}:{world.secret(name)}", "tier": tier}
            for tier, name in enumerate(world.keys)
        },
        "settings": {"backoff": 0.001},
    }


def signed(world: World, url: str) -> Config:
    """The same keys sign instead, for a service that also takes POSTs."""
    config = bought(world, url)
    config["providers"]["geo"]["auth"] = {"hmac": SIGNED}
    config["providers"]["geo"]["base_url"] = url
    config["providers"]["geo"]["operations"] = {
        "geocode": {"path": "/geo/v1/geocode", "params": ["q"]},
        "send": {"method": "POST", "path": "/sms/v1/messages", "body": {"to": "{to}", "text": "{text}"}},
    }
    return config


class Door:
    """A gate that a test can reach before it is served."""

    def __init__(self, *, signed: bool = False) -> None:
        self.signed = signed
        self.gate: Gate

    def __call__(self, world: World) -> Gate:
        self.gate = Gate(world, signed=self.signed)
        return self.gate


async def geocode(stage: Stage, place: str = "Ås & Øye") -> str:
    reply = await stage.router.route({"q": place}, operation="geocode", provider="geo")
    return reply.metadata.key_used


async def test_one_token_serves_many_and_is_renewed_before_it_ends(opened: Opener) -> None:
    clock, door = ManualClock(), Door()
    stage = await opened(World(ORGANISATIONS, clock=clock), config=bought, clock=clock, app=door)
    assert set(await asyncio.gather(*(geocode(stage) for _ in range(20)))) == {"k1"}
    assert door.gate.record.asked == ["k1"]
    clock.advance(LIFETIME_S - 20)
    assert set(await asyncio.gather(*(geocode(stage) for _ in range(20)))) == {"k1"}
    assert door.gate.record.asked == ["k1", "k1"]
    clock.advance(LIFETIME_S + 1)
    await geocode(stage)
    assert door.gate.record.asked == ["k1"] * 3
    assert stage.count() == 41


async def test_while_no_new_token_is_sold_the_old_one_serves_and_is_asked_for_now_and_then(opened: Opener) -> None:
    clock, door = ManualClock(), Door()
    stage = await opened(World(ORGANISATIONS[:1], clock=clock), config=bought, clock=clock, app=door)
    await geocode(stage)
    clock.advance(LIFETIME_S - 20)
    answers = door.gate.record.answers
    answers += [json_answer(503, {"error": "temporarily_unavailable"})] * 9
    for asked_so_far in (1, 1, 1):
        await geocode(stage)
        assert 9 - len(answers) == asked_so_far
    clock.advance(6)
    await geocode(stage)
    assert 9 - len(answers) == 2
    assert stage.count() == 5


async def test_a_token_that_was_withdrawn_is_bought_anew_unseen(opened: Opener) -> None:
    door = Door()
    stage = await opened(ORGANISATIONS, config=bought, app=door)
    await geocode(stage)
    door.gate.void()
    replies = await asyncio.gather(*(geocode(stage) for _ in range(10)))
    assert set(replies) == {"k1"}
    assert door.gate.record.asked == ["k1", "k1"]
    assert stage.state("k1") == "available"


async def test_a_fresh_token_that_is_refused_means_the_key(opened: Opener) -> None:
    door = Door()
    stage = await opened(ORGANISATIONS, config=bought, app=door)
    stage.world.faults.fail_next(9, error="invalid_key", key="k1")
    assert await geocode(stage) == "k2"
    assert stage.state("k1") == "invalid"
    assert door.gate.record.asked == ["k1", "k2"]


async def test_a_client_that_is_unknown_is_an_invalid_key(opened: Opener) -> None:
    door = Door()
    stage = await opened(ORGANISATIONS, config=bought, app=door)
    stage.world.replace("k1", "another-secret-of-k1")
    assert await geocode(stage) == "k2"
    assert stage.state("k1") == "invalid"
    assert stage.count() == 1
    await stage.router.rotate_key("k1", "k1:another-secret-of-k1")
    assert await geocode(stage) == "k1"


@pytest.mark.parametrize(
    ("status", "error", "times"),
    [
        (400, "unauthorized_client", 1),
        (503, "temporarily_unavailable", 2),
        (500, "", 2),
        (200, "no token at all", 2),
    ],
)
async def test_where_no_token_is_sold_another_key_serves(opened: Opener, status: int, error: str, times: int) -> None:
    door = Door()
    stage = await opened(ORGANISATIONS, config=bought, app=door)
    door.gate.record.answers += [json_answer(status, {"error": error})] * times
    await geocode(stage)
    assert stage.state("k1") == "available"
    assert stage.count() == 1
    assert stage.router.get_state_summary().open_leases == 0


async def test_what_the_token_endpoint_says_is_told_without_secrets(opened: Opener) -> None:
    door = Door()
    stage = await opened(ORGANISATIONS[:1], config=bought, app=door)
    secret = stage.world.secret("k1")
    told = {"error": "invalid_request", "error_description": f"what is {secret}?"}
    door.gate.record.answers.append(json_answer(400, told))  # type: ignore[arg-type]
    with pytest.raises(ProviderError, match="token endpoint") as caught:
        await geocode(stage)
    assert secret not in f"{caught.value!r} {caught.value} {caught.value.details}"


async def test_a_signed_request_is_let_in(opened: Opener) -> None:
    door = Door(signed=True)
    stage = await opened(ORGANISATIONS, config=signed, app=door)
    assert await geocode(stage) == "k1"
    reply = await stage.router.route({"to": "+47", "text": "Hei på deg"}, operation="send", provider="geo")
    assert reply.metadata.key_used == "k1"
    stage.world.replace("k1", "another-secret-of-k1")
    assert await geocode(stage) == "k2"
    assert stage.state("k1") == "invalid"


async def test_a_function_of_one_s_own_may_sign(opened: Opener) -> None:
    signed_by_us: list[str] = []

    @signer("by-the-test")
    def sign(request: Signing) -> dict[str, str]:
        signed_by_us.append(request.method)
        name, _, secret = request.secret.reveal().partition(":")
        said = f"{int(request.now)}\n{request.method}\n{request.target}\n".encode() + request.body
        proof = hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()
        return {"X-Key-Id": name, "X-Timestamp": f"{int(request.now)}", "X-Signature": proof}

    def by_function(world: World, url: str) -> Config:
        config = signed(world, url)
        config["providers"]["geo"]["auth"] = {"signer": "by-the-test"}
        return config

    door = Door(signed=True)
    stage = await opened(ORGANISATIONS, config=by_function, app=door)
    assert await geocode(stage) == "k1"
    assert signed_by_us == ["GET"]


SENT_ONCE = {"to": "+4712345678", "text": "Hi"}


def marked(world: World, url: str) -> Config:
    """Text messages that may be repeated, because the service knows a repeat by its mark."""
    config = signed(world, url)
    config["providers"]["geo"]["operations"]["send"]["idempotency"] = "Idempotency-Key"
    return config


async def send(stage: Stage, **options: object) -> str:
    reply = await stage.router.route(SENT_ONCE, operation="send", provider="geo", **options)  # type: ignore[arg-type]
    return f"{reply.metadata.key_used} {reply.metadata.attempts} {reply.raw['id']}"  # type: ignore[index]


async def test_a_marked_message_is_repeated_where_its_mark_is_known_and_sent_once(opened: Opener) -> None:
    door = Door(signed=True)
    stage = await opened(ORGANISATIONS, config=marked, app=door)
    door.gate.record.get_lost = 1
    assert (await send(stage)).startswith("k1 2 msg_")
    first, again = door.gate.record.marks
    assert first == again
    assert len(first) == 32
    assert stage.count(outcome="admitted") == 1
    await send(stage)
    assert door.gate.record.marks[2] != first


async def test_what_may_be_done_twice_is_marked_alike_wherever_it_goes(opened: Opener) -> None:
    def twice(world: World, url: str) -> Config:
        config = marked(world, url)
        config["providers"]["geo"]["operations"]["send"]["idempotent"] = True
        config["settings"]["attempts_per_key"] = 1
        return config

    door = Door(signed=True)
    stage = await opened(ORGANISATIONS, config=twice, app=door)
    door.gate.record.get_lost = 1
    assert (await send(stage)).startswith("k2 2 msg_")
    assert len(door.gate.record.marks) == 2
    assert len(set(door.gate.record.marks)) == 1


async def test_a_mark_unknown_elsewhere_never_leaves_its_key(opened: Opener) -> None:
    door = Door(signed=True)
    stage = await opened(ORGANISATIONS, config=marked, app=door)
    door.gate.record.get_lost = 9
    with pytest.raises(ProviderError, match="k1"):
        await send(stage)
    assert stage.seen() == ["k1"]
    assert len(set(door.gate.record.marks)) == 1
    assert len(door.gate.record.marks) == 2


async def test_a_refused_message_may_go_by_another_key_under_its_mark(opened: Opener) -> None:
    door = Door(signed=True)
    stage = await opened(ORGANISATIONS, config=marked, app=door)
    stage.world.faults.fail_next(1, error="overloaded", key="k1")
    assert (await send(stage)).split()[1] == "2"
    assert stage.count(outcome="admitted") == 1


@pytest.mark.parametrize(
    ("who", "mark"), [({}, "order-7"), ({"tenant": "acme"}, "^(?!order-7)[0-9a-f]{32}$")], ids=["plain", "tenant"]
)
async def test_the_mark_is_the_request_id_a_caller_gives(opened: Opener, who: dict[str, str], mark: str) -> None:
    door = Door(signed=True)
    stage = await opened(ORGANISATIONS, config=marked, app=door)
    await send(stage, request_id="order-7", **who)
    await send(stage, request_id="order-7", **who)
    assert len(door.gate.record.marks) == 1
    assert re.match(mark, door.gate.record.marks[0])
