"""Keys come, go and change their material while requests are on their way: none is lost, each ends on what it began."""

from __future__ import annotations

import asyncio

import pytest
from stage import Opener, Stage, chat, until

from apikeyrouter import KeyAlreadyExistsError, KeyNotFoundError, NoEligibleKeysError, OpenAIAdapter
from apikeyrouter.events import StateChanged
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1",), limits=limits(rpm=6000, tpm=4_000_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=6000, tpm=4_000_000)),
)


class Slow:
    """A stage whose provider takes five seconds of a clock that stands still, and requests on their way."""

    def __init__(self, stage: Stage, clock: ManualClock) -> None:
        self.stage = stage
        self.clock = clock
        self.tasks: list[asyncio.Task[str]] = []
        self.fault = stage.world.faults.add(Fault(kind="delay", seconds=5))

    async def send(self, count: int) -> None:
        """`count` requests reach the provider and wait there."""
        before = self.fault.hits
        self.tasks += [asyncio.ensure_future(self._route()) for _ in range(count)]
        await until(lambda: self.fault.hits == before + count)

    async def _route(self) -> str:
        return (await self.stage.router.route(chat())).metadata.key_used

    async def finish(self) -> list[str]:
        """Let the provider answer; the keys used."""
        self.clock.advance(5)
        return await asyncio.gather(*self.tasks)


async def slow(opened: Opener, *organisations: Organisation) -> Slow:
    clock = ManualClock()
    return Slow(await opened(World(organisations or WORLD, clock=clock), clock=clock), clock)


async def test_a_new_key_serves_at_once(opened: Opener) -> None:
    way = await slow(opened, WORLD[0], Organisation(id="org-b", keys=("b1", "b2")))
    router = way.stage.router
    await router.revoke_key("b1")
    await router.revoke_key("b2")
    await way.send(4)
    await router.register_key(way.stage.world.secret("b2"), "openai", id="b3", pool="org-b")
    await router.disable_key("a1")
    await way.send(4)
    assert await way.finish() == ["a1"] * 4 + ["b3"] * 4
    assert way.stage.seen() == ["a1"] * 4 + ["b2"] * 4


async def test_rotation_lets_open_requests_finish_on_the_old_material(opened: Opener) -> None:
    way = await slow(opened, WORLD[0])
    await way.send(6)
    old = way.stage.world.secret("a1")
    await way.stage.router.rotate_key("a1", "sk-sim-a1-second-material")
    assert way.stage.router.get_key("a1").version == 2
    assert await way.finish() == ["a1"] * 6
    assert way.stage.count(outcome="admitted") == 6

    way.tasks.clear()
    way.stage.world.replace("a1", "sk-sim-a1-second-material")
    assert way.stage.world.find(old, "openai") is None
    await way.send(2)
    assert await way.finish() == ["a1"] * 2  # the provider knows the new material only
    assert way.stage.world.unknown_keys == 0


async def test_rotation_while_requests_keep_coming_loses_none(opened: Opener) -> None:
    stage = await opened(WORLD)
    stop = asyncio.Event()
    served: list[str] = []

    async def client() -> None:
        while not stop.is_set():
            served.append((await stage.router.route(chat())).metadata.key_used)

    clients = [asyncio.ensure_future(client()) for _ in range(6)]
    for number in range(10):
        material = f"sk-sim-a1-material-number-{number}"
        await until(lambda wanted=10 * (number + 1): len(served) >= wanted)  # type: ignore[misc]
        stage.world.replace("a1", material)
        await stage.router.rotate_key("a1", material)
    stop.set()
    await asyncio.gather(*clients)
    assert stage.router.get_key("a1").version == 11
    assert stage.count(outcome="admitted") == len(served)
    assert stage.state("a1") == "available"


async def test_revocation_drains(opened: Opener) -> None:
    way = await slow(opened)
    await way.send(8)
    await way.stage.router.revoke_key("a1")
    await way.send(8)
    keys = await way.finish()
    assert "a1" in keys[:8]
    assert keys[8:] == ["b1"] * 8
    assert way.stage.count(outcome="admitted") == 16
    with pytest.raises(KeyNotFoundError, match="a1"):
        way.stage.router.get_key("a1")


async def test_revoking_the_last_key_is_an_error_that_says_so(opened: Opener) -> None:
    way = await slow(opened, WORLD[0])
    await way.send(2)
    await way.stage.router.revoke_key("a1")
    with pytest.raises(NoEligibleKeysError, match="register_key adds one"):
        await way.stage.router.route(chat())
    assert await way.finish() == ["a1"] * 2


async def test_disabling_and_enabling(opened: Opener) -> None:
    way = await slow(opened)
    await way.send(4)
    await way.stage.router.disable_key("a1", reason="audit")
    assert way.stage.state("a1") == "disabled"
    await way.send(4)
    await way.stage.router.enable_key("a1")
    await way.send(8)
    keys = await way.finish()
    assert keys[4:8] == ["b1"] * 4
    assert "a1" in keys[8:]
    moves = [(str(e.after), e.context, e.actor) for e in way.stage.of(StateChanged) if e.id == "a1"]
    assert moves == [("disabled", "audit", "user"), ("available", "", "user")]


async def test_a_revoked_key_comes_back_under_its_name(opened: Opener) -> None:
    stage = await opened(WORLD)
    await stage.router.revoke_key("a1")
    await stage.router.register_key(stage.world.secret("a1"), "openai", id="a1", pool="org-a")
    assert {(await stage.router.route(chat())).metadata.key_used for _ in range(12)} == {"a1", "b1"}


async def test_the_same_material_registers_once(opened: Opener) -> None:
    stage = await opened(WORLD)
    with pytest.raises(KeyAlreadyExistsError, match="already registered as key 'a1'") as refused:
        await stage.router.register_key(stage.world.secret("a1"), "openai", id="again")
    assert stage.world.secret("a1") not in str(refused.value)
    with pytest.raises(KeyAlreadyExistsError, match="already registered as key 'b1'"):
        await stage.router.rotate_key("a1", stage.world.secret("b1"))
    assert stage.router.get_key("a1").version == 1


async def test_a_stream_outlives_the_revocation_of_its_key(opened: Opener) -> None:
    stage = await opened([WORLD[0]])
    stream = stage.router.stream(chat(output=64, max_tokens=64))
    text = ""
    async for chunk in stream:
        text += chunk.text
        if stage.router.list_keys():
            await stage.router.revoke_key("a1")
    assert len(text) == 4 * 64


async def test_a_provider_s_address_changes_under_way(opened: Opener) -> None:
    way = await slow(opened)
    await way.send(4)
    await way.stage.router.register_provider("openai", OpenAIAdapter(f"{way.stage.url}/v1"))
    await way.send(4)
    assert len(await way.finish()) == 8
    assert way.stage.count(outcome="admitted") == 8
