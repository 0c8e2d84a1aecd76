"""A simulated world, and a router that speaks to it over real HTTP: where every scenario plays.

A scenario describes its router as the configuration file would, by default one pool for each organisation of the world
with its limits. `Opener` builds the router and, when the scenario is over, demands what must hold after any of them:
nothing is held or open, every decision can be told in words, and no key material is in anything that was said.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import yaml

from apikeyrouter import ApiKeyRouter, Budget, DeclarativeAdapter, Limit, OpenAIAdapter, RetrySettings, Settings
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.ledger import idle
from apikeyrouter.events import (
    Acquired,
    BreakerChanged,
    BudgetCrossed,
    Event,
    Expired,
    Failed,
    HookFailed,
    Probed,
    Refused,
    Settled,
    StateChanged,
)
from apikeyrouter.simulator import Organisation, SimulatorApp, World, WorldSpec, serve
from apikeyrouter.testing import ManualClock

T = TypeVar("T")
Config = dict[str, Any]
MODEL = "gpt-4o-mini"
_REASON = re.compile(
    r"disabled|invalid|does not serve|no operation|lacks|another tenant|failed this request|not_found|forbidden"
    r"|rests after"
)
EVENTS = (Acquired, BreakerChanged, BudgetCrossed, Expired, Failed, HookFailed, Probed, Refused, Settled, StateChanged)


def chat(text: str = "Hello", *, output: int = 8, max_tokens: int = 32, model: str = MODEL, **more: object) -> Config:
    """A chat whose answer has `output` tokens in the simulator."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "metadata": {"sim_output_tokens": output},
        **more,
    }


def described(world: World, url: str) -> Config:
    """The configuration that knows a world as it is: its organisations are pools with their true limits."""
    specs = [org.spec for org in world.organisations.values()]
    providers = {"openai": {"adapter": "openai", "base_url": f"{url}/v1"}, "geo": geocoder(url)}
    spoken = {_PROVIDER[spec.dialect] for spec in specs}
    return {
        "providers": {name: given for name, given in providers.items() if name in spoken},
        "pools": {
            spec.id: {"limits": _known_limits(spec), "shared_by": [_key_id(key) for key in spec.keys]} for spec in specs
        },
        "keys": {
            _key_id(key): {"provider": _PROVIDER[spec.dialect], "secret": world.secret(_key_id(key))}
            for spec in specs
            for key in spec.keys
        },
    }


_PROVIDER = {"openai": "openai", "plain": "geo"}


def geocoder(url: str, **more: object) -> Config:
    """The simulator's geocoding service as a provider of the declarative adapter."""
    return {
        "adapter": "http",
        "base_url": f"{url}/geo",
        "auth": {"header": "X-Api-Key"},
        "operations": {"geocode": {"method": "GET", "path": "/v1/geocode", "params": ["q"]}},
        "cost": {"per_request": "0.0005"},
        "errors": [{"status": 403, "body": {"path": "$.code", "equals": "quota"}, "means": "quota_exhausted"}],
        **more,
    }


def _key_id(key: object) -> str:
    return key if isinstance(key, str) else str(getattr(key, "id", key))


def _known_limits(spec: Organisation) -> list[Config]:
    """The limits of an organisation in the long form."""
    found: list[Config] = []
    for limit in spec.limits:
        per = {60.0: "minute", 86_400.0: "day"}[limit.per_s]
        shape = "bucket" if limit.shape == "bucket" else "fixed"
        of = {"input": "input_tokens", "output": "output_tokens"}.get(limit.counts, limit.counts)
        found.append({"of": of, "amount": limit.amount, "per": per, "window": shape})
    return found


@dataclass(slots=True)
class Stage:
    """One scenario's world and router. `told` are all events in order."""

    world: World
    url: str
    router: ApiKeyRouter
    clock: ManualClock | None
    told: list[Event] = field(default_factory=list)

    def seen(self, **which: str) -> list[str]:
        """Keys of the requests that the provider saw, in order."""
        return [seen.key for seen in self.world.record.all(**which)]

    def count(self, **which: str) -> int:
        """How many requests the provider saw."""
        return len(self.world.record.all(**which))

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.told if isinstance(event, kind)]

    def state(self, key: str) -> str:
        """The state of a key as a person sees it."""
        summary = self.router.get_state_summary()
        return next(str(k.state) for k in summary.keys if k.id == key)

    def decisions(self) -> list[Decision]:
        """Every decision so far."""
        return list(self.router._router.decisions.values())

    @property
    def in_flight(self) -> int:
        """Requests that the provider works on."""
        return sum(organisation.counters.in_flight for organisation in self.world.organisations.values())

    @property
    def in_the_air(self) -> bool:
        """Whether a request or an answer is between us and the provider."""
        prober = self.router.enrolment._prober
        asking = prober is not None and prober.asking > 0
        return asking or len(self.router._router.ledger.open_leases) != self.in_flight

    async def while_time_passes(self, work: Awaitable[T], *, step: float = 0.05, most: float = 3600.0) -> T:
        """Move the clock to whoever sleeps next, or by `step`, until `work` is done.

        Time stands still while something is in the air, or the provider would see it later than it was sent.
        """
        task, end = asyncio.ensure_future(work), self._clock.now() + most
        while self._clock.now() < end:
            await self._quiet(task)
            if task.done():
                break
            self._clock.advance(self._to_next(step))
        return await asyncio.wait_for(task, 5)

    async def pass_time(self, seconds: float) -> None:
        """Let exactly so much time pass, from sleeper to sleeper."""
        end = self._clock.now() + seconds
        while self._clock.now() < end:
            await self._quiet()
            self._clock.advance(min(self._to_next(seconds), end - self._clock.now()))
        await self._quiet()

    @property
    def _clock(self) -> ManualClock:
        assert self.clock is not None, "only a manual clock can be moved"
        return self.clock

    def _to_next(self, otherwise: float) -> float:
        due = [when for when, _, woken in self._clock._sleepers if not woken.done()]
        return max(min(due) - self._clock.now(), 0.0) if due else otherwise

    async def _quiet(self, task: asyncio.Future[T] | None = None) -> None:
        """Until nothing is in the air, and tasks had their turns; what hangs on purpose is not waited for long."""
        for turn in range(500):
            await asyncio.sleep(0 if turn < 10 else 0.001)
            if (task is not None and task.done()) or (turn >= 10 and not self.in_the_air):
                return


class Opener:
    """Opens worlds and routers and closes them in order; see the module's docstring."""

    def __init__(self, stack: AsyncExitStack, folder: Path, *, by_hand: bool = False) -> None:
        self._stack = stack
        self._folder = folder
        self._by_hand = by_hand
        self.stages: list[Stage] = []

    def _from_file(self, config: Config, clock: ManualClock | None) -> ApiKeyRouter:
        folder = self._folder / str(len(self.stages))
        folder.mkdir()
        return from_file(config, folder, clock=clock)

    async def __call__(
        self,
        world: World | WorldSpec | Sequence[Organisation],
        *,
        config: Callable[[World, str], Config] = described,
        clock: ManualClock | None = None,
        app: Callable[[World], SimulatorApp] = SimulatorApp,
        **sections: Any,
    ) -> Stage:
        """A router for a world. `config` describes it, `sections` add to the description or replace entries of it.

        `app` serves the world: the simulator, or what a test puts in front of it.
        """
        world = world if isinstance(world, World) else World(world, clock=clock)
        url = await self._stack.enter_async_context(serve(app(world)))
        whole = config(world, url)
        for name, section in sections.items():
            whole[name] = {**whole.get(name, {}), **section} if isinstance(section, Mapping) else section
        router = by_hand(whole, clock=clock) if self._by_hand else self._from_file(whole, clock)
        self._stack.push_async_callback(router.aclose)
        stage = Stage(world, url, router, clock)
        for kind in EVENTS:
            router.subscribe(kind, stage.told.append)
        self.stages.append(stage)
        return stage


def from_file(config: Mapping[str, Any], folder: Path, *, clock: ManualClock | None) -> ApiKeyRouter:
    """The router of a configuration file; key material is in the environment, as it should be."""
    keys, environ = {}, {}
    for name, given in config.get("keys", {}).items():
        variable = f"KEY_{name.upper().replace('-', '_')}"
        environ[variable] = given["secret"]
        keys[name] = {**given, "secret": f"env:{variable}"}
    file = folder / "apikeyrouter.yaml"
    file.write_text(yaml.safe_dump({**config, "keys": keys}, sort_keys=False), encoding="utf-8")
    return ApiKeyRouter.from_config(file, environ=environ, clock=clock, rng=Random(7))


_RETRY = {
    "attempts": "attempts",
    "attempts_per_key": "per_key",
    "backoff": "backoff_s",
    "failover": "failover",
    "retry_floor": "budget_floor",
}


def by_hand(config: Mapping[str, Any], *, clock: ManualClock | None) -> ApiKeyRouter:
    """The same router, made by the verbs a program would use."""
    budgets = [Budget(id=name, **given) for name, given in config.get("budgets", {}).items()]
    retry = {_RETRY[word]: value for word, value in config.get("settings", {}).items()}
    settings = Settings(retry=RetrySettings(**retry))
    router = ApiKeyRouter(
        budgets=budgets, objective=config.get("objective"), settings=settings, clock=clock, rng=Random(7)
    )
    enrolment = router.enrolment
    for name, given in config["providers"].items():
        rest = {word: value for word, value in given.items() if word != "adapter"}
        adapter = OpenAIAdapter(**rest) if given["adapter"] == "openai" else DeclarativeAdapter(rest)
        enrolment.add_provider(name, adapter, price_name=given["adapter"])
    pool_of: dict[str, str] = {}
    for name, given in config.get("pools", {}).items():
        enrolment.add_pool(name, limits_of(given.get("limits", {})))
        pool_of |= dict.fromkeys(given.get("shared_by", ()), name)
    for name, given in config.get("keys", {}).items():
        rest = {word: value for word, value in given.items() if word not in ("provider", "secret", "limits")}
        own = limits_of(given.get("limits", {}))
        options: Any = {"id": name, **rest}
        options |= {"pool": pool_of[name], "caps": own} if name in pool_of else {"limits": own}
        enrolment.add_key(given["secret"], given["provider"], options)
    for name, targets in config.get("models", {}).items():
        enrolment.add_alias(name, targets)
    return router


def limits_of(given: Mapping[str, int] | Sequence[Mapping[str, Any]]) -> list[Limit]:
    """`{rpm: 500, tpm: 200000}`, or a list in the long form, as limits."""
    if isinstance(given, Mapping):
        return [getattr(Limit, name)(amount) for name, amount in given.items()]
    return [Limit(**each) for each in given]


async def until(happens: Callable[[], bool], *, most: float = 5.0) -> None:
    """Let the sockets move until something is so; TimeoutError when it is not within `most` seconds."""
    async with asyncio.timeout(most):
        while not happens():  # noqa: ASYNC110  (the other side of a socket sets no event of ours)
            await asyncio.sleep(0.001)


# -- what must hold after any scenario -----------------------------------------------------------------------------


def assert_at_rest(stage: Stage) -> None:
    """Nothing is held, open or waiting, and every event was heard without a subscriber failing."""
    summary = stage.router.get_state_summary()
    assert summary.open_leases == 0, stage.router._router.ledger.open_leases
    driver = stage.router._router
    assert idle(list(driver.registry.pools.values()), driver.budgets)
    assert all(d.breaker.in_flight == 0 for d in driver.registry.deployments.values())
    assert not any(room.line.size for room in _rooms(stage.router))
    assert not stage.of(HookFailed)


def _rooms(router: ApiKeyRouter) -> list[Any]:
    dispatcher = router._dispatcher
    return [] if dispatcher is None else list(dispatcher.rooms.rooms.values())


def assert_explained(stage: Stage) -> None:
    """Every decision tells who was chosen and why, every other key with a number, and never a secret."""
    for decision in stage.decisions():
        text = str(decision)
        assert decision.id in text
        assert decision.roster.model in text or decision.model in text
        for key in _others(decision):
            line = next((line for line in text.splitlines() if key in line), "")
            assert line, f"{key} is not in:\n{text}"
            told = line.replace(key, "").replace(decision.model, "")
            assert any(sign.isdigit() for sign in told) or _REASON.search(told), line
        assert_silent(stage, text)


def _others(decision: Decision) -> set[str]:
    """Keys that a person would ask about: everybody looked at, and everybody left out."""
    left_out = decision.roster.excluded
    if decision.total + len(left_out) > 10:
        return set()
    looked_at = {c.key.id for c in decision.scanned} | {c.key.id for c, _ in decision.shortfalls}
    return looked_at | {each.key for each in left_out}


def assert_silent(stage: Stage, *said: object) -> None:
    """No key material in anything that was said."""
    materials = [key.material for key in stage.world.keys.values()]
    for each in said:
        text = each if isinstance(each, str) else repr(each)
        assert not [m for m in materials if m in text]


def assert_nothing_leaked(stage: Stage) -> None:
    """No key material in events, the summary or the router's own print."""
    summary = stage.router.get_state_summary()
    assert_silent(stage, *stage.told, summary, stage.router, json.dumps(summary, default=str))


def two_providers(world: World, url: str, **models: list[str]) -> Config:
    """The same world as two providers: org-a's keys belong to `first`, the others' to `second`; `fast` is on both."""
    config = described(world, url)
    config["providers"] = {
        name: {"adapter": "openai", "base_url": f"{url}/v1", "dialect": "openai"} for name in ("first", "second")
    }
    for name, key in config["keys"].items():
        key["provider"] = "first" if world.key(name).organisation.id == "org-a" else "second"
    config["models"] = models or {"fast": [f"first/{MODEL}", f"second/{MODEL}"]}
    return config
