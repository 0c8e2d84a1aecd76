"""Keys that turn out to share a quota although nobody said so.

Providers name the account in their answers (an organisation, a project, a workspace). Two pools under one identity are
one quota, and counting them apart overspends both: rotating between keys of one organisation after a 429 only burns
requests. The identity is the whole tuple a dialect names, not a part of it. Pools that were declared are never merged,
only told about; others merge when their limits are equal and the provider's numbers fall by what the OTHER pool was
charged, twice. Merged pools share their windows, so that leases still open settle where they should; `split` undoes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from apikeyrouter.core.merge import window_for
from apikeyrouter.core.model import CONCURRENCY, Reading
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.registry import Registry
from apikeyrouter.core.roster import release
from apikeyrouter.core.window import Window

VOTES: Final = 2
TELLING: Final = 0.01
"""Of a window's size: the other pool must have been charged this much, or the numbers say nothing."""
MOST: Final = 10_000

Identity = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shared:
    """Pools under one identity: `merged`, or only noticed because both were declared. `keys` draw from it now."""

    pool: str
    other: str
    identity: Identity
    merged: bool
    keys: tuple[str, ...]


class Discovery:
    """Which pool was first seen under which identity, and the evidence gathered since."""

    __slots__ = ("_known", "_told", "_votes")

    def __init__(self) -> None:
        self._known: dict[tuple[str, Identity], str] = {}
        self._votes: dict[tuple[str, str], int] = {}
        self._told: set[tuple[str, str]] = set()

    def observe(
        self, registry: Registry, provider: str, pool: Pool, identity: Identity, readings: Iterable[Reading],
        marks: list[float],
    ) -> Shared | None:  # fmt: skip
        """Take in one answer's identity and numbers; tells of a merge, or once of two declared pools that are one."""
        if len(self._known) >= MOST:
            self._known.clear()
        first = self._known.setdefault((provider, identity), pool.id)
        other = registry.pools.get(first)
        if first == pool.id or other is None or other.windows is pool.windows:
            return None
        pair = (first, pool.id)
        if pool.id in registry.declared and first in registry.declared:
            if pair in self._told:
                return None
            self._told.add(pair)
            return Shared(pool.id, first, identity, False, _keys(registry, (pool.id, first)))
        self._votes[pair] = self._votes.get(pair, 0) + _evidence(pool, other, tuple(readings), marks)
        if self._votes[pair] < VOTES or not _alike(pool, other):
            return None
        if pool.id in registry.declared:
            pool, other = other, pool
        join(registry, pool, other)
        self._known[provider, identity] = other.id
        return Shared(pool.id, other.id, identity, True, _keys(registry, (other.id,)))


def _alike(pool: Pool, other: Pool) -> bool:
    return bool(pool.windows) and [(w.name, w.limit.amount) for w in pool.windows] == [
        (w.name, w.limit.amount) for w in other.windows
    ]


def _evidence(pool: Pool, other: Pool, readings: tuple[Reading, ...], marks: list[float]) -> int:
    """+1 when a number is nearer to both pools' charges together than to this one's alone, -1 when not, 0 unknown."""
    for reading in readings:
        here, there = window_for(pool, reading), window_for(other, reading)
        if here is None or there is None or reading.remaining is None or 2 * here >= len(marks):
            continue
        alone = marks[2 * here] - marks[2 * here + 1]
        elsewhere = _own_use(other.windows[there])
        if elsewhere < TELLING * pool.windows[here].cap:
            continue
        return 1 if abs(reading.remaining - (alone - elsewhere)) < abs(reading.remaining - alone) else -1
    return 0


def _own_use(w: Window) -> float:
    """What this pool itself has charged and not got back by refill, whatever the provider said since."""
    return min(w.cap, max(0.0, w.cap - (w.level - w.corrected)))


def _keys(registry: Registry, pools: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(k.id for k in registry.keys.values() if not set(pools).isdisjoint(k.pools))


def join(registry: Registry, pool: Pool, into: Pool) -> None:
    """Let two pools draw from the same windows from now on; holds add up, the lower level counts."""
    for old, new in zip(pool.windows, into.windows, strict=True):
        new.level = min(new.level, old.level)
        new.held += old.held
        new.flight += old.flight
        new.charged += old.charged
    pool.windows = into.windows
    into.until = max(into.until, pool.until)
    for key in registry.keys.values():
        if pool.id in key.pools:
            key.pools = tuple(dict.fromkeys(into.id if name == pool.id else name for name in key.pools))
    release(pool)
    registry.changed()


def split(registry: Registry, pool: Pool, key_ids: Iterable[str], now: float) -> None:
    """Undo a merge: the keys draw from windows of their own again, which start at the level of the shared ones."""
    shared = pool.windows
    pool.windows = tuple(Window(w.limit, now) for w in shared)
    for new, old in zip(pool.windows, shared, strict=True):
        new.learned = old.learned
        if old.of != CONCURRENCY:
            new.level = old.level
    for name in key_ids:
        key = registry.key(name)
        key.pools = tuple(pool.id if registry.pools[p].windows is shared else p for p in key.pools)
    registry.changed()
