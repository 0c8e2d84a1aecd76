"""What a file says of probes is what they do: how often and how long they ask, and no longer than it says so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from stage import Config, Opener, Stage, chat, described, geocoder, until

from apikeyrouter import Answer, ApiKeyRouter, ApiKeyRouterError, BaseAdapter, Call, Capabilities, Probe, Usage
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.events import BreakerChanged, Probed
from apikeyrouter.ports import SecretSource
from apikeyrouter.reload import reload
from apikeyrouter.simulator import Fault, Organisation, World
from apikeyrouter.testing import ManualClock

EVERY = 30.0


def asked(world: World, url: str, **more: object) -> Config:
    """One provider, asked every half minute."""
    config = described(world, url)
    config["providers"]["openai"]["probe"] = {"every": EVERY, "jitter": 0, **more}
    config["settings"] = {"attempts": 1}
    return config


async def watched(opened: Opener, *keys: str, **more: object) -> Stage:
    clock, organisation = ManualClock(), Organisation(id="org", keys=keys or ("k1",))
    return await opened(
        World([organisation], clock=clock), config=lambda world, url: asked(world, url, **more), clock=clock
    )


async def seen_well(stage: Stage, key: str) -> None:
    """Let time pass until the last probe was one of `key`, and went well."""
    for _ in range(100):
        await stage.pass_time(1.0)
        if stage.of(Probed) and (stage.of(Probed)[-1].key_id, stage.of(Probed)[-1].ok) == (key, True):
            return
    raise AssertionError(f"{key} was never asked")


@pytest.mark.parametrize(("probe", "asks"), [(None, 0), (Probe(every_s=1.0, jitter=0.0), 60)], ids=["none", "often"])
async def test_a_file_that_says_otherwise_is_obeyed(opened: Opener, probe: Probe | None, asks: int) -> None:
    stage = await watched(opened)
    async with stage.router:
        await stage.pass_time(2 * EVERY)
        told = len(stage.of(Probed))
        assert told > 0
        assert stage.router.filled is not None
        config = stage.router.filled.config
        reload(stage.router, replace(config, providers={"openai": replace(config.providers["openai"], probe=probe)}))
        await stage.pass_time(EVERY)  # until the watch that sleeps has woken: not even it asks as it was told before
        begun = len(stage.of(Probed)) if probe is not None else told
        await stage.pass_time(2 * EVERY)
        assert asks - 1 <= len(stage.of(Probed)) - begun <= asks


async def test_nobody_watches_a_provider_that_left_the_file(opened: Opener) -> None:
    stage = await watched(opened)
    async with stage.router:
        await stage.pass_time(EVERY)
        assert stage.router.filled is not None
        reload(stage.router, replace(stage.router.filled.config, providers={}, pools={}, keys={}))
        await stage.pass_time(EVERY)
        seen = stage.count()
        await stage.pass_time(2 * EVERY)
        assert stage.count() == seen
        assert stage.clock is not None
        assert stage.clock.sleepers == 0


async def test_a_probe_waits_as_long_as_the_file_says(opened: Opener) -> None:
    stage = await watched(opened, timeout=0.05)
    stage.world.faults.add(Fault(kind="hang"))
    async with stage.router:
        await stage.pass_time(EVERY)
        assert [probe.kind for probe in stage.of(Probed)] == ["timeout"]


async def test_who_is_down_is_left_alone_until_the_next_probe_may_have_looked(opened: Opener) -> None:
    stage = await watched(opened, jitter=0.5, timeout=4)
    stage.world.faults.add(Fault(kind="drop"))
    while not stage.of(BreakerChanged):
        with pytest.raises(ApiKeyRouterError):
            await stage.router.route(chat(), wait=False)
    while not stage.of(Probed):
        await stage.pass_time(1.0)
    (deployment,) = stage.router._router.registry.deployments.values()
    assert deployment.breaker.until == pytest.approx(stage.of(Probed)[-1].at + 1.5 * EVERY + 4.0, abs=0.1)


class Slow(BaseAdapter):
    """Refuses the material `old`, but not before it is told to; takes any other."""

    capabilities = Capabilities()
    probe_operation = ""

    def __init__(self, old: str) -> None:
        super().__init__()
        self.old, self.asked, self.answers = old, asyncio.Event(), asyncio.Event()

    async def send(self, call: Call) -> Answer:
        return Answer(status=200, body={}, content="", usage=Usage())

    async def probe(self, secret: SecretSource, timeout: float) -> Failure | None:
        if secret.reveal() != self.old:
            return None
        self.asked.set()
        await self.answers.wait()
        return Failure(kind=Kind.UNAUTHENTICATED, status=401)


@pytest.mark.parametrize("rotated", [True, False])
async def test_a_refusal_of_material_that_was_rotated_meanwhile_says_nothing_of_the_key(rotated: bool) -> None:
    clock, told, provider = ManualClock(), [], Slow("sk-old-material-1")
    router = ApiKeyRouter(clock=clock, log=False)
    router.subscribe(Probed, told.append)
    await router.register_provider("mine", provider, probe=Probe(every_s=10.0))
    await router.register_key("sk-of-another-key", "mine", id="k2")
    async with router:
        while not told:  # k2 was taken, so a refusal is the key's own
            await clock.run_for(1.0)
        await router.register_key("sk-old-material-1", "mine", id="k1")
        while not provider.asked.is_set():
            await clock.run_for(1.0)
        if rotated:
            await router.rotate_key("k1", "sk-new-material-1")
        provider.answers.set()
        await until(lambda: told[-1].key_id == "k1")
        assert told[-1].kind == "unauthenticated"
        assert str(router.get_key("k1").state) == ("available" if rotated else "invalid")


async def test_a_key_is_not_judged_by_what_another_was_told_long_ago(opened: Opener) -> None:
    stage = await watched(opened, "k1", "k2")
    async with stage.router:
        await seen_well(stage, "k2")
        await stage.router.disable_key("k2")
        busy = stage.world.faults.add(Fault(kind="error", error="overloaded"))
        await stage.pass_time(3 * EVERY)
        busy.stop()
        stage.world.faults.add(Fault(kind="error", error="invalid_key"))
        await stage.pass_time(EVERY)
        assert stage.of(Probed)[-1].kind == "unauthenticated"
        assert stage.state("k1") == "available"


def pinged(world: World, url: str, *, counts: bool = True) -> Config:
    """Accounts of a plain API, probed by an operation that costs, and is charged unless it does not count."""
    ping = {"path": "/v1/geocode", "params": {"q": "Null Island"}, "counts": counts}
    operations = {"geocode": {"path": "/v1/geocode", "params": ["q"]}, "ping": ping}
    config = described(world, url)
    config["providers"]["geo"] = geocoder(
        url, operations=operations, health="ping", probe={"every": EVERY, "jitter": 0}
    )
    config["budgets"] = {"all": {"scope": "global", "limit": "1", "period": "total"}}
    return config


async def pinging(opened: Opener, *, counts: bool = True) -> Stage:
    clock = ManualClock()
    world = World([Organisation(id="one", keys=("k1",), dialect="plain")], clock=clock)
    return await opened(world, config=lambda world, url: pinged(world, url, counts=counts), clock=clock)


async def test_a_probe_that_tells_nothing_of_quotas_is_not_sent_to_a_spent_account(opened: Opener) -> None:
    stage = await pinging(opened, counts=False)
    stage.world.unpaid("one")
    with pytest.raises(ApiKeyRouterError):
        await stage.router.route({"q": "x"}, operation="geocode", provider="geo", wait=False)
    assert stage.state("k1") == "exhausted"
    before = stage.count()
    await stage.pass_time(5 * EVERY)
    assert stage.count() == before


async def test_a_probe_that_fails_unbilled_costs_nothing(opened: Opener) -> None:
    stage = await pinging(opened)
    stage.world.faults.add(Fault(kind="error", error="overloaded"))
    async with stage.router:
        await stage.pass_time(EVERY)
        assert [probe.ok for probe in stage.of(Probed)] == [False]
    (status,) = stage.router.budget_status("global")
    assert (status.spent, status.held) == (0, 0)


async def test_a_probe_that_is_under_way_at_the_end_ends_with_its_money_counted(opened: Opener) -> None:
    stage = await pinging(opened)
    hangs = stage.world.faults.add(Fault(kind="hang"))
    async with stage.router:
        await stage.pass_time(EVERY)
        await until(lambda: hangs.hits == 1)
    (status,) = stage.router.budget_status("global")
    assert (str(status.spent), status.held) == ("0.0005", 0)
