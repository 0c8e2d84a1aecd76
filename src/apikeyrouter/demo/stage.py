"""The simulated world of the demonstration, and the configuration file that a user of it would write.

Its limits follow from the workload: whatever the number of requests and the time, they are asked of 90 % of the tokens
that the organisations grant. One key is dead, one organisation's quota is used by somebody else as well, a provider
fails for a while, and a borrowed key has a small budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from apikeyrouter.demo.workload import ALIAS, Task, workload
from apikeyrouter.simulator import (
    Fault,
    Foreign,
    Key,
    Latency,
    Organisation,
    OutputLength,
    World,
    WorldSpec,
    limits,
)

LOAD: Final = 0.9
"""The share of the granted tokens that the workload asks for."""
FOREIGN: Final = 0.2
LEARNS_FROM: Final = 300
"""Requests of a run from which on somebody else uses one of the quotas as well."""
SHARES: Final[Mapping[str, float]] = {"org-a": 0.45, "org-b": 0.27, "org-c": 0.1, "org-d": 0.18}
"""How the tokens are spread over organisations, after foreign use."""
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "org-a": ("a1", "a2", "a3"),
    "org-b": ("b1", "b2"),
    "org-c": ("c1", "c2"),
    "org-d": ("d1",),
    "geo-1": ("geo1",),
    "geo-2": ("geo2",),
}
DEAD: Final = "c2"
GEO_SHARES: Final[Mapping[str, float]] = {"geo-1": 0.65, "geo-2": 0.35}
FAILS: Final = (0.55, 0.7)
"""Between these shares of the time the spare provider fails."""
SLOWED_AT: Final = 0.35
SLOWED_ONCE_IN: Final = 350
"""At this share of the time, org-c answers one of so many requests of the run with 429 and without a number."""
LARGEST: Final = 1_000
"""Tokens that the largest organisation's bucket holds at least, so that every request fits somewhere."""
LENT: Final = "0.002"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is asked, over how many seconds, and the seed that everything follows from."""

    requests: int = 700
    seconds: float = 30.0
    seed: int = 1

    @property
    def bucket_s(self) -> float:
        """How many seconds of refill a provider's bucket holds."""
        return max(4.0, self.seconds / 4)

    @property
    def timeout_s(self) -> float:
        return 30.0 + self.seconds


class Stage:
    """A plan's workload, the world it is asked of, and the configuration of the router between them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tasks: list[Task] = workload(plan.requests, plan.seconds, plan.seed)
        self.asked_tokens = sum(task.tokens for task in self.tasks)
        self._per_minute = 60.0 / (LOAD * (plan.seconds + plan.bucket_s))
        self.world = World(self._spec())
        for fault in self._faults():
            self.world.faults.add(fault)

    @property
    def load(self) -> float:
        """The share of what the organisations grant in the time of the plan, full buckets included, that is asked."""
        granted = sum(self.tokens_per_minute(name) * (1 - self._foreign(name)) for name in SHARES) / 60
        return self.asked_tokens / (granted * (self.plan.seconds + self.plan.bucket_s))

    def tokens_per_minute(self, organisation: str) -> int:
        """A limit, before anybody else's use of it."""
        net = self.asked_tokens * self._per_minute * SHARES[organisation]
        least = LARGEST * 60 / self.plan.bucket_s if organisation == "org-a" else 1.0
        return round(max(least, net / (1 - self._foreign(organisation))))

    @property
    def trouble(self) -> tuple[str, ...]:
        """What is wrong in this world, in words."""
        shared = ("one quota is used by somebody else too",) if self._foreign("org-c") else ()
        return (
            "one key is dead",
            *shared,
            "a provider fails for a while",
            "one key has a small budget",
        )

    def _foreign(self, organisation: str) -> float:
        """The share that others use. The router learns of it from refusals, of which a short run must not have any."""
        return FOREIGN if organisation == "org-c" and self.plan.requests >= LEARNS_FROM else 0.0

    def requests_per_minute(self, organisation: str) -> int:
        """For language models generous; for the geocoding accounts it is the limit that counts."""
        geocodes = sum(task.kind == "geocode" for task in self.tasks)
        if organisation in GEO_SHARES:
            return round(max(180 / self.plan.bucket_s, geocodes * self._per_minute * GEO_SHARES[organisation]))
        return max(60, round(2.5 * len(self.tasks) * self._per_minute * SHARES[organisation]))

    def _spec(self) -> WorldSpec:
        speaks = [self._organisation(name) for name in SHARES]
        geocodes = [
            Organisation(
                id=name,
                keys=KEYS[name],
                dialect="plain",
                limits=limits(rpm=self.requests_per_minute(name), burst_s=self.plan.bucket_s),
                latency=Latency(first_s=0.03, sigma=0.3),
            )
            for name in GEO_SHARES
        ]
        return WorldSpec(
            organisations=(*speaks, *geocodes),
            latency=Latency(first_s=0.08, per_token_s=0.003, sigma=0.3),
            output=OutputLength(tokens=48, sigma=0.5),
            seed=self.plan.seed,
        )

    def _organisation(self, name: str) -> Organisation:
        return Organisation(
            id=name,
            keys=tuple(Key(id=key, status="dead" if key == DEAD else "alive") for key in KEYS[name]),
            limits=limits(
                rpm=self.requests_per_minute(name), tpm=self.tokens_per_minute(name), burst_s=self.plan.bucket_s
            ),
            foreign=Foreign(share=self._foreign(name), every_s=self.plan.bucket_s / 10)
            if self._foreign(name)
            else None,
        )

    def _faults(self) -> list[Fault]:
        seconds = self.plan.seconds
        begins, ends = (share * seconds for share in FAILS)
        times = self.plan.requests // SLOWED_ONCE_IN
        return [
            Fault(kind="error", error="overloaded", organisation="org-d", starts_s=begins, ends_s=ends),
            Fault(kind="error", error="slow_down", key="c1", times=times, starts_s=SLOWED_AT * seconds),
        ]

    @property
    def secrets(self) -> dict[str, str]:
        """The environment that the configuration reads keys from."""
        return {f"DEMO_{key.upper()}": self.world.secret(key) for keys in KEYS.values() for key in keys}

    def configuration(self, url: str) -> str:
        """The configuration file, for a world served at `url`."""
        pools = "\n".join(self._pool(name) for name in KEYS)
        keys = "\n".join(
            f"  {key}: {{provider: {_provider(name)}, secret: env:DEMO_{key.upper()}}}"
            for name, members in KEYS.items()
            for key in members
        )
        return _CONFIGURATION.format(
            url=url, alias=ALIAS, pools=pools, keys=keys, lent=LENT, timeout=f"{self.plan.timeout_s:g}"
        )

    def _pool(self, name: str) -> str:
        bucket = f"per: minute, burst_s: {self.plan.bucket_s:g}"
        stated = [f"{{of: requests, amount: {self.requests_per_minute(name)}, {bucket}}}"]
        if name in SHARES:
            stated.insert(0, f"{{of: tokens, amount: {self.tokens_per_minute(name)}, {bucket}}}")
        lines = ",\n             ".join(stated)
        return f"  {name}:\n    limits: [{lines}]\n    shared_by: [{', '.join(KEYS[name])}]"


def _provider(organisation: str) -> str:
    return "geo" if organisation in GEO_SHARES else "spare" if organisation == "org-d" else "main"


_CONFIGURATION = """\
providers:
  main: {{adapter: openai, base_url: "{url}/openai/v1", price_name: openai}}
  spare: {{adapter: openai, base_url: "{url}/openai/v1", price_name: openai}}   # dearer, and not always well
  geo:                                                    # any HTTP API, without a line of code
    adapter: http
    base_url: "{url}/geo"
    auth: {{header: X-Api-Key}}
    operations: {{geocode: {{method: GET, path: /v1/geocode, params: [q]}}}}
    cost: {{per_request: "0.0005"}}
pools:                                                    # who shares a limit with whom
{pools}
keys:
{keys}
budgets:
  everything: {{scope: global, limit: 1 USD, period: day, mode: hard}}
  lent: {{scope: "key:b2", limit: {lent} USD, period: day, mode: hard}}          # b2 is a colleague's
models:
  {alias}: [main/gpt-4o-mini, spare/gpt-4.1-mini]          # one name for both: the cheaper first
objective: {{cost: 0.5, reliability: 0.3, capacity: 0.2}}
settings: {{timeout: {timeout}}}
"""
