"""Interrupts who waits for room when LiteLLM's list of deployments has changed, so that they look at the new one.

A deployment added now may have the room that a call waits for, one that was taken out never will. Nothing tells of a
change in the SDK, so the list is looked at once a second while somebody waits, and only then. What a change is, and
what to do about it, is the strategy's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from apikeyrouter.locks import new_lock

T = TypeVar("T")
EVERY_S: Final = 1.0


class Moved(Exception):  # noqa: N818 - no error: a reason to look again
    """LiteLLM's list has changed."""


class _Watch:
    """One wait, begun at a version of the list."""

    __slots__ = ("moved", "task", "version")

    def __init__(self, task: asyncio.Task[object], version: int) -> None:
        self.task = task
        self.version = version
        self.moved = False


class Lookout:
    """Those who wait, by event loop. `look` says which version LiteLLM's list has now."""

    def __init__(self, look: Callable[[], int]) -> None:
        self.look = look
        self._waiting: dict[asyncio.AbstractEventLoop, set[_Watch]] = {}
        self._lock = new_lock()

    async def watch(self, work: Awaitable[T], version: int) -> T:
        """The outcome of `work`. Raises Moved, with `work` cancelled, when the version is no longer this one."""
        task = asyncio.current_task()
        if task is None:
            return await work
        waiting = self._here(task.get_loop())
        mine, before = _Watch(task, version), task.cancelling()
        waiting.add(mine)
        try:
            return await work
        except asyncio.CancelledError:
            if mine.moved and task.uncancel() <= before:
                raise Moved from None
            raise
        finally:
            waiting.discard(mine)

    def _here(self, loop: asyncio.AbstractEventLoop) -> set[_Watch]:
        waiting = self._waiting.get(loop)
        if waiting is None:
            with self._lock:
                for gone in [known for known in self._waiting if known.is_closed()]:
                    del self._waiting[gone]
                waiting = self._waiting[loop] = set()
            loop.call_later(EVERY_S, self._tick, loop)
        return waiting

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting[loop]
        if not waiting:
            with self._lock:
                del self._waiting[loop]
            return
        version = self.look()
        for each in list(waiting):
            if each.version != version and not each.moved:
                each.moved = True
                each.task.cancel()
        loop.call_later(EVERY_S, self._tick, loop)
