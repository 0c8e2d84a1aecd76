"""Waiting for room instead of failing: one line for everybody who may.

A known refill makes most refusals avoidable: whoever can be served before the deadline waits for it; whoever cannot,
counting those ahead and the time the answer itself takes, is told at once with the time to come back. One timer wakes
the line at the earliest time somebody may have room; what ends early (a hold given back, a better header) wakes it too.
The order is core/waiting.py's. A head that does not fit lets the LOOK_BEHIND behind it try, so that one large request
does not idle every pool, and a request at least as large as one just refused for the same reasons is not tried at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from heapq import heappop, heappush
from typing import Final

from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Request
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.tokens import Measure
from apikeyrouter.core.waiting import Line, Ticket
from apikeyrouter.errors import QuotaExhaustedError
from apikeyrouter.router import Router

LOOK_BEHIND: Final = 64
"""The further, the shorter the p95 wait, and the fewer large requests are served. In the arena at load 1.4 (2026-11-23,
virtual time, five seeds): 50 waits 16.8 s with goodput 0.908, 64 waits 15.1 s with 0.904; a queue that knows every
level and looks 50 far waits 17.3 s with 0.912."""
LATE_S: Final = 0.05
"""Waiters wake this much after the computed time: the provider's clock is not ours (algorithms page, addendum)."""
LONGEST_LINE: Final = 10_000
MOST_SERVICE: Final = 0.25
"""Of the time a request has: more is not kept free for its answer, however slow the provider was last."""
EARLIEST_S: Final = 0.001
HOPE: Final = 1.15
"""Of those ahead some are overtaken or give up: who is later than the deadline by less than this joins all the same."""
MOST_TRIES: Final = 200
"""In one look at the line; many waiters with restrictions of their own must not hold up the loop."""
ANY: Final = 1 << 62
NEVER: Final = float("inf")


class Waiter(Ticket):
    """A request in the line, and the future its lease is given to.

    Its group asks the same keys; its `kind` is refused for the same reasons, too. `latest` is the last moment at which
    a lease is of use: the deadline less what the answer will take.
    """

    __slots__ = ("attempts", "done", "kind", "latest", "measure", "request", "since")

    def __init__(
        self, router: Router, request: Request, measure: Measure | None, attempts: Attempts | None, deadline: float
    ) -> None:
        group = router.group_of(request)
        super().__init__(request.tenant or "", priority=request.priority, deadline=deadline, tokens=0, group=group)
        self.request = request
        self.measure = measure
        self.attempts = attempts
        self.since = router.now()
        self.latest = deadline
        self.kind = (group, *router.restrictions(request), None if attempts is None else id(attempts))
        self.done: asyncio.Future[Lease] | None = None

    @property
    def over(self) -> bool:
        """Whether the caller has gone away."""
        return self.done is None or self.done.done()


class WaitingRoom:
    """The waiters of one event loop."""

    def __init__(self, router: Router, loop: asyncio.AbstractEventLoop) -> None:
        self.router = router
        self.loop = loop
        self.line = Line()
        self._refused: dict[object, int] = {}
        self._due: list[tuple[float, int, Waiter]] = []
        self._timer: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._wakes_at = NEVER

    async def acquire(
        self, request: Request, measure: Measure | None, attempts: Attempts | None, deadline: float
    ) -> Lease:
        """A lease, at once or when there is room; QuotaExhaustedError when that is surely after the deadline."""
        found = self.ask(request, measure, attempts, deadline)
        return found if isinstance(found, Lease) else await self.wait(found)

    def ask(
        self, request: Request, measure: Measure | None, attempts: Attempts | None, deadline: float
    ) -> Lease | Waiter:
        """The same without a coroutine where none is needed: a lease, or who is to `wait()` for one, at once."""
        waiter = Waiter(self.router, request, measure, attempts, deadline) if self.line.size else None
        if waiter is None or not self.line.has(waiter.group):
            try:
                left = None if request.sending_s is not None else max(0.0, deadline - self.router.now())
                return self.router.acquire(request, measure=measure, attempts=attempts, timeout_s=left)
            except QuotaExhaustedError as error:
                waiter = waiter or Waiter(self.router, request, measure, attempts, deadline)
                waiter.tokens = _tokens(error)
                self._leave_time(waiter)
                self._admit(waiter, error)
        else:
            waiter.tokens = self.router.size_of(request, measure)
            self._leave_time(waiter)
            self._join(waiter)
        return waiter

    async def wait(self, waiter: Waiter) -> Lease:
        """Stand in the line until there is room or the time is over."""
        waiter.done = self.loop.create_future()
        self.line.add(waiter)
        heappush(self._due, (waiter.latest, waiter.number, waiter))
        try:
            return await waiter.done
        except asyncio.CancelledError:
            self._left(waiter)
            raise

    def _try(self, waiter: Waiter, waited: float) -> Lease:
        left = max(0.0, waiter.deadline - self.router.now())
        return self.router.acquire(
            waiter.request,
            measure=waiter.measure,
            attempts=waiter.attempts,
            timeout_s=left,
            waited_s=waited,
            quiet=waited > 0,
        )

    def _leave_time(self, waiter: Waiter) -> None:
        """Keep free what the answer is expected to take: whoever is let in at the last moment is answered too late."""
        asked, due = waiter.request, waiter.deadline
        if asked.due is not None:
            due = asked.due
        elif asked.sending_s is not None:
            due = waiter.since + asked.sending_s
        service = self.router.service_s(asked, waiter.measure)
        waiter.latest = min(waiter.deadline, due - min(service, MOST_SERVICE * max(0.0, due - waiter.since)))

    def _admit(self, waiter: Waiter, error: QuotaExhaustedError) -> None:
        """Refuse now whoever cannot be in time; a doomed wait helps nobody."""
        now = self.router.now()
        if error.retry_after is None or now + error.retry_after > waiter.latest:
            raise error
        self._refused[waiter.kind] = waiter.tokens
        self._arm(now + error.retry_after + LATE_S)

    def _join(self, waiter: Waiter) -> None:
        """Join a line that is there: refused at once when those ahead leave no room in time."""
        if self.line.size >= LONGEST_LINE:
            raise QuotaExhaustedError(
                f"{self.line.size:,} requests wait for room already; try again in 1 s.", retry_after=1.0
            )
        now = self.router.now()
        ahead = self.router.wait_behind(waiter.request, *self.line.ahead(waiter))
        if waiter.priority <= 0 and now + ahead / HOPE > waiter.latest:
            raise QuotaExhaustedError(
                f"{self.line.size:,} requests wait already, and '{waiter.request.model}' has room for this one in "
                f"{ahead:.1f} s; try again then.",
                retry_after=ahead,
            )
        if waiter.tokens < self._refused.get(waiter.kind, ANY):
            self._arm(now)
        self._arm(waiter.latest)

    def _left(self, waiter: Waiter) -> None:
        """The caller was cancelled: leave the line, and give back a lease that was just granted."""
        self.line.remove(waiter)
        if not self.line.size:
            self._rest()
        done = waiter.done
        if done is not None and done.done() and not done.cancelled() and done.exception() is None:
            self.router.release(done.result())

    # -- serving --------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something became free; look at the line soon."""
        if self.line.size:
            self._arm(self.router.now())

    def _arm(self, at: float) -> None:
        """Look at the line at `at` by the router's clock; for what is due now the loop's next moment is soon enough."""
        if self._timer is not None:
            if at >= self._wakes_at:
                return
            self._timer.cancel()
        self._wakes_at = at
        wait = at - self.router.now()
        if wait <= EARLIEST_S:
            self._timer = self.loop.call_later(EARLIEST_S, self._serve)
        else:
            self._timer = self.loop.create_task(self._serve_after(wait))

    async def _serve_after(self, wait: float) -> None:
        await self.router.clock.sleep(wait)
        self._serve()

    def _rest(self) -> None:
        """Nobody waits any more: leave nothing behind in the loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = None, NEVER
        self._due.clear()

    def _serve(self) -> None:
        """Serve whoever fits, in order; then sleep until the earliest time somebody else may."""
        self._timer, self._wakes_at = None, NEVER
        self._refused.clear()
        now, tries, soonest = self.router.now(), 0, NEVER
        behind: dict[object, int] = {}
        full: set[object] = set()
        for waiter in self.line.order(full):
            if not isinstance(waiter, Waiter) or waiter.over:
                self.line.remove(waiter)
                continue
            if tries < MOST_TRIES and waiter.tokens < self._refused.get(waiter.kind, ANY):
                tries += 1
                wakes = self._serve_one(waiter, now)
                if wakes == NEVER:
                    continue
                soonest = min(soonest, wakes)
            behind[waiter.group] = behind.get(waiter.group, 0) + 1
            if behind[waiter.group] > LOOK_BEHIND:
                full.add(waiter.group)
        soonest = min(soonest, self._dismiss(now))
        if self.line.size:
            self._arm(soonest)
        else:
            self._rest()

    def _dismiss(self, now: float) -> float:
        """Try whoever has come to the latest moment a last time, and answer; when the next one will."""
        due = self._due
        while due and (due[0][0] <= now or due[0][2].gone):
            waiter = heappop(due)[2]
            if waiter.over:
                self.line.remove(waiter)
            elif not waiter.gone:
                self._serve_one(waiter, now)
        return due[0][0] if due else NEVER

    def _serve_one(self, waiter: Waiter, now: float) -> float:
        """Try one; when to look again if it does not fit, NEVER when it has left the line."""
        try:
            lease = self._try(waiter, max(1e-9, now - waiter.since))
        except QuotaExhaustedError as error:
            self._refused[waiter.kind] = min(waiter.tokens, self._refused.get(waiter.kind, ANY))
            if error.retry_after is None or now >= waiter.latest:
                return self._answer(waiter, error)
            return now + error.retry_after + LATE_S
        except Exception as error:  # noqa: BLE001  (whatever is wrong with one request, the line goes on)
            return self._answer(waiter, error)
        self.line.serve(waiter)
        if waiter.done is not None:
            waiter.done.set_result(lease)
        return NEVER

    def _answer(self, waiter: Waiter, error: Exception) -> float:
        self.line.remove(waiter)
        if waiter.done is not None:
            waiter.done.set_exception(error)
        return NEVER


def _tokens(error: QuotaExhaustedError) -> int:
    found = error.details.get("tokens")
    return found if isinstance(found, int) else 0


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
            if room.line.size:
                with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                    loop.call_soon_threadsafe(room.wake)
