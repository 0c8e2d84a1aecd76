"""Two ways to keep a budget, behind one face: this router's, and counting what was billed after the answer.

`ask` gives something to hand back with the bill, or None for a refusal. The wallet never sees the game's own tally.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Protocol

from apikeyrouter.core.budget import Budget, BudgetTree
from apikeyrouter.core.key import Key
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.measure import Measure
from apikeyrouter.core.model import Request, Usage
from apikeyrouter.core.price import Price, PriceBook
from apikeyrouter.core.registry import Provider
from apikeyrouter.core.score import Objective
from apikeyrouter.errors import BudgetExceededError
from apikeyrouter.router import Router
from apikeyrouter.settings import Settings

MODEL = "m"
PRICE = 1_000
"""Nano-dollars a token, input or output."""


class Hands:
    """A clock the game sets."""

    def __init__(self) -> None:
        self.time = 1_767_225_600.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Wallet(Protocol):
    """Who may spend."""

    def ask(self, measure: Measure, max_output: int) -> object | None: ...
    def bill(self, token: object, usage: Usage) -> None: ...
    def lost(self, token: object) -> None: ...


class Ours:
    """The router as it is, with one key and one hard budget."""

    def __init__(self, clock: Hands, limit: int, period: str) -> None:
        book = PriceBook()
        book.override(None, MODEL, Price.of(MODEL, input="1", output="1"))
        dollars = Decimal(limit).scaleb(-9)
        self.router = Router(
            prices=book,
            budgets=BudgetTree([Budget(scope="global", limit=dollars, period=period)]),
            objective=Objective.of(None),
            settings=Settings(timeout_s=30.0),
            clock=clock,
            rng=Random(1),
        )
        self.router.registry.add_provider(Provider("p"))
        self.router.registry.add_pool("k", (), clock.now())
        self.router.registry.add_key(Key("k", "p", now=clock.now(), pools=("k",), models=(MODEL,), tags={}))

    def ask(self, measure: Measure, max_output: int) -> object | None:
        request = Request(model=MODEL, max_output_tokens=max_output)
        try:
            return self.router.acquire(request, measure=measure)
        except BudgetExceededError:
            return None

    def bill(self, token: object, usage: Usage) -> None:
        assert isinstance(token, Lease)
        self.router.settle(token, usage)

    def lost(self, token: object) -> None:
        """Nobody tells; the lease expires by itself."""


class CountAfter:
    """Looks at what was billed so far, lets pass, and adds the bill when it comes."""

    def __init__(self, clock: Hands, limit: int, period: str) -> None:
        self.clock, self.limit = clock, limit
        self.period_s = {"minute": 60.0, "total": float("inf")}[period]
        self.spent, self.number = 0, 0

    def _turn(self) -> None:
        number = int(self.clock.now() // self.period_s) if self.period_s < float("inf") else 0
        if number != self.number:
            self.number, self.spent = number, 0

    def ask(self, measure: Measure, max_output: int) -> object | None:
        self._turn()
        return object() if self.spent < self.limit else None

    def bill(self, token: object, usage: Usage) -> None:
        self._turn()
        self.spent += PRICE * usage.total_tokens

    def lost(self, token: object) -> None:
        """Nobody tells, so nobody counts."""
