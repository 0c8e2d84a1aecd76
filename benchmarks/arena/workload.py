"""What the arena's routers are asked: requests at given times, the same for all, decided before anybody starts.

Generated traffic is open-loop and bursty: calm spells of 16 s on average at half the mean rate and bursts of 4 s at
three times it, log-normal input lengths (median 400 tokens), a few usual bounds on the output. `load` is offered tokens
over granted tokens, exactly so in the warm-up and after it. Burst lengths and sizes were chosen once, so that the queue
that knows everything (reference.py) behaves as in the published row: nobody waits at 0.9; at 1.4 it serves about 0.91
of the tokens with a p95 wait of about 15 s, and 0.96 with 28 s when it never overtakes.

Recorded traffic comes from a CSV of the Azure LLM inference traces' form (TIMESTAMP, ContextTokens, GeneratedTokens;
Azure/AzurePublicDataset, CC-BY 4.0), its time stretched so that the whole of it has the load, and cut into parts.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

BOUNDS = (100, 200, 400, 800)
CHARS_PER_TOKEN = 4
FRAME_TOKENS = 7
"""What the simulator counts for a chat of one message beside its text."""
CALM_S, BURST_S = 16.0, 4.0
CALM, BURST = 0.5, 3.0


@dataclass(frozen=True, slots=True)
class Job:
    """One request: when (seconds from the start), how long its input, how long its answer may be."""

    number: int
    at: float
    input_tokens: int
    max_tokens: int
    tenant: str = "t0"

    @property
    def charge(self) -> int:
        """Tokens the provider takes at admission."""
        return self.input_tokens + self.max_tokens

    def body(self, model: str) -> dict[str, object]:
        """A chat that the simulator charges exactly `charge`."""
        characters = (self.input_tokens - FRAME_TOKENS) * CHARS_PER_TOKEN
        text = ("word " * (characters // 5 + 1))[:characters]
        return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": self.max_tokens}


def generate(*, load: float, tokens_per_s: float, warm_s: float, seconds: float, seed: int) -> list[Job]:
    """Bursty traffic of `load` times `tokens_per_s`: until `warm_s`, and from then until `seconds`."""
    rng = Random(seed)
    spans = ((0.0, warm_s), (warm_s, seconds))
    found = [shot for begin, end in spans if end > begin for shot in _span(rng, load * tokens_per_s, begin, end)]
    return [Job(i, *shot) for i, shot in enumerate(found)]


def _span(rng: Random, tokens_per_s: float, begin: float, end: float) -> list[tuple[float, int, int]]:
    """Arrivals until the tokens of the span are offered, their times stretched to fill it."""
    mean = sum(sum(_size(rng)) for _ in range(2000)) / 2000
    wanted = tokens_per_s * (end - begin)
    rate = tokens_per_s / mean
    found: list[tuple[float, int, int]] = []
    offered, now = 0, 0.0
    calm_until = rng.random() * rng.expovariate(1 / CALM_S)
    burst_until = calm_until + rng.expovariate(1 / BURST_S)
    while offered < wanted:
        if now >= burst_until:
            calm_until = now + rng.expovariate(1 / CALM_S)
            burst_until = calm_until + rng.expovariate(1 / BURST_S)
        now += rng.expovariate(rate * (BURST if now >= calm_until else CALM))
        size = _size(rng)
        offered += sum(size)
        found.append((now, *size))
    return [(begin + at * (end - begin) / now, tokens, bound) for at, tokens, bound in found]


def _size(rng: Random) -> tuple[int, int]:
    return max(20, min(8000, int(rng.lognormvariate(6.0, 0.8)))), rng.choice(BOUNDS)


def from_trace(path: Path, *, load: float, tokens_per_s: float, seconds: float, part: int) -> list[Job]:
    """The `part`-th stretch of `seconds` of a recorded trace (after the last comes the first again).

    One factor stretches the whole trace to the load, so that the parts have the bursts that were recorded; the bound of
    an answer is what was generated.
    """
    rows = _rows(path)
    offered = sum(tokens + bound for _, tokens, bound in rows) / rows[-1][0]
    stretch = offered / (load * tokens_per_s)
    parts = max(1, int(rows[-1][0] * stretch / seconds))
    begin = (part % parts) * seconds
    cut = [(at * stretch - begin, tokens, bound) for at, tokens, bound in rows]
    return [Job(i, *shot) for i, shot in enumerate(shot for shot in cut if 0 <= shot[0] < seconds)]


def _rows(path: Path) -> list[tuple[float, int, int]]:
    with path.open(newline="") as file:
        rows = [
            (
                datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp(),
                max(20, int(row["ContextTokens"])),
                max(16, int(row["GeneratedTokens"])),
            )
            for row in csv.DictReader(file)
        ]
    return [(at - rows[0][0], tokens, bound) for at, tokens, bound in rows]
