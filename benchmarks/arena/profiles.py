"""The arena's tasks, and the world each is played in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from apikeyrouter.simulator import Foreign, World, WorldSpec, arena, limits
from arena.reference import Organisation as Known
from arena.reference import organisations
from arena.workload import Job, from_trace, generate

MODEL = "gpt-4o-mini"
DEADLINE_S = 30.0
DISTURBED = 1
"""The organisation whose quota another client uses, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A task. `burst_s` is the providers' true bucket in seconds of refill, `stated` whether routers are told limits.

    `trace` is the path of recorded traffic, "" for generated.
    """

    name: str
    title: str
    load: float = 0.9
    burst_s: float = 60.0
    foreign: float = 0.0
    stated: bool = True
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a router is given: an address, each organisation's keys with their material, its limits if they are stated.

    `limits` maps an organisation to (requests, tokens) a minute.
    """

    url: str
    keys: dict[str, dict[str, str]]
    limits: dict[str, tuple[int, int]]

    @classmethod
    def to(cls, world: World, url: str, profile: Profile) -> Access:
        keys = {
            o.id: {name: world.secret(name) for name in (k if isinstance(k, str) else k.id for k in o.keys)}
            for o in world.spec.organisations
        }
        return cls(url=url, keys=keys, limits=granted(world.spec) if profile.stated else {})

    def flat(self) -> list[tuple[str, str, str]]:
        """(organisation, key, material) of every key."""
        return [(name, key, material) for name, keys in self.keys.items() for key, material in keys.items()]


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="0.9", title="load 0.9"),
        Profile(name="1.1", title="load 1.1", load=1.1),
        Profile(name="1.4", title="load 1.4", load=1.4),
        Profile(name="smooth", title="quarter-minute buckets, load 0.9", burst_s=15),
        Profile(name="smooth-1.1", title="quarter-minute buckets, load 1.1", burst_s=15, load=1.1),
        Profile(name="foreign", title="another client takes 30 % of one pool, load 0.9", foreign=0.3),
        Profile(name="foreign-1.1", title="another client takes 30 % of one pool, load 1.1", foreign=0.3, load=1.1),
        Profile(name="unknown", title="limits not configured, load 0.9", stated=False),
        Profile(name="unknown-1.1", title="limits not configured, load 1.1", stated=False, load=1.1),
        Profile(name="unknown-smooth", title="limits not configured, quarter-minute buckets", stated=False, burst_s=15),
    )
}
TRACED = Profile(name="trace", title="recorded traffic, load 0.9")


def world_spec(profile: Profile) -> WorldSpec:
    """The arena's world under a profile."""
    spec = arena()
    found = []
    for i, o in enumerate(spec.organisations):
        rpm, tpm = granted(spec)[o.id]
        o = replace(o, limits=limits(rpm=rpm, tpm=tpm, burst_s=profile.burst_s))
        if profile.foreign and i == DISTURBED:
            o = replace(o, foreign=Foreign(share=profile.foreign))
        found.append(o)
    return replace(spec, organisations=tuple(found))


def granted(spec: WorldSpec) -> dict[str, tuple[int, int]]:
    """(requests, tokens) a minute of each organisation."""
    return {
        o.id: (
            next(x.amount for x in o.limits if x.counts == "requests"),
            next(x.amount for x in o.limits if x.counts == "tokens"),
        )
        for o in spec.organisations
    }


def service_s() -> float:
    """What an answer takes in these worlds when nobody waits."""
    return arena().latency.first_s


def jobs_of(profile: Profile, seed: int, *, seconds: float, warm_s: float) -> list[Job]:
    """The requests of one run."""
    rate = sum(tokens for _, tokens in granted(arena()).values()) / 60.0
    if profile.trace:
        return from_trace(Path(profile.trace), load=profile.load, tokens_per_s=rate, seconds=seconds, part=seed)
    return generate(load=profile.load, tokens_per_s=rate, warm_s=warm_s, seconds=seconds, seed=seed)


def known_pools(profile: Profile) -> list[Known]:
    """The same world for whoever knows everything."""
    shares = {DISTURBED: profile.foreign} if profile.foreign else None
    return organisations(list(granted(arena()).values()), profile.burst_s, shares)


def as_json(profile: Profile) -> dict[str, object]:
    return asdict(profile)
