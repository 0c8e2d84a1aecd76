"""Providers and keys recover, by time and by probes that find out before traffic; what a person ended stays so."""

from __future__ import annotations

import asyncio

import pytest
from stage import Config, Opener, Stage, chat, described, geocoder, two_providers, until

from apikeyrouter import (
    Answer,
    ApiKeyRouter,
    ApiKeyRouterError,
    BaseAdapter,
    Call,
    Capabilities,
    NoEligibleKeysError,
    Probe,
    Usage,
)
from apikeyrouter.events import BreakerChanged, Failed, Probed
from apikeyrouter.simulator import Fault, Organisation, World, limits
from apikeyrouter.testing import ManualClock

TWO = (Organisation(id="org-a", keys=("a1",)), Organisation(id="org-b", keys=("b1",)))
EVERY = 30.0


def probed(world: World, url: str) -> Config:
    """Two providers; the first is preferred, and asked every half minute how it does."""
    config = two_providers(world, url)
    config["providers"]["first"]["probe"] = {"every": EVERY, "jitter": 0}
    config["keys"]["b1"]["tier"] = 1
    config["settings"] = {"attempts_per_provider": 1}
    return config


async def ask(stage: Stage) -> str:
    return (await stage.router.route(chat(model="fast"))).metadata.key_used


async def take_down(stage: Stage, fault: Fault) -> Fault:
    """Break the first provider and route until its breaker keeps traffic away."""
    stage.world.faults.add(fault)
    for _ in range(40):
        await ask(stage)
        if any(event.state == "open" for event in stage.of(BreakerChanged)):
            return fault
    raise AssertionError("the breaker never opened")


def standing(stage: Stage, provider: str = "first") -> str:
    return next(str(each.state) for each in stage.router.health() if each.id == provider)


@pytest.mark.parametrize("kind", ["drop", "error"])
async def test_a_probe_finds_a_provider_back_before_traffic_does(opened: Opener, kind: str) -> None:
    clock = ManualClock()
    stage = await opened(World(TWO, clock=clock), config=probed, clock=clock)
    assert standing(stage) == "healthy"
    fault = await take_down(stage, Fault(kind=kind, organisation="org-a"))  # type: ignore[arg-type]
    tried = len(stage.of(Failed))
    assert standing(stage) == "down"
    for _ in range(3):
        await stage.pass_time(EVERY)
        assert await ask(stage) == "b1"
    assert len(stage.of(Failed)) == tried  # nobody's request had to find out that it is still down
    assert [probe.ok for probe in stage.of(Probed)] == [False, False, False]
    fault.stop()
    await stage.pass_time(EVERY)
    assert stage.of(Probed)[-1].ok
    assert stage.of(BreakerChanged)[-1].state == "half_open"
    assert standing(stage) == "degraded"
    assert await ask(stage) == "a1"
    assert len(stage.of(Failed)) == tried


async def test_traffic_returns_one_by_one(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(TWO, clock=clock), config=probed, clock=clock)
    fault = await take_down(stage, Fault(kind="drop", organisation="org-a"))
    await stage.pass_time(EVERY)
    fault.stop()
    await stage.pass_time(EVERY)
    for expected in (1, 2, 8):
        assert standing(stage) == "degraded"
        used = await asyncio.gather(*(ask(stage) for _ in range(10)))
        assert used.count("a1") == expected
    assert standing(stage) == "healthy"
    assert (await asyncio.gather(*(ask(stage) for _ in range(10)))).count("a1") == 10


async def test_a_busy_model_is_not_called_well_by_a_list_of_models(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(TWO, clock=clock), config=probed, clock=clock)
    await take_down(stage, Fault(kind="error", error="overloaded", organisation="org-a", operation="chat"))
    moves = len(stage.of(BreakerChanged))
    (deployment,) = [d for d in stage.router._router.registry.deployments.values() if d.provider == "first"]
    deployment.breaker.until = clock.now() + 100
    await stage.pass_time(3 * EVERY)
    assert all(probe.ok for probe in stage.of(Probed))
    assert len(stage.of(BreakerChanged)) == moves


async def test_a_probe_that_cannot_know_keeps_traffic_away_for_two_minutes_at_most(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World(TWO, clock=clock), config=probed, clock=clock)
    fault = await take_down(stage, Fault(kind="drop", organisation="org-a"))
    fault.stop()
    stage.world.faults.add(Fault(kind="error", organisation="org-a", operation="models"))
    await stage.pass_time(119)
    assert await ask(stage) == "b1"
    await stage.pass_time(4)
    assert await ask(stage) == "a1"


def many(world: World, url: str) -> Config:
    config = described(world, url)
    config["providers"]["openai"]["probe"] = {"every": EVERY, "jitter": 0.5}
    return config


async def test_probes_keep_to_their_rate_and_end_with_the_router(opened: Opener) -> None:
    clock = ManualClock()
    world = World([Organisation(id="org", keys=("k1", "k2", "k3"))], clock=clock)
    stage = await opened(world, config=many, clock=clock)
    await stage.pass_time(100)
    assert stage.count() == 0  # nobody has routed yet, so no loop is there to probe in
    async with stage.router:
        await stage.pass_time(600)
        seen = stage.seen()
        assert len(seen) == pytest.approx(60, abs=6)
        assert all(seen.count(key) <= 22 for key in ("k1", "k2", "k3"))
        gaps = [later.at - sooner.at for sooner, later in zip(world.record.all(), world.record.all()[1:], strict=False)]
        assert min(gaps) >= 0.5 * EVERY / 3 * 1e9
        assert max(gaps) > 1.1 * min(gaps)
    assert clock.sleepers == 0
    await stage.pass_time(600)
    assert stage.seen() == seen


async def test_keys_that_traffic_uses_are_not_probed(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World([Organisation(id="org", keys=("k1",))], clock=clock), config=many, clock=clock)
    for _ in range(60):
        await stage.router.route(chat())
        await stage.pass_time(5)
    assert stage.of(Probed) == []


async def test_a_thousand_keys_are_not_a_thousand_probes_at_once(opened: Opener) -> None:
    clock = ManualClock()
    keys = tuple(f"k{n}" for n in range(100))
    stage = await opened(World([Organisation(id="org", keys=keys)], clock=clock), config=many, clock=clock)
    async with stage.router:
        await stage.pass_time(20)
    assert 10 <= stage.count() <= 41


async def test_what_a_person_ended_no_probe_revives(opened: Opener) -> None:
    clock = ManualClock()
    world = World([Organisation(id="org", keys=("k1", "k2", "k3"))], clock=clock)
    stage = await opened(world, config=many, clock=clock)
    await stage.router.disable_key("k1")
    world.revoke("k2")
    async with stage.router:
        await stage.pass_time(3 * EVERY)
        assert (stage.state("k1"), stage.state("k2")) == ("disabled", "invalid")  # k3 was taken, so it was the key
        world.revive("k2")
        before = stage.count(key="k2")
        await stage.pass_time(5 * EVERY)
        assert stage.seen().count("k1") == 0
        assert stage.count(key="k2") == before
        assert (stage.state("k1"), stage.state("k2")) == ("disabled", "invalid")
        await stage.router.enable_key("k1")
        world.replace("k2", "sk-another-material-2")
        await stage.router.rotate_key("k2", "sk-another-material-2")
        await stage.pass_time(2 * EVERY)
        assert stage.count(key="k1") > 0
        assert stage.count(key="k2") > before
    assert (stage.state("k1"), stage.state("k2")) == ("available", "available")


async def test_a_refusal_of_every_key_is_the_provider_s(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(World([Organisation(id="org", keys=("k1", "k2"))], clock=clock), config=many, clock=clock)
    stage.world.faults.add(Fault(kind="error", error="invalid_key"))
    async with stage.router:
        await stage.pass_time(5 * EVERY)
    assert {stage.state("k1"), stage.state("k2")} == {"available"}
    assert standing(stage, "openai") == "degraded"


def pinged(world: World, url: str, **ping: object) -> Config:
    """Accounts of a plain API; the probe is an operation like any other."""
    operations = {
        "geocode": {"path": "/v1/geocode", "params": ["q"]},
        "ping": {"path": "/v1/geocode", "params": {"q": "Null Island"}, **ping},
    }
    geo = geocoder(url, operations=operations, health="ping", probe={"every": EVERY, "jitter": 0})
    return {
        "providers": {"geo": geo},
        "pools": {"one": {"limits": {"rpd": 10}, "shared_by": list(world.keys)}},
        "keys": {name: {"provider": "geo", "secret": world.secret(name)} for name in world.keys},
    }


def left(stage: Stage) -> float:
    return stage.router.quota("one")[0].windows[0].remaining


@pytest.mark.parametrize(("counts", "expected", "probes"), [(True, 0, 10), (False, 10, 20)])
async def test_a_probe_counts_where_its_operation_does(
    opened: Opener, counts: bool, expected: int, probes: int
) -> None:
    clock = ManualClock()
    world = World([Organisation(id="one", keys=("k1",), dialect="plain")], clock=clock)
    stage = await opened(
        world,
        config=lambda world, url: pinged(world, url, counts=counts),
        clock=clock,
        budgets={"all": {"scope": "global", "limit": "1", "period": "total"}},
        pools={
            "one": {"limits": [{"of": "requests", "amount": 10, "per": "day", "window": "fixed"}], "shared_by": ["k1"]}
        },
    )
    async with stage.router:
        await stage.pass_time(20 * EVERY + 1)
    assert left(stage) == expected
    assert len(stage.of(Probed)) == pytest.approx(probes, abs=1)
    assert float(stage.router.budget_status("global")[0].spent) == pytest.approx(0.0005 * (10 - expected))


async def test_an_account_that_was_paid_again_is_found_by_a_probe_that_costs(opened: Opener) -> None:
    clock = ManualClock()
    world = World([Organisation(id="one", keys=("k1",), dialect="plain")], clock=clock)
    stage = await opened(world, config=pinged, clock=clock)
    world.unpaid("one")
    with pytest.raises(ApiKeyRouterError):
        await stage.router.route({"q": "x"}, operation="geocode", provider="geo", wait=False)
    assert stage.state("k1") == "exhausted"
    await stage.pass_time(3 * EVERY)
    assert stage.state("k1") == "exhausted"
    world.unpaid("one", unpaid=False)
    await stage.pass_time(EVERY)
    assert stage.state("k1") == "available"
    await stage.router.route({"q": "x"}, operation="geocode", provider="geo", wait=False)


async def test_who_named_a_time_is_not_asked_before(opened: Opener) -> None:
    clock = ManualClock()
    organisation = Organisation(id="one", keys=("k1",), dialect="plain", limits=limits(rpm=1, shape="fixed"))
    stage = await opened(World([organisation], clock=clock), config=pinged, clock=clock)
    await stage.router.route({"q": "x"}, operation="geocode", provider="geo")
    with pytest.raises(ApiKeyRouterError):
        await stage.router.route({"q": "x"}, operation="geocode", provider="geo", wait=False)
    assert stage.state("k1") == "throttled"
    before = stage.count()
    await stage.pass_time(EVERY)
    assert stage.count() == before
    await stage.pass_time(2 * EVERY)
    assert stage.state("k1") == "available"


async def test_after_an_exhaustion_a_few_try_first(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(
        World([Organisation(id="one", keys=("k1",), dialect="plain")], clock=clock), config=pinged, clock=clock
    )
    stage.world.unpaid("one")
    with pytest.raises(ApiKeyRouterError):
        await stage.router.route({"q": "x"}, operation="geocode", provider="geo", wait=False)
    stage.router.enrolment.probes.clear()
    clock.advance(901)
    before = stage.count()
    asked = [stage.router.route({"q": "x"}, operation="geocode", provider="geo", wait=False) for _ in range(9)]
    said = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, ApiKeyRouterError) for each in said)
    assert stage.count() - before <= 4


async def test_probes_of_a_program_without_a_loop_end_with_it(opened: Opener) -> None:
    def often(world: World, url: str) -> Config:
        config = described(world, url)
        config["providers"]["openai"]["probe"] = 0.02
        return config

    stage = await opened(World([Organisation(id="org", keys=("k1",))]), config=often)
    await asyncio.to_thread(stage.router.sync.route, chat())
    await until(lambda: len(stage.of(Probed)) >= 3)
    await asyncio.to_thread(stage.router.sync.close)
    seen = len(stage.of(Probed))
    await stage.router.route(chat())  # closed is closed: another loop does not begin to probe
    prober = stage.router.enrolment._prober
    assert prober is not None
    assert not prober._tasks
    assert len(stage.of(Probed)) == seen


async def test_a_loop_that_ends_is_succeeded_by_the_next(opened: Opener) -> None:
    def often(world: World, url: str) -> Config:
        config = described(world, url)
        config["providers"]["openai"]["probe"] = 0.02
        return config

    stage = await opened(World([Organisation(id="org", keys=("k1",))]), config=often)
    for _ in range(2):
        before = len(stage.of(Probed))
        await asyncio.to_thread(asyncio.run, probed_for_a_while(stage, before + 2))
        assert len(stage.of(Probed)) >= before + 2


async def probed_for_a_while(stage: Stage, enough: int) -> None:
    await stage.router.route(chat())
    await until(lambda: len(stage.of(Probed)) >= enough)


class Moody(BaseAdapter):
    """A custom adapter whose health check does what it likes."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        super().__init__()
        self.moods: list[bool | None] = [True, False, None, True]

    async def send(self, call: Call) -> Answer:
        return Answer(status=200, body={}, content="", usage=Usage())

    async def health(self, secret: object) -> bool:
        mood = self.moods.pop(0)
        if mood is None:
            raise RuntimeError("not today")
        return mood


async def test_a_custom_adapter_is_asked_whatever_it_does() -> None:
    clock, told = ManualClock(), []
    router = ApiKeyRouter(clock=clock, log=False)
    router.subscribe(Probed, told.append)
    await router.register_provider("mine", Moody(), probe=Probe(every_s=10.0))
    await router.register_key("sk-0123456789", "mine", id="k")
    async with router:
        while len(told) < 4:
            await clock.run_for(1.0)
    assert [probe.kind for probe in told] == ["", "server_error", "server_error", ""]


async def test_a_provider_without_keys_that_work_is_degraded(opened: Opener) -> None:
    stage = await opened(TWO, config=two_providers)
    stage.world.revoke("a1")
    await ask(stage)
    await stage.router.disable_key("a1")
    told = {each.id: each for each in stage.router.health()}
    assert (str(told["first"].state), told["first"].usable_keys) == ("degraded", 0)
    assert str(told["second"].state) == "healthy"
    with pytest.raises(NoEligibleKeysError):
        await stage.router.route(chat(), provider="first")
