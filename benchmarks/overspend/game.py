"""The same requests against a wallet, so many of them in flight at once, and an honest tally beside it.

A request has a body (whose tokens the wallet must estimate) and a bound on its answer; what it really uses is drawn by
the trouble that is played. A slot asks, waits for the answer, and asks again, until three budgets' worth was asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from apikeyrouter.core.measure import Measure
from apikeyrouter.core.model import Usage
from overspend.wallets import PRICE, Hands, Wallet

CHARS = 4_000
MOST_OUTPUT = 1_000
REQUESTS = 400
"""Requests of full size that the budget has money for."""
MOST = CHARS + MOST_OUTPUT
LIMIT = REQUESTS * MOST * PRICE
MEASURE = Measure(chars=CHARS)


@dataclass(frozen=True)
class Trouble:
    """What is wrong. `input_tokens` really counted of CHARS, `output` share of the bound used, `overcharge` times the
    most a request should cost, `crashes` share of the requests whose end nobody hears of."""

    name: str
    input_tokens: int = CHARS // 4
    output: float = 0.5
    overcharge: float = 1.0
    crashes: float = 0.0
    period: str = "total"

    def usage(self, chance: float) -> Usage:
        output = int(MOST_OUTPUT * min(1.0, self.output * (0.5 + chance)))
        if self.overcharge > 1.0:
            return Usage(input_tokens=int(CHARS * self.overcharge), output_tokens=int(MOST_OUTPUT * self.overcharge))
        return Usage(input_tokens=self.input_tokens, output_tokens=output)


TROUBLES = (
    Trouble("none"),
    Trouble("10x too low", input_tokens=CHARS, output=1.0),
    Trouble("10x too high", input_tokens=CHARS // 40, output=0.05),
    Trouble("crashes", crashes=0.2, output=1.0),
    Trouble("period turns", period="minute", output=1.0, input_tokens=CHARS),
    Trouble("billed 10x the most", overcharge=10.0),
)


@dataclass(frozen=True)
class Score:
    """`overshoot` of the worst period as a share of the limit; `bound` is what was in flight then, likewise."""

    overshoot: float
    served: int
    refused: int
    bound: float


Make = Callable[[Hands, int, str], Wallet]


def play(make: Make, trouble: Trouble, concurrency: int, *, seed: int = 1, by_hold: bool = True) -> Score:
    """One game. A bill belongs to the period it was asked in (`by_hold`), or to the one it comes in."""
    clock, rng = Hands(), Random(seed)
    wallet = make(clock, LIMIT, trouble.period)
    spent: Counter[int] = Counter()
    ends: list[tuple[float, int, object, int, Usage]] = []
    asked = served = refused = 0
    wanted = max(3 * REQUESTS, 3 * concurrency) * (3 if trouble.period != "total" else 1)
    while asked < wanted or ends:
        while asked < wanted and len(ends) < concurrency:
            asked += 1
            token = wallet.ask(MEASURE, MOST_OUTPUT)
            if token is None:
                refused += 1
                clock.time += 0.05
                break
            served += 1
            ends_at = clock.time + 0.5 + 9.0 * rng.random()
            heappush(ends, (ends_at, served, token, _period(clock, trouble), trouble.usage(rng.random())))
        if ends and (len(ends) >= concurrency or asked >= wanted or ends[0][0] <= clock.time):
            at, _, token, period, usage = heappop(ends)
            clock.time = max(clock.time, at)
            cost = PRICE * usage.total_tokens
            spent[period if by_hold else _period(clock, trouble)] += cost
            if rng.random() < trouble.crashes:
                wallet.lost(token)
            else:
                wallet.bill(token, usage)
    worst = max(spent.values()) - LIMIT
    return Score(max(0, worst) / LIMIT, served, refused, concurrency * trouble.overcharge * MOST * PRICE / LIMIT)


def _period(clock: Hands, trouble: Trouble) -> int:
    return int(clock.time // 60) if trouble.period == "minute" else 0
