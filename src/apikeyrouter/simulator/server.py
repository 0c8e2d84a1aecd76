"""A world on loopback over real HTTP, in this event loop or in a thread of its own. The only user of uvicorn here.

uvicorn's protocol classes do the HTTP; the listening socket, the start and the end are ours, because a test needs an
address at once, no signal handlers, and connections that really break when a fault says so.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Final, cast

from apikeyrouter.errors import MissingDependencyError
from apikeyrouter.simulator.app import SimulatorApp
from apikeyrouter.simulator.spec import WorldSpec
from apikeyrouter.simulator.state import KeyState, material_of
from apikeyrouter.simulator.turn import DROP
from apikeyrouter.simulator.wire import Receive, Scope, Send
from apikeyrouter.simulator.world import World

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

__all__ = ["Served", "describe", "run", "serve"]

ACCEPTING: Final = 5
"""Turns of the loop in which a connection may still come up that was accepted before the port was closed."""


def serve(what: World | SimulatorApp, *, host: str = "127.0.0.1", port: int = 0, thread: bool = False) -> Served:
    """`async with serve(world) as url:` (or plain `with`, which always uses a thread); port 0 takes any free one.

    `thread`: in a thread with its own event loop, so that a busy caller does not slow the judge.
    Raises MissingDependencyError without uvicorn.
    """
    return Served(what if isinstance(what, SimulatorApp) else SimulatorApp(what), host, port, thread)


def run(
    what: World | WorldSpec,
    host: str = "127.0.0.1",
    port: int = 8089,
    *,
    announce: Callable[[str], object] | None = None,
) -> None:
    """Serve until interrupted: what `apikeyrouter simulate` does. `announce` is told the addresses and the keys."""
    world = World(what) if isinstance(what, WorldSpec) else what
    served = serve(world, host=host, port=port)

    async def forever() -> None:
        async with served as url:
            if announce is not None:
                announce(describe(world, url))
            await asyncio.Event().wait()

    asyncio.run(forever())


def describe(world: World, url: str) -> str:
    """What somebody at a terminal needs to use a served world: base addresses, and the made-up keys to send."""
    found = {org.spec.dialect for org in world.organisations.values()}
    lines = [f"Simulated providers on {url} (state: {url}/_sim/state; interrupt to stop)"]
    lines += [f"  {dialect:<10} {url}{path}" for dialect, path in _BASES.items() if dialect in found]
    lines += [f"  {key.id:<10} {key.organisation.id:<10} {key.status:<8} {_shown(key)}" for key in world.keys.values()]
    return "\n".join(lines) + "\n"


def _shown(key: KeyState) -> str:
    """The material if the simulator made it up; whoever brought their own knows it."""
    made_up = key.material == material_of(key.id, key.organisation.spec.dialect)
    return key.material if made_up else "(the material given in the configuration)"


_BASES = {
    "openai": "/openai/v1/",
    "anthropic": "/anthropic/v1/messages",
    "gemini": "/gemini/v1beta/",
    "plain": "/geo/v1/geocode?q=   /search/v1/query?q=   /sms/v1/messages",
}


class Served:
    """A simulator that is, was or will be listening. `url` is its base address, without a slash at the end."""

    def __init__(self, app: SimulatorApp, host: str, port: int, thread: bool) -> None:
        self.app = app
        self._host = host
        self._port = port
        self._threaded = thread
        self._line: _Line | None = None
        self._thread: threading.Thread | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def world(self) -> World:
        return self.app.world

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def __aenter__(self) -> str:
        if self._threaded:
            await asyncio.wrap_future(self._start_thread())
        else:
            self._line = _Line(self.app, self._listen())
            await self._line.open()
        return self.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            await self._line.close()
        elif self._thread is not None:
            self._tell_thread()
            await asyncio.to_thread(self._thread.join)

    def __enter__(self) -> str:
        self._start_thread().result(timeout=10)
        return self.url

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._tell_thread()
            self._thread.join()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer waits 40 ms for an acknowledgement.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._port))
        except OSError:
            listening.close()
            raise
        self._port = listening.getsockname()[1]
        return listening

    def _start_thread(self) -> Future[None]:
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._in_thread, args=(ready,), name="apikeyrouter-simulator", daemon=True
        )
        self._thread.start()
        return ready

    def _in_thread(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._until_told(ready))
        except Exception as error:  # noqa: BLE001 - reported to whoever waits for the start
            if not ready.done():
                ready.set_exception(error)

    async def _until_told(self, ready: Future[None]) -> None:
        line = _Line(self.app, self._listen())
        stop = asyncio.Event()
        self._stop = (asyncio.get_running_loop(), stop)
        await line.open()
        ready.set_result(None)
        try:
            await stop.wait()
        finally:
            await line.close()

    def _tell_thread(self) -> None:
        if self._stop is not None:
            loop, stop = self._stop
            loop.call_soon_threadsafe(stop.set)


class _Line:
    """One listening socket and its connections, in the loop that opened it."""

    def __init__(self, app: SimulatorApp, listening: socket.socket) -> None:
        self._app = app
        self._listening = listening
        self._closing = False
        self._config, self._state = _uvicorn(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The simulator's application, with a way to break the connection, and quiet when the line closes."""
        extensions = scope.setdefault("extensions", {})
        cast("dict[str, object]", extensions)[DROP] = _dropper(send)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._closing:
                raise

    async def open(self) -> None:
        self._config.load()

        def connection() -> asyncio.Protocol:
            made = self._config.http_protocol_class
            assert not isinstance(made, str)
            return made(config=self._config, server_state=self._state, app_state={})  # type: ignore[call-arg]

        self._server = await asyncio.get_running_loop().create_server(connection, sock=self._listening, backlog=2048)

    async def close(self) -> None:
        """Break every connection, end every request, free the port."""
        self._closing = True
        self._server.close()
        for _ in range(ACCEPTING):
            for connection in list(self._state.connections):
                transport = getattr(connection, "transport", None)
                if transport is not None:
                    transport.abort()
            await asyncio.sleep(0)
        running = list(self._state.tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _uvicorn(app: _Line) -> tuple[Config, ServerState]:
    try:
        from uvicorn import Config
        from uvicorn.server import ServerState
    except ImportError:
        raise MissingDependencyError(
            "serving the simulator over HTTP needs uvicorn, which is not installed: pip install 'apikeyrouter[proxy]'"
        ) from None
    return Config(app, log_config=None, access_log=False, lifespan="off", ws="none"), ServerState()


class _dropper:  # noqa: N801 - used as a function
    """Break the connection that a `send` belongs to, without another byte."""

    __slots__ = ("_cycle",)

    def __init__(self, send: Send) -> None:
        self._cycle: object = getattr(send, "__self__", None)

    async def __call__(self) -> None:
        transport = getattr(self._cycle, "transport", None)
        if transport is not None:
            transport.abort()
        for _ in range(10):  # until the server has noticed, or it would report an unfinished response
            if getattr(self._cycle, "disconnected", True):
                return
            await asyncio.sleep(0)
