"""Waiting for room instead of failing: one queue for everybody who may.

A known refill makes most refusals avoidable: whoever can be served before the deadline waits for it; whoever cannot is
told at once, with the time to come back. One timer wakes the queue at the earliest time somebody may have room; what
ends early (a hold given back, a better header) wakes it too. First come, first served, but a head that does not fit
lets the LOOK_BEHIND behind it try, so that one large request does not idle every pool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Request
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.tokens import Measure
from apikeyrouter.errors import QuotaExhaustedError, RoutingError
from apikeyrouter.router import Router

LOOK_BEHIND: Final = 50
LATE_S: Final = 0.05
"""Waiters wake this much after the computed time: the provider's clock is not ours (algorithms page, addendum)."""
LONGEST_QUEUE: Final = 10_000
EARLIEST_S: Final = 0.001


@dataclass(slots=True, eq=False)
class Waiter:
    request: Request
    measure: Measure | None
    attempts: Attempts | None
    deadline: float
    since: float
    done: asyncio.Future[Lease]


class WaitingRoom:
    """The waiters of one event loop."""

    def __init__(self, router: Router, loop: asyncio.AbstractEventLoop) -> None:
        self.router = router
        self.loop = loop
        self.queue: deque[Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")

    async def acquire(
        self, request: Request, measure: Measure | None, attempts: Attempts | None, deadline: float
    ) -> Lease:
        """A lease, at once or when there is room; QuotaExhaustedError when that is surely after the deadline."""
        now = self.router.now()
        if not self.queue:
            try:
                return self._try(request, measure, attempts, deadline, 0.0)
            except QuotaExhaustedError as error:
                self._admit(error, now, deadline)
                self._arm(now + (error.retry_after or 0.0) + LATE_S)
        waiter = Waiter(request, measure, attempts, deadline, now, self.loop.create_future())
        self._enqueue(waiter)
        self._arm(min(deadline, self._wakes_at))
        try:
            return await waiter.done
        except asyncio.CancelledError:
            self._left(waiter)
            raise

    def _try(
        self, request: Request, measure: Measure | None, attempts: Attempts | None, deadline: float, waited: float
    ) -> Lease:
        left = max(0.0, deadline - self.router.now())
        return self.router.acquire(
            request, measure=measure, attempts=attempts, timeout_s=left, waited_s=waited, quiet=waited > 0
        )

    def _admit(self, error: QuotaExhaustedError, now: float, deadline: float) -> None:
        """Refuse now whoever cannot be in time; a doomed wait helps nobody."""
        if error.retry_after is None or now + error.retry_after > deadline:
            raise error

    def _enqueue(self, waiter: Waiter) -> None:
        if len(self.queue) >= LONGEST_QUEUE:
            raise QuotaExhaustedError(
                f"{len(self.queue):,} requests wait for room already; try again later.", retry_after=1.0
            )
        self.queue.append(waiter)

    def _left(self, waiter: Waiter) -> None:
        """The caller was cancelled: leave the queue, and give back a lease that was just granted."""
        if waiter in self.queue:
            self.queue.remove(waiter)
        if waiter.done.done() and not waiter.done.cancelled() and waiter.done.exception() is None:
            self.router.release(waiter.done.result())

    # -- serving --------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something became free; look at the queue soon."""
        if self.queue:
            self._arm(self.router.now())

    def _arm(self, at: float) -> None:
        if at >= self._wakes_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self.loop.call_later(max(EARLIEST_S, at - self.router.now()), self._serve)

    def _serve(self) -> None:
        """Serve whoever fits, from the head; then sleep until the earliest time somebody else may."""
        self._timer, self._wakes_at = None, float("inf")
        refused, soonest = 0, float("inf")
        now = self.router.now()
        for waiter in list(self.queue):
            if waiter.done.done():
                self.queue.remove(waiter)
                continue
            if refused > LOOK_BEHIND:
                soonest = min(soonest, waiter.deadline)
                continue
            try:
                lease = self._try(waiter.request, waiter.measure, waiter.attempts, waiter.deadline, now - waiter.since)
            except QuotaExhaustedError as error:
                refused += 1
                soonest = min(soonest, self._next_look(waiter, error, now))
            except RoutingError as error:
                self._answer(waiter, error)
            else:
                self.queue.remove(waiter)
                waiter.done.set_result(lease)
        if self.queue:
            self._arm(soonest)

    def _next_look(self, waiter: Waiter, error: QuotaExhaustedError, now: float) -> float:
        wait = error.retry_after
        if wait is None or now >= waiter.deadline:
            self._answer(waiter, error)
            return float("inf")
        return min(now + wait + LATE_S, max(waiter.deadline, now + EARLIEST_S))

    def _answer(self, waiter: Waiter, error: RoutingError) -> None:
        self.queue.remove(waiter)
        waiter.done.set_exception(error)


class WaitingRooms:
    """One room for each event loop; a release in any thread wakes them all."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.rooms: dict[asyncio.AbstractEventLoop, WaitingRoom] = {}
        router.waker = self.wake

    def here(self) -> WaitingRoom:
        loop = asyncio.get_running_loop()
        room = self.rooms.get(loop)
        if room is None:
            self.rooms = {known: r for known, r in self.rooms.items() if not known.is_closed()}
            room = self.rooms[loop] = WaitingRoom(self.router, loop)
        return room

    def wake(self) -> None:
        for loop, room in list(self.rooms.items()):
            if room.queue and not loop.is_closed():
                loop.call_soon_threadsafe(room.wake)
