"""The same coroutines for callers without a loop: no second copy of any logic.

One background thread with its own event loop, started when first needed and owned by the router; a fork is noticed and
gets a thread of its own. Inside a running loop the face refuses, because blocking there would stop the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.ports import Chunk

if TYPE_CHECKING:
    from apikeyrouter.dispatch import Reply
    from apikeyrouter.facade import ApiKeyRouter
    from apikeyrouter.intake import RouteOptions

T = TypeVar("T")


class LoopThread:
    """A daemon thread that runs coroutines; `run` blocks the calling thread until one is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.wait_for(work)
        work.close()
        raise ApiKeyRouterError(
            "router.sync was called inside a running event loop, which it would block; write `await router...` instead."
        )

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Block this thread for a coroutine that runs on the other one, even if a loop stands still here."""
        return asyncio.run_coroutine_threadsafe(work, self._started()).result()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="apikeyrouter", daemon=True)
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Stop the thread and wait for it; nothing to do when it never ran."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        if not thread.is_alive():
            loop.close()


class SyncFace:
    """`router.sync`: the verbs that need a network, blocking."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self._router = router
        self._thread = LoopThread()

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """For doors whose callers block by their own choice."""
        return self._thread.wait_for(work)

    def route(self, body: Mapping[str, object], **options: Unpack[RouteOptions]) -> Reply:
        return self._thread.run(self._router.route(body, **options))

    def stream(self, body: Mapping[str, object], **options: Unpack[RouteOptions]) -> Iterator[Chunk]:
        """Chunks as they come; closing the iterator closes and settles the stream."""
        stream = self._router.stream(body, **options)
        try:
            while True:
                try:
                    chunk = self._thread.run(_next(stream))
                except StopIteration:
                    return
                if chunk is None:
                    return
                yield chunk
        finally:
            self._thread.run(stream.aclose())

    def close(self) -> None:
        """Close the router's connections and this thread."""
        self._thread.run(self._router.aclose_adapters())
        self._thread.close()

    def stop(self) -> None:
        self._thread.close()


async def _next(stream: Any) -> Chunk | None:
    async for chunk in stream:
        found: Chunk = chunk
        return found
    return None
