"""A router over plain parts, for tests of the decision itself: no adapter, no network, time moved by hand.

`rig()` registers one provider and keys with pools; everything beyond that is the test's own business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from apikeyrouter.core.budget import Budget, BudgetTree
from apikeyrouter.core.key import Key
from apikeyrouter.core.model import Capabilities, Request
from apikeyrouter.core.price import Price, PriceBook
from apikeyrouter.core.registry import Provider
from apikeyrouter.core.score import Objective
from apikeyrouter.core.window import Limit
from apikeyrouter.router import Router
from apikeyrouter.settings import Settings

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z, a Thursday."""
MODEL = "m"
FREE = Price.of("free")


class Hands:
    """A clock that a test sets to any time, also an earlier one."""

    def __init__(self, start: float = START) -> None:
        self.time = start

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> float:
        self.time += seconds
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Rig:
    """A router, its clock, and short ways to register and ask."""

    def __init__(
        self,
        *,
        budgets: Sequence[Budget] = (),
        objective: object = None,
        settings: Settings | None = None,
        seed: int = 1,
    ) -> None:
        self.clock = Hands()
        self.prices = PriceBook()
        self.router = Router(
            prices=self.prices,
            budgets=BudgetTree(budgets),
            objective=Objective.of(objective),
            settings=settings or Settings(),
            clock=self.clock,
            rng=Random(seed),
        )
        self.registry = self.router.registry

    def provider(self, name: str = "p", capabilities: Capabilities | None = None) -> None:
        self.registry.add_provider(Provider(name, capabilities or Capabilities()))

    def price(self, dollars_per_million: str, *, provider: str = "p", model: str = MODEL) -> None:
        """The same price for input and output tokens."""
        price = Price.of(model, input=dollars_per_million, output=dollars_per_million)
        self.prices.override(provider, model, price)

    def key(
        self,
        name: str,
        limits: Sequence[Limit] = (),
        *,
        provider: str = "p",
        pools: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        models: Sequence[str] = (),
        tier: int = 0,
        weight: float = 1.0,
        quality: float = 0.5,
    ) -> Key:
        """A key; `pools` None gives it a pool of its own, called like it."""
        if provider not in self.registry.providers:
            self.provider(provider)
        names = tuple(pools) if pools is not None else (name,)
        for i, pool in enumerate(names):
            self.registry.add_pool(pool, tuple(limits) if i == 0 else (), self.clock.time)
        key = Key(
            name,
            provider,
            now=self.clock.time,
            pools=names,
            models=models,
            tags=tags or {},
            tier=tier,
            weight=weight,
        )
        key.quality = quality
        self.registry.add_key(key)
        return key


def ask(tokens: int = 0, output: int = 0, **more: object) -> Request:
    """A request for MODEL with counts given, so that nothing is estimated."""
    fields: dict[str, object] = {"model": MODEL, "input_tokens": tokens, "max_output_tokens": output, **more}
    return Request(**fields)  # type: ignore[arg-type]  # the fields' types are the test's to keep
