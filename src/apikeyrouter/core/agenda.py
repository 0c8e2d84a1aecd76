"""What changes by time alone, and would otherwise change without anybody being told.

A pool's stop ends whether or not somebody asks, so the router looks here before each decision. A breaker half opens in
a decision that finds its wait to be over, so the router looks here after one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from apikeyrouter.core.breaker import Breaking
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.roster import Deployment


class Agenda:
    """Stopped pools by the time, in epoch seconds, at which they are worth a look; deployments known to be open."""

    __slots__ = ("_open", "_stops")

    def __init__(self) -> None:
        self._stops: list[tuple[float, int, Pool]] = []
        self._open: dict[str, Deployment] = {}

    def watch(self, pool: Pool) -> None:
        """Have a blocked pool's moves noticed: at its recovery mark and at its end."""
        for at in {pool.until, pool.recovers_at} - {0.0}:
            heappush(self._stops, (at, id(pool), pool))

    def due(self, now: float) -> Iterable[Pool]:
        """Pools whose time has come."""
        return self._come(now) if self._stops else ()

    def _come(self, now: float) -> Iterator[Pool]:
        while self._stops and self._stops[0][0] <= now:
            yield heappop(self._stops)[2]

    def told(self, deployment: Deployment) -> None:
        """The state of its breaker was announced."""
        if deployment.breaker.state is Breaking.OPEN:
            self._open[deployment.name] = deployment
        else:
            self._open.pop(deployment.name, None)

    def half_opened(self) -> list[Deployment]:
        """Deployments announced as open that are so no more."""
        return [d for d in self._open.values() if d.breaker.state is not Breaking.OPEN] if self._open else []
