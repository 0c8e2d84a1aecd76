"""What a simulated world consists of, as frozen descriptions: organisations, keys, limits, latency. Nothing here moves.

The live counterparts (levels, counters, revoked keys) are in `state.py`; reading these from YAML is in `config.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.faults import Fault
from apikeyrouter.simulator.window import Bucket, FixedWindow, Window, day_end, month_end, period_end

__all__ = [
    "Foreign",
    "Key",
    "Latency",
    "LimitGroup",
    "LimitSpec",
    "Model",
    "Organisation",
    "OutputLength",
    "WorldSpec",
    "limits",
]

Counts = Literal["requests", "tokens", "input", "output"]
Shape = Literal["bucket", "fixed", "day", "month"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """One limit: `amount` of what it `counts`, per `per_s` seconds.

    `burst_s` is how many seconds' worth a bucket holds (None: the whole period; 15 of 60 is a provider that smooths).
    `start` is the share that is there at the beginning: 1.0 full. A `day` or `month` ends at midnight
    in `zone`.
    """

    name: str
    counts: Counts
    amount: int
    per_s: float = 60.0
    shape: Shape = "bucket"
    burst_s: float | None = None
    start: float = 1.0
    zone: str = "UTC"

    def build(self, born: int) -> Window:
        """A live window, `born` in nanoseconds since the epoch."""
        per_ns = round(self.per_s * NS)
        if self.shape == "bucket":
            capacity = self.amount if self.burst_s is None else max(1, round(self.amount * self.burst_s / self.per_s))
            return Bucket(
                self.name, self.counts, limit=self.amount, per_ns=per_ns, capacity=capacity, born=born, start=self.start
            )
        end_of = self._end_of(per_ns)
        used = round(self.amount * (1.0 - self.start))
        return FixedWindow(self.name, self.counts, limit=self.amount, per_ns=per_ns, end_of=end_of, used=used)

    def _end_of(self, per_ns: int) -> Callable[[int], int]:
        if self.shape == "fixed":
            return period_end(per_ns)
        return day_end(self.zone) if self.shape == "day" else month_end(self.zone)


def limits(
    *,
    rpm: int | None = None,
    tpm: int | None = None,
    rpd: int | None = None,
    itpm: int | None = None,
    otpm: int | None = None,
    shape: Shape = "bucket",
    burst_s: float | None = None,
    start: float = 1.0,
    zone: str | None = None,
) -> tuple[LimitSpec, ...]:
    """The usual limits by their usual names; `shape`, `burst_s` and `start` go for the ones per minute.

    `rpd` is a continuous bucket of a day under `shape="bucket"` (as OpenAI's headers prove) unless a `zone` is
    named, at whose midnight the day ends (Gemini: America/Los_Angeles); under the other shapes a day of `zone` or of
    UTC.
    """
    minute: tuple[tuple[str, Counts, int | None], ...] = (
        ("rpm", "requests", rpm),
        ("tpm", "tokens", tpm),
        ("itpm", "input", itpm),
        ("otpm", "output", otpm),
    )
    found = [
        LimitSpec(name=name, counts=counts, amount=amount, shape=shape, burst_s=burst_s, start=start)
        for name, counts, amount in minute
        if amount is not None
    ]
    if rpd is not None:
        daily: Shape = "bucket" if shape == "bucket" and zone is None else "day"
        day = LimitSpec(name="rpd", counts="requests", amount=rpd, per_s=86_400.0, shape=daily, zone=zone or "UTC")
        found.append(day)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitGroup:
    """Limits for the models that match one of the globs: a set of windows each, or one for all when `shared`."""

    models: tuple[str, ...] = ("*",)
    limits: tuple[LimitSpec, ...] = ()
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of an organisation. Without `material` it gets one that follows from its id; it is not a secret."""

    id: str
    material: str = field(default="", repr=False)
    status: Literal["alive", "dead", "revoked"] = "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds: `first_s` to the first byte or token (the median), then `per_token_s` for each token of output.

    `sigma` > 0 spreads the first part lognormally, drawn from the world's seed.
    """

    first_s: float = 0.0
    per_token_s: float = 0.0
    sigma: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLength:
    """How many tokens an answer has unless the request says so: `tokens`, spread lognormally around it when sigma > 0.

    A request says so with the header `x-sim-output-tokens` or with `metadata.sim_output_tokens` in its body.
    """

    tokens: int = 32
    sigma: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Somebody else with a key of the same organisation, whom the router cannot see.

    Every `every_s` seconds it asks for `share` of what the buckets refill in that time (0.3: three tenths of the
    limit), of every bucket of each model, all or nothing. Only continuous buckets know it.
    """

    share: float
    every_s: float = 1.0
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """Who owns quota. `dialect` is the API its keys speak: openai, anthropic, gemini or plain.

    `models` are globs of what it may use. `failures_count`: a request refused or failed still costs one request.
    `headers` and `retry_after` select how a plain API speaks of limits, `price_nano` its price for a request in
    nano-dollars. `tier` is Gemini's.
    """

    id: str
    keys: tuple[Key | str, ...]
    dialect: str = "openai"
    limits: tuple[LimitSpec, ...] = ()
    groups: tuple[LimitGroup, ...] = ()
    models: tuple[str, ...] = ("*",)
    latency: Latency | None = None
    output: OutputLength | None = None
    foreign: Foreign | None = None
    failures_count: bool = True
    max_in_flight: int | None = None
    headers: Literal["ietf", "ietf-old", "x", "x-epoch", "none"] = "ietf"
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    price_nano: int = 500_000
    tier: Literal["paid", "free"] = "paid"
    status: Literal["active", "unpaid"] = "active"

    def all_groups(self) -> tuple[LimitGroup, ...]:
        """The groups in the order in which they are asked; `limits` go for every model that none of them names."""
        return (*self.groups, LimitGroup(limits=self.limits)) if self.limits else self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that a dialect offers: its context window in tokens, and its kind (chat or embedding)."""

    name: str
    dialect: str = "openai"
    context: int = 128_000
    kind: Literal["chat", "embedding"] = "chat"
    dimensions: int = 1536


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSpec:
    """Everything. `models` empty: the ones each dialect ships; a name that is not offered answers "no such model".

    `default_max_output` is charged when a request names no maximum. A stream carries `chunk_tokens` in each event.
    `record_size` bounds the record of requests. `faults` are on from the start.
    """

    organisations: tuple[Organisation, ...]
    models: tuple[Model, ...] = ()
    latency: Latency = field(default_factory=Latency)
    output: OutputLength = field(default_factory=OutputLength)
    default_max_output: int = 256
    chunk_tokens: int = 8
    record_size: int = 100_000
    seed: int = 1
    faults: tuple[Fault, ...] = ()
