"""The simulated world and the handle on it: organisations, keys, faults, records, time. Safe from any thread.

It decides nothing about HTTP; `app.py` serves it, a test or a benchmark steers and reads it while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from math import exp
from random import Random
from threading import Lock

from apikeyrouter.errors import InvalidConfigurationError, KeyNotFoundError
from apikeyrouter.simulator.clock import NS, Clock, LoopClock
from apikeyrouter.simulator.faults import Fault, Faults
from apikeyrouter.simulator.record import Record, Seen
from apikeyrouter.simulator.spec import Latency, LimitSpec, Organisation, OutputLength, WorldSpec
from apikeyrouter.simulator.state import KeyState, OrganisationState, Quota, Reading, Refusal
from apikeyrouter.simulator.wire import Json

__all__ = ["Stamp", "World"]


@dataclass(slots=True)
class Stamp:
    """When and as what a request is answered: its number in the world, its arrival and the answer's id."""

    number: int
    request_id: str
    arrived: float
    organisation: str = ""

    @property
    def created(self) -> int:
        """The arrival in whole seconds since the epoch."""
        return int(self.arrived)


class World:
    """A running simulation.

        world = World([Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=500, tpm=200_000))])
        world.secret("a1")                                   # what a client sends
        world.faults.fail_next(3, status=500, key="a1")
        world.revoke("a2")
        world.record.all(outcome="throttled")

    Raises InvalidConfigurationError for ids or materials that occur twice.
    """

    def __init__(self, spec: WorldSpec | Iterable[Organisation], *, clock: Clock | None = None) -> None:
        self.spec = spec if isinstance(spec, WorldSpec) else WorldSpec(organisations=tuple(spec))
        self.clock: Clock = clock or LoopClock()
        self.faults = Faults(self.spec.seed, self.spec.faults)
        self.record = Record(self.spec.record_size)
        self._lock = Lock()
        self._rng = Random(self.spec.seed)
        self._start()

    def _start(self) -> None:
        self._numbers, self._number, self._born = count(1), 0, 0
        self.unknown_keys = 0
        self._build()

    def _build(self) -> None:
        self.organisations = {spec.id: OrganisationState(spec) for spec in self.spec.organisations}
        keys = [KeyState.build(key, org) for org in self.organisations.values() for key in org.spec.keys]
        self.keys = {key.id: key for key in keys}
        self._by_material = {key.material: key for key in keys}
        counts = {len(self.keys), len(self._by_material)}
        if len(self.organisations) != len(self.spec.organisations) or counts != {len(keys)}:
            raise InvalidConfigurationError(
                f"the simulated world names {len(keys)} keys in {len(self.spec.organisations)} organisations, "
                f"but an id or a key material occurs twice: give each its own"
            )

    # -- time

    def now_ns(self) -> int:
        """Nanoseconds since the epoch; the first look starts the world's windows."""
        now = round(self.clock.now() * NS)
        if not self._born:
            self._born = now
            for organisation in self.organisations.values():
                organisation.born = now
        return now

    def age_s(self) -> float:
        """Seconds since the first look at the clock."""
        return (self.now_ns() - self._born) / NS

    # -- keys and organisations

    def key(self, key_id: str) -> KeyState:
        """Raises KeyNotFoundError."""
        try:
            return self.keys[key_id]
        except KeyError:
            raise KeyNotFoundError(
                f"the simulated world has no key {key_id!r}: it has {', '.join(self.keys) or 'none'}"
            ) from None

    def secret(self, key_id: str) -> str:
        """The made-up material of a key, to configure a client with."""
        return self.key(key_id).material

    def revoke(self, key_id: str) -> None:
        """From the next request on the key is refused."""
        self.key(key_id).status = "revoked"

    def revive(self, key_id: str) -> None:
        self.key(key_id).status = "alive"

    def replace(self, key_id: str, material: str) -> None:
        """Rotate: the old material is unknown from now on."""
        key = self.key(key_id)
        with self._lock:
            self._by_material.pop(key.material, None)
            key.material, key.status = material, "alive"
            self._by_material[material] = key

    def unpaid(self, organisation: str, *, unpaid: bool = True) -> None:
        """An organisation whose money is gone (or is back): every key of it is refused as its dialect says so."""
        self.organisations[organisation].status = "unpaid" if unpaid else "active"

    def find(self, material: str, dialect: str) -> KeyState | None:
        """Whose material that is, among the organisations that speak the dialect."""
        key = self._by_material.get(material)
        return key if key is not None and key.organisation.spec.dialect == dialect else None

    # -- one request

    def stamp(self) -> Stamp:
        self._number = next(self._numbers)
        arrived = self.now_ns() / NS
        return Stamp(self._number, f"req_{self.spec.seed:08x}{self._number:016x}", arrived)

    def strike(self, seen: Seen) -> tuple[float, Fault | None]:
        """The delay and the fault that hit a request."""
        if not self.faults.all():
            return 0.0, None
        with self._lock:
            return self.faults.strike(self.age_s(), seen.organisation, seen.key, seen.model, seen.operation)

    def admit(self, seen: Seen, quota: Quota, take: dict[str, int], check: dict[str, int]) -> Refusal | None:
        """Charge a request or say why not, and note the moment and the charge in `seen`."""
        with self._lock:
            seen.at = self.now_ns()
            refusal = quota.admit(seen.at, take, check)
            if refusal is None:
                seen.taken = take
            elif self.organisations[seen.organisation].spec.failures_count:
                seen.taken = quota.charge_failure(seen.at)
            return refusal

    def charge_failure(self, seen: Seen, quota: Quota) -> None:
        """What a request costs that was refused for another reason than a limit."""
        if self.organisations[seen.organisation].spec.failures_count:
            with self._lock:
                seen.at = self.now_ns()
                seen.taken = quota.charge_failure(seen.at)

    def produce(self, seen: Seen, quota: Quota, take: dict[str, int]) -> None:
        """Charge what was produced just now."""
        with self._lock:
            quota.charge(self.now_ns(), take)
            seen.taken = {**seen.taken, **{k: seen.taken.get(k, 0) + n for k, n in take.items()}}

    def readings(self, quota: Quota) -> tuple[Reading, ...]:
        with self._lock:
            return quota.readings(self.now_ns())

    def enter(self, key: KeyState) -> None:
        with self._lock:
            key.counters.enter()
            key.organisation.counters.enter()

    def leave(self, key: KeyState, seen: Seen) -> None:
        with self._lock:
            key.counters.leave(seen)
            key.organisation.counters.leave(seen)
            self.record.add(seen)

    def draw_output(self, organisation: OrganisationState) -> int:
        """How long an answer is that nobody asked a length of."""
        length: OutputLength = organisation.spec.output or self.spec.output
        if not length.sigma:
            return length.tokens
        return max(1, round(length.tokens * exp(length.sigma * self._rng.gauss(0.0, 1.0))))

    def draw_latency(self, organisation: OrganisationState) -> tuple[float, float]:
        """(seconds to the first token, seconds for each token)."""
        latency: Latency = organisation.spec.latency or self.spec.latency
        spread = exp(latency.sigma * self._rng.gauss(0.0, 1.0)) if latency.sigma else 1.0
        return latency.first_s * spread, latency.per_token_s

    # -- looking at it

    def quota(self, organisation: str, model: str) -> tuple[Reading, ...]:
        """The windows of an organisation for a model, as they stand now."""
        with self._lock:
            now = self.now_ns()
            return self.organisations[organisation].quota(model).readings(now)

    def limit(self, organisation: str, model: str, name: str) -> LimitSpec:
        """The description of one limit, for a proof with `excess`."""
        group = self.organisations[organisation].group(model)
        return next(limit for limit in group.limits if limit.name == name)

    def state(self) -> dict[str, Json]:
        """What `/_sim/state` shows: counters of every organisation and key, and the levels of every window."""
        with self._lock:
            now = self.now_ns()
            return {
                "age_s": (now - self._born) / NS,
                "requests": self._number,
                "unknown_keys": self.unknown_keys,
                "recorded": len(self.record),
                "organisations": {org.id: _organisation_json(org, now) for org in self.organisations.values()},
                "keys": {key.id: _key_json(key) for key in self.keys.values()},
                "faults": [{"kind": f.kind, "on": f.on, "hits": f.hits, "times": f.times} for f in self.faults.all()],
            }

    def reset(self) -> None:
        """Full buckets, living keys, no counters, no record, the faults of the beginning."""
        with self._lock:
            self._start()
            self.record.clear()
            self.faults = Faults(self.spec.seed, self.spec.faults)

    def __repr__(self) -> str:
        return f"<World {len(self.organisations)} organisations, {len(self.keys)} keys, {self._number} requests>"


def _organisation_json(org: OrganisationState, now: int) -> dict[str, Json]:
    quotas = {quota.models: quota for quota in org.quotas.values()}
    return {
        "dialect": org.spec.dialect,
        "status": org.status,
        **org.counters.as_json(),
        "quotas": {models: _quota_json(quota, now) for models, quota in quotas.items()},
    }


def _quota_json(quota: Quota, now: int) -> dict[str, Json]:
    shown: dict[str, Json] = {
        r.name: {
            "counts": r.counts,
            "limit": r.limit,
            "capacity": r.capacity,
            "remaining": r.remaining,
            "reset_s": r.reset_ns / NS,
        }
        for r in quota.readings(now)
    }
    return {**shown, "foreign_requests": quota.foreign_taken} if quota.foreign_taken else shown


def _key_json(key: KeyState) -> dict[str, Json]:
    return {"organisation": key.organisation.id, "status": key.status, **key.counters.as_json()}
