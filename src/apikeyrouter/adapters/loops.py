"""One value for each event loop, closed when its loop ends: sockets belong to the loop that opened them.

A loop tells nobody of its end but the asynchronous generators it has started: `asyncio.run` closes those before it
closes the loop. So each value lives in a generator that closes it, and a program that calls `asyncio.run` several times
leaves no socket behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final, Generic, Protocol, TypeVar

from apikeyrouter.locks import new_lock


class Closable(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=Closable)
PATIENCE_S: Final = 1.0
"""How long closing waits for a loop of another thread."""


class PerLoop(Generic[T]):
    """`make` makes the value of a loop when it is first asked for there."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = new_lock()
        self._held: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None]]] = {}

    async def get(self) -> T:
        """The running loop's value."""
        loop = asyncio.get_running_loop()
        found = self._held.get(loop)
        return found[0] if found is not None else await self._new(loop)

    async def _new(self, loop: asyncio.AbstractEventLoop) -> T:
        value = self._make()
        keeper = self._keep(loop, value)
        with self._lock:
            self._held = {known: held for known, held in self._held.items() if not known.is_closed()}
            self._held[loop] = (value, keeper)
        await anext(keeper)  # from now on the loop knows it; nothing here really waits
        return value

    async def _keep(self, loop: asyncio.AbstractEventLoop, value: T) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(loop, None)
            await value.aclose()

    async def aclose(self) -> None:
        """Close the values of this loop and of every other that runs."""
        here = asyncio.get_running_loop()
        with self._lock:
            held, self._held = self._held, {}
        for loop, (_, keeper) in held.items():
            if loop is here:
                await keeper.aclose()
            elif loop.is_running():
                there = asyncio.run_coroutine_threadsafe(_close(keeper), loop)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(there), PATIENCE_S)


async def _close(keeper: AsyncGenerator[None]) -> None:
    await keeper.aclose()
