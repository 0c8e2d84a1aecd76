"""What is asked for: questions of all lengths, in bursts, some streamed, some not for a language model at all.

Everything follows from the seed, so that a run can be repeated; how much quota it needs is known before it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from apikeyrouter.ports import Body
from apikeyrouter.simulator.words import answer_text, tokens_in

Kind = Literal["chat", "stream", "geocode"]

ALIAS: Final = "chat"
CYCLE_S: Final = 5.0
BURST_S: Final = 1.5
BURST: Final = 2.2
"""A burst has this many times the average rate, for BURST_S of every CYCLE_S."""
LULL: Final = (CYCLE_S - BURST * BURST_S) / (CYCLE_S - BURST_S)

_GEOCODES: Final = 0.15
_STREAMED: Final = 0.35
_LENGTHS: Final = (32, 64, 64, 128, 128, 256)
_PLACES: Final = ("Oslo", "Quito", "Nairobi", "Tbilisi", "Perth", "Halifax", "Kyoto", "Lima", "Porto", "Tromsø")
_SYSTEM: Final = "You answer shortly."


@dataclass(frozen=True, slots=True)
class Task:
    """One request: when it comes (seconds from the start), what it is, and the tokens its provider will charge."""

    at: float
    kind: Kind
    body: Body
    tokens: int


def workload(requests: int, seconds: float, seed: int) -> list[Task]:
    """The requests in the order of their arrival."""
    rng = Random(seed)
    times = sorted(_arrival(rng, seconds) for _ in range(requests))
    return [_task(rng, at) for at in times]


def _arrival(rng: Random, seconds: float) -> float:
    """A moment, drawn from a rate that rises and falls."""
    while True:
        at = rng.random() * seconds
        rate = BURST if at % CYCLE_S < BURST_S else LULL
        if rng.random() * BURST < rate:
            return at


def _task(rng: Random, at: float) -> Task:
    if rng.random() < _GEOCODES:
        return Task(at, "geocode", {"q": rng.choice(_PLACES)}, 0)
    text = answer_text(round(min(600.0, rng.lognormvariate(4.6, 0.7))), str(rng.random())).strip()
    most = rng.choice(_LENGTHS)
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]
    charged = 3 + sum(4 + tokens_in(m["content"]) for m in messages) + most
    body = {"model": ALIAS, "messages": messages, "max_tokens": most}
    return Task(at, "stream" if rng.random() < _STREAMED else "chat", body, charged)
