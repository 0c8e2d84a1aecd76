"""A LiteLLM Router over a simulated world through the door, and what must hold after every call: nothing left open."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm as litellm  # explicitly, for those who take it from here

from apikeyrouter import ApiKeyRouter
from apikeyrouter.core.ledger import idle
from apikeyrouter.events import Event, Settled
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.simulator import Organisation, World, limits, serve

gc.freeze()  # LiteLLM is a million objects that no collection needs to look at again

MODEL = "gpt-4o-mini"
HELLO = [{"role": "user", "content": "Tell me about the sea"}]
PATIENCE_S = 15.0
"""LiteLLM logs in the background; what it has not told after this long it never tells."""
LISTS = (
    "callbacks",
    "input_callback",
    "success_callback",
    "failure_callback",
    "service_callback",
    "_async_input_callback",
    "_async_success_callback",
    "_async_failure_callback",
)


def deployment(
    world: World, url: str, key: str, *, group: str = "chat", model: str = f"openai/{MODEL}", **ours: Any
) -> Any:
    """One entry of a model list: `ours` is model_info.apikeyrouter, except `params`, which go to litellm_params."""
    params = {"model": model, "api_key": world.secret(key), "api_base": f"{url}/v1", **ours.pop("params", {})}
    info = {"id": ours.pop("id", key)}
    return {
        "model_name": group,
        "litellm_params": params,
        "model_info": {**info, "apikeyrouter": ours} if ours else info,
    }


@dataclass
class Stage:
    """A world, a LiteLLM Router on it, and the strategy that routes it."""

    world: World
    url: str
    router: litellm.Router
    strategy: ApiKeyRoutingStrategy
    extra: dict[str, Any] = field(default_factory=dict)
    bills: list[Settled] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine.subscribe(Settled, self._note)

    def _note(self, event: Event) -> None:
        assert isinstance(event, Settled)
        self.bills.append(event)

    @property
    def engine(self) -> ApiKeyRouter:
        return self.strategy.engine

    async def chat(self, **more: Any) -> Any:
        return await self.router.acompletion(**{"model": "chat", "messages": HELLO, "max_tokens": 16, **more})

    def chat_now(self, **more: Any) -> Any:
        return self.router.completion(**{"model": "chat", "messages": HELLO, "max_tokens": 16, **more})

    @property
    def outcomes(self) -> list[str]:
        """How every lease ended, in the order in which they were taken; refusals are not leases."""
        return [d.outcome for d in self.engine._router.decisions.values() if d.chosen is not None]

    @property
    def keys_used(self) -> Counter[str]:
        return Counter(d.key for d in self.engine._router.decisions.values() if d.key)

    async def quiet(self) -> None:
        """Wait until the world has written down everything it answered; it does so after the answer has left."""
        await until(lambda: not any(one.counters.in_flight for one in self.world.organisations.values()))

    @property
    def in_line(self) -> int:
        """Calls that wait for room, in whichever loop."""
        dispatcher = self.engine._dispatcher
        return 0 if dispatcher is None else sum(len(room.line) for room in list(dispatcher.rooms.rooms.values()))

    async def arrived(self) -> None:
        """Wait until the provider has a call that it has not answered."""
        await until(lambda: any(one.counters.in_flight for one in self.world.organisations.values()))

    def seen(self, outcome: str | None = None) -> int:
        """Requests that reached the provider."""
        return len(self.world.record.all() if outcome is None else self.world.record.all(outcome=outcome))

    def used(self, pool: str, window: str = "requests/minute") -> float:
        """What is gone of a pool's first such window, to the nearest whole (buckets refill while a test runs)."""
        status = next(p for p in self.engine.get_state_summary().pools if p.id == pool)
        found = next(w for w in status.windows if w.name == window)
        return round(found.limit - found.remaining)

    async def settled(self) -> None:
        """Wait until LiteLLM has told everything and what was forgotten is collected; nothing may be open then."""
        await until(lambda: self.engine.get_state_summary().open_leases == 0 or gc.collect() < 0)
        router = self.engine._router
        assert idle(list(router.registry.pools.values()), router.budgets), self.engine.get_state_summary()


async def until(true: Callable[[], bool], *, patience: float = PATIENCE_S) -> None:
    """Let the loop run until something holds. Raises TimeoutError."""
    async with asyncio.timeout(patience):
        while not true():  # noqa: ASYNC110 - LiteLLM has no event to wait for
            await asyncio.sleep(0.01)


class Hurried:
    """A clock for the engine: time passes only while somebody waits, and then at once, however busy the machine is."""

    def __init__(self) -> None:
        self._now = 1_767_225_600.0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)
        await asyncio.sleep(0)


class Opener:
    """Opens stages; every one of them must be at rest in the end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.stages: list[Stage] = []

    async def __call__(
        self,
        *organisations: Organisation,
        config: Any = None,
        max_wait: float = 60.0,
        models: Callable[[World, str], list[Any]] | None = None,
        world: World | None = None,
        **router: Any,
    ) -> Stage:
        world = world or World(organisations or two_organisations())
        url = await self.stack.enter_async_context(serve(world, thread=True))
        listed = models(world, url) if models else [deployment(world, url, k, rpm=600, tpm=600_000) for k in world.keys]
        made = litellm.Router(**{"model_list": listed, "num_retries": 0, **router})
        strategy = ApiKeyRoutingStrategy.install(made, config, max_wait=max_wait)
        self.stages.append(Stage(world, url, made, strategy))
        return self.stages[-1]


def two_organisations() -> tuple[Organisation, ...]:
    plenty = limits(rpm=600, tpm=600_000)
    return (
        Organisation(id="org-a", keys=("a1",), limits=plenty),
        Organisation(id="org-b", keys=("b1",), limits=plenty),
    )
