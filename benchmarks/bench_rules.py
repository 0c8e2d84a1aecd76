"""What a rule and a price cost a request, each beside a reference in the same run.

A rule over facts that are already there, as for every request after the first of its kind: at most 2 us. One over what
changes with nearly every request (the budget, the size) is evaluated anew; it has no bound but its ratio. Finding a
model's price and pricing a usage by it: under 1 us together. Shortest times are bounded, and the bounds grow with how
slow the machine is just now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grounds
import pytest
from bench_decision import slack

from apikeyrouter.cel import compile_expression
from apikeyrouter.core.facts import budget_facts, request_facts, time_facts
from apikeyrouter.core.model import Request, Usage
from apikeyrouter.core.policy import Policy, compiled
from apikeyrouter.core.price import PriceBook
from apikeyrouter.core.rulebook import Rulebook
from apikeyrouter.prices import load

RULE_S: Final = 2e-6
PRICE_S: Final = 1e-6
TIMES: Final = 1_000
"""Answers in a round, so that the clock's own cost does not count."""
ROUNDS: Final = {"rounds": 40, "warmup_rounds": 5}
NOW: Final = 1_795_435_200.0
REQUEST: Final = Request(
    model="fast", tenant="acme", user="ada", tags={"region": "eu", "plan": "paid"}, needs=frozenset({"tools"})
)
FACTS: Final = {
    "request": request_facts(REQUEST, model="gpt-4o", input_tokens=900, output_tokens=400),
    "budget": budget_facts(()),
    "time": time_facts(NOW),
    "key": {"id": "a1", "provider": "p", "model": "gpt-4o", "tier": 1, "tags": {"region": "eu"}, "cost": 0.01},
    "pool": {"state": "abundant", "used": 0.2, "remaining": 0.8, "exhausts_in_h": 9.0, "risk": 0.1},
}
RULES: Final = {
    "of the request": "request.tags.region == 'eu' && request.tenant in ['acme', 'umbrella']",
    "of the key": "key.tags.region == 'eu' && key.tier <= 2",
    "of the time": "time.hour >= 8 && time.hour < 18 && !(time.weekday in [6, 7])",
    "with a method": "request.model.startsWith('gpt-4') || 'images' in request.needs",
}
USED: Final = Usage(input_tokens=2_006, cache_read_tokens=1_920, output_tokens=300, reasoning_tokens=64)


def many(call: Callable[[], object]) -> Callable[[], object]:
    """The same call a thousand times."""
    turns = range(TIMES)

    def again() -> object:
        for _ in turns:
            call()
        return call()

    return again


@pytest.mark.benchmark(group="rule")
def bench_rule_reference(benchmark: Any) -> None:
    assert benchmark.pedantic(many(grounds.fixed_work), **ROUNDS) == grounds.WORK


@pytest.mark.benchmark(group="rule")
@pytest.mark.parametrize("kind", RULES)
def bench_rule(benchmark: Any, kind: str) -> None:
    """One condition over facts that are there."""
    predicate = compile_expression(RULES[kind])
    assert benchmark.pedantic(many(lambda: predicate(FACTS)), **ROUNDS) is True
    assert benchmark.stats.stats.min / TIMES < RULE_S * slack()


@pytest.mark.benchmark(group="rule")
def bench_rule_evaluated(benchmark: Any) -> None:
    """A condition whose answer is in vain to remember."""
    predicate = compile_expression("budget.remaining > 1.0 && request.input_tokens < 1000")
    assert benchmark.pedantic(many(lambda: predicate(FACTS)), **ROUNDS) is True


@pytest.mark.benchmark(group="rule")
def bench_rule_of_a_verdict(benchmark: Any) -> None:
    """A whole verdict over twenty rules, told for one of them."""
    rules = [
        Policy.of(f"p{n}", {"when": f"request.tags.region == 'eu' && request.priority < {n + 1}", "max_cost": "1"})
        for n in range(20)
    ]
    book = Rulebook(compiled(rule, compile_expression) for rule in rules)
    request = FACTS["request"]
    found = benchmark.pedantic(many(lambda: book.judge(request, NOW)), **ROUNDS)
    assert len(found.applied) == 20
    assert benchmark.stats.stats.min / TIMES / 20 < RULE_S * slack()


@pytest.mark.benchmark(group="price")
def bench_price_reference(benchmark: Any) -> None:
    assert benchmark.pedantic(many(grounds.fixed_work), **ROUNDS) == grounds.WORK


@pytest.mark.benchmark(group="price")
@pytest.mark.parametrize("what", ["cost", "hold"])
def bench_price(benchmark: Any, what: str) -> None:
    """The price of a model out of all lists, and what a usage costs or a request may."""
    book: PriceBook = load(installed=False)

    def cost() -> int:
        price = book.find("openai", "gpt-4o-mini")
        return 0 if price is None else price.cost(USED)

    def hold() -> int:
        price = book.find("openai", "gpt-4o-mini")
        return 0 if price is None else price.hold(2_006, 300)

    found = benchmark.pedantic(many(cost if what == "cost" else hold), **ROUNDS)
    assert found == (336_900 if what == "cost" else 480_900)
    assert benchmark.stats.stats.min / TIMES < PRICE_S * slack()
