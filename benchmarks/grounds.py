"""What the benchmarks measure on: routers of any size, as a user would build them, and the piece of work they refer to.

Every key has a pool of its own with four windows; a hard and a soft budget apply; every decision is kept for explain().
Against a rival, ours has what the rival is given: requests and tokens per minute.
Only the standard library and this project are used, so that a rival's environment can run it, too.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from random import Random

from apikeyrouter import ApiKeyRouter, Budget, Limit, Request, Usage
from apikeyrouter.core.price import Price, PriceBook

MODEL = "m"
WORK = 12
"""What fixed_work() comes to."""
NEVER_FULL = (Limit.rpm(10**7), Limit.tpm(10**11), Limit.rpd(10**10), Limit.otpm(10**11))
FULL_AFTER_ONE = (
    Limit(of="requests", amount=1, per="day", window="fixed"),
    Limit.tpm(10**7),
    Limit.rpd(10**6),
    Limit.otpm(10**7),
)
AS_THE_RIVAL = (Limit.rpm(10**7), Limit.tpm(10**10))
BUDGETS = (
    Budget(scope="global", limit="1000000", period="day"),
    Budget(scope="tenant:*", limit="1000000", period="month", mode="soft"),
)
REQUEST = Request(
    model=MODEL, input_tokens=900, max_output_tokens=400, tenant="acme", tags={"feature": "chat"}, correlation_id="c-1"
)
USED = Usage(input_tokens=880, output_tokens=210, cache_read_tokens=100)


def prices() -> PriceBook:
    book = PriceBook()
    book.override("p", MODEL, Price.of(MODEL, input="0.15", output="0.60", cache_read="0.075"))
    return book


def router(keys: int, limits: Sequence[Limit] = NEVER_FULL, budgets: Sequence[Budget] = BUDGETS) -> ApiKeyRouter:
    """One provider and `keys` keys; nothing is sent, so nobody is asked how to send."""
    made = ApiKeyRouter(
        budgets=budgets,
        prices=prices(),
        rng=Random(7),
        log=False,
    )
    made.enrolment.add_provider("p", "openai", price_name="p")
    for i in range(keys):
        made.enrolment.add_key(f"sk-benchmark-{i:08d}", "p", {"id": f"k{i}", "limits": limits})
    settle_one(made)
    return made


def settle_one(made: ApiKeyRouter) -> None:
    """What a request costs the engine: a decision with its hold, and its settlement; checked."""
    lease = made.acquire(REQUEST)
    made.settle(lease, USED)
    assert lease.decision.actual_cost == 250_500
    assert not lease.open


def fixed_work() -> int:
    """A walk through a dictionary, a heap of small objects and some arithmetic: what the code under test is made of.

    It must never change: stored ratios refer to it.
    """
    table = {f"key-{i}": (i * 7) % 13 for i in range(40)}
    rows = [[name, weight / 13.0] for name, weight in table.items()]
    best, total = "", 0.0
    for name, share in rows:
        total += share * (1.0 - share)
        if share > 0.9 and name > best:
            best = name
    return len(best) + int(total)


def machine() -> str:
    """Where figures come from, for a dated table."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.python_implementation()} {platform.python_version()}"
    )
