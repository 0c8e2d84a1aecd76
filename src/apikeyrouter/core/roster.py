"""Who may serve a request, arranged so that choosing among ten thousand is as cheap as choosing among twelve.

A roster is compiled once for each (model, provider, operation, capabilities, tenant) and thrown away when a key,
provider or alias changes. Inside it, candidates that differ only in their quota form a stratum (same provider, model,
price, tier, quality, tags): a stratum has one cost, one reliability and one latency. Small rosters are scanned whole;
above SCAN_ALL, those that cannot serve are parked until the time they can, and a few are drawn from the rest.
Keys of a stratum that draw from the same pools are one stand, because what one is refused all are: stands are drawn and
parked. A parked stand remembers the size it refused: anything at least as large is refused until then without a look.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from apikeyrouter.core.breaker import Breaker
from apikeyrouter.core.budget import Node
from apikeyrouter.core.key import Key
from apikeyrouter.core.model import COST, INPUT, OUTPUT, REQUESTS, TOKENS, Need, Tags
from apikeyrouter.core.pool import Pool, Shortfall
from apikeyrouter.core.price import Price
from apikeyrouter.core.stats import Latency, Opinion, Reliability
from apikeyrouter.core.window import NEVER

SCAN_ALL: Final = 12
DRAW: Final = 8
MOST_TAGGINGS: Final = 16
"""With more different sets of tags than this, tags make no strata, or each key would be one: they are looked at key by
key, where a constraint asks for them."""
LINE_POOLS: Final = 64
KEPT: Final = 64
"""Candidates a roster out of use still names."""
_SIZED: Final = frozenset({TOKENS, INPUT, OUTPUT, COST})


@dataclass(slots=True)
class Deployment:
    """A provider's model: what is shared by all keys that reach it."""

    provider: str
    model: str
    reliability: Reliability
    latency: Latency
    breaker: Breaker
    features: frozenset[str]
    price: Price | None
    opinion: Opinion = field(default_factory=Opinion)
    max_output_tokens: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        self.name = f"{self.provider}/{self.model}"


class Candidate:
    """One key for one deployment, with every pool a request through it charges."""

    __slots__ = ("deployment", "key", "nodes", "pools", "roster_version", "stratum")

    def __init__(
        self, key: Key, deployment: Deployment, pools: tuple[Pool, ...], nodes: tuple[Node, ...] = (), version: int = 0
    ) -> None:
        self.key = key
        self.deployment = deployment
        self.pools = pools
        self.nodes = nodes
        self.roster_version = version
        self.stratum: Stratum

    @property
    def id(self) -> str:
        return self.key.id

    def shortfall(self, need: Need, now: float) -> Shortfall | None:
        """The pool that frees last, among those that refuse."""
        found = [s for s in (pool.shortfall(need, now) for pool in self.pools) if s is not None]
        return max(found, key=lambda s: s.wait_s, default=None)

    def __repr__(self) -> str:
        return f"<Candidate {self.key.id} {self.deployment.provider}/{self.deployment.model}>"


class Stand:
    """Candidates of a stratum with the same pools: parked together, at `place` among the living, or with a `stamp`.

    `plain` tells that it is one key, under no budget of its own.
    """

    __slots__ = ("candidates", "parked", "place", "plain", "pools", "roster_version", "stamp", "stratum")

    def __init__(self, stratum: Stratum, first: Candidate) -> None:
        self.stratum = stratum
        self.candidates = [first]
        self.pools = first.pools
        self.roster_version = first.roster_version
        self.plain = not first.nodes
        self.parked = False
        self.place = 0
        self.stamp = 0

    def some(self, count: int, chance: Callable[[], float]) -> list[Candidate]:
        """Up to `count` of them, each as likely as any other."""
        found = self.candidates
        size = len(found)
        if size <= count:
            return found
        first = int(chance() * size)
        return [found[(first + i) % size] for i in range(count)]


class Stratum:
    """Candidates alike in everything but quota. Stands in `live` are drawn from; the rest, `asleep` keys, are parked.

    `tags` are those of all its keys, None where each has its own; `even` tells that all have the same weight.
    """

    __slots__ = (
        "asleep",
        "candidates",
        "deployment",
        "even",
        "heap",
        "live",
        "parks",
        "sized",
        "stands",
        "tags",
        "tier",
    )

    def __init__(self, deployment: Deployment, tier: int, tags: Tags | None) -> None:
        self.deployment = deployment
        self.tier = tier
        self.tags = tags
        self.candidates: list[Candidate] = []
        self.even = True
        self.stands: dict[tuple[int, ...], Stand] = {}
        self.live: list[Stand] = []
        self.asleep = 0
        self.parks = 0
        self.heap: list[tuple[float, int, Stand]] = []
        self.sized: dict[int, list[tuple[int, int, Stand]]] = {}

    @property
    def quality(self) -> float:
        """As configured for its keys, moved by what callers said of the model's answers."""
        return self.deployment.opinion.of(self.candidates[0].key.quality)

    def retire(self) -> None:
        """Nobody will be drawn from here again; one candidate stands for all."""
        for stand in self.stands.values():
            stand.parked = False
        del self.candidates[1:]
        self.stands.clear()
        self.live.clear()
        self.heap.clear()
        self.sized.clear()

    def add(self, candidate: Candidate) -> None:
        candidate.stratum = self
        self.candidates.append(candidate)
        self.even = self.even and candidate.key.weight == self.candidates[0].key.weight
        name = tuple(map(id, candidate.pools))
        stand = self.stands.get(name)
        if stand is not None:
            stand.candidates.append(candidate)
            stand.plain = False
            return
        stand = self.stands[name] = Stand(self, candidate)
        stand.place = len(self.live)
        self.live.append(stand)

    def park(self, stand: Stand, refusal: Shortfall, need: Need, of: int, now: float) -> None:
        """Take a stand out until the need it refused would fit."""
        last = self.live.pop()
        if last is not stand:
            self.live[stand.place], last.place = last, stand.place
        stand.parked = True
        self.asleep += len(stand.candidates)
        self.parks += 1
        stand.stamp = self.parks
        until = now + refusal.wait_s
        if len(self.heap) > 2 * len(self.stands) + 16:
            self.heap = [e for e in self.heap if _current(e[1], e[2])]
            heapify(self.heap)
        heappush(self.heap, (until, stand.stamp, stand))
        if of in _SIZED:
            self._remember_size(of, need[of], stand)
        for pool in stand.pools:
            pool.parked[stand] = None

    def _remember_size(self, of: int, size: int, stand: Stand) -> None:
        known = self.sized.setdefault(of, [])
        if len(known) > 2 * len(self.stands) + 16:
            known[:] = [e for e in known if _current(e[1], e[2])]
        insort(known, (size, stand.stamp, stand), key=_size_of)

    def unpark(self, stand: Stand) -> None:
        if stand.parked:
            stand.parked = False
            self.asleep -= len(stand.candidates)
            stand.place = len(self.live)
            self.live.append(stand)

    def wake(self, now: float) -> None:
        """Return to the living whoever's time has come."""
        heap = self.heap
        while heap and (heap[0][0] <= now or not _current(heap[0][1], heap[0][2])):
            _, ticket, stand = heappop(heap)
            if _current(ticket, stand):
                self.unpark(stand)

    def wake_for(self, need: Need) -> bool:
        """Return to the living a few of those who only refused something larger than `need`; False: there are none.

        A few at a time, because large and small requests take turns, and each turn would park and wake everybody.
        """
        woken = 0
        for of, known in self.sized.items():
            while known and known[-1][0] > need[of] and woken < 2 * DRAW:
                _, ticket, stand = known.pop()
                if _current(ticket, stand):
                    self.unpark(stand)
                    woken += 1
        return woken > 0

    @property
    def opens_at(self) -> float:
        """The earliest time a parked stand may return."""
        return self.heap[0][0] if self.heap else NEVER


def _size_of(entry: tuple[int, int, Stand]) -> int:
    return entry[0]


def _current(ticket: int, stand: Stand) -> bool:
    return stand.parked and ticket == stand.stamp


@dataclass(frozen=True, slots=True)
class Excluded:
    """A key that can never serve requests of this roster as things stand, and why."""

    key: str
    code: str
    why: str


class Roster:
    """All candidates for one kind of request, by tier (lower first), then by stratum."""

    __slots__ = (
        "candidates", "costly", "excluded", "hard_node", "lowering", "model", "priced", "small", "tiers", "total",
        "version",
    )  # fmt: skip

    def __init__(
        self, model: str, candidates: Iterable[Candidate], excluded: tuple[Excluded, ...] = (), *, version: int = 0
    ) -> None:
        self.model = model
        self.excluded = excluded
        self.version = version
        self.candidates = tuple(candidates)
        self.total = len(self.candidates)
        self.small = self.total <= SCAN_ALL
        self.tiers = _tiers(self.candidates)
        # Asked for each request: does any pool count money, may any budget of a key refuse, is anything not free?
        self.costly = any(w.of == COST for c in self.candidates for p in c.pools for w in p.windows)
        self.hard_node = next((n for c in self.candidates for n in c.nodes if n.hard), None)
        # Budgets of the model or provider that all candidates fall under, and that may ask for a cheaper model.
        wanted = self.candidates[0].nodes if self.candidates else ()
        self.lowering = tuple(n for n in wanted if n.budget.downgrade and all(n in c.nodes for c in self.candidates))
        self.priced = any(c.deployment.price is None or not c.deployment.price.free for c in self.candidates)

    def __len__(self) -> int:
        return self.total

    def retire(self) -> None:
        """Out of use, but decisions that are kept still name it: let go of all but a few of its candidates."""
        if self.small:
            return
        for tier in self.tiers:
            for stratum in tier:
                stratum.retire()
        self.candidates = self.candidates[:KEPT]
        self.excluded = self.excluded[:KEPT]
        self.tiers = ()

    def service_s(self, output_tokens: int) -> float:
        """Seconds to the end of an answer of that length, by the fastest deployment."""
        expected = (s.deployment.latency.expected_s(output_tokens) for tier in self.tiers for s in tier)
        return min(expected, default=0.0)

    def wait_for_all(self, tokens: int, requests: int, now: float) -> float:
        """Seconds until all pools together have granted this much, at the soonest: (wanted - free) / sum of rates.

        0 for more pools than LINE_POOLS, where a line hardly forms, and where some pool has no such limit.
        """
        pools = {id(p): p for c in self.candidates[:LINE_POOLS] for p in c.pools}.values()
        if len(self.candidates) > LINE_POOLS:
            return 0.0
        return max(_wait(pools, TOKENS, tokens, now), _wait(pools, REQUESTS, requests, now))


def _wait(pools: Iterable[Pool], of: int, wanted: int, now: float) -> float:
    free = rate = 0.0
    for pool in pools:
        windows = [w for w in pool.windows if w.of == of and w.rate]
        if not windows:
            return 0.0
        tightest = min(windows, key=lambda w: w.rate)
        free += max(0.0, min(w.free(now) for w in windows))
        rate += tightest.rate
    return max(0.0, wanted - free) / rate if rate else 0.0


def _tiers(candidates: tuple[Candidate, ...]) -> tuple[tuple[Stratum, ...], ...]:
    strata: dict[object, Stratum] = {}
    divides = len({_frozen(c.key.tags) for c in candidates}) <= MOST_TAGGINGS
    for c in candidates:
        kind = (id(c.deployment), c.key.tier, c.key.quality, _frozen(c.key.tags) if divides else None)
        if kind not in strata:
            strata[kind] = Stratum(c.deployment, c.key.tier, c.key.tags if divides else None)
        strata[kind].add(c)
    tiers = sorted({s.tier for s in strata.values()})
    return tuple(tuple(s for s in strata.values() if s.tier == tier) for tier in tiers)


def _frozen(tags: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(tags.items())


def release(pool: Pool) -> None:
    """Something became free in `pool`: its parked stands are looked at again."""
    if pool.parked:
        for stand in pool.parked:
            stand.stratum.unpark(stand)
        pool.parked.clear()


ANY_SIZE: Final = REQUESTS
"""The dimension of refusals that do not depend on a request's size."""
