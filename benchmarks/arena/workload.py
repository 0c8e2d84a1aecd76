"""What the arena's routers are asked: requests at given times, the same for all, decided before anybody starts.

Generated traffic is open-loop and bursty: a base rate modulated by bursts (a Markov-modulated Poisson process, bursts of
3 times the mean for 5 s on average), log-normal input lengths, a few usual bounds on the output. `load` is offered
tokens over granted tokens. Recorded traffic comes from a CSV of the Azure LLM inference traces' form (TIMESTAMP,
ContextTokens, GeneratedTokens; Azure/AzurePublicDataset, CC-BY 4.0), sped up or slowed down to the same load.
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
        text = "word " * ((self.input_tokens - FRAME_TOKENS) * CHARS_PER_TOKEN // 5 + 1)
        text = text[: (self.input_tokens - FRAME_TOKENS) * CHARS_PER_TOKEN]
        return {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.max_tokens,
        }


def generate(*, load: float, tokens_per_s: float, seconds: float, seed: int, tenants: int = 1) -> list[Job]:
    """Bursty traffic of `load` times `tokens_per_s` for `seconds`."""
    rng = Random(seed)
    sizes = [(_length(rng), rng.choice(BOUNDS)) for _ in range(2000)]
    mean = sum(a + b for a, b in sizes) / len(sizes)
    rate = load * tokens_per_s / mean
    jobs: list[Job] = []
    now, burst_until, calm_until = 0.0, 0.0, 0.0
    while now < seconds:
        if now >= burst_until and now >= calm_until:
            calm_until = now + rng.expovariate(1 / 20.0)
            burst_until = calm_until + rng.expovariate(1 / 5.0)
        factor = 3.0 if now >= calm_until else 0.5
        now += rng.expovariate(rate * factor)
        jobs.append(Job(len(jobs), now, _length(rng), rng.choice(BOUNDS), f"t{rng.randrange(tenants)}"))
    return _to_load(jobs, load * tokens_per_s, seconds)


def _length(rng: Random) -> int:
    return max(20, min(8000, int(rng.lognormvariate(6.0, 0.8))))


def _to_load(jobs: list[Job], tokens_per_s: float, seconds: float) -> list[Job]:
    """Stretch time so that the offered tokens are exactly the load, whatever the bursts of this seed were."""
    offered = sum(job.charge for job in jobs) / max(job.at for job in jobs)
    scale = offered / tokens_per_s
    return [Job(j.number, j.at * scale, j.input_tokens, j.max_tokens, j.tenant) for j in jobs if j.at * scale < seconds]


def from_trace(path: Path, *, load: float, tokens_per_s: float, seconds: float, start: int = 0) -> list[Job]:
    """A window of a recorded trace, its times scaled to the load; the answer's bound is what was generated."""
    rows = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            rows.append((at, max(20, int(row["ContextTokens"])), max(16, int(row["GeneratedTokens"]))))
    rows = rows[start:]
    first = rows[0][0]
    jobs = [Job(i, at - first, tokens, bound) for i, (at, tokens, bound) in enumerate(rows)]
    return _to_load(jobs, load * tokens_per_s, seconds)
