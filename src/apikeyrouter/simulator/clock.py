"""Time as the simulator sees it: one object with `now()` and `sleep()`, so that nothing depends on a wall clock unseen.

Seconds are since the epoch and never run backwards, because daily windows and RFC 3339 headers need a date. Nothing
else in this package may call `time` or `asyncio.sleep`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import selectors
import time
from collections.abc import Coroutine
from typing import Protocol, TypeVar

__all__ = ["NS", "Clock", "LoopClock", "VirtualClock", "run_virtual"]

NS = 1_000_000_000
NEW_YEAR = 1_767_225_600.0
"""2026-01-01T00:00:00Z, where virtual time starts unless told otherwise."""

T = TypeVar("T")


class Clock(Protocol):
    """Seconds since the epoch that never run backwards, and a way to wait for them."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class LoopClock:
    """The time of the event loop that first asks, moved to the epoch; readable from any thread afterwards.

    Under `run_virtual` that is virtual time, without further ado.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        if self._loop is None:
            with contextlib.suppress(RuntimeError):  # no loop runs: the same time, by the system's clock
                self._bind(asyncio.get_running_loop())
        loop = self._loop
        return self._offset + (time.monotonic() if loop is None else loop.time())

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if isinstance(loop, _VirtualLoop):
            self._offset = loop.epoch
        self._loop = loop

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VirtualClock:
    """A clock that stands still until it is told: `advance(seconds)`, or `await run_for(seconds)` to let sleepers act.

    `start` is seconds since the epoch (default 2026-01-01T00:00:00Z).
    """

    def __init__(self, start: float = NEW_YEAR) -> None:
        self._now = start
        self._turns = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._turns), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move time on and wake whoever is due; safe from another thread than the sleepers'."""
        target = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            when, _, woken = heapq.heappop(self._sleepers)
            self._now = max(self._now, when)
            woken.get_loop().call_soon_threadsafe(_wake, woken)
        self._now = target

    async def run_for(self, seconds: float, *, rounds: int = 20) -> None:
        """Move from one sleeper to the next until `seconds` have passed, giving the loop `rounds` turns after each."""
        target = self._now + seconds
        while True:
            for _ in range(rounds):
                await asyncio.sleep(0)
            due = self._sleepers[0][0] if self._sleepers else target
            if due >= target and self._now >= target:
                return
            self.advance(min(due, target) - self._now)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class _Jumping(selectors.DefaultSelector):
    """A selector that never waits: the time it was to wait is added to the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # nothing scheduled: only a thread or a socket can wake this loop
            return super().select(0.01)
        self.skipped += timeout
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, epoch: float) -> None:
        self.epoch = epoch
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.skipped


def run_virtual(main: Coroutine[object, object, T], *, start: float = NEW_YEAR) -> T:
    """Run a coroutine in an event loop whose waits take no time: hours of load in seconds, in exact order.

    `start` is what a LoopClock shows at the beginning, in seconds since the epoch.

    Only in-process traffic (an ASGI transport) belongs here: a real socket would be polled while its time races ahead.
    """
    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(start)) as runner:
        return runner.run(main)
