"""One timer for many short waits, where `asyncio.timeout` sets one for each.

A stream is read once for every event, and a timer that is set and taken back costs as much as the reading. A deadline
that moves on therefore leaves its timer where it is: when that goes off too early, it is set again. What happens at the
deadline is what `asyncio.timeout_at` does: whoever waits inside is cancelled and gets a TimeoutError, a cancellation
from elsewhere stays a cancellation, and what can be had without waiting is had even then.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final
from weakref import ref


class Alarm:
    """`with alarm:` around each wait, by one task at a time; `at` is of the running loop's clock. Raises TimeoutError.

    `off()` takes the timer back; an alarm that is forgotten leaves nothing but the timer behind.
    """

    __slots__ = ("__weakref__", "_before", "_rings", "_task", "_timer", "_timer_at", "at")

    def __init__(self, at: float) -> None:
        self.at = at
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._timer_at = at
        self._task: asyncio.Task[object] | None = None
        self._before = 0
        self._rings = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        if self._timer is None:
            self._start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._rings and task is not None:
            self._rings = False
            if task.uncancel() <= self._before and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def set(self, at: float) -> None:
        """Let it ring at another time, earlier or later; outside a wait."""
        self.at = at
        if at < self._timer_at:
            self.off()

    def off(self) -> None:
        """Take the timer back; the next wait sets it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        loop, self._timer_at = asyncio.get_running_loop(), self.at
        due = self.at <= loop.time()
        self._timer = loop.call_soon(_ring, ref(self)) if due else loop.call_at(self.at, _ring, ref(self))

    def ring(self) -> None:
        """The timer went off: end the wait under way, unless its time has been moved on."""
        self._timer = None
        if self._task is None:
            return
        if asyncio.get_running_loop().time() < self.at - EARLY_S:
            self._start()
        else:
            self._rings = True
            self._task.cancel()


EARLY_S: Final = 1e-3
"""A loop may run a timer this much before its time."""


def _ring(forgettable: ref[Alarm]) -> None:
    alarm = forgettable()
    if alarm is not None:
        alarm.ring()
