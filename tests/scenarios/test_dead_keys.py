"""A refused credential: whose fault it is, who serves instead, and how it comes back to life."""

from __future__ import annotations

import asyncio

import pytest
from stage import MODEL, Opener, Stage, chat, two_providers, until

from apikeyrouter import AuthenticationError, NoEligibleKeysError
from apikeyrouter.events import BreakerChanged, Failed, StateChanged
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=600, tpm=400_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=600, tpm=400_000)),
)


async def preferring_a1(opened: Opener, world: World | None = None) -> Stage:
    """a1 is always tried first."""
    world = world or World(WORLD, clock=ManualClock())
    stage = await opened(world)
    stage.router.get_key("a1").tier = -1
    stage.router.enrolment.router.registry.changed()
    return stage


def dead(stage: Stage) -> list[str]:
    return [e.id for e in stage.of(StateChanged) if e.entity == "key" and e.after == "invalid"]


async def test_a_refused_key_is_marked_and_another_serves(opened: Opener) -> None:
    stage = await preferring_a1(opened)
    stage.world.revoke("a1")
    reply = await stage.router.route(chat())
    assert reply.metadata.key_used != "a1"
    assert reply.metadata.attempts == 2
    assert stage.state("a1") == "invalid"
    assert stage.state("a2") == "available"
    for _ in range(5):
        await stage.router.route(chat())
    assert stage.seen().count("a1") == 1  # never asked again
    (move,) = [e for e in stage.of(StateChanged) if e.id == "a1"]
    assert (str(move.trigger), move.context) == ("authentication_failed", "401 invalid_api_key")


async def test_the_explanation_says_that_the_key_is_dead(opened: Opener) -> None:
    stage = await preferring_a1(opened)
    stage.world.revoke("a1")
    await stage.router.route(chat())
    reply = await stage.router.route(chat())
    assert "a1: state is invalid" in str(stage.router.explain(reply.metadata.decision_id))


async def test_rotating_revives_it_with_its_history(opened: Opener) -> None:
    stage = await preferring_a1(opened)
    stage.world.revoke("a1")
    await stage.router.route(chat())
    used = stage.router.get_key("a1").usage_count
    stage.world.replace("a1", "sk-sim-a1-the-new-material")
    await stage.router.rotate_key("a1", "sk-sim-a1-the-new-material")
    key = stage.router.get_key("a1")
    assert (key.version, stage.state("a1")) == (2, "available")
    assert (await stage.router.route(chat())).metadata.key_used == "a1"
    assert key.usage_count == used + 1
    assert "sk-sim-a1" not in repr(key)


async def test_the_only_key_refused_is_an_error_that_names_it(opened: Opener) -> None:
    stage = await opened([WORLD[1]])
    stage.world.revoke("b1")
    with pytest.raises(AuthenticationError, match=r"401 \(unauthenticated\) for key b1") as refused:
        await stage.router.route(chat())
    assert refused.value.code == "INVALID_KEY"
    assert stage.state("b1") == "invalid"
    with pytest.raises(NoEligibleKeysError, match=r"b1 is invalid.*rotate"):
        await stage.router.route(chat())
    assert stage.count() == 1


async def test_the_same_refusal_under_every_key_blames_the_provider(opened: Opener) -> None:
    stage = await opened(WORLD)
    for key in ("a1", "a2", "b1"):
        stage.world.revoke(key)
    with pytest.raises(AuthenticationError):
        await stage.router.route(chat())
    assert dead(stage) == []
    assert {stage.state(key) for key in ("a1", "a2", "b1")} == {"available"}
    for key in ("a1", "a2", "b1"):
        stage.world.revive(key)
    await stage.router.route(chat())  # the incident is over and nobody had to do anything


async def test_an_incident_at_one_provider_costs_no_key_although_another_provider_serves(opened: Opener) -> None:
    stage = await opened(WORLD, config=two_providers, models={"fast": [f"first/{MODEL}", f"second/{MODEL}"]})
    stage.router.get_key("b1").tier = 1
    stage.router.enrolment.router.registry.changed()
    stage.world.revoke("a1")
    stage.world.revoke("a2")
    reply = await stage.router.route(chat(model="fast"))
    assert reply.metadata.provider == "second"
    assert sorted(stage.seen()[:2]) == ["a1", "a2"]
    assert dead(stage) == []


async def test_one_key_of_a_provider_refused_and_another_provider_serving_is_the_key_s_fault(opened: Opener) -> None:
    world = (Organisation(id="org-a", keys=("a1",)), WORLD[1])
    stage = await opened(world, config=two_providers)
    stage.router.get_key("b1").tier = 1
    stage.router.enrolment.router.registry.changed()
    stage.world.revoke("a1")
    reply = await stage.router.route(chat(model="fast"))
    assert reply.metadata.provider == "second"
    assert dead(stage) == ["a1"]


async def test_refused_on_the_old_material_does_not_kill_the_new(opened: Opener) -> None:
    clock = ManualClock()
    stage = await preferring_a1(opened, World(WORLD, clock=clock))
    stage.world.faults.add(Fault(kind="delay", key="a1", seconds=5))
    late = Fault(kind="error", key="a1", status=401, body=b'{"error": {"code": "invalid_api_key"}}', times=1)
    stage.world.faults.add(late)
    task = asyncio.ensure_future(stage.router.route(chat()))
    await until(lambda: late.hits == 1)
    await stage.router.rotate_key("a1", "sk-sim-a1-rotated-meanwhile")
    clock.advance(5)
    assert (await task).metadata.key_used != "a1"
    assert stage.state("a1") == "available"
    assert dead(stage) == []


async def test_a_stream_s_refused_key_is_marked_too(opened: Opener) -> None:
    stage = await preferring_a1(opened)
    stage.world.revoke("a1")
    assert [chunk async for chunk in stage.router.stream(chat())]
    assert dead(stage) == ["a1"]


async def test_permission_for_one_model_blocks_that_model_only(opened: Opener) -> None:
    world = (
        Organisation(id="org-a", keys=("a1",), models=("gpt-4o-mini",)),
        Organisation(id="org-b", keys=("b1",)),
    )
    clock = ManualClock()
    stage = await preferring_a1(opened, World(world, clock=clock))
    for _ in range(3):
        assert (await stage.router.route(chat(model="gpt-4o"))).metadata.key_used == "b1"
    assert stage.seen().count("a1") == 1
    assert (await stage.router.route(chat())).metadata.key_used == "a1"
    assert stage.state("a1") == "available"
    assert stage.of(Failed)[0].kind == "model_not_found"


async def test_authentication_failures_alone_do_not_open_a_breaker_for_good_keys(opened: Opener) -> None:
    world = (Organisation(id="org-a", keys=tuple(f"k{n}" for n in range(8)), limits=limits(rpm=6000)),)
    stage = await opened(world)
    for n in range(7):
        stage.world.revoke(f"k{n}")
    for _ in range(10):
        assert (await stage.router.route(chat())).metadata.key_used == "k7"
    assert stage.count() <= 17  # seven refusals at most, each once
    assert not stage.of(BreakerChanged)
