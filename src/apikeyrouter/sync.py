"""The same coroutines for callers without a loop: no second copy of any logic.

One background thread with its own event loop, started when first needed and owned by the router; a forked child gets a
thread of its own. Inside a running loop the face refuses, because blocking there would stop the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.locks import new_lock
from apikeyrouter.ports import Chunk

if TYPE_CHECKING:
    from apikeyrouter.dispatch import Reply
    from apikeyrouter.facade import ApiKeyRouter
    from apikeyrouter.intake import RouteOptions
    from apikeyrouter.streaming import RoutedStream

T = TypeVar("T")


class LoopThread:
    """A daemon thread that runs coroutines; `wait_for` blocks the calling thread until one is done."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Block this thread for a coroutine that runs on the other one, even if a loop stands still here."""
        done = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return done.result()
        finally:
            done.cancel()  # whoever is interrupted here does not leave the request running; nothing when it is done

    def soon(self, work: Coroutine[Any, Any, object]) -> None:
        """Have a coroutine run on the other thread without waiting for it."""
        asyncio.run_coroutine_threadsafe(work, self._started())

    @property
    def here(self) -> bool:
        """Whether this is that thread, which must not wait for itself."""
        return threading.current_thread() is self._thread

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._loop = self._start()
            return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        ready = threading.Event()
        made: list[asyncio.AbstractEventLoop] = []

        def serve() -> None:
            with asyncio.Runner() as runner:  # which cancels and closes what is left when the loop stops
                made.append(runner.get_loop())
                ready.set()
                made[0].run_forever()

        self._thread = threading.Thread(target=serve, name="apikeyrouter", daemon=True)
        self._thread.start()
        ready.wait()
        return made[0]

    def close(self) -> None:
        """Stop the thread and wait for it; nothing to do when it never ran."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=5)


class SyncFace:
    """`router.sync`: the verbs that need a network, blocking."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self._router = router
        self._thread = LoopThread()

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """For doors whose callers block by their own choice."""
        return self._thread.wait_for(work)

    def route(self, body: Mapping[str, object], **options: Unpack[RouteOptions]) -> Reply:
        """As the router's own, blocking this thread."""
        _refuse_inside_a_loop("await router.route(...)")
        return self._thread.wait_for(self._router.route(body, **options))

    def stream(self, body: Mapping[str, object], **options: Unpack[RouteOptions]) -> Generator[Chunk]:
        """Chunks as they come; closing the iterator closes and settles the stream."""
        _refuse_inside_a_loop("async for chunk in router.stream(...)")
        return self.chunks(self._router.stream(body, **options))

    def chunks(self, stream: RoutedStream) -> Generator[Chunk]:
        """A stream's chunks, for doors whose callers block by their own choice."""
        try:
            while (chunk := self._thread.wait_for(_next(stream))) is not None:
                yield chunk
        finally:
            if self._thread.here:  # a forgotten iterator may be collected there
                self._thread.soon(stream.aclose())
            else:
                self._thread.wait_for(stream.aclose())

    def close(self) -> None:
        """Close the router's connections and this thread."""
        self._thread.wait_for(self._router.aclose_adapters())
        self._thread.close()

    def stop(self) -> None:
        self._thread.close()


def _inside_a_loop() -> bool:
    return asyncio._get_running_loop() is not None


def _refuse_inside_a_loop(instead: str) -> None:
    if _inside_a_loop():
        raise ApiKeyRouterError(
            f"router.sync was called inside a running event loop, which it would block; write `{instead}` instead."
        )


async def _next(stream: RoutedStream) -> Chunk | None:
    return await anext(stream, None)
